"""How an effect and the split came about: the same numbers that one would have seen by looking all the time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.live_comparing import estimate_of, fit_of, units_of
from ragtrial.analysis.live_setting import LiveSetting, Table
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.live_scores import SplitScores, Sums, UnitSums, WithinScores
from ragtrial.domain.live_verdict import Levels, Look
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import confidence_sequence

MOST_LOOKS = 50
"""Of earlier looks twice as many are kept."""


class _Came(NamedTuple):
    """Units first seen until each step, by arm, shape (n_steps, 2)."""

    units: NDArray[np.int64]


def looks_of(setting: LiveSetting) -> tuple[Look, ...]:
    """The primary metric and the split at the end of each step of time; empty where nothing was read by time.

    CUPED is left out: its history would have to be read by step too. So the last look can be somewhat wider than the present effect.
    """
    timed = setting.timed
    if timed is None:
        return () if setting.looked is None else _with_present(setting, setting.looked)
    split = setting.live.mode == "split"
    came = None if setting.assigned is None or not split else _came(setting.assigned)
    looks = []
    for step, end in enumerate(timed.ends):
        table = until(timed, step, split=split)
        counts = (0, 0) if came is None or step >= len(came.units) else (int(came.units[step, 0]), int(came.units[step, 1]))
        looks.append(_look(float(end), table, setting.levels, counts))
    return tuple(looks)


def _with_present(setting: LiveSetting, looked: Sequence[Look]) -> tuple[Look, ...]:
    """Earlier looks as they were seen then, every other one left out where they are many, and the present one."""
    last, table = setting.clock.last, setting.tables.get(setting.live.metrics.primary.name)
    if last is None or table is None:
        return tuple(looked)
    before = [look for look in looked if look.at < last]
    while len(before) >= 2 * MOST_LOOKS:
        before = before[1 - len(before) % 2 :: 2]
    counts = setting.exposure.units.sum(axis=0)
    return (*before, _look(last, without_history(table), setting.levels, (int(counts[0]), int(counts[1]))))


def without_history(table: Table) -> Table:
    """Without what the same units did before, which no earlier look has."""
    if isinstance(table, WithinScores):
        return replace(table, differences=replace(table.differences, pre_totals=None, pre_counts=None))
    control, treatment = (replace(arm, pre_totals=None, pre_counts=None) for arm in (table.control, table.treatment))
    return SplitScores(metric=table.metric, control=control, treatment=treatment)


def until(timed: TimedSums, step: int, *, split: bool) -> Table:
    """The sums of everything up to the end of a step, as if one had looked then."""
    kept = timed.step <= step
    if split:
        control, treatment = (_sums(timed, kept & (timed.arm == arm)) for arm in (0, 1))
        return SplitScores(metric=timed.metric, control=control, treatment=treatment)
    return WithinScores(metric=timed.metric, differences=_sums(timed, kept))


def _sums(timed: TimedSums, kept: NDArray[np.bool_]) -> UnitSums:
    units = timed.unit[kept]
    totals: Sums = np.bincount(units, weights=timed.total[kept]).astype(np.float64)
    counts: Sums = np.bincount(units, weights=timed.count[kept]).astype(np.float64)
    seen = counts > 0
    return UnitSums(totals=totals[seen], counts=counts[seen], n_trials=round(float(counts.sum())))


def _look(at: float, table: Table, levels: Levels, counts: tuple[int, int]) -> Look:
    units = units_of(table)
    share = counts[1] / sum(counts) if sum(counts) else None
    empty = Look(at=at, n_units=sum(units), units=counts, treatment_share=share)
    try:
        fit = fit_of(table, alpha=levels.running)
        estimate = estimate_of(fit)
        band = confidence_sequence(estimate, fit.standard_error, units=units, alpha=levels.running, planned_units=levels.tuned_for)
    except NotEnoughDataError:
        return empty
    return Look(at=at, n_units=sum(units), estimate=estimate, low=band.low, high=band.high, units=counts, treatment_share=share)


def _came(assigned: TimedSums) -> _Came:
    """A unit comes in the step of its first trial."""
    order = np.argsort(assigned.step, kind="stable")
    units, first = np.unique(assigned.unit[order], return_index=True)
    rows = order[first]
    steps = np.zeros((assigned.ends.size, 2), dtype=np.int64)
    np.add.at(steps, (assigned.step[rows], assigned.arm[rows]), 1)
    return _Came(units=np.cumsum(steps, axis=0)) if units.size else _Came(units=steps)
