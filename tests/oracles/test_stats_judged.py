"""Corrected means, agreement, judge noise and worst-case bounds against other implementations, enumeration and calculations by hand."""

import itertools

import numpy as np
import ppi_py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS, WLS
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from ragtrial.stats.agreement import Rated, arm_bias, confusion, kappa, raw_agreement, self_agreement
from ragtrial.stats.judge_noise import compare_doublings, planned_precision, split_noise
from ragtrial.stats.labelling import items_to_label, planned_half_width
from ragtrial.stats.missing import worst_case
from ragtrial.stats.paired import paired_t
from ragtrial.stats.power import mde
from ragtrial.stats.prediction_powered import Labels, corrected_difference, corrected_mean

LEVELS = np.array([0.0, 0.5, 1.0])


def judged_rows(seed, n, labelled):
    """Human and judge scores of n rows, a random few of them labelled, and the unlabelled rows."""
    rng = np.random.default_rng(seed)
    human = rng.beta(2.0, 1.5, n)
    judged = np.clip(0.2 + 0.6 * human + rng.normal(0.0, 0.15, n), 0.0, 1.0)
    rows = rng.choice(n, size=labelled, replace=False)
    return human, judged, rows, np.setdiff1d(np.arange(n), rows)


@given(st.integers(0, 2**32 - 1), st.integers(200, 400), st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_corrected_mean_agrees_with_ppi_python_at_a_fixed_weight(seed, n, weight):
    human, judged, rows, rest = judged_rows(seed, n, 100)
    fit = corrected_mean(judged, Labels(rows, human[rows]), alpha=0.1, weight=weight)
    # Its judged mean is of the unlabelled rows, ours of all: the weights are N / (n + N) apart (module docstring).
    lam = weight * rest.size / n
    estimate = ppi_py.ppi_mean_pointestimate(human[rows], judged[rows], judged[rest], lam=lam)
    low, high = ppi_py.ppi_mean_ci(human[rows], judged[rows], judged[rest], alpha=0.1, lam=lam)
    assert fit.estimate == pytest.approx(float(estimate[0]), abs=1e-12)
    # Its interval is normal, over n, and takes the variance of the judge from the unlabelled rows alone: a few per cent apart.
    assert fit.high - fit.low == pytest.approx(float(high[0] - low[0]), rel=0.06)


def test_the_tuned_weight_agrees_with_ppi_python():
    human, judged, rows, rest = judged_rows(5, 3_000, 1_000)
    fit = corrected_mean(judged, Labels(rows, human[rows]), alpha=0.05)
    estimate = float(ppi_py.ppi_mean_pointestimate(human[rows], judged[rows], judged[rest])[0])
    low, high = (float(end[0]) for end in ppi_py.ppi_mean_ci(human[rows], judged[rows], judged[rest], alpha=0.05))
    # Its weight takes the judge's variance from all rows, ours is the least-variance one of this sample: 1/50 of an error apart.
    assert fit.estimate == pytest.approx(estimate, abs=0.02 * fit.standard_error)
    assert (fit.low, fit.high) == pytest.approx((low, high), abs=0.02 * (high - low))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_tuned_weight_is_the_slope_of_a_regression_where_few_are_labelled(seed):
    # With N far above n the least variance is that of human - weight * judged: ordinary least squares.
    human, judged, rows, _ = judged_rows(seed, 100_000, 60)
    slope = float(OLS(human[rows], np.column_stack([np.ones(60), judged[rows]])).fit().params[1])
    assert corrected_mean(judged, Labels(rows, human[rows]), alpha=0.05).weight == pytest.approx(min(1.0, slope), abs=0.01)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_with_every_row_labelled_the_judge_drops_out_and_paired_t_is_left(seed, clustered):
    human, judged, _, _ = judged_rows(seed, 60, 0)
    clusters = np.repeat(np.arange(20), 3) if clustered else None
    fit = corrected_mean(judged, Labels(np.arange(60), human), alpha=0.05, clusters=clusters)
    plain = paired_t(human, alpha=0.05, clusters=clusters)
    assert fit[:5] == pytest.approx((plain.estimate, plain.low, plain.high, plain.standard_error, plain.df))


def test_at_a_fixed_weight_the_mean_over_all_possible_samples_is_the_truth():
    human, judged, _, _ = judged_rows(3, 22, 0)
    estimates = [
        corrected_mean(judged, Labels(np.array(rows), human[list(rows)]), alpha=0.05, weight=0.7).estimate
        for rows in itertools.combinations(range(22), 20)
    ]
    assert np.mean(estimates) == pytest.approx(human.mean(), abs=1e-12)


def test_a_weighted_mean_of_labels_agrees_with_weighted_least_squares():
    human, judged, rows, _ = judged_rows(4, 300, 80)
    chances = np.random.default_rng(4).uniform(0.1, 0.9, 80)
    fit = corrected_mean(judged, Labels(rows, human[rows], chances), alpha=0.05, weight=0.0)
    sandwich = WLS(human[rows], np.ones(80), weights=1 / chances).fit(cov_type="HC0")
    units = (1 / chances).sum() ** 2 / (1 / chances**2).sum()
    assert fit.estimate == pytest.approx(sandwich.params[0])
    assert fit.standard_error == pytest.approx(sandwich.bse[0] * np.sqrt(units / (units - 1)))
    assert fit.df == pytest.approx(units - 1)


def test_labels_apart_in_each_arm_agree_with_the_formula():
    # At a fixed weight and no query labelled twice the variance is, influence by influence, the sum below.
    human, judged, _, _ = judged_rows(6, 200, 0)
    other = np.clip(judged + np.random.default_rng(7).normal(0.05, 0.1, 200), 0, 1)
    left, right = np.arange(40), np.arange(40, 100)
    fit = corrected_difference(judged, other, Labels(left, human[left]), Labels(right, human[right]), alpha=0.05, weight=0.8)
    moved = 0.8 * (other - judged - (other - judged).mean()) / 200 * np.sqrt(200 / 199)
    for rows, scores, sign in ((left, judged, -1.0), (right, other, 1.0)):
        gap = human[rows] - 0.8 * scores[rows]
        moved[rows] += sign * (gap - gap.mean()) / rows.size * np.sqrt(rows.size / (rows.size - 1))
    means = [0.8 * s.mean() + (human[r] - 0.8 * s[r]).mean() for r, s in ((left, judged), (right, other))]
    assert fit.difference.estimate == pytest.approx(means[1] - means[0])
    assert fit.difference.standard_error == pytest.approx(np.sqrt((moved**2).sum()))
    assert (fit.control.estimate, fit.treatment.estimate) == pytest.approx(means)


def test_a_plan_for_the_variance_by_hand():
    human, judged, rows, _ = judged_rows(8, 400, 50)
    fit = corrected_mean(judged, Labels(rows, human[rows]), alpha=0.05, weight=1.0)
    gap = human[rows] - judged[rows]
    assert fit.label_error == pytest.approx(np.sqrt(gap.var(ddof=1) / 50))
    # Twice the labels halve their part and leave the rest.
    variance = fit.standard_error**2 - gap.var(ddof=1) / 50 / 2
    expected = stats.t.isf(0.025, 2 * fit.df) * np.sqrt(variance)
    assert planned_half_width(fit, more=50, alpha=0.05) == pytest.approx(expected)


def test_neymans_allocation_by_hand():
    # Four strata of 100 rows with uncertainty 0.1, 0.1, 0.2, 0.4: Neyman 1/8, 1/8, 1/4, 1/2; mixed with 1/4 each; of 160 labels.
    uncertainty = np.repeat([0.1, 0.12, 0.2, 0.38], 100)
    plan = items_to_label(np.zeros(400), [], more=160, rng=np.random.default_rng(1), uncertainty=uncertainty)
    counts = np.bincount(plan.rows // 100)
    assert counts.tolist() == [30, 32, 40, 58]  # 20 + 80 * (0.1, 0.12, 0.2, 0.38) / 0.8, and the even 20 each
    assert plan.probabilities[::100] == pytest.approx(counts / 100)


def test_every_row_is_labelled_as_often_as_its_probability_says():
    rng, times, runs = np.random.default_rng(2), np.zeros(40), 4_000
    uncertainty = np.linspace(0.0, 1.0, 40)
    for _ in range(runs):
        first = items_to_label(np.zeros(40), [], more=8, rng=rng, uncertainty=uncertainty).rows
        second = items_to_label(np.zeros(40), first, more=8, rng=rng, uncertainty=uncertainty)
        times[np.concatenate([first, second.rows])] += 1
    p = second.probabilities
    assert p.sum() == pytest.approx(16)
    assert np.all(np.abs(times / runs - p) < 4.5 * np.sqrt(p * (1 - p) / runs))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "linear", "quadratic"]))
