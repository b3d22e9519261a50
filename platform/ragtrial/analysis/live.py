"""One live experiment, analysed: compare, check, decide. Pure functions of sums; no database."""

import dataclasses
import math

import numpy as np

from ragtrial.analysis.live_comparing import ONE_ANSWER, adjusted, compare, planned_roles, preferred_of
from ragtrial.analysis.live_deciding import decide_live, units_per_day
from ragtrial.analysis.live_guardrails import guardrail_of
from ragtrial.analysis.live_health import health_checks, left_out
from ragtrial.analysis.live_looks import looks_of
from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.analysis.live_split import sample_ratios
from ragtrial.analysis.live_votes import votes_of
from ragtrial.domain.live_verdict import LiveAnalysis, LiveComparison, Progress, Tail
from ragtrial.domain.planned import Guardrail
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.cluster_quantiles import quantile_difference

TAIL = 0.95
_RESAMPLES = 500


def analyse_tables(setting: LiveSetting) -> LiveAnalysis:
    """Compare the arms on every planned metric, check the experiment's health, and decide.

    May be called as often as one likes: every number that decides is valid at any look, but for the planned verdict, which is computed
    from the trials until the planned number of units was there, and so is always the same.

    Raises:
        InputError: The experiment has no section `live`.
    """
    comparisons = adjusted(setting, [_guarded(setting, compare(setting, name, role)) for name, role in planned_roles(setting)])
    ratios = sample_ratios(setting)
    checks = health_checks(setting, comparisons, ratios)
    decided = decide_live(setting, comparisons, checks)
    return LiveAnalysis(
        comparisons=comparisons,
        checks=checks,
        verdict=decided.verdict,
        days_more=decided.days_more,
        sample_ratios=ratios,
        votes=votes_of(setting),
        tail=_tail(setting),
        preferred=preferred_of(setting.tables.get(comparisons[0].metric.name)),
        looks=looks_of(setting),
        progress=_progress(setting),
        left_out=left_out(setting),
    )


def _guarded(setting: LiveSetting, comparison: LiveComparison) -> LiveComparison:
    """The comparison with what became of its guardrail, where one is planned."""
    planned = next((g for g in setting.live.metrics.guardrails if g.name == comparison.metric.name), None)
    if planned is None:
        return comparison
    return _tested(setting, comparison, planned)


def _tested(setting: LiveSetting, comparison: LiveComparison, planned: Guardrail) -> LiveComparison:
    table = setting.tables.get(planned.name)
    if table is None or (setting.live.mode == "interleaved" and planned.name != "preference"):
        reason = ONE_ANSWER if setting.live.mode == "interleaved" else comparison.no_effect
        return dataclasses.replace(comparison, no_guardrail=reason)
    try:
        return dataclasses.replace(comparison, guardrail=guardrail_of(table, planned, setting.experiment))
    except NotEnoughDataError as error:
        return dataclasses.replace(comparison, no_guardrail=str(error))


def _tail(setting: LiveSetting) -> Tail | None:
    """p95 of the waiting time; None in modes without a split."""
    if setting.live.mode != "split" or not setting.latencies:
        return None
    samples = [setting.latencies.get(arm) for arm in setting.arms]
    (units_c, waited_c), (units_t, waited_t) = (s if s is not None else (np.zeros(0, np.int64), np.zeros(0)) for s in samples)
    try:
        found = quantile_difference(
            waited_c,
            waited_t,
            control_units=units_c,
            treatment_units=units_t,
            quantile=TAIL,
            alpha=setting.plan.alpha,
            resamples=_RESAMPLES,
            rng=setting.rng("tail"),
        )
    except NotEnoughDataError as error:
        return Tail(quantile=TAIL, reason=str(error), drawn=setting.drawn)
    return Tail(
        quantile=TAIL,
        control=found.control,
        treatment=found.treatment,
        ratio=found.ratio,
        ratio_low=found.ratio_low,
        ratio_high=found.ratio_high,
        drawn=setting.drawn,
    )


def _progress(setting: LiveSetting) -> Progress:
    levels, n, rate = setting.levels, setting.n_units, units_per_day(setting)
    planned = levels.units_planned
    left = None
    if planned is not None and setting.clock.planned_at is None and n < planned and rate and not setting.traffic[-1].stopped:
        left = max(1, math.ceil((planned - n) / rate))
    return Progress(
        n_units=n,
        n_trials=setting.n_trials,
        levels=levels,
        started_at=setting.clock.first,
        seen_at=setting.clock.last,
        planned_at=setting.clock.planned_at,
        units_per_day=rate,
        days_left=left,
        traffic=setting.traffic[-1],
        n_changes=len(setting.traffic) - 1,
        outages=tuple(setting.outages),
    )
