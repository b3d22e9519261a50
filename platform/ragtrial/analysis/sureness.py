"""How sure a difference is: as a probability, and as intervals of several metrics that hold together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from ragtrial.domain.experiment import AnalysisPlan
from ragtrial.domain.live_verdict import Interval, Levels, LiveComparison, LiveEffect
from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Comparison
from ragtrial.stats.confidence_sequence import confidence_sequence
from ragtrial.stats.posterior import chance_above
from ragtrial.stats.simultaneous import SimultaneousInterval, simultaneous_interval

DECISION_ROLES = ("primary", "secondary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """How probable it is, with a flat prior, that the treatment is better.

    Attributes:
        better: At all.
        worth_having: By more than the smallest gain that is worth it.
    """

    better: float
    worth_having: float


def chances(comparison: Comparison, *, min_effect: float) -> Chances | None:
    """Of an evaluation's metric; None where it has no effect.

    Args:
        comparison: The metric.
        min_effect: The smallest gain that is worth it, positive.
    """
    effect = comparison.effect
    if effect is None:
        return None
    return _chances(comparison.metric, effect.estimate, effect.standard_error, effect.df, min_effect)


def live_chances(comparison: LiveComparison, *, min_effect: float) -> Chances | None:
    """Of a live metric at the planned size; None before that, and where no size was planned.

    While an experiment runs there is no such number: looked at again and again, a probability with a flat prior passes any bound by
    chance, which the always-valid interval is there to prevent.

    Args:
        comparison: The metric.
        min_effect: The smallest gain that is worth it, positive.
    """
    planned = None if comparison.effect is None else comparison.effect.planned
    if planned is None:
        return None
    error, df = _error(planned)
    return _chances(comparison.metric, planned.estimate, error, df, min_effect)


def together(comparisons: Sequence[Comparison], plan: AnalysisPlan) -> Mapping[str, SimultaneousInterval]:
    """Intervals of primary and secondary metrics that hold together, by metric; empty where the plan corrects nothing.

    As for the p-values, a metric without an effect is not in the family.
    """
    family = [(c.metric.name, c.effect) for c in comparisons if c.role in DECISION_ROLES and c.effect is not None]
    if plan.correction == "none":
        return {}
    return {
        name: simultaneous_interval(effect.estimate, effect.standard_error, effect.df, alpha=plan.alpha, family=len(family))
        for name, effect in family
    }


def live_together(comparisons: Sequence[LiveComparison], levels: Levels, plan: AnalysisPlan) -> Mapping[str, SimultaneousInterval]:
    """The same of a live experiment: each metric's at the planned size or at every look, as its interval that counts.

    Those of each kind hold together at the level of that kind, and the levels add up to alpha. A metric without an effect so far is in the
    family: one that grew would share out more than alpha over the looks.
    """
    planned_metrics = [c for c in comparisons if c.role in DECISION_ROLES]
    family = [(c, c.effect) for c in planned_metrics if c.effect is not None]
    if plan.correction == "none":
        return {}
    found, size = {}, len(planned_metrics)
    for comparison, effect in family:
        counting = effect.counting(comparison.role)
        if counting.kind == "planned":
            error, df = _error(counting)
            found[comparison.metric.name] = simultaneous_interval(counting.estimate, error, df, alpha=counting.alpha, family=size)
            continue
        ends = confidence_sequence(
            effect.running.estimate,
            effect.standard_error,
            units=_units(comparison, effect),
            alpha=levels.running / size,
            planned_units=levels.tuned_for,
        )
        found[comparison.metric.name] = SimultaneousInterval(low=ends.low, high=ends.high)
    return found


def _chances(metric: Metric, estimate: float, error: float, df: float, min_effect: float) -> Chances:
    gain = estimate if metric.higher_is_better else -estimate
    better, worth_having = (chance_above(at, estimate=gain, standard_error=error, df=df) for at in (0.0, min_effect))
    return Chances(better=better, worth_having=worth_having)


def _error(planned: Interval) -> tuple[float, float]:
    """The standard error behind an interval at the planned size, and its degrees of freedom.

    An interval needs 100 units in each arm, so that whatever the degrees of freedom between an arm's units and both arms' units are, the
    quantile is the same to 1 %.
    """
    df = float(planned.n_units - 2)
    half = (planned.high - planned.low) / 2.0
    return half / float(-special.stdtrit(df, planned.alpha / 2.0)), df


def _units(comparison: LiveComparison, effect: LiveEffect) -> tuple[int, ...]:
    """Of both arms, or, where a difference is within a query, of the one sample."""
    return (effect.running.n_units,) if comparison.within else (comparison.baseline.n_units, comparison.custom.n_units)
