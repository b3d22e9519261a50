"""Drift: windows, references, effects with intervals, and what could not be judged says why."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtrial.analysis.drift import (
    FEWEST_IN_REFERENCE,
    MOST_WINDOWS,
    DriftSignal,
    DriftWindow,
    drift_signals,
    movement_of,
    size_of,
    windows_of,
)
from ragtrial.domain.live_drift import DriftName
from ragtrial.stats.standardised import clustering_of, hedges_g, sample_of
from unit.drifting import ARMS, BEGIN, DAY, days_of, longer, missing, sample


def of(signals: tuple[DriftSignal, ...], name: DriftName, arm: str = "baseline") -> DriftSignal:
    return next(signal for signal in signals if signal.name == name and signal.arm == arm)


@given(st.floats(0, 4e9), st.floats(0, 400 * DAY))
def test_windows_hold_all_moments_are_at_most_thirty_and_begin_at_round_times(first: float, span: float) -> None:
    last = first + span
    found = windows_of(first, last)
    assert found.begin <= first
    assert found.begin + found.number * found.width > last
    assert found.begin + (found.number - 1) * found.width <= last
    assert 1 <= found.number <= MOST_WINDOWS
    assert found.begin % found.width == 0


@pytest.mark.parametrize(
    ("days", "width", "number"),
    [(0.01, 300, 3), (0.49, 3_600, 12), (0.99, 3 * 3_600, 8), (2.9, 6 * 3_600, 12), (3, DAY, 4), (29.9, DAY, 30), (30.9, 2 * DAY, 16)],
)
def test_windows_are_days_or_shorter_where_there_are_few_days(days: float, width: float, number: int) -> None:
    found = windows_of(BEGIN, BEGIN + days * DAY)
    assert (found.width, found.number) == (width, number)


def test_an_effect_is_hedges_g_against_the_first_window_of_all_intervals_together() -> None:
    found = sample(query_length=longer(8))
    signal = of(days_of(found), "query_length")
    mine = found.arm == 0
    days = ((found.at - BEGIN) // DAY).astype(int)
    first, tenth = (np.flatnonzero(mine & (days == day)) for day in (0, 10))
    values = found.signals["query_length"].value
    window = signal.windows[9]
    held = clustering_of(values[first], found.unit[first], values[tenth], found.unit[tenth])
    expected = hedges_g(sample_of(values[first]), sample_of(values[tenth]), alpha=0.05, family=30 * 32 * 4 * 2, clustering=held)
    assert window.effect == pytest.approx(expected.estimate)
    assert (window.n, window.mean, window.sd) == (tenth.size, pytest.approx(values[tenth].mean()), pytest.approx(values[tenth].std(ddof=1)))
    assert window.low is not None
    assert window.low <= expected.low + 1e-9
    assert window.low == pytest.approx(expected.low, abs=0.05)
    assert signal.reference is not None
    assert (signal.reference.n, signal.reference.mean) == (first.size, pytest.approx(values[first].mean()))


def test_the_reference_grows_until_it_has_fifty_trials() -> None:
    signal = of(days_of(sample(per_day=40)), "in_gold")
    assert signal.reference is not None
    assert signal.reference.n >= FEWEST_IN_REFERENCE
    assert signal.reference.end == BEGIN + 3 * DAY
    assert len(signal.windows) == 11


def test_without_drift_nothing_is_beyond_chance() -> None:
    signals = days_of(sample())
    assert len(signals) == 8
    assert all(len(signal.judged) == 13 for signal in signals)
    assert not any(window.beyond_chance for signal in signals for window in signal.windows)
    assert all(movement_of(signal) is None for signal in signals)


def test_a_drift_is_found_since_when_it_began_and_as_large_as_it_is() -> None:
    signals = days_of(sample(query_length=longer(8, arm=1)))
    moved = movement_of(of(signals, "query_length", "custom"))
    assert moved is not None
    assert (moved.begin, moved.end) == (BEGIN + 7 * DAY, None)
    assert moved.effect == pytest.approx(0.8, abs=0.15)
    assert moved.mean == pytest.approx(58, abs=1)
    assert movement_of(of(signals, "query_length", "baseline")) is None


def test_a_drift_that_is_over_has_an_end() -> None:
    moved = movement_of(of(days_of(sample(query_length=longer(-10, since=4, until=6))), "query_length"))
    assert moved is not None
    assert (moved.begin, moved.end) == (BEGIN + 4 * DAY, BEGIN + 6 * DAY)
    assert moved.effect < -0.7


def test_what_goes_on_comes_before_what_is_over() -> None:
    large_then_small = sample(query_length=lambda v, day, _: v + 20 * ((day >= 3) & (day < 5)) - 9 * (day >= 10))
    moved = movement_of(of(days_of(large_then_small), "query_length"))
    assert moved is not None
    assert moved.end is None
    assert moved.effect < 0


def test_a_share_is_measured_on_cohens_scale() -> None:
    signals = days_of(sample(abstained=lambda v, day, _: np.where(day >= 7, (v + (np.arange(v.size) % 4 == 0)) > 0, v).astype(float)))
    moved = movement_of(of(signals, "abstained"))
    assert moved is not None
    first = of(signals, "abstained").reference
    assert first is not None
    assert first.mean is not None
    assert moved.effect == pytest.approx(2 * math.asin(math.sqrt(moved.mean)) - 2 * math.asin(math.sqrt(first.mean)), abs=0.05)


def test_a_window_without_data_is_a_gap_with_a_reason() -> None:
    signal = of(days_of(sample(query_length=missing(5, 7))), "query_length")
    fifth = signal.windows[4]
    assert (fifth.n, fifth.mean, fifth.sd, fifth.effect, fifth.low) == (0, None, None, None, None)
    assert fifth.reason == "no trial has a value"
    assert fifth.size == "none"
    assert not fifth.beyond_chance


def test_a_window_with_few_trials_says_how_many_are_needed() -> None:
    rare = sample(query_length=lambda v, day, _: np.where((day >= 5) & (day < 6) & (np.arange(v.size) % 10 > 0), np.nan, v))
    window = of(days_of(rare), "query_length").windows[4]
    assert window.n > 0
    assert window.mean is not None
    assert window.reason == f"only {window.n} of the 20 trials that are needed have a value"


def test_a_window_that_is_not_over_is_not_judged() -> None:
    signal = of(days_of(sample(query_length=longer(30)), now=BEGIN + 13.5 * DAY), "query_length")
    assert signal.windows[-1].reason == "it is not over yet"
    assert signal.windows[-1].mean is not None
    assert len(signal.judged) == 12


def test_a_signal_that_nobody_has_says_why() -> None:
    signals = days_of(sample(query_length=None))
    assert of(signals, "query_length").reason == "no query is kept in full, and redacted ones have another length"
    assert of(signals, "query_length").windows == ()
    assert of(signals, "similarity").judged


def test_too_few_trials_for_a_reference_are_counted() -> None:
    signal = of(days_of(sample(days=0.5, per_day=60), days=1), "in_gold")
    assert signal.reference is None
    assert signal.reason is not None
    assert "trials have a value so far, and the first 50 are what later ones are compared with" in signal.reason


def test_an_arm_without_trials_says_so_and_the_other_is_judged() -> None:
    found = sample()
    alone = days_of(type(found)(arms=ARMS, at=found.at, unit=found.unit, arm=np.zeros_like(found.arm), signals=found.signals))
    assert of(alone, "in_gold", "custom").reason == "there is no trial"
    assert of(alone, "in_gold", "baseline").judged


def test_values_that_never_change_have_no_effect_and_say_why() -> None:
    signal = of(days_of(sample(query_length=lambda v, *_: np.full(v.size, 91.0))), "query_length")
    assert {window.reason for window in signal.windows} == {
        "the values do not vary, so there is no standard deviation to measure a difference in"
    }


def test_one_user_who_asks_most_is_no_drift() -> None:
    found = sample()
    bot = (found.at >= BEGIN + 9 * DAY) & (found.at < BEGIN + 10 * DAY) & (np.arange(found.n_sampled) % 10 > 0)
    unit = np.where(bot, 7, found.unit)
    shifted = found.signals["similarity"].value + 0.5 * bot
    one = type(found)(
        arms=ARMS,
        at=found.at,
        unit=unit,
        arm=found.arm,
        signals={**found.signals, "similarity": type(found.signals["similarity"])(trial=np.arange(found.n_sampled), value=shifted)},
    )
    window = of(days_of(one), "similarity").windows[8]
    assert window.effect is None
    assert window.reason is not None
    assert window.reason.startswith("a few users asked most of the")


def test_queries_that_both_arms_get_are_looked_at_once() -> None:
    signals = days_of(sample(), mode="shadow")
    assert {(signal.name, signal.arm) for signal in signals} == {
        *(("similarity", arm) for arm in ARMS),
        *(("abstained", arm) for arm in ARMS),
        ("query_length", "baseline"),
        ("in_gold", "baseline"),
    }


def test_similarities_of_two_models_in_one_context_are_not_compared() -> None:
    signals = days_of(sample(arms=("interleaved",)), mode="interleaved")
    found = of(signals, "similarity", "interleaved")
    assert found.reason == "each context holds passages of both models, whose similarities are on different scales"
    assert of(signals, "query_length", "interleaved").judged


def test_a_longer_log_does_not_change_what_was_said_of_an_earlier_window() -> None:
    found = sample(days=14)
    fewer = drift_signals(found, windows_of(BEGIN, BEGIN + 9.9 * DAY), mode="split", n_trials=1, now=1e12)
    earlier = found.at < BEGIN + 10 * DAY
    assert earlier.any()
    more = of(days_of(found), "query_length").windows[2]
    before = of(fewer, "query_length").windows[2]
    assert before.effect == more.effect
    assert before.low == pytest.approx(more.low, abs=0.02)


@pytest.mark.parametrize(
    ("effect", "name"), [(0.0, "none"), (-0.19, "none"), (0.2, "small"), (-0.5, "medium"), (0.79, "medium"), (-9, "large")]
)
def test_sizes_are_those_of_cohen(effect: float, name: str) -> None:
    assert size_of(effect) == name


def test_a_size_is_said_only_beyond_chance() -> None:
    window = DriftWindow(begin=0, end=1, n=30, mean=1.0, sd=1.0, effect=0.9, low=-0.1, high=1.9)
    assert window.size == "none"
    assert DriftWindow(begin=0, end=1, n=30, mean=1.0, sd=1.0, effect=0.9, low=0.1, high=1.7).size == "large"


def test_windows_follow_each_other() -> None:
    signal = of(days_of(sample()), "similarity")
    assert signal.reference is not None
    assert all(left.end == right.begin for left, right in pairwise((signal.reference, *signal.windows)))
