"""Guardrails of a live experiment: non-inferiority at any look, and what stops the treatment by itself."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ragtrial.analysis.comparing import margin_of
from ragtrial.analysis.live_comparing import Fit, estimate_of, fit_of, units_of
from ragtrial.analysis.live_setting import Table, levels_of, live_of
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_scores import Exposure, SplitScores, UnitSums, WithinScores
from ragtrial.domain.live_verdict import GuardrailAlarm, LiveGuardrail
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.verdict import GuardrailState
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS, confidence_bounds
from ragtrial.stats.ratio import RatioDifference
from ragtrial.stats.sequential_guardrail import sequential_guardrail_rate

RARE = ("failed", "thumbs_down")
"""Metrics that are 0 nearly always: tested by an e-value that is valid from the first trial on, not by a normal approximation."""

ZERO_OR_ONE = (*RARE, "abstained", "thumbs_up", "rated", "copied", "rephrased", "citation_clicked")
"""Metrics that are 0 or 1 for every trial."""

_MIN_FAILING_UNITS = 2
_MANY_EVENTS = 10


class _Bounds(NamedTuple):
    estimate: float
    low: float
    high: float
    method: str


def guardrail_alarms(tables: Mapping[str, Table], exposure: Exposure, experiment: Experiment) -> tuple[GuardrailAlarm, ...]:
    """The planned guardrails that are shown to be broken, by the same rule as in the analysis; cheap enough for every ten seconds.

    Each guardrail has the plan's alpha for itself over all looks together: a treatment that is worse by no more than its margin is stopped
    at any time with a probability of at most alpha.

    Args:
        tables: Scores by metric; guardrails without a table raise no alarm.
        exposure: Who was exposed; before both arms had traffic there is no alarm.
        experiment: The plan.

    Returns:
        In the order of the plan; empty where nothing is shown to be broken.

    Raises:
        InputError: The experiment has no section `live`.
    """
    live = live_of(experiment)
    if live.mode == "split" and int(exposure.units.sum(axis=0).min()) == 0:
        return ()
    alarms = []
    for guardrail in live.metrics.guardrails:
        if guardrail.name not in tables:
            continue
        try:
            found = guardrail_of(tables[guardrail.name], guardrail, experiment)
        except NotEnoughDataError:
            continue
        if found.state == "broken":
            alarms.append(GuardrailAlarm(metric=guardrail.name, guardrail=found, sentence=guardrail_words(guardrail.name, found)))
    return tuple(alarms)


def guardrail_of(table: Table, guardrail: Guardrail, experiment: Experiment) -> LiveGuardrail:
    """Where a guardrail stands.

    Raises:
        NotEnoughDataError: It can't be tested yet.
    """
    margin, relative = margin_of(guardrail)
    alpha, tuned_for = experiment.analysis.alpha, stop_size(experiment)
    rare = guardrail.name in RARE and not relative
    find = _rare if rare else _mean
    bounds = find(table, relative=relative, alpha=alpha, tuned_for=tuned_for)
    state: GuardrailState = "broken" if bounds.low > margin else "holds" if bounds.high < margin else "not shown"
    return LiveGuardrail(
        margin=margin, relative=relative, estimate=bounds.estimate, low=bounds.low, high=bounds.high, state=state, method=bounds.method
    )


def stop_size(experiment: Experiment) -> int:
    """Units at which a guardrail's bounds are tightest: a quarter of the way, since its use is to stop early."""
    return max(2 * MINIMUM_UNITS, levels_of(experiment).tuned_for // 4)


def _rare(table: Table, *, relative: bool, alpha: float, tuned_for: int) -> _Bounds:
    """Both ways at half of alpha each, and the tighter bound of each side: the e-value from the first trial on, the error by unit later.

    The e-value is honest with few events and stops an arm that breaks down at once; with many, the error by unit sees smaller losses.
    """
    by_rate = _rate(table, alpha=alpha / 2)
    if _units_with_events(table) < _MANY_EVENTS:
        return by_rate
    try:
        by_unit = _mean(table, relative=relative, alpha=alpha / 2, tuned_for=tuned_for)
    except NotEnoughDataError:
        return by_rate
    low, high = max(by_rate.low, by_unit.low), min(by_rate.high, by_unit.high)
    return _Bounds(by_unit.estimate, low, high, f"{by_rate.method}; {by_unit.method}; each at half of alpha")


def _units_with_events(table: Table) -> int:
    """Units with an event, in both arms; within queries those whose difference is not 0."""
    arms = (table.control, table.treatment) if isinstance(table, SplitScores) else (table.differences,)
    return sum(int(np.count_nonzero(arm.totals)) for arm in arms)


def _mean(table: Table, *, relative: bool, alpha: float, tuned_for: int) -> _Bounds:
    """Bounds from the error by unit; where no unit differs, from the counts, if the metric is 0 or 1."""
    units = units_of(table)
    if min(units) < MINIMUM_UNITS:
        raise NotEnoughDataError(f"{_said(units)} have a value so far, and this guardrail needs at least {MINIMUM_UNITS}")
    try:
        fit = fit_of(table, alpha=alpha)
    except NotEnoughDataError:
        if table.metric.name in ZERO_OR_ONE and not relative:
            return _rate(table, alpha=alpha)
        raise
    if relative:
        return _relative(table, fit, units, alpha=alpha, tuned_for=tuned_for)
    sign = _sign(table.metric)
    found = confidence_bounds(sign * estimate_of(fit), fit.standard_error, units=units, alpha=alpha, planned_units=tuned_for)
    return _Bounds(sign * estimate_of(fit), found.lower, found.upper, f"{fit.method} by unit")


def _relative(table: Table, fit: Fit, units: tuple[int, ...], *, alpha: float, tuned_for: int) -> _Bounds:
    """The ratio of both arms' means, in logarithms; within queries the baseline's mean is taken as known."""
    sign = _sign(table.metric)
    if isinstance(fit, RatioDifference):
        if fit.relative is None:
            raise NotEnoughDataError("an arm's mean is too near to 0 to divide by: plan an absolute margin")
        log_ratio, error = math.log1p(fit.relative.estimate), fit.relative.log_standard_error
        found = confidence_bounds(log_ratio, error, units=units, alpha=alpha, planned_units=tuned_for)
        low, high = sorted((sign * math.expm1(found.lower), sign * math.expm1(found.upper)))
        return _Bounds(sign * fit.relative.estimate, low, high, f"ratio of means, {fit.method} by unit")
    control = table.control_mean if isinstance(table, WithinScores) else None
    if control is None or control <= 0:
        raise NotEnoughDataError("the baseline's mean is not above 0: nothing can be relative to it")
    found = confidence_bounds(sign * fit.estimate, fit.standard_error, units=units, alpha=alpha, planned_units=tuned_for)
    return _Bounds(sign * fit.estimate / control, found.lower / control, found.upper / control, f"{fit.method} by unit")


def _rate(table: Table, *, alpha: float) -> _Bounds:
    """The difference of two rates by an e-value; counts are divided by their design effect, as trials of a unit fail together."""
    arms = _counts(table)
    if _sign(table.metric) < 0:
        arms = (arms[1], arms[0])
    (failed_c, n_c), (failed_t, n_t) = arms
    found = sequential_guardrail_rate((failed_c, failed_t), (n_c, n_t), margin=0.0, alpha=alpha)
    return _Bounds(found.estimate, found.lower_bound, found.bound, "e-value of two rates, valid from the first trial on")


def _counts(table: Table) -> tuple[tuple[int, int], tuple[int, int]]:
    """Events and trials of control and treatment.

    Within queries both arms have the same trials, whose means are known; that they fail together makes the bounds wider than need be.
    """
    if isinstance(table, SplitScores):
        return _effective(table.control), _effective(table.treatment)
    n = round(float(table.differences.counts.sum()))
    if table.control_mean is None or table.treatment_mean is None:
        raise NotEnoughDataError("there is one answer for both arms: no rate can be compared")
    effect = _design_effect_within(table.differences, table.control_mean, table.treatment_mean)
    trials = max(1, round(n / effect))
    left, right = (min(trials, round(mean * n / effect)) for mean in (table.control_mean, table.treatment_mean))
    return (left, trials), (right, trials)


def _design_effect_within(sums: UnitSums, control: float, treatment: float) -> float:
    """The same for a difference within queries: its variance by unit over that of two independent rates, at least 1.

    With a difference in fewer than two units it can't be estimated: then all that a unit adds to it counts as one.
    """
    n, trials = sums.counts.size, float(sums.counts.sum())
    independent = trials * (control * (1.0 - control) + treatment * (1.0 - treatment))
    if np.count_nonzero(sums.totals) < _MIN_FAILING_UNITS or not independent:
        return max(1.0, float(np.abs(sums.totals).max(initial=0.0)))
    clustered = float(((sums.totals - (treatment - control) * sums.counts) ** 2).sum()) * n / (n - 1)
    return max(1.0, clustered / independent)


def _effective(sums: UnitSums) -> tuple[int, int]:
    """Events and trials, divided by the design effect."""
    effect = design_effect(sums)
    events, trials = float(sums.totals.sum()), float(sums.counts.sum())
    n = max(1, round(trials / effect)) if trials else 0
    return min(n, round(events / effect)), n


def design_effect(sums: UnitSums) -> float:
    """How many times the variance of a rate is larger than if trials were independent, at least 1 (Rao and Scott 1992).

    "A Simple Method for the Analysis of Clustered Binary Data": events and trials divided by it can be treated as binomial. With events in
    fewer than two units it can't be estimated: then all of a unit's events count as one.
    """
    n, trials, events = sums.counts.size, float(sums.counts.sum()), float(sums.totals.sum())
    if not events or events == trials:
        return 1.0
    rate = events / trials
    if np.count_nonzero(sums.totals) < _MIN_FAILING_UNITS:
        return max(1.0, float(sums.totals.max()))
    clustered = float(((sums.totals - rate * sums.counts) ** 2).sum()) * n / (n - 1)
    return max(1.0, clustered / (trials * rate * (1.0 - rate)))


def _sign(metric: Metric) -> int:
    """1 where more is worse."""
    return -1 if metric.higher_is_better else 1


def _said(units: tuple[int, ...]) -> str:
    return f"{units[0]} and {units[1]} units in the arms" if len(units) == 2 else f"{units[0]} units"


def guardrail_words(name: str, found: LiveGuardrail) -> str:
    """What became of a guardrail, with its numbers."""
    verb = {"holds": "holds", "broken": "is worse than its margin", "not shown": "is not shown to stay within its margin"}[found.state]
    return f"{name} {verb}: {guardrail_change(metric_named(name), found)}"


def guardrail_change(metric: Metric, found: LiveGuardrail) -> str:
    """How much better or worse, with the bound that counts, e.g. `1.03 points worse, at most 4.19 (tolerated: 5.00)`."""
    if found.relative:
        form, unit = "{:.1%}", ""
    elif metric.unit == "share":
        form, unit = "{:.2f}", " points"
    else:
        form, unit = "{:.4g}", f" {metric.unit}"

    def plain(value: float) -> str:
        return form.format(abs(value) * (100 if unit == " points" else 1))

    def said(value: float) -> str:
        return f"{plain(value)}{unit} {'worse' if value > 0 else 'better'}"

    tolerated = f"(tolerated: {plain(found.margin)})"
    if found.state == "broken":
        return f"{said(found.estimate)}, at least {plain(found.low)} {tolerated}"
    if found.estimate > 0:
        return f"{said(found.estimate)}, at most {plain(found.high)} {tolerated}"
    here = said(found.estimate) if found.estimate < 0 else "no change"
    return f"{here}; at worst {said(found.high)} {tolerated}"