@settings(max_examples=40, deadline=None)
def test_kappa_agrees_with_statsmodels(seed, weighting):
    rng = np.random.default_rng(seed)
    human = rng.choice(3, 80)
    judge = np.where(rng.random(80) < 0.6, human, rng.choice(3, 80))
    rated = Rated(LEVELS[human], LEVELS[judge])
    fit = kappa(rated, levels=LEVELS, alpha=0.05, weighting=weighting)
    theirs = cohens_kappa(confusion(rated, levels=LEVELS), wt=None if weighting == "none" else weighting)
    assert fit.estimate == pytest.approx(theirs.kappa)
    # Ours carries n / (n - 1).
    assert fit.standard_error == pytest.approx(theirs.std_kappa * np.sqrt(80 / 79))


def test_kappas_weights_are_the_values_of_the_levels():
    human, judge = [0.0] * 20 + [0.9] * 20 + [1.0] * 10, [0.0] * 18 + [1.0] * 22 + [0.9] * 10
    # Confusing 0.9 and 1 costs next to nothing: with the ranks 0, 1, 2 it would cost as much as 0 and 0.9.
    rated = Rated(human, judge)
    by_value = kappa(rated, levels=(0.0, 0.9, 1.0), alpha=0.05, weighting="linear").estimate
    table = confusion(rated, levels=(0.0, 0.9, 1.0))
    assert by_value == pytest.approx(cohens_kappa(table, weights=np.array([0.0, 0.9, 1.0]), wt="linear").kappa)
    assert by_value > cohens_kappa(table, wt="linear").kappa


