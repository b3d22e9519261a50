"""Drift in words: what has moved since when, by how much, and what could not be judged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args

from ragtrial.analysis.drift import FEWEST_IN_REFERENCE, LEVEL, SHARES, DriftSignal, DriftWindow, Movement, movement_of
from ragtrial.domain.live_drift import DriftName
from ragtrial.domain.monitor import Alert
from ragtrial.report import words
from ragtrial.report.live_time_charts import stretch

NAMES: dict[DriftName, str] = {
    "similarity": "Similarity of the best passage",
    "query_length": "Query length",
    "in_gold": "Queries of the gold set",
    "abstained": "Abstentions",
}

NOT_WORKED_OUT = "Drift was not worked out yet"

_DAY_S = 86_400
_MOVED: dict[DriftName, tuple[str, str, str, str]] = {  # goes on: up, down; over: up, down
    "similarity": (
        "The best passage's similarity has risen by {by}",
        "The best passage's similarity has fallen by {by}",
        "The best passage's similarity was {by} higher",
        "The best passage's similarity was {by} lower",
    ),
    "query_length": (
        "Queries have become {by} longer",
        "Queries have become {by} shorter",
        "Queries were {by} longer",
        "Queries were {by} shorter",
    ),
    "in_gold": (
        "Queries of the gold set have become more frequent ({shares})",
        "Queries of the gold set have become rarer ({shares})",
        "Queries of the gold set were more frequent ({shares})",
        "Queries of the gold set were rarer ({shares})",
    ),
    "abstained": (
        "Abstentions have become more frequent ({shares})",
        "Abstentions have become rarer ({shares})",
        "Abstentions were more frequent ({shares})",
        "Abstentions were rarer ({shares})",
    ),
}


class Finding(NamedTuple):
    """What one signal did, in all arms.

    Attributes:
        name: Of the signal.
        signals: One for each arm.
        said: In a sentence, without a full stop.
        effect: The largest that has a name, without its sign; 0 where nothing has drifted.
        goes_on: Whether a drift goes on.
    """

    name: DriftName
    signals: tuple[DriftSignal, ...]
    said: str
    effect: float
    goes_on: bool


class _Moved(NamedTuple):
    signal: DriftSignal
    movement: Movement


def findings(signals: Sequence[DriftSignal], names: Mapping[str, str]) -> tuple[Finding, ...]:
    """What each signal did.

    Args:
        signals: In the order of their arms.
        names: What an arm is called.
    """
    found = []
    for name in get_args(DriftName):
        mine = tuple(signal for signal in signals if signal.name == name)
        if mine:
            found.append(_finding(name, mine, names))
    return tuple(found)


def headline(found: Sequence[Finding]) -> str:
    """The largest drift that goes on, or else what was largest, or that there is none."""
    if not found:
        return NOT_WORKED_OUT
    judged = [window for finding in found for signal in finding.signals for window in signal.judged]
    if not judged:
        return "Too little was logged so far to tell drift"
    drifted = [finding for finding in found if finding.effect]
    if drifted:
        return max(drifted, key=lambda finding: (finding.goes_on, finding.effect)).said
    span = stretch(round(max(window.end for window in judged) - min(_begin(signal) for finding in found for signal in finding.signals)))
    if any(window.beyond_chance for window in judged):
        return f"Nothing has drifted by 0.2 standard deviations or more in {span}"
    return f"No drift beyond chance in {span}"


def others(found: Sequence[Finding]) -> str | None:
    """What else has drifted; None where nothing has."""
    first = headline(found)
    said = [_small(finding.said) for finding in found if finding.effect and finding.said != first]
    return f"Also: {'; '.join(said)}." if said else None


def _small(sentence: str) -> str:
    """As it stands within another sentence."""
    return sentence[0].lower() + sentence[1:]


def _begin(signal: DriftSignal) -> float:
    return float("inf") if signal.reference is None else signal.reference.begin


def _finding(name: DriftName, signals: tuple[DriftSignal, ...], names: Mapping[str, str]) -> Finding:
    moved = [_Moved(signal, movement) for signal in signals if (movement := movement_of(signal)) is not None]
    if not moved:
        return Finding(name, signals, _calm(name, signals), 0.0, False)
    effect, goes_on = max(abs(each.movement.effect) for each in moved), any(each.movement.end is None for each in moved)
    kinds = {(each.movement.effect > 0, each.movement.end is None) for each in moved}
    if len(moved) == len(signals) and len(kinds) == 1:
        where = " in both arms" if len(signals) > 1 else ""
        return Finding(name, signals, _sentence(name, moved, where), effect, goes_on)
    moved.sort(key=lambda each: (each.movement.end is not None, -abs(each.movement.effect)))
    said = [_sentence(name, [each], f" in {names.get(each.signal.arm, each.signal.arm)}") for each in moved]
    return Finding(name, signals, "; ".join([said[0], *map(_small, said[1:])]), effect, goes_on)


def _calm(name: DriftName, signals: Sequence[DriftSignal]) -> str:
    judged = [window for signal in signals for window in signal.judged]
    if any(window.beyond_chance for window in judged):
        return f"{NAMES[name]}: changes are too small to matter"
    return f"{NAMES[name]}: no drift beyond chance" if judged else f"{NAMES[name]}: can't be told yet"


def _sentence(name: DriftName, moved: Sequence[_Moved], where: str) -> str:
    """What has moved, in which arms, since when."""
    effect = sum(each.movement.effect for each in moved) / len(moved)
    ends = [each.movement.end for each in moved]
    begin, end, width = min(each.movement.begin for each in moved), max(end or 0.0 for end in ends), width_of(moved[0].signal)
    form = _MOVED[name][(0 if None in ends else 2) + (effect < 0)]
    by = f"{abs(effect):.1f} standard deviation{'' if f'{abs(effect):.1f}' == '1.0' else 's'}"
    before = sum(each.signal.reference.mean or 0.0 for each in moved if each.signal.reference is not None) / len(moved)
    shares = f"{value(name, before)} → {value(name, sum(each.movement.mean for each in moved) / len(moved))}"
    when = f"since {date(begin, width)}" if None in ends else f"from {date(begin, width)} to {_last(end, width)}"
    return f"{form.format(by=by, shares=shares)}{where} {when}"


def value(name: DriftName, mean: float | None) -> str:
    """A mean with its unit."""
    if mean is None:
        return words.NOTHING
    if name in SHARES:
        return f"{100 * mean:.1f}%" if mean >= 0.01 or not mean else f"{100 * mean:.2g}%"
    return f"{mean:,.0f} characters" if name == "query_length" else f"{mean:.3f}"


def width_of(signal: DriftSignal) -> float:
    """Length of a window in seconds; 0 where there is none."""
    return signal.windows[0].end - signal.windows[0].begin if signal.windows else 0.0


def date(at: float, width: float) -> str:
    """The moment at which a window begins, as exact as the windows are long."""
    moment = datetime.fromtimestamp(at, UTC)
    clock = "" if width >= _DAY_S else " %H:%M" if width >= 60 else " %H:%M:%S"
    return moment.strftime(f"{moment.day} %b{clock}")


def _last(end: float, width: float) -> str:
    """The end of a window as people say it: of a day, that day and not the next one's first moment."""
    return date(end - 1.0 if width >= _DAY_S else end, width)


