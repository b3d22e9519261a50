import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import confidence_bounds, confidence_sequence, half_width, one_sided_p, rho_squared
from ragtrial.stats.duration import duration, split_variance, visible_after
from ragtrial.stats.power import mde_planned
from ragtrial.stats.sequential_guardrail import sequential_guardrail, sequential_guardrail_rate, sequential_guardrail_ratio
from ragtrial.stats.srm import queries_per_unit, sample_ratio

LIVE = {"units": (1_000, 1_000), "alpha": 0.05, "planned_units": 2_000}


def test_nothing_is_said_below_a_hundred_units_in_an_arm():
    with pytest.raises(NotEnoughDataError, match="an arm has 99 units: below 100 in every arm"):
        confidence_sequence(0.1, 0.01, units=(99, 5_000), alpha=0.05, planned_units=1_000)
    with pytest.raises(NotEnoughDataError, match="99 units"):
        sequential_guardrail(0.1, 0.01, units=(5_000, 99), margin=0.0, alpha=0.05, planned_units=1_000)
    assert confidence_sequence(0.1, 0.01, units=(100,), alpha=0.05, planned_units=1_000).low > 0


@given(st.floats(-1.0, 1.0), st.floats(0.01, 1.0), st.floats(0.001, 1_000.0))
def test_the_sequence_mirrors_and_scales_with_the_estimate(estimate, error, factor):
    fit, mirrored = confidence_sequence(estimate, error, **LIVE), confidence_sequence(-estimate, error, **LIVE)
    assert (mirrored.low, mirrored.high) == pytest.approx((-fit.high, -fit.low))
    scaled = confidence_sequence(factor * estimate, factor * error, **LIVE)
    assert (scaled.low, scaled.high) == pytest.approx((factor * fit.low, factor * fit.high))
    assert scaled.p_value == pytest.approx(mirrored.p_value)


def test_at_the_planned_size_the_sequence_is_about_half_wider_than_a_fixed_interval_and_nowhere_narrower():
    n = np.array([200, 500, 1_000, 2_000, 10_000, 1_000_000])
    wider = half_width(n, 1.0, alpha=0.05, planned_units=1_000) * np.sqrt(n) / 1.959964
    assert wider[2] == pytest.approx(1.5486, abs=1e-4)
    assert wider.argmin() == 2
    assert (wider > 1.5).all()


def test_a_one_sided_bound_is_nearer_than_the_two_sided_end():
    fit, bounds = confidence_sequence(0.1, 0.02, **LIVE), confidence_bounds(0.1, 0.02, **LIVE)
    assert fit.low < bounds.lower < 0.1 < bounds.upper < fit.high
    assert one_sided_p(-0.1, 0.02, **LIVE) == 1.0


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="'standard_error' must be a finite number above 0; found 0"):
        confidence_sequence(0.1, 0.0, **LIVE)
    with pytest.raises(ValueError, match="'estimate' must be finite"):
        confidence_sequence(math.nan, 0.1, **LIVE)
    with pytest.raises(ValueError, match="'planned_units' must be at least 1"):
        rho_squared(0, alpha=0.05)
    with pytest.raises(ValueError, match=r"'alpha' must lie between 0 and 0\.5"):
        confidence_bounds(0.1, 0.1, units=(200,), alpha=0.6, planned_units=100)


def test_a_mismatch_fires_and_a_fair_split_does_not():
    assert sample_ratio((5_000, 5_050), (0.5, 0.5)).p_value == 1.0
    lost = sample_ratio((5_000, 5_500), (0.5, 0.5))
    assert lost.p_value < 0.001
    assert lost.posterior > 0.99
    assert (lost.observed, lost.expected, lost.n_units) == (pytest.approx((0.47619, 0.52381), abs=1e-5), (0.5, 0.5), 10_500)


def test_an_alarm_is_not_taken_back():
    assert sample_ratio((500, 505), (0.5, 0.5), largest_e_value_before=200.0).p_value == 1 / 200
    with pytest.raises(ValueError, match="largest_e_value_before"):
        sample_ratio((500, 505), (0.5, 0.5), largest_e_value_before=0.3)


def test_a_ramp_is_tested_period_by_period():
    counts, shares = ((950, 50), (500, 500)), ((0.95, 0.05), (0.5, 0.5))
    fit = sample_ratio(counts, shares)
    single = [sample_ratio(*period) for period in zip(counts, shares, strict=True)]
    assert fit.log_e_value == pytest.approx(sum(period.log_e_value for period in single))
    assert fit.expected == pytest.approx((0.725, 0.275))
    assert fit.chi_square_p_value == pytest.approx(1.0)
    assert sample_ratio((1_450, 550), (0.5, 0.5)).p_value < 1e-6


