"""How many units a live experiment takes, how long that is, and what it can see until then."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.analysis.deciding import round_up
from ragtrial.analysis.live_setting import RUNNING_SHARE, live_of
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_verdict import LiveAnalysis
from ragtrial.errors import InputError, NotEnoughDataError
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS
from ragtrial.stats.duration import duration, split_variance, visible_after
from ragtrial.stats.power import mde_planned, queries_for

WEEKS = (1, 2, 3, 4, 6, 8, 12)

FEW_UNITS = 20
"""With fewer units in an arm their spread is no guide."""

INTERLEAVED_SAVES = (2.9, 3.7)
"""Times fewer queries that team-draft interleaving needs than a split on clicks (Chapelle, Joachims, Radlinski, Yue 2012, and own runs)."""

VarianceSource = Literal["live data", "given", "evaluation", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much a unit varies.

    Attributes:
        variance: Of one unit: n * standard_error^2 of the split's difference over n units of both arms (shadow, interleaved: of the mean
            difference over n units).
        source: Where it comes from.
        said: The same in words, with the numbers.
    """

    variance: float
    source: VarianceSource
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """What is seen after some weeks.

    Attributes:
        weeks: From the start.
        units: Units of both arms by then.
        planned: Smallest effect that one verdict then sees with the planned power, at the level that is spent on it.
        running: Smallest effect that looking all the time has found by then, with that power; None where there are too few units.
    """

    weeks: int
    units: int
    planned: float | None
    running: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """What it takes.

    Attributes:
        metric: The primary metric.
        mode: The experiment's.
        min_effect: The smallest gain that is worth it.
        alpha: The plan's.
        power: The plan's.
        spread: How much a unit varies.
        unit_sd: Standard deviation of one unit's mean (shadow, interleaved: of its mean difference); what `--sd` takes.
        n_trials: Trials that were logged under this very plan; where there are some, the plan stays as it is.
        units_now: The number that the experiment file names; None where it names none.
        units_planned: What to write into the experiment file, rounded up.
        units_running: Units by which looking all the time has found the effect with the planned power.
        units_half: Units by which it has in half of all experiments.
        units_per_day: New units a day that take part; None where not known.
        days_planned: Until `units_planned`; None where it is not known.
        days_running: Until `units_running`.
        days_half: Until `units_half`.
        weeks: What is seen after some weeks; empty where units a day are not known.
        advice: What else would be quicker, one sentence each.
    """

    metric: str
    mode: str
    min_effect: float
    alpha: float
    power: float
    spread: Spread
    unit_sd: float
    n_trials: int = 0
    units_now: int | None = None
    units_planned: int
    units_running: int
    units_half: int
    units_per_day: float | None
    days_planned: int | None = None
    days_running: int | None = None
    days_half: int | None = None
    weeks: tuple[Visible, ...] = ()
    advice: tuple[str, ...] = ()


def split_spread(*, unit_sd: float, treatment: float, source: VarianceSource, said: str) -> Spread:
    """The spread of a split's difference from the standard deviation of one unit's mean, by the share of the treatment.

    Raises:
        ValueError: The deviation is not above 0.
    """
    return Spread(variance=split_variance(unit_sd**2, treatment_share=treatment), source=source, said=said)


def plan_live(
    experiment: Experiment,
    spread: Spread,
    *,
    units_per_day: float | None,
    new_units_by_day: Sequence[float] = (),
    paired_sd: float | None = None,
    n_trials: int = 0,
) -> LivePlan:
    """Units and days until the smallest gain worth having is seen, by one planned verdict and by looking all the time.

    The planned verdict has four fifths of alpha, looking the rest, as in the analysis (`live_setting.levels_of`).

    Args:
        experiment: With a section `live`.
        spread: How much a unit varies.
        units_per_day: New units a day that take part, where no day was observed.
        new_units_by_day: Observed days, full ones.
        paired_sd: Standard deviation of paired differences of queries, for what shadow mode would take; None where not known.
        n_trials: Trials that were logged under this very plan.

    Raises:
        InputError: The experiment has no section `live`.
        NotEnoughDataError: The effect is too small beside the spread to name a number.
    """
    live, plan = live_of(experiment), experiment.analysis
    m, deviation = live.metrics.primary.min_effect, math.sqrt(spread.variance)
    each_arm = math.ceil(MINIMUM_UNITS / live.smaller_share - 1e-6)
    planned = max(
        2 * MINIMUM_UNITS, each_arm, round_up(queries_for(m, deviation, alpha=(1 - RUNNING_SHARE) * plan.alpha, power=plan.power))
    )
    days = list(new_units_by_day) or ([units_per_day] if units_per_day else [])
    found = duration(m, spread.variance, new_units_by_day=days or [1.0], alpha=RUNNING_SHARE * plan.alpha, power=plan.power)
    rate = found.units_per_day if days else None
    return LivePlan(
        metric=live.metrics.primary.name,
        mode=live.mode,
        min_effect=m,
        alpha=plan.alpha,
        power=plan.power,
        spread=spread,
        unit_sd=math.sqrt(spread.variance / (split_variance(1.0, treatment_share=live.traffic.treatment) if live.mode == "split" else 1.0)),
        n_trials=n_trials,
        units_now=live.units_planned,
        units_planned=planned,
        units_running=found.units_sequence,
        units_half=found.units_half,
        units_per_day=rate,
        days_planned=None if rate is None else max(1, math.ceil(planned / rate)),
        days_running=found.days_sequence if days else None,
        days_half=found.days_half if days else None,
        weeks=tuple(_after(experiment, spread, week, days) for week in WEEKS) if days else (),
        advice=tuple(_advice(experiment, planned, paired_sd)),
    )