def size(window: DriftWindow) -> str:
    """What a window shows, in a word or two; why it shows nothing."""
    if window.effect is None:
        return window.reason or words.NOTHING
    if not window.beyond_chance:
        return "not beyond chance"
    return "too small to matter" if window.size == "none" else window.size


def lead(signals: Sequence[DriftSignal]) -> str:
    """What was compared with what."""
    shown = next((signal for signal in signals if signal.windows), None)
    some = next(iter(signals), None)
    if some is None:
        return ""
    drawn = (
        f"{some.n_sampled:,} of the {some.n_trials:,} trials that count"
        if some.n_sampled < some.n_trials
        else f"all {some.n_trials:,} trials that count"
    )
    if shown is None:
        return f"From {drawn}; the first {FEWEST_IN_REFERENCE} with a value are what later ones are compared with."
    each = stretch(round(width_of(shown))).removeprefix("1 ")
    return f"Every {each} is compared with how it began, in each arm: the first {FEWEST_IN_REFERENCE} trials or more. From {drawn}."


def method(signals: Sequence[DriftSignal]) -> tuple[str, ...]:
    """How it is worked out, and what to beware of."""
    width = max((width_of(signal) for signal in signals), default=0.0)
    beware = (
        "Windows are shorter than a day here, so what changes with the time of day looks like drift."
        if 0 < width < _DAY_S
        else "A weekend may differ from a working day without any drift."
    )
    return (
        (
            "Means are compared by Hedges' g: the difference in standard deviations of single trials. Shares are compared by Cohen's h, which "
            "has the same scale. Below 0.2 a difference is called none, below 0.5 small, below 0.8 medium, above that large (Cohen 1988)."
        ),
        (
            f"All intervals hold together with {LEVEL:.0%} confidence: those of all windows, signals and arms, at every look, with users who "
            "ask more than once taken into account. A difference has a name only where its interval excludes 0, so without any drift fewer than "
            "one experiment in twenty ever shows some. The newest window is judged when it is over."
        ),
        (
            "Only what was split at random counts: testers, ramps and stops would look like drift. Query length is known where the log keeps "
            "queries in full. Similarities of two models are on different scales: compare each arm with itself only."
        ),
        beware,
    )


READING = "Filled points are beyond chance, hollow ones are not; bars are intervals that hold together."