def test_kappas_clustered_error_agrees_with_a_bootstrap_of_clusters():
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(60), 4)
    human = rng.choice(3, 240)
    hard = rng.random(60)[codes] < 0.4
    judge = np.where(~hard | (rng.random(240) < 0.3), human, rng.choice(3, 240))
    fit = kappa(Rated(LEVELS[human], LEVELS[judge], codes), levels=LEVELS, alpha=0.05)
    resampled = []
    for _ in range(2_000):
        rows = (rng.integers(0, 60, 60)[:, None] * 4 + np.arange(4)).ravel()
        table = np.bincount(human[rows] * 3 + judge[rows], minlength=9).reshape(3, 3) / 240
        chance = table.sum(axis=1) @ table.sum(axis=0)
        resampled.append((np.trace(table) - chance) / (1 - chance))
    # A standard deviation of 2,000 draws has an error of 1.6 %; four of them, and the bootstrap's own bias.
    assert fit.standard_error == pytest.approx(np.std(resampled), rel=0.08)
    assert fit.standard_error > 1.15 * kappa(Rated(LEVELS[human], LEVELS[judge]), levels=LEVELS, alpha=0.05).standard_error


@given(st.integers(0, 60), st.integers(1, 60))
def test_raw_agreement_of_independent_items_is_wilsons(same, other):
    rated = Rated([1.0] * (same + other), [1.0] * same + [0.0] * other)
    share = raw_agreement(rated, levels=(0.0, 1.0), alpha=0.05)
    low, high = proportion_confint(same, same + other, method="wilson")
    assert share == pytest.approx((same / (same + other), low, high), abs=1e-9)


def test_raw_agreement_of_clusters_that_go_together_is_that_of_one_item_each():
    # Three copies of each item: as much as one of each, but for the factor that makes a sample variance of 40 items one of 120.
    same = np.random.default_rng(10).random(40) < 0.7
    alone = raw_agreement(Rated(np.ones(40), same.astype(float)), levels=(0.0, 1.0), alpha=0.05)
    copied = raw_agreement(
        Rated(np.ones(120), np.repeat(same, 3).astype(float), np.repeat(np.arange(40), 3)), levels=(0.0, 1.0), alpha=0.05
    )
    assert copied == pytest.approx(alone)


@pytest.mark.parametrize("equal", [True, False])
def test_the_bias_between_arms_agrees_with_paired_t_or_welch(equal):
    rng = np.random.default_rng(11)
    human = rng.random((2, 50))
    judge = human + rng.normal(0.1, 0.1, (2, 50)) + rng.normal(0.0, 0.1, 50)
    gaps = judge - human
    if equal:
        ids = np.arange(50)
        fit = arm_bias(Rated(human[0], judge[0], ids), Rated(human[1], judge[1], ids), alpha=0.05).difference
        expected = paired_t(gaps[1] - gaps[0], alpha=0.05)
        assert fit[:5] == pytest.approx((expected.estimate, expected.low, expected.high, expected.standard_error, expected.df))
    else:
        fit = arm_bias(Rated(human[0], judge[0]), Rated(human[1][:30], judge[1][:30]), alpha=0.05).difference
        welch = stats.ttest_ind(gaps[1][:30], gaps[0], equal_var=False)
        interval = welch.confidence_interval(0.95)
        assert (fit.low, fit.high) == pytest.approx((interval.low, interval.high))
        assert fit.df == pytest.approx(welch.df)


