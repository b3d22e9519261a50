"""Effects without a unit against statsmodels, and against calculations by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.proportion import proportion_effectsize

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.standardised import Clustering, Sample, clustering_of, cohens_h, hedges_g, sample_of, worth_of

numbers = st.floats(-50, 50)
sizes = st.integers(2, 500)
deviations = st.floats(0.1, 20)
shares = st.floats(0, 1)


@given(sizes, numbers, deviations, sizes, numbers, deviations)
def test_g_and_its_variance_are_those_of_statsmodels(n1, mean1, sd1, n2, mean2, sd2):
    if n1 + n2 <= 4:
        return
    ours = hedges_g(Sample(n=n1, mean=mean1, sd=sd1), Sample(n=n2, mean=mean2, sd=sd2), alpha=0.05)
    theirs, variance = effectsize_smd(mean2, sd2, n2, mean1, sd1, n1)
    assert ours.estimate == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    assert ours.standard_error**2 == pytest.approx(variance, rel=1e-9)


@given(sizes, shares, sizes, shares)
def test_h_is_that_of_statsmodels(n1, share1, n2, share2):
    samples = [Sample(n=n, mean=p, sd=math.sqrt(p * (1 - p))) for n, p in ((n1, share1), (n2, share2))]
    assert cohens_h(*samples, alpha=0.05).estimate == pytest.approx(proportion_effectsize(share2, share1), abs=1e-9)


def test_the_interval_of_large_samples_is_the_published_one():
    found = hedges_g(Sample(n=40_000, mean=0.0, sd=1.0), Sample(n=10_000, mean=0.5, sd=1.0), alpha=0.05)
    error = math.sqrt(1 / 40_000 + 1 / 10_000 + 0.25 / 100_000)
    half = float(stats.norm.isf(0.025)) * error
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half), rel=1e-4)


def test_the_correction_takes_the_bias_of_small_samples_away():
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(20_000, 2, 6))
    samples[:, 1] += 0.8
    means, deviations = samples.mean(axis=2), samples.std(axis=2, ddof=1)
    found = [
        hedges_g(Sample(n=6, mean=m[0], sd=s[0]), Sample(n=6, mean=m[1], sd=s[1]), alpha=0.05).estimate
        for m, s in zip(means, deviations, strict=True)
    ]
    naive = (means[:, 1] - means[:, 0]) / np.sqrt((deviations**2).mean(axis=1))
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
    assert naive.mean() > 0.85


def test_a_family_shares_alpha():
    samples = Sample(n=100, mean=0.0, sd=1.0), Sample(n=100, mean=0.3, sd=1.0)
    assert hedges_g(*samples, alpha=0.05, family=10)[2:] == pytest.approx(hedges_g(*samples, alpha=0.005)[2:])


def test_of_users_who_come_once_each_value_counts():
    rng = np.random.default_rng(1)
    found = clustering_of(rng.normal(size=50), np.arange(50), rng.normal(size=80), np.arange(50, 130))
    # only the correction for the number of clusters is left
    assert found.design_effect == pytest.approx(130 / 129)
    a, b = 1 / 50, 1 / 80
    assert found.df == pytest.approx((a + b) ** 2 / (a**2 / 49 + b**2 / 79))


def test_a_user_who_always_asks_the_same_counts_once():
    first, second = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 20), np.repeat([2.0, 4.0, 6.0], 20)
    users = np.repeat(np.arange(5), 20), np.repeat(np.arange(10, 13), 20)
    found = clustering_of(first, users[0], second, users[1])
    # by hand: the squares of 20 residuals of one user sum up to 20 times as much as alone
    assert found.design_effect == pytest.approx(20 * 8 / 7)
    assert worth_of(users[0]) == pytest.approx(5)


def test_habits_of_users_who_come_back_cancel():
    rng = np.random.default_rng(2)
    habit, users = rng.normal(size=40), np.repeat(np.arange(40), 10)
    first, second = (habit[users] + 0.1 * rng.normal(size=users.size) for _ in range(2))
    assert clustering_of(first, users, second, users).design_effect == 1.0
    assert clustering_of(first, users, second, users + 40).design_effect > 9


def test_the_design_effect_is_that_of_a_cluster_robust_regression():
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    users = rng.integers(0, 30, 400), rng.integers(10, 50, 300)
    values = [rng.normal(size=each.size) + np.sin(each) for each in users]
    everything, later = np.concatenate(values), np.repeat([0.0, 1.0], [400, 300])
    fit = sm.OLS(everything, sm.add_constant(later)).fit(
        cov_type="cluster", cov_kwds={"groups": np.concatenate(users), "use_correction": False}
    )
    alone = sum(((each - each.mean()) ** 2).sum() / each.size**2 for each in values)
    found = clustering_of(values[0], users[0], values[1], users[1])
    assert found.design_effect == pytest.approx(50 / 49 * fit.bse[1] ** 2 / alone)


def test_one_heavy_user_leaves_few_clusters():
    # by Kish's formula: 180 of one and 1 each of 20 others
    assert worth_of([*["bot"] * 180, *(f"u{n}" for n in range(20))]) == pytest.approx(200**2 / (180**2 + 20))


def test_g_of_clustered_values_divides_their_number():
    samples = Sample(n=400, mean=0.0, sd=1.0), Sample(n=100, mean=0.3, sd=1.0)
    found = hedges_g(*samples, alpha=0.05, clustering=Clustering(design_effect=4.0, df=60.0))
    assert found.standard_error**2 == pytest.approx(1 / 100 + 1 / 25 + found.estimate**2 / (2 * (125 - 3.94)))
    assert found.high - found.estimate == pytest.approx(float(stats.t.isf(0.025, 60)) * found.standard_error)


@pytest.mark.parametrize("users", [(["a"], ["a", "b"]), (["a", "a"], ["a", "b"])])
def test_one_user_is_not_enough(users):
    with pytest.raises(NotEnoughDataError, match="clusters: at least 2 are needed"):
        clustering_of(np.arange(len(users[0])), users[0], [1.0, 2.0], users[1])


def test_values_that_do_not_vary_have_no_g():
    with pytest.raises(NotEnoughDataError, match="do not vary"):
        hedges_g(Sample(n=50, mean=91.0, sd=0.0), Sample(n=50, mean=92.0, sd=0.0), alpha=0.05)


def test_too_few_independent_values_have_no_g():
    samples = Sample(n=50, mean=1.0, sd=1.0), Sample(n=50, mean=2.0, sd=1.0)
    with pytest.raises(NotEnoughDataError, match=r"no more than 2\.5 independent"):
        hedges_g(*samples, alpha=0.05, clustering=Clustering(design_effect=40.0, df=3.0))


def test_shares_of_none_and_of_all_have_an_h():
    found = cohens_h(Sample(n=50, mean=0.0, sd=0.0), Sample(n=50, mean=1.0, sd=0.0), alpha=0.05)
    assert found.estimate == pytest.approx(math.pi)
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_an_h_of_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match="must be a share"):
        cohens_h(Sample(n=50, mean=0.5, sd=0.5), Sample(n=50, mean=share, sd=0.5), alpha=0.05)


@pytest.mark.parametrize("wrong", [{"n": 1}, {"sd": -1.0}, {"mean": math.nan}])
def test_a_sample_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"finite|at least 2"):
        Sample(**{"n": 10, "mean": 0.0, "sd": 1.0, **wrong})


def test_a_sample_of_values_holds_their_moments():
    values = np.random.default_rng(1).normal(size=50)
    assert sample_of(values) == Sample(n=50, mean=float(values.mean()), sd=float(values.std(ddof=1)))
    with pytest.raises(NotEnoughDataError, match="1 values have no standard deviation"):
        sample_of([1.0])
