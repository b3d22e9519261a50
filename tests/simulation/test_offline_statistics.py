"""Error rates of the offline statistics on simulated nDCG@10: false findings, coverage, power; and what rejected ways would do.

Every rate is compared with bounds four binomial standard errors beside its nominal value, `4 * sqrt(p * (1 - p) / repetitions)`, unless
a test says otherwise. Seeds are fixed, so that a test passes always or never; four errors make it robust to a new release of numpy.
The rates themselves are shown by `pytest tests/simulation/test_offline_statistics.py --log-cli-level=INFO`.
"""

import logging

import numpy as np
import pytest
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.binary import mcnemar_midp
from ragtrial.stats.bootstrap import bootstrap_mean
from ragtrial.stats.equivalence import tost
from ragtrial.stats.noninferiority import non_inferiority
from ragtrial.stats.paired import paired_t
from ragtrial.stats.permutation import sign_flip
from ragtrial.stats.power import mde_planned, queries_to_decide

pytestmark = pytest.mark.slow

ALPHA = 0.05
GAINS = np.append(1.0 / np.log2(np.arange(2, 12)), 0.0)  # nDCG@10 of one relevant passage at rank 1..10, or not among them


def bounds(nominal, repetitions):
    """Four binomial standard errors to either side."""
    error = np.sqrt(nominal * (1 - nominal) / repetitions)
    return nominal - 4 * error, nominal + 4 * error


def rates(counts, repetitions, *names):
    """Each count as a share of the repetitions, logged under its name."""
    shares = np.atleast_1d(counts) / repetitions
    for name, share in zip(names, shares, strict=True):
        logging.getLogger(__name__).info("%s: %.2f %%", name, 100 * share)
    return [float(share) for share in shares]


def ndcg_pair(rng, n):
    """Two arms equally good: six queries of ten are ranked alike, the others independently from one distribution of ranks."""
    weights = np.array([0.42, 0.14, 0.08, 0.05, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01, 0.18])
    control, other = GAINS[rng.choice(11, size=(2, n), p=weights)]
    return control, np.where(rng.random(n) < 0.6, control, other)


def skewed_differences(rng, n):
    """Mean 0 and far from symmetric: a fifth of the queries gain much, half lose a little, the rest stay. Bounded by -1 and 1."""
    kind = rng.choice(3, size=n, p=[0.2, 0.5, 0.3])
    # The mean of beta(a, b) is a / (a + b): 0.2 * 0.4 - 0.5 * 0.16 = 0.
    return np.choose(kind, [rng.beta(2.0, 3.0, n), -rng.beta(2.0, 10.5, n), np.zeros(n)])


def clustered_differences(rng, n_clusters):
    """Five queries a document: half of the variance of the differences belongs to the document. Mean 0."""
    document = rng.normal(0.0, 0.1, n_clusters)
    codes = np.repeat(np.arange(n_clusters), 5)
    return document[codes] + rng.normal(0.0, 0.1, codes.size), codes.astype(str)


def test_the_paired_t_test_and_the_sign_flip_test_find_nothing_in_19_of_20_equal_pairs():
    rng, repetitions = np.random.default_rng(1), 2_000
    found = np.zeros(2)
    for _ in range(repetitions):
        control, treatment = ndcg_pair(rng, 120)
        d = treatment - control
        found += [paired_t(d, alpha=ALPHA).p_value < ALPHA, sign_flip(d, resamples=499, rng=rng).p_value <= ALPHA]
    t, flipped = rates(found, repetitions, "paired t", "sign-flip")
    low, high = bounds(ALPHA, repetitions)
    assert low < t < high
    assert low < flipped < high


def test_skewed_differences_keep_the_rates_of_means_and_break_wilcoxons():
    # Wilcoxon's test is about the median of pairs: the mean is 0, and it "finds" that most queries lose a little.
    rng, repetitions = np.random.default_rng(2), 1_000
    found = np.zeros(3)
    for _ in range(repetitions):
        d = skewed_differences(rng, 300)
        found += [
            paired_t(d, alpha=ALPHA).p_value < ALPHA,
            sign_flip(d, resamples=499, rng=rng).p_value <= ALPHA,
            stats.wilcoxon(d, method="approx").pvalue < ALPHA,
        ]
    t, flipped, wilcoxon = rates(found, repetitions, "paired t", "sign-flip", "Wilcoxon")
    low, high = bounds(ALPHA, repetitions)
    assert low < t < high
    assert low < flipped < high
    assert wilcoxon > 0.25


