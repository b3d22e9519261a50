"""Effects without a unit against statsmodels, and against calculations by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.proportion import proportion_effectsize

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.standardised import Sample, clustered_sample, cohens_h, design_effect_of, hedges_g

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


def test_independent_values_count_one_by_one():
    values = np.random.default_rng(1).normal(size=50)
    found = clustered_sample(values, np.arange(50))
    assert (found.n, found.mean, found.sd) == (50, pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
    assert found.independent == pytest.approx(50)
    assert found.freedom == pytest.approx(49)


def test_a_user_who_always_asks_the_same_counts_once():
    values, users = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 20), np.repeat(np.arange(5), 20)
    found = clustered_sample(values, users)
    # the variance of the mean is that of five values, 2.5 / 5, where 100 independent ones would have var / 100
    assert found.sd**2 / found.independent == pytest.approx(2.5 / 5)
    assert found.freedom == pytest.approx(4)


def test_one_heavy_user_leaves_few_degrees_of_freedom():
    found = clustered_sample(np.random.default_rng(1).normal(size=200), [*["bot"] * 180, *(f"u{n}" for n in range(20))])
    # 200^2 / (180^2 + 20)
    assert found.freedom + 1 == pytest.approx(40_000 / 32_420)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=12, max_size=60))
def test_the_design_effect_is_a_ratio_of_sums_of_squares(rows):
    users, values = (np.array(column) for column in zip(*rows, strict=True))
    left = values - values.mean()
    if not (left**2).sum():
        return
    by_hand = sum(left[users == user].sum() ** 2 for user in range(10)) / (left**2).sum()
    assert design_effect_of(left, users, 10) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("values", "users", "said"),
    [
        ([1.0], ["a"], "1 values of 1 clusters"),
        ([1.0, 2.0], ["a", "a"], "2 values of 1 clusters"),
    ],
)
def test_one_user_is_not_enough(values, users, said):
    with pytest.raises(NotEnoughDataError, match=said):
        clustered_sample(values, users)


def test_values_that_do_not_vary_have_no_g():
    with pytest.raises(NotEnoughDataError, match="do not vary"):
        hedges_g(Sample(n=50, mean=91.0, sd=0.0), Sample(n=50, mean=92.0, sd=0.0), alpha=0.05)


def test_too_few_independent_values_have_no_g():
    with pytest.raises(NotEnoughDataError, match=r"no more than 3\.0 independent"):
        hedges_g(Sample(n=50, mean=1.0, sd=1.0, n_effective=1.5), Sample(n=50, mean=2.0, sd=1.0, n_effective=1.5), alpha=0.05)


def test_shares_of_none_and_of_all_have_an_h():
    found = cohens_h(Sample(n=50, mean=0.0, sd=0.0), Sample(n=50, mean=1.0, sd=0.0), alpha=0.05)
    assert found.estimate == pytest.approx(math.pi)
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_an_h_of_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match="must be a share"):
        cohens_h(Sample(n=50, mean=0.5, sd=0.5), Sample(n=50, mean=share, sd=0.5), alpha=0.05)


@pytest.mark.parametrize("wrong", [{"n": 1}, {"sd": -1.0}, {"mean": math.nan}, {"n_effective": 0.0}, {"df": math.inf}])
def test_a_sample_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="finite|at least 2"):
        Sample(**{"n": 10, "mean": 0.0, "sd": 1.0, **wrong})