def test_a_period_with_all_traffic_in_one_arm_tells_nothing():
    alone = sample_ratio(((700, 0), (500, 520)), ((1.0, 0.0), (0.5, 0.5)))
    assert alone.log_e_value == pytest.approx(sample_ratio((500, 520), (0.5, 0.5)).log_e_value)
    third = sample_ratio(((500, 520, 0), (0, 0, 300)), ((0.5, 0.5, 0.0), (0.0, 0.0, 1.0)))
    assert third.chi_square_p_value == pytest.approx(sample_ratio((500, 520), (0.5, 0.5)).chi_square_p_value)
    with pytest.raises(NotEnoughDataError, match="of 700 units, none was assigned while two arms had traffic"):
        sample_ratio((700, 0), (1.0, 0.0))
    with pytest.raises(ValueError, match="planned share is 0"):
        sample_ratio((700, 1), (1.0, 0.0))


def test_counts_and_shares_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="two or more arms"):
        sample_ratio((1, 2, 3), (0.5, 0.5))
    with pytest.raises(ValueError, match="add up to 1"):
        sample_ratio((1, 2), (0.5, 0.6))
    with pytest.raises(ValueError, match="whole numbers"):
        sample_ratio((1.5, 2), (0.5, 0.5))


def test_a_hundred_billion_units_do_not_overflow():
    fit = sample_ratio((10**11, 2 * 10**11), (0.5, 0.5))
    assert math.isfinite(fit.e_value)
    assert fit.posterior == 1.0


def test_lost_queries_show_in_the_queries_per_user():
    rng = np.random.default_rng(1)
    counts = rng.poisson(20.0, (2, 3_000))
    fit = queries_per_unit(counts[0], rng.binomial(counts[1], 0.95), alpha=0.05, planned_units=6_000)
    assert fit.high < 1.0
    assert fit.ratio == pytest.approx(0.95, abs=0.01)
    assert fit.low < 0.95 < fit.high
    honest = queries_per_unit(counts[0], counts[1], alpha=0.05, planned_units=6_000)
    assert honest.low < 1.0 < honest.high
    with pytest.raises(ValueError, match="can't be negative"):
        queries_per_unit(-counts[0], counts[1], alpha=0.05, planned_units=6_000)


@pytest.mark.parametrize(("worse_by", "state"), [(-0.02, "holds"), (0.02, "not shown"), (0.12, "broken")])
def test_a_sequential_guardrail_holds_is_not_shown_or_is_broken(worse_by, state):
    # One-sided bounds at the planned size lie 1.69 * 1.645 = 2.78 errors beside the estimate; the margin is 0.05.
    rail = sequential_guardrail(worse_by, 0.02, margin=0.05, **LIVE)
    assert rail.state == state
    assert rail.bound - worse_by == pytest.approx(2.78 * 0.02, rel=0.01)
    assert (rail.holds, rail.broken) == (state == "holds", state == "broken")


def test_a_relative_guardrail_is_the_same_in_logarithms():
    relative = sequential_guardrail_ratio(0.2, 0.05, margin=0.25, **LIVE)
    logs = sequential_guardrail(math.log(1.2), 0.05, margin=math.log(1.25), **LIVE)
    assert relative.state == logs.state == "not shown"
    assert (math.log1p(relative.lower_bound), math.log1p(relative.bound)) == pytest.approx((logs.lower_bound, logs.bound))
    with pytest.raises(ValueError, match="above -1"):
        sequential_guardrail_ratio(-1.0, 0.05, margin=0.25, **LIVE)


def test_no_failure_at_all_still_has_an_honest_bound():
    few, many = (sequential_guardrail_rate((0, 0), (n, n), margin=0.01, alpha=0.05) for n in (10, 10_000))
    assert few.bound > 0.15
    assert few.state == "not shown"
    assert 0.0 < many.bound < 0.01
    assert many.state == "holds"