def spread_of(analysis: LiveAnalysis) -> Spread | None:
    """How much an exposed unit varies, from an analysis alone; None where too few units have a score.

    The same as from the log: n * standard_error^2 of the running difference, over all exposed units, for those without a score tell nothing.
    """
    primary = analysis.primary
    if primary.effect is None or min(arm.n_units for arm in primary.samples) < FEW_UNITS:
        return None
    effect, scored = primary.effect, primary.effect.running.n_units
    exposed = max(analysis.progress.n_units, scored)
    said = observed_words(primary.metric.name, exposed, scored, effect.running.estimate)
    return Spread(variance=effect.standard_error**2 * exposed, source="live data", said=said)


def observed_words(metric: str, exposed: int, scored: int, difference: float) -> str:
    """Where an observed spread comes from."""
    with_score = "" if exposed == scored else f", {scored:,} of which have a score"
    return f"{metric} of {exposed:,} units in the log{with_score} (difference so far {difference:+.4f})"


def what_if(experiment: Experiment, analysis: LiveAnalysis, *, min_effect: float, units_per_day: float | None) -> LivePlan:
    """What it would take to see another smallest gain, or with other traffic; the experiment keeps its plan.

    Args:
        experiment: With a section `live`.
        analysis: As it stands: how much units vary is taken from it.
        min_effect: The gain to be seen, above 0.
        units_per_day: New units a day that take part; None where not known.

    Raises:
        InputError: `min_effect` is not above 0, or the experiment has no section `live`.
        NotEnoughDataError: Too few units have a score, or the gain is too small beside the spread to name a number.
    """
    live, spread = live_of(experiment), spread_of(analysis)
    if not min_effect > 0:
        raise InputError(f"the smallest gain is {min_effect}: give one above 0")
    if spread is None:
        raise NotEnoughDataError(f"fewer than {FEW_UNITS} units in an arm have a score, so their spread is not known yet")
    primary = dataclasses.replace(live.metrics.primary, min_effect=min_effect)
    changed = dataclasses.replace(live, metrics=dataclasses.replace(live.metrics, primary=primary))
    other = dataclasses.replace(experiment, live=changed)
    return plan_live(other, spread, units_per_day=units_per_day, n_trials=analysis.progress.n_trials)


def days_until(units: int, analysis: LiveAnalysis, units_per_day: float | None) -> int | None:
    """Days from now until so many units have been exposed; 0 where they have, None where no unit comes."""
    missing = units - analysis.progress.n_units
    if missing <= 0:
        return 0
    return None if not units_per_day else math.ceil(missing / units_per_day)


def _after(experiment: Experiment, spread: Spread, weeks: int, days: Sequence[float]) -> Visible:
    plan = experiment.analysis
    seen = visible_after(7 * weeks, spread.variance, new_units_by_day=days, alpha=plan.alpha, power=plan.power)
    try:
        planned = mde_planned(math.sqrt(spread.variance), seen.units, alpha=(1 - RUNNING_SHARE) * plan.alpha, power=plan.power)
    except NotEnoughDataError:
        planned = None
    running = None
    if seen.units >= 2 * MINIMUM_UNITS:
        alpha = RUNNING_SHARE * plan.alpha
        running = visible_after(7 * weeks, spread.variance, new_units_by_day=days, alpha=alpha, power=plan.power).sequence
    return Visible(weeks=weeks, units=seen.units, planned=planned, running=running)


def _advice(experiment: Experiment, planned: int, paired_sd: float | None) -> list[str]:
    """What the other modes would take, where that can be said."""
    live, plan = live_of(experiment), experiment.analysis
    said = []
    if live.mode == "split" and paired_sd is not None:
        m, alpha = live.metrics.primary.min_effect, (1 - RUNNING_SHARE) * plan.alpha
        n = round_up(max(MINIMUM_UNITS, queries_for(m, paired_sd, alpha=alpha, power=plan.power)))
        said.append(
            f"mode shadow compares both arms on the same queries: about {n:,} units with one query each would do, but nobody sees custom's "
            "answers, so it tells nothing of what users do"
        )
    if live.mode == "split":
        low, high = (round_up(planned / times) for times in reversed(INTERLEAVED_SAVES))
        said.append(
            f"mode interleaved takes about {INTERLEAVED_SAVES[0]:g} to {INTERLEAVED_SAVES[1]:g} times fewer queries than a split on what "
            f"users do (here perhaps {low:,} to {high:,} units); it says which ranking serves better, not by how much"
        )
    return said