def test_self_agreement_agrees_with_counting_pairs():
    rng = np.random.default_rng(12)
    items, verdicts = rng.integers(0, 30, 100), LEVELS[rng.choice(3, 100, p=[0.1, 0.2, 0.7])]
    groups = [verdicts[items == item] for item in np.unique(items)]
    groups = [group for group in groups if group.size > 1]
    expected = [np.mean([a != b for a, b in itertools.combinations(group, 2)]) for group in groups]
    fit = self_agreement(items, verdicts, alpha=0.05)
    assert fit.disagreement == pytest.approx(np.mean(expected))
    assert fit.flipped.estimate == pytest.approx(np.mean([len(set(group)) > 1 for group in groups]))
    assert fit.n == len(groups)


def test_the_split_agrees_with_the_analysis_of_variance():
    # Balanced, one way: MS between = r * variance of the means; between component = (MS between - MS within) / r.
    rng = np.random.default_rng(13)
    judged = rng.normal(0.0, 0.1, (30, 1)) + rng.normal(0.0, 0.15, (30, 3))
    split = split_noise(judged.mean(axis=1), judged.var(axis=1, ddof=1), np.full(30, 3))
    f = float(stats.f_oneway(*judged).statistic)
    ms_within = float(judged.var(axis=1, ddof=1).mean())
    assert split.judge == pytest.approx(ms_within / 3 / 30)
    assert split.between == pytest.approx((f * ms_within - ms_within) / 3 / 30)
    assert split.total == pytest.approx(f * ms_within / 3 / 30)


def test_the_plans_by_hand():
    # Four queries judged twice: means 0, 0.2, 0.4, 0.6 with variance 0.2 / 3; each single judgment's variance 0.04.
    split = split_noise([0.0, 0.2, 0.4, 0.6], [0.04] * 4, [2] * 4)
    assert (split.total, split.judge) == pytest.approx((0.2 / 3 / 4, 0.04 / 2 / 4))
    assert split.between == pytest.approx(0.2 / 3 / 4 - 0.02 / 4)
    twice = compare_doublings(split, alpha=0.05, power=0.8)
    t3, t7 = 3.182446, 2.364624
    judgments, queries = split.between + split.judge / 2, split.total / 2
    assert twice.now.half_width == pytest.approx(t3 * np.sqrt(split.total))
    assert twice.twice_the_judgments.half_width == pytest.approx(t3 * np.sqrt(judgments))
    assert twice.twice_the_queries.half_width == pytest.approx(t7 * np.sqrt(queries))
    assert (twice.now.judgments, twice.twice_the_judgments.judgments, twice.twice_the_queries.judgments) == (8, 16, 16)
    assert twice.twice_the_queries.mde == pytest.approx(mde(np.sqrt(queries), 7, alpha=0.05, power=0.8))
    three = planned_precision(split, queries=3, judgments=0.5, alpha=0.05, power=0.8)
    assert three.half_width == pytest.approx(stats.t.isf(0.025, 11) * np.sqrt((split.between + 2 * split.judge) / 3))


def test_worst_case_bounds_agree_with_every_way_to_fill_the_gaps():
    control = np.array([0.2, np.nan, 0.5, 0.9, 0.4])
    treatment = np.array([0.4, 0.6, np.nan, 1.0, np.nan])
    estimates = []
    for a, b, c in itertools.product([0.0, 0.3, 1.0], repeat=3):
        left, right = control.copy(), treatment.copy()
        left[1], right[2], right[4] = a, b, c
        estimates.append((right - left).mean())
    bounds = worst_case(control, treatment, low=0.0, high=1.0, alpha=0.05)
    assert (bounds.worst.estimate, bounds.best.estimate) == pytest.approx((min(estimates), max(estimates)))
    # Apart by the range times the share missing in control and in treatment.
    assert bounds.best.estimate - bounds.worst.estimate == pytest.approx(1 / 5 + 2 / 5)
    assert (bounds.missing_control, bounds.missing_treatment) == (1, 2)
