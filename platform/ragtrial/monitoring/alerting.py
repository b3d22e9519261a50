"""When an alert is raised and when it is cleared: with hysteresis, so that it neither flickers nor is repeated."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ragtrial.domain.monitor import Alert, Change, MonitorSpec, Signal

_OF_EMBEDDINGS = ("query_embedding", "document_embedding")


def judged(signal: Signal, before: Signal | None, spec: MonitorSpec, *, at: float) -> tuple[Signal, Change | None]:
    """A signal with its state, and what has changed.

    An alert is raised after `raise_looks` looks in a row whose interval lies wholly beyond the upper level, on either side, and cleared
    after `clear_looks` looks in a row whose effect lies below the lower one. A look that can't tell changes nothing and interrupts nothing.

    Args:
        signal: As this look found it.
        before: As the last look left it.
        spec: The levels.
        at: Of the look, seconds since 1970.
    """
    stood = before is not None and before.state == "raised"
    since = before.since if before is not None and stood else None
    above, below = (0, 0) if before is None else (before.above, before.below)
    if signal.effect is None or signal.low is None or signal.high is None:
        return replace(signal, state="raised" if stood else "too few", above=above, below=below, since=since), None
    raise_above, clear_below = spec.levels_of(signal.kind)
    one_sided = signal.kind in _OF_EMBEDDINGS  # a distance is no smaller than 0; its estimate may be
    above = above + 1 if signal.low > raise_above or (not one_sided and signal.high < -raise_above) else 0
    below = below + 1 if (signal.effect if one_sided else abs(signal.effect)) < clear_below else 0
    held = replace(signal, above=above, below=below)
    if not stood and above >= spec.raise_looks:
        return replace(held, state="raised", since=at, reason=f"beyond {raise_above:g} on {above} looks in a row"), "raised"
    if stood and below >= spec.clear_looks:
        return replace(held, state="calm", since=None, reason=f"below {clear_below:g} on {below} looks in a row"), "cleared"
    if above and not stood:
        more = spec.raise_looks - above
        reason = f"beyond {raise_above:g} on {above} of {spec.raise_looks} looks; {more} more with new data raise{'s' if more == 1 else ''} an alert"
        return replace(held, state="rising", reason=reason), None
    return replace(held, state="raised" if stood else "calm", since=since), None


def alert_of(signal: Signal, change: Change, *, experiment: str, at: float, look: int) -> Alert:
    """The message of a change."""
    return Alert(
        experiment=experiment,
        signal=signal.name,
        change=change,
        at=at,
        look=look,
        sentence=f"{experiment}: {'drift of' if change == 'raised' else 'no drift any more of'} {sentence(signal)}",
        effect=signal.effect,
        low=signal.low,
        high=signal.high,
    )


def closed(alert: Alert, *, at: float, reference: str | None = None) -> Alert:
    """The end of an alert whose series another one has taken the place of: it would stand for ever, as no look comes that could clear it.

    Args:
        alert: That stands.
        at: Seconds since 1970.
        reference: What the signal is compared with now; None where it is watched no longer.
    """
    now = "" if reference is None else f"; it is compared with {reference} now"
    said = (
        f"{alert.experiment}: {alert.signal} is no longer measured as it was when its alert was raised (plan, arm or model is another){now}"
    )
    return replace(alert, alert_id=None, change="cleared", at=at, sentence=said, effect=None, low=None, high=None, **_UNSENT)


def closed_by(alert: Alert, *, who: str, reason: str, at: float) -> Alert:
    """The end of an alert that somebody has closed."""
    said = f"{alert.experiment}: {alert.signal} was closed by {who}: {reason}"
    return replace(alert, alert_id=None, change="cleared", at=at, sentence=said, effect=None, low=None, high=None, **_UNSENT)


_UNSENT: dict[str, Any] = {"delivered_at": None, "attempts": 0, "problem": None}


def sentence(signal: Signal) -> str:
    """What was found, for people: name, effect with its interval, means, n, reason, since when."""
    said = [_LABELS[signal.kind] if signal.metric is None else signal.metric, *([f"({signal.arm})"] if signal.arm else [])]
    found = " ".join(said)
    if signal.effect is not None:
        found += f": {signal.effect:+.2f} [{signal.low:+.2f}, {signal.high:+.2f}] standard deviations"
        if signal.mean is not None and signal.reference_mean is not None:
            found += f", from {_number(signal, signal.reference_mean)} to {_number(signal, signal.mean)}"
        found += f" (n = {signal.n:,} against {signal.n_reference:,})"
    if signal.reason is not None:
        found += f"{': ' if signal.effect is None else '; '}{signal.reason}"
    if signal.state == "raised" and signal.since is not None:
        found += f"; alert since {datetime.fromtimestamp(signal.since, UTC):%Y-%m-%d %H:%M} UTC"
    return found


def _number(signal: Signal, mean: float) -> str:
    if signal.kind in ("in_gold", "abstained", "unanswered", "thumbs_up", "new_terms"):
        return f"{mean:.1%}"
    return f"{mean:.0f} characters" if signal.kind == "query_length" else f"{mean:.3f}"


_LABELS = {
    "query_embedding": "what queries are about",
    "document_embedding": "what new documents are about",
    "new_terms": "words never seen before",
    "query_length": "length of queries",
    "in_gold": "queries of the gold set",
    "similarity": "similarity of the best passage",
    "abstained": "abstentions",
    "unanswered": "queries without an answer",
    "thumbs_up": "thumbs up among votes",
    "score": "score",
}
