"""How probable an effect is: against the posterior drawn by hand, and against the test that says the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ragtrial.stats.paired import paired_t
from ragtrial.stats.posterior import chance_above
from ragtrial.stats.simultaneous import simultaneous_interval

errors = st.floats(1e-4, 10)
dfs = st.integers(1, 2000)


def test_it_is_the_posterior_that_one_draws_by_hand():
    # Gelman et al. 2013, section 3.2: variance | y is (n - 1) s^2 / chi^2(n - 1), and mean | variance, y is normal around the mean.
    rng = np.random.default_rng(3)
    y = rng.normal(0.03, 0.2, 25)
    variances = (y.size - 1) * y.var(ddof=1) / rng.chisquare(y.size - 1, 400_000)
    means = rng.normal(y.mean(), np.sqrt(variances / y.size))
    fit = paired_t(y, alpha=0.05)
    for threshold in (0.0, 0.01, 0.05):
        said = chance_above(threshold, estimate=fit.estimate, standard_error=fit.standard_error, df=fit.df)
        assert said == pytest.approx(float((means > threshold).mean()), abs=0.003)


@given(st.floats(-5, 5), errors, dfs)
def test_above_zero_it_is_one_minus_the_one_sided_p(estimate, error, df):
    p = stats.t.sf(estimate / error, df)
    assert chance_above(0.0, estimate=estimate, standard_error=error, df=df) == pytest.approx(1 - p, abs=1e-12)


@given(st.floats(-1, 1), errors, dfs, st.floats(0.001, 1))
def test_a_gain_worth_having_is_never_more_probable_than_any_gain(estimate, error, df, margin):
    any_gain, worth = (chance_above(at, estimate=estimate, standard_error=error, df=df) for at in (0.0, margin))
    assert 0 <= worth <= any_gain <= 1


def test_at_the_end_of_the_interval_it_is_the_tail_that_the_interval_leaves():
    fit = paired_t([0.1, 0.3, -0.1, 0.1, 0.5], alpha=0.05, clusters=["a", "a", "b", "b", "c"])
    numbers = {"estimate": fit.estimate, "standard_error": fit.standard_error, "df": fit.df}
    assert chance_above(fit.low, **numbers) == pytest.approx(0.975)
    assert chance_above(fit.high, **numbers) == pytest.approx(0.025)


@pytest.mark.parametrize("changed", [{"standard_error": 0.0}, {"df": 0.0}, {"standard_error": float("nan")}, {"estimate": float("inf")}])
def test_what_can_be_no_error_is_refused(changed):
    with pytest.raises(ValueError, match="must be"):
        chance_above(0.0, **{"estimate": 0.1, "standard_error": 0.1, "df": 10.0, **changed})


def test_an_interval_of_a_family_of_one_is_the_t_interval():
    fit = paired_t(np.random.default_rng(0).normal(0.1, 0.3, 60), alpha=0.1)
    found = simultaneous_interval(fit.estimate, fit.standard_error, fit.df, alpha=0.1, family=1)
    assert found == pytest.approx((fit.low, fit.high))


def test_intervals_of_a_family_by_hand():
    # Five metrics at 5 %: each at 1 %; t(0.995, 59) = 2.661759
    low, high = simultaneous_interval(0.1, 0.02, 59, alpha=0.05, family=5)
    assert (low, high) == pytest.approx((0.1 - 2.661759 * 0.02, 0.1 + 2.661759 * 0.02), rel=1e-6)


def test_intervals_of_a_family_hold_together_as_often_as_they_say():
    """Eight metrics of 40 queries, half of their variance shared: single intervals miss somewhere in far more than 5 of 100 runs."""
    rng, alone, widened = np.random.default_rng(8), 0, 0
    for _ in range(1500):
        shared = rng.normal(size=(1, 40))
        values = np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=(8, 40))
        errors_ = values.std(axis=1, ddof=1) / np.sqrt(40)
        pairs = list(zip(values.mean(axis=1), errors_, strict=True))
        for family in (1, 8):
            ends = [simultaneous_interval(float(m), float(e), 39, alpha=0.05, family=family) for m, e in pairs]
            missed = any(low > 0 or high < 0 for low, high in ends)
            alone, widened = alone + (missed and family == 1), widened + (missed and family == 8)
    assert alone / 1500 > 0.15
    assert widened / 1500 < 0.06


@pytest.mark.parametrize(("family", "alpha", "error"), [(0, 0.05, 0.1), (2, 0.0, 0.1), (2, 0.05, 0.0)])
def test_a_family_that_is_none_is_refused(family, alpha, error):
    with pytest.raises(ValueError, match="must"):
        simultaneous_interval(0.1, error, 10, alpha=alpha, family=family)
