"""Paired t, sign-flip and bootstrap against scipy, statsmodels' pieces, enumeration and calculations by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ragtrial.stats.bootstrap import bootstrap_mean
from ragtrial.stats.paired import paired_t, standardised_effect
from ragtrial.stats.permutation import sign_flip

# Student 1908 / R's `sleep`: hours of sleep gained by ten patients under two drugs.
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


@st.composite
def paired_scores(draw):
    n = draw(st.integers(3, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ranks = rng.integers(1, 12, size=(2, n))
    control, treatment = np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0)
    treatment[0] += 0.125  # never all the same
    return control, treatment


@given(paired_scores(), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_paired_t_test_agrees_with_scipy(pairs, alpha):
    control, treatment = pairs
    ours, scipys = paired_t(treatment - control, alpha=alpha), stats.ttest_rel(treatment, control)
    interval = scipys.confidence_interval(1 - alpha)
    assert ours.p_value == pytest.approx(scipys.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.df == scipys.df
    assert ours.estimate / ours.standard_error == pytest.approx(scipys.statistic)


def test_the_paired_t_test_agrees_with_the_sleep_data_in_r():
    # R: t.test(sleep2, sleep1, paired = TRUE) prints t = 4.0621, df = 9, p-value = 0.002833, interval 0.7001142 2.4598858, mean 1.58
    fit = paired_t(SLEEP_2 - SLEEP_1, alpha=0.05)
    assert fit.estimate == pytest.approx(1.58)
    assert (fit.low, fit.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert fit.p_value == pytest.approx(0.002833, abs=1e-6)
    assert standardised_effect(SLEEP_2 - SLEEP_1) == pytest.approx(4.0621 / np.sqrt(10), abs=1e-4)


def test_the_cluster_robust_error_by_hand():
    # Differences 0.1 0.3 | -0.1 0.1 | 0.5 in three clusters; mean 0.9 / 5 = 0.18.
    # Sums of residuals: (-0.08 + 0.12) = 0.04, (-0.28 - 0.08) = -0.36, 0.32; squares 0.0016 + 0.1296 + 0.1024 = 0.2336.
    # CR1: G / (G - 1) * (n - 1) / (n - 1) = 3 / 2, so the variance is 1.5 * 0.2336 / 25 = 0.014016.
    fit = paired_t([0.1, 0.3, -0.1, 0.1, 0.5], alpha=0.05, clusters=["a", "a", "b", "b", "c"])
    assert fit.estimate == pytest.approx(0.18)
    assert fit.standard_error == pytest.approx(np.sqrt(0.014016))
    assert (fit.df, fit.n, fit.n_clusters) == (2, 5, 3)
    # t(0.975, 2) = 4.302653
    assert fit.high - fit.estimate == pytest.approx(4.302653 * np.sqrt(0.014016), rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(3, 25))
@settings(max_examples=40)
def test_the_cluster_robust_interval_agrees_with_the_formula(seed, n_clusters):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_clusters), rng.integers(0, n_clusters, 60)])
    d = rng.normal(0.1, 0.3, codes.size) + rng.normal(0, 0.2, n_clusters)[codes]
    fit = paired_t(d, alpha=0.1, clusters=np.array([f"document {c}" for c in codes]))
    residual_sums = np.array([(d - d.mean())[codes == c].sum() for c in range(n_clusters)])
    error = np.sqrt(n_clusters / (n_clusters - 1) * (residual_sums**2).sum()) / d.size
    assert fit.standard_error == pytest.approx(error)
    t = d.mean() / error
    assert fit.p_value == pytest.approx(2 * stats.t.sf(abs(t), n_clusters - 1))
    half = stats.t.isf(0.05, n_clusters - 1) * error
    assert (fit.low, fit.high) == pytest.approx((d.mean() - half, d.mean() + half))


def exact_p(differences):
    """Share of all sign vectors whose sum is as far from 0, in exact integers."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(value >= observed for value in sums) / len(sums)


