import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.cluster_quantiles import quantile_difference
from ragtrial.stats.ratio import UnitSums, ratio_difference, ratio_mean


def arm(seed, n, mean=0.5, history=None):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, n).astype(float)
    quality = rng.normal(0.0, 0.2, n)
    numerator = counts * (mean + quality) + rng.normal(0.0, 0.1, n)
    if history is None:
        return UnitSums(numerator=numerator, denominator=counts)
    before = np.where(rng.random(n) < history, 5.0, 0.0)
    return UnitSums(numerator=numerator, denominator=counts, covariate=before * (0.5 + quality), covariate_denominator=before)


def test_a_unit_without_a_scored_query_is_not_in_it_and_is_counted():
    with_silent = UnitSums(numerator=[1.0, 2.0, 0.0, 3.0], denominator=[2.0, 2.0, 0.0, 4.0])
    without = UnitSums(numerator=[1.0, 2.0, 3.0], denominator=[2.0, 2.0, 4.0])
    silent, plain = ratio_difference(with_silent, without, alpha=0.05), ratio_difference(without, without, alpha=0.05)
    assert (silent.control.n_units, silent.control.n_queries, silent.control.n_left_out) == (3, 8, 1)
    assert silent.standard_error == plain.standard_error
    assert silent.difference == 0.0


@pytest.mark.parametrize(("sizes", "method"), [((200, 200), "delta method"), ((199, 5_000), "jackknife")])
def test_below_200_units_in_an_arm_both_get_the_jackknife(sizes, method):
    assert ratio_difference(arm(1, sizes[0]), arm(2, sizes[1]), alpha=0.05).method == method


def test_the_jackknife_and_the_delta_method_meet_where_one_hands_over_to_the_other():
    fits = []
    for below in (0, 1_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ragtrial.stats.ratio.JACKKNIFE_BELOW", below)
            fits.append(ratio_difference(arm(1, 300), arm(2, 300), alpha=0.05))
    assert fits[0].difference == fits[1].difference
    assert fits[0].standard_error == pytest.approx(fits[1].standard_error, rel=0.01)


def test_cuped_takes_the_users_own_quality_off_and_says_how_much():
    plain = ratio_difference(arm(3, 2_000), arm(4, 2_000, mean=0.52), alpha=0.05)
    adjusted = ratio_difference(arm(3, 2_000, history=1.0), arm(4, 2_000, mean=0.52, history=1.0), alpha=0.05)
    assert adjusted.variance_reduction > 0.6
    assert adjusted.standard_error < 0.65 * plain.standard_error
    assert adjusted.method == f"delta method + CUPED, variance {-100 * adjusted.variance_reduction:.0f} %"
    assert adjusted.low < 0.02 < adjusted.high


def test_users_without_a_history_count_as_average_and_help_less():
    reductions = [
        ratio_difference(arm(3, 2_000, history=share), arm(4, 2_000, history=share), alpha=0.05).variance_reduction for share in (0.3, 0.9)
    ]
    assert 0.1 < reductions[0] < reductions[1]


def test_a_covariate_that_never_varies_changes_nothing():
    plain = [arm(5, 300), arm(6, 300)]
    constant = [UnitSums(numerator=a.numerator, denominator=a.denominator, covariate=np.full(300, 2.0)) for a in plain]
    without, with_it = ratio_difference(*plain, alpha=0.05), ratio_difference(*constant, alpha=0.05)
    assert with_it.difference == without.difference
    assert with_it.variance_reduction == 0.0


def test_there_is_no_relative_difference_to_a_control_near_zero():
    assert ratio_difference(arm(1, 300, mean=0.01), arm(2, 300), alpha=0.05).relative is None
    assert ratio_difference(arm(1, 300, mean=-0.5), arm(2, 300), alpha=0.05).relative is None
    relative = ratio_difference(arm(1, 3_000), arm(2, 3_000, mean=0.55), alpha=0.05).relative
    assert relative.low < relative.estimate < relative.high
    assert relative.estimate == pytest.approx(0.1, abs=0.04)


def test_what_has_no_error_has_no_number():
    one = UnitSums(numerator=[1.0], denominator=[2.0])
    same = UnitSums(numerator=[1.0, 2.0, 3.0], denominator=[2.0, 4.0, 6.0])
    with pytest.raises(NotEnoughDataError, match="at least 2 units with a scored query are needed in the control, and there are 1"):
        ratio_difference(one, same, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="without variance between units"):
        ratio_difference(same, same, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="without variance between units"):
        ratio_mean(same, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="history for CUPED"):
        ratio_difference(arm(1, 300, history=0.0), arm(2, 300, history=0.0), alpha=0.05)


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="each of the 2 units needs one numerator and one denominator; found 2 and 3"):
        UnitSums(numerator=[1.0, 2.0], denominator=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="can't be negative"):
        UnitSums(numerator=[1.0, 2.0], denominator=[1.0, -2.0])
    with pytest.raises(ValueError, match="a sum over no queries is 0"):
        UnitSums(numerator=[1.0, 2.0], denominator=[1.0, 0.0])
    with pytest.raises(ValueError, match="not finite"):
        UnitSums(numerator=[1.0, np.nan], denominator=[1.0, 1.0])
    with pytest.raises(ValueError, match="without 'covariate'"):
        UnitSums(numerator=[1.0, 1.0], denominator=[1.0, 1.0], covariate_denominator=[1.0, 1.0])
    with pytest.raises(ValueError, match="both arms must have a covariate"):
        ratio_difference(arm(1, 300, history=1.0), arm(2, 300), alpha=0.05)
    with pytest.raises(ValueError, match="leave it out"):
        ratio_mean(arm(1, 300, history=1.0), alpha=0.05)