def test_intervals_cover_the_truth_19_times_of_20():
    rng, repetitions = np.random.default_rng(3), 1_000
    covered = np.zeros(2)
    for _ in range(repetitions):
        d = skewed_differences(rng, 200)
        fit = paired_t(d, alpha=ALPHA)
        low, high = bootstrap_mean(d, alpha=ALPHA, resamples=999, rng=rng)
        covered += [fit.low <= 0 <= fit.high, low <= 0 <= high]
    t, bootstrap = rates(covered, repetitions, "t interval", "percentile bootstrap")
    low, high = bounds(1 - ALPHA, repetitions)
    assert low < t < high
    assert low < bootstrap < high


def test_queries_that_share_documents_need_the_cluster_robust_error():
    rng, repetitions = np.random.default_rng(4), 1_500
    found = np.zeros(3)
    for _ in range(repetitions):
        d, clusters = clustered_differences(rng, 40)
        found += [
            paired_t(d, alpha=ALPHA).p_value < ALPHA,
            paired_t(d, alpha=ALPHA, clusters=clusters).p_value < ALPHA,
            sign_flip(d, resamples=199, rng=rng, clusters=clusters).p_value <= ALPHA,
        ]
    naive, robust, flipped = rates(found, repetitions, "paired t", "cluster-robust t", "sign-flip of clusters")
    # The variance is 1 + 4 * 0.5 = 3 times the naive one: P(|Z| > 1.96 / sqrt(3)) = 0.258.
    assert bounds(0.258, repetitions)[0] < naive < bounds(0.258, repetitions)[1]
    assert naive > 0.09
    # 5 to 7 % is what 40 clusters give: four errors below 5 % and above 7 %.
    assert bounds(0.05, repetitions)[0] < robust < bounds(0.07, repetitions)[1]
    assert bounds(0.05, repetitions)[0] < flipped < bounds(0.05, repetitions)[1]


def test_cluster_intervals_cover_the_truth():
    rng, repetitions = np.random.default_rng(5), 800
    covered = np.zeros(3)
    for _ in range(repetitions):
        d, clusters = clustered_differences(rng, 40)
        fit = paired_t(d, alpha=ALPHA, clusters=clusters)
        low, high = bootstrap_mean(d, alpha=ALPHA, resamples=499, rng=rng, clusters=clusters)
        naive = bootstrap_mean(d, alpha=ALPHA, resamples=499, rng=rng)
        covered += [fit.low <= 0 <= fit.high, low <= 0 <= high, naive.low <= 0 <= naive.high]
    robust, whole, rows = rates(covered, repetitions, "cluster-robust t", "cluster bootstrap", "bootstrap of queries")
    assert bounds(0.93, repetitions)[0] < robust < bounds(0.95, repetitions)[1]
    # The percentile bootstrap lacks the factor G / (G - 1) and the t quantile, and so covers a little less.
    assert bounds(0.93, repetitions)[0] < whole < bounds(0.95, repetitions)[1]
    assert rows < 0.85


def test_few_and_mostly_equal_queries_make_t_careful_and_bca_careless():
    # 30 queries of which about four differ: the bootstrap's acceleration is a guess from four values.
    rng, repetitions = np.random.default_rng(6), 300
    found, tested = np.zeros(3), 0
    while tested < repetitions:
        d = np.where(rng.random(30) < 0.12, rng.choice([-1.0, 1.0], 30) * rng.uniform(0.1, 1.0, 30), 0.0)
        if np.count_nonzero(d) < 3:
            continue
        tested += 1
        interval = stats.bootstrap((d,), np.mean, n_resamples=499, method="BCa", rng=rng).confidence_interval
        found += [
            paired_t(d, alpha=ALPHA).p_value < ALPHA,
            sign_flip(d, resamples=499, rng=rng).p_value <= ALPHA,
            interval.low > 0 or interval.high < 0,
        ]
    t, flipped, bca = rates(found, repetitions, "paired t", "sign-flip", "BCa bootstrap")
    assert t < bounds(ALPHA, repetitions)[1]
    assert flipped < bounds(ALPHA, repetitions)[1]
    assert bca > 0.10


