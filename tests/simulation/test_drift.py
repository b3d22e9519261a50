"""Drift over 20 windows: how often there is an alarm where nothing drifts, and whether one comes where something does.

Bounds are four binomial standard errors beside a nominal rate; seeds are fixed. The rates are shown by
`pytest tests/simulation/test_drift.py --log-cli-level=INFO`.
"""

import logging

import numpy as np
import pytest

from ragtrial.analysis.drift import SHARES, Windows, drift_signals, movement_of
from ragtrial.domain.live_drift import DriftSample, Measured
from ragtrial.stats.standardised import Sample, cohens_h, hedges_g

pytestmark = pytest.mark.slow

ALPHA = 0.05
DAY = 86_400.0
WINDOWS = Windows(begin=0.0, width=DAY, number=20)


def highest(repetitions):
    return ALPHA + 4 * np.sqrt(ALPHA * (1 - ALPHA) / repetitions)


def traffic(rng, n_users, n_trials, *, days=20, longer=0.0, since=10):
    """Trials of users with a heavy tail of activity and habits of their own; from a day on, queries are longer by so many deviations."""
    activity = rng.pareto(1.6, n_users) + 0.2
    unit = rng.choice(n_users, size=n_trials, p=activity / activity.sum())
    at = np.sort(rng.random(n_trials) * days * DAY)
    habit = rng.normal(0.0, 1.0, n_users)

    def of_users(part):
        return np.sqrt(part) * habit[unit] + np.sqrt(1 - part) * rng.normal(size=n_trials)

    length = np.exp(3.5 + 0.6 * of_users(0.4))
    length += longer * length.std() * (at >= since * DAY)
    everything = np.arange(n_trials)
    signals = {
        "similarity": np.clip(0.7 + 0.1 * of_users(0.2), 0, 1),
        "query_length": np.round(length),
        "in_gold": (of_users(0.3) > 0.4).astype(float),
        "abstained": (of_users(0.1) > 2.3).astype(float),
    }
    return DriftSample(
        arms=("baseline", "custom"),
        at=at,
        unit=unit,
        arm=unit % 2,
        signals={name: Measured(trial=everything, value=values) for name, values in signals.items()},
    )


def found_in(sample):
    return drift_signals(sample, WINDOWS, mode="split", n_trials=sample.n_sampled, now=1e9)


def windows_beyond(signals):
    return [window for signal in signals for window in signal.windows if window.beyond_chance]


def unadjusted(sample):
    """What an interval for each window alone, with every trial for itself, would say."""
    for arm in (0, 1):
        for name, found in sample.signals.items():
            mine = sample.arm == arm
            values, places = found.value[mine], (sample.at[mine] // DAY).astype(int)
            first, *later = (values[places == place] for place in range(WINDOWS.number))
            compare = cohens_h if name in SHARES else hedges_g
            for each in later:
                reference, other = (Sample(n=v.size, mean=v.mean(), sd=v.std(ddof=1)) for v in (first, each))
                one = compare(reference, other, alpha=ALPHA)
                yield one.low > 0 or one.high < 0


@pytest.mark.parametrize(
    ("n_users", "n_trials", "name"),
    [
        pytest.param(100_000, 4_000, "users who come once", marks=pytest.mark.long),
        (100_000, 1_400, "little traffic"),
        pytest.param(500, 8_000, "users who come back", marks=pytest.mark.long),
        pytest.param(60, 4_000, "sixty users", marks=pytest.mark.long),
    ],
)
def test_without_drift_fewer_than_one_experiment_in_twenty_alarms(n_users, n_trials, name):
    rng, repetitions = np.random.default_rng(8), 400
    alarms = naive = judged = 0
    for _ in range(repetitions):
        sample = traffic(rng, n_users, n_trials)
        found = found_in(sample)
        judged += sum(len(signal.judged) for signal in found)
        alarms += bool(windows_beyond(found))
        naive += any(unadjusted(sample))
    tell = logging.getLogger(__name__).info
    tell(
        "%s: %.1f %% of experiments alarm, %.1f %% naively; %.0f of 152 windows are judged",
        name,
        *_percent(alarms, naive, repetitions),
        judged / repetitions,
    )
    assert alarms / repetitions <= ALPHA
    assert naive / repetitions > 0.9
    assert judged / repetitions > 50


def _percent(alarms, naive, repetitions):
    return 100 * alarms / repetitions, 100 * naive / repetitions


def test_a_planted_drift_is_found_where_it_is_and_is_as_large_as_it_is():
    rng, repetitions = np.random.default_rng(9), 60
    found, days, effects = 0, [], []
    for _ in range(repetitions):
        signals = found_in(traffic(rng, 2_000, 20_000, longer=0.6))
        moved = [movement_of(signal) for signal in signals if signal.name == "query_length"]
        found += all(each is not None and each.end is None for each in moved)
        days += [each.begin / DAY for each in moved if each is not None]
        effects += [each.effect for each in moved if each is not None]
    logging.getLogger(__name__).info("found in %d of %d, on day %.1f, by %.2f", found, repetitions, np.mean(days), np.mean(effects))
    assert found >= 0.95 * repetitions
    assert np.quantile(days, [0.05, 0.5]).tolist() == [10.0, 10.0]
    assert np.mean(effects) == pytest.approx(0.6, abs=0.08)


def test_intervals_cover_a_true_drift_together():
    """Where the later windows lie 0.5 deviations above the reference, all of their intervals hold that in 95 % of experiments."""
    rng, repetitions, missed = np.random.default_rng(10), 400, 0
    for _ in range(repetitions):
        sample = traffic(rng, 100_000, 6_000)
        values = rng.normal(size=sample.n_sampled) + 0.5 * (sample.at >= DAY)
        changed = {**sample.signals, "similarity": Measured(trial=np.arange(sample.n_sampled), value=values)}
        one = DriftSample(arms=sample.arms, at=sample.at, unit=sample.unit, arm=sample.arm, signals=changed)
        windows = [w for signal in found_in(one) if signal.name == "similarity" for w in signal.windows]
        missed += any(not w.low <= 0.5 <= w.high for w in windows if w.low is not None)
    assert missed / repetitions <= highest(repetitions)
