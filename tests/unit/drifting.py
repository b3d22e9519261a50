"""Samples of live trials with and without a planted drift."""

from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.drift import DriftSignal, Windows, drift_signals
from ragtrial.domain.live import Mode
from ragtrial.domain.live_drift import DriftName, DriftSample, Measured

DAY = 86_400.0
BEGIN = 1_790_812_800.0
"""2026-10-01, 00:00 UTC."""

ARMS = ("baseline", "custom")
Values = NDArray[np.float64]
Change = Callable[[Values, Values, NDArray[np.int64]], Values]
"""From a signal's values, the day of each trial and the place of its arm to the values that are there instead."""


def sample(
    *, days: float = 14, per_day: int = 200, arms: tuple[str, ...] = ARMS, users: int = 1_000_000, **changes: Change | None
) -> DriftSample:
    """Trials of users who hardly ever come back; a change of None takes the signal away."""
    rng = np.random.default_rng(4)
    n = int(days * per_day)
    at = BEGIN + np.sort(rng.random(n)) * days * DAY
    arm = rng.integers(0, len(arms), n)
    values: Mapping[DriftName, Values] = {
        "similarity": rng.normal(0.7, 0.1, n),
        "query_length": np.round(rng.normal(50.0, 10.0, n)),
        "in_gold": (rng.random(n) < 0.33).astype(float),
        "abstained": (rng.random(n) < 0.04).astype(float),
    }
    signals = {}
    for name in get_args(DriftName):
        change = changes.get(name, lambda found, *_: found)
        found = np.full(n, np.nan) if change is None else change(values[name], (at - BEGIN) / DAY, arm)
        known = np.flatnonzero(np.isfinite(found))
        signals[name] = Measured(trial=known.astype(np.int64), value=found[known])
    return DriftSample(arms=arms, at=at, unit=rng.integers(0, users, n), arm=arm.astype(np.int64), signals=signals)


def longer(by: float, *, since: float = 7, until: float = 1e9, arm: int | None = None) -> Change:
    """Queries get longer by so many characters, ten of which are a standard deviation."""

    def change(found: Values, day: Values, arms: NDArray[np.int64]) -> Values:
        here = (day >= since) & (day < until) & (True if arm is None else arms == arm)
        return found + by * here

    return change


def missing(since: float, until: float) -> Change:
    """No value in this time."""
    return lambda found, day, _: np.where((day >= since) & (day < until), np.nan, found)


def days_of(
    found: DriftSample, *, days: int = 14, mode: Mode = "split", now: float = 1e12, n_trials: int | None = None
) -> tuple[DriftSignal, ...]:
    """Its signals in windows of a day."""
    n = found.n_sampled if n_trials is None else n_trials
    return drift_signals(found, Windows(begin=BEGIN, width=DAY, number=days), mode=mode, n_trials=n, now=now)