def test_repetitions_of_a_query_are_averaged_and_never_pooled():
    # Ten answers to each of 60 queries: the query's own difference varies as much as one answer does.
    rng, repetitions = np.random.default_rng(7), 1_500
    found = np.zeros(2)
    for _ in range(repetitions):
        answers = rng.normal(0.0, 0.1, (60, 1)) + rng.normal(0.0, 0.1, (60, 10))
        found += [
            paired_t(answers.ravel(), alpha=ALPHA).p_value < ALPHA,
            paired_t(answers.mean(axis=1), alpha=ALPHA).p_value < ALPHA,
        ]
    pooled, averaged = rates(found, repetitions, "pooled", "averaged first")
    assert pooled > 0.3
    assert bounds(ALPHA, repetitions)[0] < averaged < bounds(ALPHA, repetitions)[1]


def test_looking_ten_times_finds_a_difference_in_one_of_five_equal_pairs():
    # Ten looks, at 100, 200, ... 1,000 queries, and stopping at the first p below 5 %: 19.3 % (Armitage, McPherson and Rowe 1969, table 2).
    rng, repetitions = np.random.default_rng(13), 800
    found = 0
    for _ in range(repetitions):
        d = rng.normal(0.0, 0.2, 1_000)
        found += any(paired_t(d[:n], alpha=ALPHA).p_value < ALPHA for n in range(100, 1_001, 100))
    (rate,) = rates(found, repetitions, "ten looks")
    low, high = bounds(0.193, repetitions)
    assert low < rate < high


def test_mcnemars_midp_finds_nothing_in_19_of_20_equal_pairs():
    rng, repetitions = np.random.default_rng(8), 2_000
    found = 0
    for _ in range(repetitions):
        hit = rng.random((2, 150)) < 0.7
        treatment = np.where(rng.random(150) < 0.6, hit[0], hit[1])
        found += mcnemar_midp(hit[0], treatment).p_value < ALPHA
    # Discrete, so somewhat below the nominal rate: the lower bound is that of 3.5 %.
    (rate,) = rates(found, repetitions, "McNemar mid-p")
    assert bounds(0.035, repetitions)[0] < rate < bounds(ALPHA, repetitions)[1]


def test_an_effect_of_the_size_of_the_mde_is_seen_with_the_planned_power():
    rng, repetitions, n = np.random.default_rng(9), 1_500, 150
    sd = float(np.std(skewed_differences(rng, 1_000_000)))
    effect = mde_planned(sd, n, alpha=ALPHA, power=0.8)
    seen = sum(paired_t(skewed_differences(rng, n) + effect, alpha=ALPHA).p_value < ALPHA for _ in range(repetitions))
    # Skewed differences reach the normal theory's power only about: 80 % give or take 2 points and four errors.
    (power,) = rates(seen, repetitions, "power at the MDE")
    assert bounds(0.78, repetitions)[0] < power < bounds(0.82, repetitions)[1]


def test_as_many_queries_as_named_decide_with_the_planned_power():
    rng, repetitions = np.random.default_rng(10), 600
    sd, effect = float(np.std(skewed_differences(rng, 1_000_000))), 0.02
    half_width = stats.norm.isf(ALPHA / 2) * sd / np.sqrt(150)
    n = queries_to_decide(150, half_width, effect, alpha=ALPHA, power=0.8)
    decided = sum(paired_t(skewed_differences(rng, n) + effect, alpha=ALPHA).low > 0 for _ in range(repetitions))
    (power,) = rates(decided, repetitions, "decided at the number named")
    assert bounds(0.78, repetitions)[0] < power < bounds(0.82, repetitions)[1]


def test_at_the_margin_a_guardrail_holds_or_breaks_and_equivalence_is_claimed_once_in_twenty():
    rng, repetitions, margin = np.random.default_rng(11), 1_500, 0.05
    counted = np.zeros(3)
    for _ in range(repetitions):
        worse_by = rng.normal(margin, 0.2, 200)
        result = non_inferiority(worse_by, margin=margin, alpha=ALPHA)
        counted += [result.holds, result.broken, tost(worse_by, margin=margin).p_value < ALPHA]
    low, high = bounds(ALPHA, repetitions)
    for share in rates(counted, repetitions, "holds at the margin", "broken at the margin", "equivalent at the margin"):
        assert low < share < high


def test_identical_arms_never_give_a_number():
    rng = np.random.default_rng(12)
    for _ in range(20):
        control, _ = ndcg_pair(rng, 120)
        d = control - control
        with pytest.raises(NotEnoughDataError):
            paired_t(d, alpha=ALPHA)
        with pytest.raises(NotEnoughDataError):
            sign_flip(d, resamples=99, rng=rng)
