"""What is said of simulated traffic: the verdict as it forms, and what came of all the requests."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragtrial.report.live_json import FORMAT

if TYPE_CHECKING:
    from ragtrial.suite.traffic import Traffic

Row = tuple[str, str]


def summary(traffic: "Traffic") -> tuple[Row, ...]:
    """All that happened, as rows of a table; what did not happen and is no trouble has no row."""
    counts = traffic.counts
    rows = [
        ("users", f"{len(traffic.seen):,} of {traffic.plan.n_users:,} came"),
        ("questions", f"{traffic.visits:,}, and {traffic.follow_ups:,} asked again in other words"),
        ("requests", f"{counts.requests:,} in {traffic.seconds:.1f} s ({_per_second(counts.answers, traffic.seconds)} answers/s)"),
        ("answers", _answers(traffic)),
        ("latency as users saw it", _latency(traffic)),
        ("votes", _listed(counts.thumbs)),
        ("signals", _listed(counts.signals)),
        ("sent twice with one key", f"{counts.repeated:,}, of which {counts.contradictions:,} were not taken for repetitions"),
        ("503 and 429, tried again", _listed(counts.refused)),
        ("connections lost, tried again", f"{counts.dropped:,}"),
        ("failed trials", f"{counts.failed:,}"),
        ("given up", f"{counts.given_up:,}"),
    ]
    if counts.unlogged:
        rows.append(("answered without a log", f"{counts.unlogged:,}"))
    if traffic.lost:
        rows.append(("lost by the planted fault", f"{traffic.lost:,}"))
    rows.append(("errors", _listed(counts.errors, most=5)))
    return tuple(rows)


def _answers(traffic: "Traffic") -> str:
    n = traffic.counts.answers
    return f"{n:,} logged, {traffic.counts.abstained / n:.1%} abstained, {traffic.satisfied / n:.1%} satisfied" if n else "none"


def _latency(traffic: "Traffic") -> str:
    found = [(name, traffic.latency_ms(q)) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))]
    return ", ".join(f"{name} {value:,.0f} ms" for name, value in found if value is not None) or "nothing was answered"


def _per_second(n: int, seconds: float) -> str:
    return f"{n / seconds:,.0f}" if seconds > 0 else "no"


def _listed(counter: "Counter[str]", most: int = 10) -> str:
    """The commonest ones; the others are summed."""
    parts = [f"{n:,} {name}" for name, n in counter.most_common(most)]
    rest = counter.total() - sum(n for _, n in counter.most_common(most))
    return ", ".join([*parts, *([f"{rest:,} others"] if rest else [])]) or "none"


class Looks:
    """One line for each look at the analysis; where nothing is new since the last one there is none."""

    def __init__(self) -> None:
        self._said: str | None = None

    def line(self, n: int, content: Mapping[str, Any] | str) -> str | None:
        """What the service makes of the traffic after `n` questions; None where that is what was said before.

        Args:
            n: Questions that are over.
            content: The analysis as the service gives it, or why there is none.
        """
        said = content if isinstance(content, str) else _look(content)
        if said == self._said:
            return None
        self._said = said
        return f"after {n:,} questions: {said}"


def _look(content: Mapping[str, Any]) -> str:
    """Units, estimate with its band, decision so far, and who stopped it."""
    if content.get("format") != FORMAT:
        return f"the service tells its analysis as {content.get('format')!r}, and {FORMAT!r} is what is understood here"
    primary = next(metric for metric in content["metrics"] if metric["role"] == "primary")
    progress = content["progress"]
    parts = [f"{progress['n_units']:,} units", f"{primary['name']} {_band(primary)}", _decision(content)]
    if progress["traffic"]["stopped"]:
        parts.append(f"stopped by {progress['traffic']['actor']}: {progress['traffic']['reason']}")
    return "; ".join(parts)


def _band(metric: Mapping[str, Any]) -> str:
    effect = metric["effect"]
    if effect is None:
        return f"can't be compared yet ({metric['reason']})"
    found = effect["running"]
    if found["low"] is None or found["high"] is None:
        return f"{found['estimate']:+.4f}, no band yet"
    return f"{found['estimate']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _decision(content: Mapping[str, Any]) -> str:
    decided = str(content["verdict"]["decision"])
    primary = next(metric for metric in content["metrics"] if metric["role"] == "primary")
    planned = primary["effect"] is not None and primary["effect"]["planned"] is not None
    return f"{decided} (the planned number of units is there)" if planned else decided