def latencies(seed, n_units, slower=1.0):
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(n_units), rng.integers(1, 6, n_units))
    return slower * np.exp(6.0 + rng.normal(0, 0.3, n_units)[units] + rng.normal(0, 0.3, units.size)), units


def p95(control, treatment, seed=0, **changes):
    options = {"quantile": 0.95, "alpha": 0.05, "resamples": 400, "rng": np.random.default_rng(seed)} | changes
    return quantile_difference(control[0], treatment[0], control_units=control[1], treatment_units=treatment[1], **options)


def test_a_slower_tail_is_seen_in_the_difference_and_in_the_ratio():
    fit = p95(latencies(1, 800), latencies(2, 800, slower=1.5))
    assert fit.control == np.quantile(latencies(1, 800)[0], 0.95)
    assert fit.difference == fit.treatment - fit.control
    assert 0 < fit.low < fit.difference < fit.high
    assert 1.2 < fit.ratio_low < fit.ratio < fit.ratio_high < 1.9
    assert fit.n_units == (800, 800)


def test_groups_of_users_give_the_same_error_as_users(monkeypatch):
    exact = p95(latencies(3, 1_500), latencies(4, 1_500), resamples=2_000)
    monkeypatch.setattr("ragtrial.stats.cluster_quantiles.MOST_GROUPS", 300)
    grouped = p95(latencies(3, 1_500), latencies(4, 1_500), resamples=2_000)
    # The error of 2,000 resamples is 1.6 %, that of 300 random groups about 1 / sqrt(2 * 300) = 4.1 %; four errors.
    assert grouped.standard_error == pytest.approx(exact.standard_error, rel=0.2)
    assert grouped.difference == exact.difference


def test_a_ratio_of_quantiles_needs_positive_ones():
    values, units = latencies(1, 300)
    fit = p95((values - 2_000.0, units), (values, units))
    assert (fit.ratio, fit.ratio_low, fit.ratio_high, fit.log_standard_error) == (None, None, None, None)


def test_a_tail_of_a_few_queries_has_no_number():
    with pytest.raises(NotEnoughDataError, match="20 units and 10 values beyond it; control has 19 units"):
        p95(latencies(1, 19), latencies(2, 300))
    with pytest.raises(NotEnoughDataError, match="the same in every resample"):
        p95((np.ones(300), np.arange(300)), (np.ones(300), np.arange(300)))
    with pytest.raises(ValueError, match="one label for each"):
        p95((np.ones(300), np.arange(299)), (np.ones(300), np.arange(300)))