@pytest.mark.parametrize(
    "tenths", [[3, -1, 4, 1, -5, 9, 2, 6], [1, 1, 1, 1, -1, 1, 1, 1, 1, 0, 0, 0], [1, -1, 2, -2, 3, 1], [2, 1, 3, 7, 1, 1, 4, 2, 2]]
)
def test_sign_flip_agrees_with_enumeration_in_integers_ties_included(tenths):
    # Tenths don't add up exactly in floating point, and the integers do: a lost tie would show here as a p far too small.
    resamples, p = 40_000, exact_p(tenths)
    ours = sign_flip(np.array(tenths) / 10, resamples=resamples, rng=np.random.default_rng(11)).p_value
    # Four binomial standard errors, and the plus-one.
    assert abs(ours - p) < 4 * np.sqrt(p * (1 - p) / resamples) + 1 / resamples


def test_sign_flip_agrees_with_scipys_exact_permutation_test():
    d = SLEEP_2 - SLEEP_1
    scipys = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True).pvalue
    ours = sign_flip(d, resamples=100_000, rng=np.random.default_rng(5)).p_value
    assert scipys == pytest.approx(exact_p(np.round(d * 10).astype(int).tolist()))
    assert abs(ours - scipys) < 4 * np.sqrt(scipys / 100_000) + 1e-5


def test_sign_flip_agrees_with_scipys_random_permutations_on_many_queries():
    d = np.random.default_rng(6).normal(0.02, 0.3, 500)
    scipys = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=9_999, vectorized=True, batch=500, rng=np.random.default_rng(8)
    ).pvalue
    ours = sign_flip(d, resamples=9_999, rng=np.random.default_rng(9)).p_value
    # scipy doubles the smaller one-sided p: its variance is about twice ours.
    assert abs(ours - scipys) < 4 * np.sqrt(3 * scipys * (1 - scipys) / 9_999)


def test_flipping_clusters_is_flipping_their_sums():
    tenths, clusters = np.array([3, 1, -2, -2, 4, 4, 1, 0, -1, 5, 2, 2]), np.repeat(["a", "b", "c", "d", "e", "f"], 2)
    p = exact_p(tenths.reshape(6, 2).sum(axis=1).tolist())
    ours = sign_flip(tenths / 10, resamples=40_000, rng=np.random.default_rng(12), clusters=clusters).p_value
    assert abs(ours - p) < 4 * np.sqrt(p * (1 - p) / 40_000) + 1 / 40_000


def test_the_bootstrap_agrees_with_every_possible_resample():
    # Four queries have 4^4 = 256 equally likely resamples; their means are multiples of 1/4 of a tenth.
    d = np.array([0.1, -0.2, 0.4, 0.9])
    means = np.sort([d[list(drawn)].mean() for drawn in itertools.product(range(4), repeat=4)])
    interval = bootstrap_mean(d, alpha=0.2, resamples=100_000, rng=np.random.default_rng(13))
    assert interval == pytest.approx(np.quantile(means, [0.1, 0.9]), abs=0.026)  # one step of the means


@pytest.mark.parametrize("n", [30, 400])
def test_the_bootstrap_agrees_with_scipy(n):
    d = np.where(np.random.default_rng(n).random(n) < 0.4, 0.0, np.random.default_rng(n + 1).gamma(2.0, 0.1, n))
    scipys = stats.bootstrap((d,), np.mean, n_resamples=20_000, batch=1_000, method="percentile", rng=np.random.default_rng(14))
    ours = bootstrap_mean(d, alpha=0.05, resamples=20_000, rng=np.random.default_rng(15))
    # A 2.5 % quantile of 20,000 draws has the error sqrt(0.025 * 0.975 / 20,000) / 0.0584 = 0.019 deviations; four of a difference.
    tolerance = 4 * np.sqrt(2) * 0.019 * d.std() / np.sqrt(n)
    assert ours == pytest.approx(tuple(scipys.confidence_interval), abs=tolerance)


def test_the_cluster_bootstrap_agrees_with_a_loop_over_whole_clusters():
    rng = np.random.default_rng(16)
    codes = rng.integers(0, 15, 90)
    d = rng.normal(0.1, 0.2, 90) + rng.normal(0, 0.2, 15)[codes]
    members = [d[codes == c] for c in np.unique(codes)]
    means = [np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]).mean() for _ in range(10_000)]
    expected = np.quantile(means, [0.025, 0.975])
    ours = bootstrap_mean(d, alpha=0.05, resamples=10_000, rng=rng, clusters=codes.astype(str))
    # As above, for 10,000 resamples: 0.027 deviations of the resampled means.
    assert ours == pytest.approx(expected, abs=4 * np.sqrt(2) * 0.027 * np.std(means))
