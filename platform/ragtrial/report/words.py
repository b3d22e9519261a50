"""How numbers and states are written, the same in every form of report."""

import math
import re
import unicodedata
from typing import Protocol

from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import CheckState, Comparison, Decision, MetricRole, Slice

NOTHING = "–"  # noqa: RUF001 - a dash, and no minus
"""Stands where there is no value; the reason stands beside it."""

UNITS = {"share": "share", "ms": "ms", "usd": "USD", "tokens": "tokens"}

DECISIONS: dict[Decision, str] = {
    "adopt custom": "Adopt custom",
    "keep baseline": "Keep baseline",
    "undecided": "Undecided",
    "too few": "Too few queries",
    "refused": "No verdict",
}

CHECK_NAMES = {
    "parity": "Only the embedding differs",
    "coverage": "Every query was scored",
    "judgments": "Every judgment found its passages",
    "failures": "No arm fails more often",
    "sample": "All gold queries were asked",
    "retried": "Nothing was tried twice",
    "leakage": "Gold set kept out of training",
    "archived": "No archived model runs",
    "unmapped": "Every hit is a passage of the corpus",
    "free_method": "Better than a free method",
    "independence": "Shared sources are accounted for",
    "plan": "Planned before the data",
}

STATES: dict[CheckState, str] = {"pass": "pass", "warn": "warning", "fail": "fail", "unknown": "not known"}

_CREDENTIALS = re.compile(r"(?<=//)[^/@\s'\"]+@")
_KEPT = "\n\t"


class Estimated(Protocol):
    """A difference with an interval, of whatever kind."""

    @property
    def estimate(self) -> float:
        """In the metric's unit."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


def number(value: float | None, metric: Metric) -> str:
    """A mean or a score: four decimals for shares, the unit behind it for all else."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if metric.unit == "share":
        return f"{value:.4f}"
    return f"{_unsigned(value, metric.unit)} {UNITS.get(metric.unit, metric.unit)}"


def signed(value: float | None, metric: Metric, *, unit: bool = True) -> str:
    """A difference, always with its sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if metric.unit == "share":
        return f"{value:+.4f}"
    sign = "-" if value < 0 else "+"
    text = f"{sign}{_unsigned(abs(value), metric.unit)}"
    return f"{text} {UNITS.get(metric.unit, metric.unit)}" if unit else text


def _unsigned(value: float, unit: str) -> str:
    if unit == "usd":
        return f"{value:.6f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def interval(effect: Estimated, metric: Metric) -> str:
    """`[low, high]`."""
    return f"[{signed(effect.low, metric, unit=False)}, {signed(effect.high, metric, unit=False)}]"


def difference(effect: Estimated, metric: Metric) -> str:
    """The estimate with its interval: one is never shown without the other."""
    return f"{signed(effect.estimate, metric)} {interval(effect, metric)}"


def relative(value: float | None) -> str:
    """Relative lift."""
    return NOTHING if value is None else f"{value:+.1%}"


def p_value(value: float | None) -> str:
    """Three decimals, or `< 0.001`."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_equals(value: float) -> str:
    """`p = 0.012` or `p < 0.001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def milliseconds(value: float | None) -> str:
    """Three significant digits, the unit behind."""
    if value is None:
        return NOTHING
    return f"{value:,.0f} ms" if value >= 100 else f"{value:#.3g} ms"


def size(n_bytes: int) -> str:
    """Bytes in the unit that leaves one to four digits (1 kB is 1,000 bytes)."""
    value = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 query`, `2 queries`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """`12 of 150`, with the percentage where there is one."""
    return f"{part:,} of {whole:,}" + (f" ({part / whole:.0%})" if whole else "")


def check_name(name: str) -> str:
    """What a check is about, in words; its own name where it has none."""
    base, _, arm = name.partition("[")
    if base == "ann_recall":
        return f"Index finds what exact search finds ({arm.rstrip(']')})"
    if base == "calibration":
        return f"People agree with the judge ({arm.rstrip(']')})"
    return CHECK_NAMES.get(name, name.replace("_", " "))


def with_role(arm: str, role: str | None) -> str:
    """An arm's name, with its role (`baseline`, `custom`) where the name doesn't say it."""
    return arm if role is None or role == arm else f"{arm} ({role})"


def capital(text: str) -> str:
    """The text with its first letter large and all others as they are: names of arms are written as they were given."""
    return text[:1].upper() + text[1:]


def direction(metric: Metric) -> str:
    """Which way is better."""
    return "higher is better" if metric.higher_is_better else "lower is better"


def beyond_chance(comparison: Comparison, *, alpha: float) -> int:
    """1 where the treatment is shown to be better, -1 where it is shown to be worse, 0 where neither.

    The primary metric needs its own p below alpha, a secondary one its adjusted p, any other one its interval beyond 0.
    """
    effect = comparison.effect
    if effect is None:
        return 0
    outside = effect.low > 0 or effect.high < 0
    if not outside or not decided(comparison.role, effect.p_value, comparison.p_adjusted, alpha=alpha):
        return 0
    return 1 if (effect.estimate > 0) == comparison.metric.higher_is_better else -1


def decided(role: MetricRole, p: float, p_adjusted: float | None, *, alpha: float) -> bool:
    """Whether the p that counts for a metric of this role is below alpha; what is not tested for a decision needs none."""
    if role not in ("primary", "secondary"):
        return True
    counts = p if role == "primary" else p_adjusted
    return counts is not None and counts < alpha


DECIDES = "decides alone"
"""Stands in the place of the primary metric's adjusted p: it is tested first, at alpha in full."""


def p_adjusted(role: MetricRole, value: float | None) -> str:
    """The adjusted p of a secondary metric; the primary one has none, and says why."""
    return DECIDES if role == "primary" else p_value(value)


def p_that_counts(role: MetricRole, p: float | None, adjusted: float | None) -> str:
    """Where there is room for one p: the primary metric's own, a secondary one's adjusted; `P_RULE` says so below the table."""
    return p_value(p if role == "primary" else adjusted)


P_RULE = {
    "holm": "the primary metric decides alone, by its own p; those of secondary metrics are adjusted by Holm among themselves, and are no "
    "smaller than the primary's, as they count only where that is shown",
    "none": "the primary metric decides alone, by its own p; that of no other metric is adjusted either, as the plan has it",
}
"""What becomes of the p values of planned metrics, by the plan's `correction`."""


def slice_shown(part: Slice, *, alpha: float) -> bool:
    """Whether a slice moved beyond chance, after the correction over slices."""
    return part.effect is not None and part.p_adjusted is not None and part.p_adjusted < alpha


def guardrail(comparison: Comparison) -> str:
    """What became of a guardrail, with its bound."""
    result = comparison.guardrail
    if result is None:
        return f"could not be tested: {comparison.n_scored} queries were scored in both arms"
    unit = "" if result.relative or comparison.metric.unit == "share" else f" {UNITS.get(comparison.metric.unit, comparison.metric.unit)}"
    form = "+.1%" if result.relative else "+.4g"
    worse, bound, margin = (f"{value:{form}}{unit}" for value in (result.estimate, result.bound, result.margin))
    return f"change for the worse {worse}, up to {bound} with one-sided confidence; tolerated is {margin}"


def plain(text: str) -> str:
    """The text without control characters, which would be commands to a terminal and errors in XML."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    return character not in _KEPT and (unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff")


def without_credentials(text: str) -> str:
    """The text with `user:password@` in URLs hidden: reports are passed on."""
    return _CREDENTIALS.sub("***@", text)
