"""Control against treatment on live traffic: differences by randomisation unit that may be looked at any time."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ragtrial.analysis.live_setting import LiveSetting, Table
from ragtrial.domain.live_scores import NOT_SCORED, SplitScores, UnitSums, WithinScores
from ragtrial.domain.live_verdict import Interval, IntervalKind, LiveArm, LiveComparison, LiveEffect, Preferred
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import MetricRole
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats import ratio
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS, confidence_sequence
from ragtrial.stats.interleaving import interleaved_preference
from ragtrial.stats.multiplicity import Method, gated

ONE_ANSWER = "both rankings make one answer here, so this can't be told apart by arm"
NOTHING_LOGGED = "nothing was logged of it"

MAX_AWAITED = 0.01
"""Above this share of trials whose scores are still to come, there is no planned interval yet."""

KINDS: tuple[IntervalKind, IntervalKind] = ("running", "planned")

Fit = ratio.RatioDifference | ratio.RatioMean


def planned_roles(setting: LiveSetting) -> list[tuple[str, MetricRole]]:
    """Every planned metric with its role, the primary first."""
    plan = setting.live.metrics
    roles: dict[str, MetricRole] = {plan.primary.name: "primary"}
    for name in plan.secondary:
        roles[name] = "secondary"
    for guardrail in plan.guardrails:
        roles.setdefault(guardrail.name, "guardrail")
    for name in plan.exploratory:
        roles.setdefault(name, "exploratory")
    return list(roles.items())


def compare(setting: LiveSetting, name: str, role: MetricRole) -> LiveComparison:
    """Both arms on one metric, with the effect or the reason why there is none."""
    table = setting.tables.get(name)
    if table is None:
        why = ONE_ANSWER if setting.live.mode == "interleaved" else NOTHING_LOGGED
        empty = LiveArm(mean=None, n_units=0, n_trials=0, n_scored=0)
        within = setting.live.mode != "split"
        return LiveComparison(metric=metric_named(name), role=role, baseline=empty, custom=empty, effect=None, no_effect=why, within=within)
    baseline, custom = arms_of(table)
    effect: LiveEffect | None = None
    reason: str | None = None
    try:
        effect = effect_of(setting, table, setting.frozen.get(name))
    except NotEnoughDataError as error:
        reason = str(error)
    return LiveComparison(
        metric=table.metric,
        role=role,
        baseline=baseline,
        custom=custom,
        effect=effect,
        no_effect=reason,
        within=not isinstance(table, SplitScores),
    )


def arms_of(table: Table) -> tuple[LiveArm, LiveArm]:
    """What each arm has; in modes shadow and interleaved both have the same trials."""
    if isinstance(table, SplitScores):
        return _arm(table.control, _mean(table.control)), _arm(table.treatment, _mean(table.treatment))
    if table.control_mean is None or table.treatment_mean is None:
        both = _arm(table.differences, None)
        return both, both
    return _arm(table.differences, table.control_mean), _arm(table.differences, table.treatment_mean)


def units_of(table: Table) -> tuple[int, ...]:
    """Units with a scored trial: of control and treatment, or of the one sample."""
    if isinstance(table, SplitScores):
        return int((table.control.counts > 0).sum()), int((table.treatment.counts > 0).sum())
    return (int((table.differences.counts > 0).sum()),)


def fit_of(table: Table, *, alpha: float) -> Fit:
    """The difference with its error over the units, with CUPED where both arms have enough units with a history.

    Raises:
        NotEnoughDataError: Too few units, or no variance between them.
    """
    if isinstance(table, WithinScores):
        return ratio.ratio_mean(_sums(table.differences, cuped=False), alpha=alpha)
    cuped = all(_n_before(arm) >= MINIMUM_UNITS for arm in (table.control, table.treatment))
    return ratio.ratio_difference(_sums(table.control, cuped=cuped), _sums(table.treatment, cuped=cuped), alpha=alpha)


def estimate_of(fit: Fit) -> float:
    """Treatment minus control."""
    return fit.difference if isinstance(fit, ratio.RatioDifference) else fit.estimate


def effect_of(setting: LiveSetting, table: Table, frozen: Table | None) -> LiveEffect:
    """The effect, valid at any look, and at the planned size where that was reached.

    Raises:
        NotEnoughDataError: Too few units for anything that stays valid under repeated looks, or no variance between them.
    """
    levels, units = setting.levels, units_of(table)
    if min(units) < MINIMUM_UNITS:
        where = f"{units[0]} and {units[1]} units in the arms" if len(units) == 2 else f"{units[0]} units"
        each = " in each arm" if len(units) == 2 else ""
        raise NotEnoughDataError(f"{where} have a value so far, and an interval needs at least {MINIMUM_UNITS}{each}")
    fit = fit_of(table, alpha=levels.running)
    estimate = estimate_of(fit)
    sequence = confidence_sequence(estimate, fit.standard_error, units=units, alpha=levels.running, planned_units=levels.tuned_for)
    running = Interval(
        kind="running",
        estimate=estimate,
        low=sequence.low,
        high=sequence.high,
        p_value=sequence.p_value,
        alpha=levels.running,
        n_units=sequence.n_units,
        means=_means(table),
        relative=_relative(fit, table),
    )
    return LiveEffect(
        running=running,
        planned=None if frozen is None or levels.planned is None else _planned(frozen, levels.planned),
        standard_error=fit.standard_error,
        variance_reduction=fit.variance_reduction if isinstance(fit, ratio.RatioDifference) else None,
        method=f"by unit, {fit.method}; always-valid sequence",
    )


def awaited(frozen: Table) -> int:
    """Trials until the planned size whose scores are still to come, where they are too many for the planned interval; else 0.

    That interval may be looked at once. While its trials are being scored it would be another one at every look.
    """
    arms = (frozen.control, frozen.treatment) if isinstance(frozen, SplitScores) else (frozen.differences,)
    waiting = sum(arm.unscored.get(NOT_SCORED, 0) for arm in arms)
    return waiting if waiting > MAX_AWAITED * sum(arm.n_trials for arm in arms) else 0


def _planned(frozen: Table, alpha: float) -> Interval | None:
    """The interval at the planned size; None where the metric was scored on too few units by then, or is still being scored."""
    units = units_of(frozen)
    if min(units) < MINIMUM_UNITS or awaited(frozen):
        return None
    try:
        fit = fit_of(frozen, alpha=alpha)
    except NotEnoughDataError:
        return None
    return Interval(
        kind="planned",
        estimate=estimate_of(fit),
        low=fit.low,
        high=fit.high,
        p_value=fit.p_value,
        alpha=alpha,
        n_units=sum(units),
        means=_means(frozen),
        relative=_relative(fit, frozen),
    )


def _means(table: Table) -> tuple[float, float] | None:
    control, treatment = (arm.mean for arm in arms_of(table))
    return None if control is None or treatment is None else (control, treatment)


def _relative(fit: Fit, table: Table) -> float | None:
    if isinstance(fit, ratio.RatioDifference):
        return None if fit.relative is None else fit.relative.estimate
    control = table.control_mean if isinstance(table, WithinScores) else None
    return fit.estimate / control if control else None


def _sums(sums: UnitSums, *, cuped: bool) -> ratio.UnitSums:
    if not cuped:
        return ratio.UnitSums(numerator=sums.totals, denominator=sums.counts)
    return ratio.UnitSums(numerator=sums.totals, denominator=sums.counts, covariate=sums.pre_totals, covariate_denominator=sums.pre_counts)


def _n_before(sums: UnitSums) -> int:
    """Units with a history of which the metric varies."""
    if sums.pre_counts is None or sums.pre_totals is None:
        return 0
    return int(np.count_nonzero((sums.pre_counts > 0) & (sums.counts > 0)))


def _mean(sums: UnitSums) -> float | None:
    scored = float(sums.counts.sum())
    return float(sums.totals.sum()) / scored if scored else None


def _arm(sums: UnitSums, mean: float | None) -> LiveArm:
    scored = sums.counts > 0
    return LiveArm(
        mean=mean,
        n_units=int(scored.sum()),
        n_trials=sums.n_trials,
        n_scored=round(float(sums.counts.sum())),
        unscored=dict(sorted(sums.unscored.items())),
    )


def adjusted(setting: LiveSetting, comparisons: Sequence[LiveComparison]) -> tuple[LiveComparison, ...]:
    """Correct over the secondary metrics (Holm), behind the primary one, which decides alone: each kind of interval by itself.

    Each kind keeps the chance of any false finding at its own level, so that both together keep it at alpha. The argument holds for
    always-valid p-values at every look, as it does for ordinary ones at one. A metric without an interval of a kind so far counts in that
    family as one whose p-value is 1: what is found then stays found when its own p comes, as Holm's p-values never fall where one rises. A
    family that grew between the looks would be corrected too little at the early ones.
    """
    running, planned = (_corrected(comparisons, kind, setting.plan.correction) for kind in KINDS)
    return tuple(_with(comparison, running, planned) for comparison in comparisons)


def _corrected(comparisons: Sequence[LiveComparison], kind: IntervalKind, method: Method) -> Mapping[str, float | None]:
    """The adjusted p of each secondary metric in one kind of interval, by metric."""
    p_values = {c.metric.name: p for c in comparisons if (p := _p_value(c, kind)) is not None}
    first = next(p_values.get(c.metric.name) for c in comparisons if c.role == "primary")
    names = [c.metric.name for c in comparisons if c.role == "secondary"]
    return dict(zip(names, gated(first, [p_values.get(name, 1.0) for name in names], method), strict=True))


def _p_value(comparison: LiveComparison, kind: IntervalKind) -> float | None:
    effect = comparison.effect
    return None if effect is None else next((each.p_value for each in effect.intervals if each.kind == kind), None)


def _with(comparison: LiveComparison, running: Mapping[str, float | None], planned: Mapping[str, float | None]) -> LiveComparison:
    effect, name = comparison.effect, comparison.metric.name
    if effect is None or comparison.role != "secondary":
        return comparison
    effect = dataclasses.replace(
        effect,
        running=dataclasses.replace(effect.running, p_adjusted=running[name]),
        planned=None if effect.planned is None else dataclasses.replace(effect.planned, p_adjusted=planned[name]),
    )
    return dataclasses.replace(comparison, effect=effect)


def preferred_of(table: Table | None) -> Preferred | None:
    """How many units preferred an arm (mode interleaved); None where nothing was preferred."""
    if not isinstance(table, WithinScores) or table.metric.name != "preference":
        return None
    totals = table.differences.totals
    try:
        found = interleaved_preference(totals, units=np.arange(totals.size), alpha=0.05)
    except NotEnoughDataError:
        return None
    ahead, behind = found.units_for_treatment, found.units_for_control
    return Preferred(
        units_for_treatment=ahead, units_for_control=behind, units_tied=totals.size - ahead - behind, sign_p_value=found.sign_p_value
    )