def caption(finding: Finding, names: Mapping[str, str]) -> str:
    """Each arm's first and last means with their n, and what was not judged."""
    said = " ".join(_of_arm(signal, names.get(signal.arm, signal.arm)) for signal in finding.signals)
    return f"{said}{_gaps(finding.signals)}"


def _of_arm(signal: DriftSignal, arm: str) -> str:
    if signal.reference is None:
        return f"{arm}: {signal.reason}."
    first = f"{arm}: {value(signal.name, signal.reference.mean)} at first (n = {signal.reference.n:,})"
    if not signal.judged:
        return f"{first}."
    last = signal.judged[-1]
    letter = "h" if signal.name in SHARES else "g"
    now = f"{value(signal.name, last.mean)} on {date(last.begin, width_of(signal))} (n = {last.n:,})"
    return f"{first}, {now}; {letter} = {effect(last)}, {size(last)}."


def effect(window: DriftWindow) -> str:
    """The effect with its interval."""
    if window.effect is None or window.low is None or window.high is None:
        return words.NOTHING
    return f"{_signed(window.effect)} [{_signed(window.low)}, {_signed(window.high)}]"


def _signed(number: float) -> str:
    """Two decimals with a sign, that of a zero always the same."""
    return f"{round(number, 2) + 0.0:+.2f}"


def _gaps(signals: Sequence[DriftSignal]) -> str:
    """Windows that are not judged, by reason, those of all arms together."""
    reasons = Counter(_short(window.reason) for signal in signals for window in signal.windows if window.reason is not None)
    if not reasons:
        return ""
    said = [f"{words.count(n, 'window')}: {reason}" for reason, n in reasons.most_common()]
    return f" Not judged, {'; '.join(said)}."


def _short(reason: str) -> str:
    """A reason without its numbers, so that like ones are counted together."""
    if reason.startswith("only "):
        return "too few trials with a value"
    return "a few users asked most of the queries" if reason.startswith("a few users") else reason


def rows(signals: Sequence[DriftSignal], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """For a table: every window of every signal and arm."""
    return [_row(signal, window, names.get(signal.arm, signal.arm)) for signal in signals for window in _all(signal)]


def _all(signal: DriftSignal) -> tuple[DriftWindow, ...]:
    return (*(() if signal.reference is None else (signal.reference,)), *signal.windows)


def _row(signal: DriftSignal, window: DriftWindow, arm: str) -> dict[str, Any]:
    form = "%Y-%m-%d %H:%M" if width_of(signal) >= 60 else "%Y-%m-%d %H:%M:%S"
    return {
        "signal": NAMES[signal.name],
        "arm": arm,
        "from (UTC)": datetime.fromtimestamp(window.begin, UTC).strftime(form),
        "to (UTC)": datetime.fromtimestamp(window.end, UTC).strftime(form),
        "what it shows": "reference" if window is signal.reference else size(window),
        "n": window.n,
        "mean": window.mean,
        "standard deviation": window.sd,
        "effect": window.effect,
        "low": window.low,
        "high": window.high,
    }


def standing(alerts: Sequence[Alert]) -> str:
    """Which alerts of the monitor stand, from those that do."""
    if not alerts:
        return "No alert of the planned looks stands"
    raised = ", ".join(sorted({alert.signal for alert in alerts}))
    return f"{'An alert stands' if len(alerts) == 1 else f'{len(alerts)} alerts stand'}: {raised}"


def standing_lines(alerts: Sequence[Alert]) -> list[str]:
    """Since when each one stands, and what was found then."""
    return [f"Since {datetime.fromtimestamp(alert.at, UTC):%Y-%m-%d %H:%M} UTC: {alert.sentence}." for alert in alerts]


BESIDE = "Alerts of looks that were asked for beside the plan"


def beside_lines(found: Sequence[tuple[Alert, str]]) -> list[str]:
    """Alerts that stand of looks at a file, or with another reference, say: each with what was compared, and how it is closed.

    Args:
        found: Each with what was compared with what.
    """
    alerts = [alert for alert, _ in found]
    return [
        *(
            f"{line} From {compared}; number {alert.alert_id}."
            for (alert, compared), line in zip(found, standing_lines(alerts), strict=True)
        ),
        "Only another such look can clear one; where none will come: ragtrial monitor EXPERIMENT.yaml --close NUMBER --reason WHY.",
    ]


def alert_rows(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    """For a table: every change of an alert."""
    return [
        {
            "at (UTC)": datetime.fromtimestamp(alert.at, UTC).strftime("%Y-%m-%d %H:%M"),
            "signal": alert.signal,
            "change": alert.change,
            "effect": alert.effect,
            "low": alert.low,
            "high": alert.high,
            "what was found": alert.sentence,
        }
        for alert in alerts
    ]
