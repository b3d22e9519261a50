"""The decision rule of docs/statistics.md, shared by evaluations and live experiments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import GuardrailState

Outcome = Literal["guardrail broken", "worse", "not worth it", "adopt", "guardrails not shown", "open"]

HOPELESS = 50
"""More than so many times the present sample is no plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the primary metric, turned so that more is better.

    Attributes:
        gain: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        p_value: Two-sided, of no difference.
        alpha: What the interval and the p-value are taken at.
    """

    gain: float
    low: float
    high: float
    p_value: float
    alpha: float


def evidence_of(metric: Metric, *, estimate: float, low: float, high: float, p_value: float, alpha: float) -> Evidence:
    """The evidence of a difference, treatment minus control."""
    sign = 1 if metric.higher_is_better else -1
    below, above = sorted((sign * low, sign * high))
    return Evidence(gain=sign * estimate, low=below, high=above, p_value=p_value, alpha=alpha)


def outcome(evidence: Evidence, *, min_effect: float, guards: Sequence[GuardrailState | None]) -> Outcome:
    """What the evidence comes to; the first that applies.

    Args:
        evidence: Of the primary metric.
        min_effect: The smallest gain that is worth it.
        guards: State of each planned guardrail; None where it could not be tested.
    """
    if "broken" in guards:
        return "guardrail broken"
    if evidence.high < min_effect:
        return "worse" if evidence.high < 0 else "not worth it"
    if evidence.low > 0 and evidence.gain >= min_effect and evidence.p_value < evidence.alpha:
        return "adopt" if all(state == "holds" for state in guards) else "guardrails not shown"
    return "open"


def no_regression(evidence: Evidence, *, min_effect: float, guards: Sequence[GuardrailState | None]) -> bool:
    """Whether the primary metric is shown not to lose more than `min_effect`, and no guardrail is broken or untested."""
    return evidence.low > -min_effect and all(state in ("holds", "not shown") for state in guards)


def needed_distance(evidence: Evidence, *, min_effect: float) -> float:
    """How far the estimate is from the bound that has to be excluded for a decision: 0 for a gain worth having, else that gain."""
    return evidence.gain if evidence.gain >= min_effect else min_effect - evidence.gain


def why_baseline(found: Outcome, *, min_effect: float) -> str:
    """Why the baseline stays, where the primary metric says so."""
    return "custom is worse" if found == "worse" else f"custom's gain, if any, is below the {min_effect:g} that would be worth it"