def test_a_few_failures_of_a_few_trials_stop_nothing_and_many_do():
    assert sequential_guardrail_rate((0, 2), (30, 30), margin=0.01, alpha=0.05).state == "not shown"
    assert sequential_guardrail_rate((0, 20), (30, 30), margin=0.01, alpha=0.05).state == "broken"
    assert sequential_guardrail_rate((0, 12), (12, 12), margin=0.01, alpha=0.05).state == "broken"
    assert sequential_guardrail_rate((100, 100), (100, 100), margin=0.01, alpha=0.05).estimate == 0.0


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([40, 400]))
def test_swapping_the_arms_mirrors_the_bounds_of_a_rate(failed_c, failed_t, n):
    there = sequential_guardrail_rate((failed_c, failed_t), (n, n), margin=0.01, alpha=0.05)
    back = sequential_guardrail_rate((failed_t, failed_c), (n, n), margin=0.01, alpha=0.05)
    assert there.lower_bound <= there.estimate <= there.bound
    assert (back.lower_bound, back.bound) == pytest.approx((-there.bound, -there.lower_bound), abs=1e-6)


def test_rates_that_can_not_be_are_refused():
    with pytest.raises(NotEnoughDataError, match="each arm needs a trial"):
        sequential_guardrail_rate((0, 0), (0, 10), margin=0.01, alpha=0.05)
    with pytest.raises(ValueError, match="between 0 and 'trials'"):
        sequential_guardrail_rate((0, 11), (10, 10), margin=0.01, alpha=0.05)
    with pytest.raises(ValueError, match="'margin'"):
        sequential_guardrail_rate((0, 1), (10, 10), margin=1.0, alpha=0.05)
    with pytest.raises(ValueError, match="'margin'"):
        sequential_guardrail(0.1, 0.1, margin=-0.1, **LIVE)


def test_a_split_in_halves_has_four_times_the_variance_of_a_unit():
    assert split_variance(0.2, treatment_share=0.5) == pytest.approx(0.8)
    assert split_variance(0.2, treatment_share=0.1) == pytest.approx(0.2 / 0.1 + 0.2 / 0.9)


def test_the_plan_by_hand():
    # V = 0.4, effect 0.02: (1.959964 + 0.841621)^2 * 0.4 / 0.0004 = 7,848.9, and z^2 / 2 more for t. Seven days bring 1,450, and 200 a day
    # come on average of the last seven: 1,450 / 7 = 207.14; the first 1,950 in eight days, and 5,901 / 207.14 = 28.5 further days.
    plan = duration(0.02, 0.4, new_units_by_day=[500, 250, 200, 200, 200, 200, 200, 200], alpha=0.05, power=0.8)
    assert plan.units_fixed == pytest.approx(7_849, abs=3)
    assert plan.units_per_day == pytest.approx(1_450 / 7)
    assert plan.days_fixed == 8 + math.ceil((plan.units_fixed - 1_950) / (1_450 / 7)) == 37
    assert plan.days_fixed < plan.days_half < plan.days_sequence
    width = float(half_width(plan.units_half, 0.4, alpha=0.05, planned_units=plan.units_fixed))
    assert width == pytest.approx(0.02, rel=1e-3)


def test_what_is_seen_after_the_planned_days_is_the_planned_effect():
    days = [500.0, 250, 200, 200, 200, 200, 200, 200]
    plan = duration(0.02, 0.4, new_units_by_day=days, alpha=0.05, power=0.8)
    seen = visible_after(plan.days_fixed, 0.4, new_units_by_day=days, alpha=0.05, power=0.8)
    assert seen.fixed == pytest.approx(mde_planned(math.sqrt(0.4), seen.units, alpha=0.05, power=0.8))
    assert seen.fixed == pytest.approx(0.02, rel=0.02)
    assert 1.3 < seen.sequence / seen.fixed < 1.45
    assert visible_after(2, 0.4, new_units_by_day=days, alpha=0.05, power=0.8).units == 750


def test_units_already_there_take_no_further_day():
    plan = duration(0.5, 0.4, new_units_by_day=[10.0, 500.0], alpha=0.05, power=0.8)
    assert plan.days_fixed == 2


def test_no_new_users_make_no_plan():
    with pytest.raises(NotEnoughDataError, match="no new unit came in the last 7 days"):
        duration(0.02, 0.4, new_units_by_day=[500, *[0] * 7], alpha=0.05, power=0.8)
    with pytest.raises(ValueError, match="at least one day"):
        duration(0.02, 0.4, new_units_by_day=[], alpha=0.05, power=0.8)
    with pytest.raises(ValueError, match="'n_days' must be at least 1"):
        visible_after(0, 0.4, new_units_by_day=[10], alpha=0.05, power=0.8)
