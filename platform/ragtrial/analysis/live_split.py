"""Did the arms get what was planned for them: units, queries of each, and how that came about."""

from typing import Literal

import numpy as np

from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.domain.live_scores import Exposure, Sums
from ragtrial.domain.live_verdict import SampleRatioFound
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.srm import queries_per_unit, sample_ratio

MISMATCH = 0.01
"""A sequential p-value below this blocks the verdict: an honest split of a hundred gets there at any time in its life."""

SUSPECTED = 0.05
"""Below this it is shown."""


def sample_ratios(setting: LiveSetting) -> tuple[SampleRatioFound, ...]:
    """Both tests of the split; empty in modes without one, and before anything was seen."""
    if setting.live.mode != "split":
        return ()
    found = [_units(setting.exposure), _queries(setting)]
    return tuple(each for each in found if each is not None)


def planned_shares(exposure: Exposure) -> tuple[Sums, Sums]:
    """Units and planned shares of each version of the traffic that had any, each of shape (n_versions, 2); shares add up to 1."""
    seen = exposure.units.sum(axis=1) > 0
    counts, shares = exposure.units[seen].astype(np.float64), exposure.expected[seen].astype(np.float64)
    total = shares.sum(axis=1, keepdims=True)
    return counts, np.divide(shares, total, out=np.full_like(shares, 0.5), where=total > 0)


def _units(exposure: Exposure) -> SampleRatioFound | None:
    counts, shares = planned_shares(exposure)
    if not counts.size:
        return None
    n = int(counts.sum())
    control, treatment = (int(total) for total in counts.sum(axis=0))
    if (counts[shares == 0] > 0).any():
        observed, p_value = treatment / n, 0.0
    else:
        try:
            test = sample_ratio(counts, shares)
        except NotEnoughDataError:
            return None
        observed, p_value = test.observed[1], test.p_value
    expected = float((counts.sum(axis=1) * shares[:, 1]).sum() / n)
    return SampleRatioFound(
        level="units",
        state=_state(p_value),
        observed=observed,
        expected=expected,
        p_value=p_value,
        n_units=n,
        counts=(control, treatment),
    )


def _queries(setting: LiveSetting) -> SampleRatioFound | None:
    arms = setting.trials_by_unit
    if arms is None:
        return None
    control, treatment = (arm.counts for arm in arms)
    try:
        test = queries_per_unit(control, treatment, alpha=MISMATCH, planned_units=setting.levels.tuned_for)
    except NotEnoughDataError:
        return None
    return SampleRatioFound(
        level="queries",
        state=_state(test.p_value),
        observed=test.ratio,
        expected=1.0,
        low=test.low,
        high=test.high,
        p_value=test.p_value,
        n_units=control.size + treatment.size,
        counts=(round(float(control.sum())), round(float(treatment.sum()))),
    )


def _state(p_value: float) -> Literal["pass", "warn", "fail"]:
    return "fail" if p_value < MISMATCH else "warn" if p_value < SUSPECTED else "pass"
