import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.agreement import Rated, arm_bias, confusion, kappa, raw_agreement, self_agreement
from ragtrial.stats.judge_noise import compare_doublings, planned_precision, split_noise
from ragtrial.stats.labelling import items_to_label, planned_half_width
from ragtrial.stats.missing import worst_case
from ragtrial.stats.paired import paired_t
from ragtrial.stats.prediction_powered import Labels, corrected_difference, corrected_mean

LEVELS = (0.0, 0.5, 1.0)


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def judged_rows(seed=7, n=120, labelled=40):
    draw = rng(seed)
    human = draw.random(n)
    judged = 0.2 + 0.6 * human + draw.normal(0, 0.1, n)
    rows = draw.choice(n, labelled, replace=False)
    return judged, Labels(rows, human[rows])


@given(st.integers(0, 2**32 - 1), st.integers(-8, 8))
@settings(max_examples=30, deadline=None)
def test_a_bias_of_the_judge_moves_nothing(seed, k):
    judged, labels = judged_rows(seed)
    assert corrected_mean(judged + k / 4, labels, alpha=0.05) == pytest.approx(corrected_mean(judged, labels, alpha=0.05), rel=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_swapping_the_arms_mirrors_the_corrected_difference(seed):
    judged, labels = judged_rows(seed)
    other, others = judged_rows(seed + 1)
    there, back = (
        corrected_difference(judged, other, labels, others, alpha=0.05),
        corrected_difference(other, judged, others, labels, alpha=0.05),
    )
    assert (back.difference.estimate, back.difference.low, back.difference.high) == pytest.approx(
        (-there.difference.estimate, -there.difference.high, -there.difference.low)
    )
    assert there.control == corrected_mean(judged, labels, alpha=0.05)
    assert there.difference.weight is None
    assert (there.difference.n_labelled, there.difference.n_unlabelled) == (80, 160)


def test_equal_probabilities_are_none_and_each_row_its_own_cluster_is_none():
    judged, labels = judged_rows()
    plain = corrected_mean(judged, labels, alpha=0.05)
    assert corrected_mean(judged, labels._replace(probabilities=np.full(40, 1 / 3)), alpha=0.05) == pytest.approx(plain)
    assert corrected_mean(judged, labels, alpha=0.05, clusters=[f"row {i}" for i in range(120)]) == pytest.approx(plain)
    assert (plain.n_labelled, plain.n_unlabelled) == (40, 80)
    assert 0 < plain.label_error < plain.standard_error
    assert plain.weight is not None
    assert 0 <= plain.weight <= 1


def test_a_judge_that_says_the_same_of_all_is_not_listened_to():
    _, labels = judged_rows()
    fit = corrected_mean(np.full(120, 0.5), labels, alpha=0.05)
    alone = paired_t(labels.values, alpha=0.05)
    assert fit.weight == 0
    assert (fit.low, fit.high) == pytest.approx((alone.low, alone.high))


def test_a_judge_that_says_the_opposite_is_not_listened_to():
    judged, labels = judged_rows()
    assert corrected_mean(1 - judged, labels, alpha=0.05).weight == 0


def test_too_few_labels_give_no_number():
    judged, labels = judged_rows(labelled=19)
    with pytest.raises(NotEnoughDataError, match="at least 20 human labels are needed to hold the judge against, and there are 19"):
        corrected_mean(judged, labels, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="there are 0"):
        corrected_mean(judged, Labels([], []), alpha=0.05)
    enough = judged_rows()
    with pytest.raises(NotEnoughDataError, match="there are 19"):
        corrected_difference(judged, enough[0], labels, enough[1], alpha=0.05)


@pytest.mark.parametrize("odd", [0, 1])
def test_a_judge_that_people_hardly_contradict_gives_no_number(odd):
    judged, labels = judged_rows()
    human = judged[np.asarray(labels.rows)] - 0.1
    human[:odd] += 0.5
    with pytest.raises(NotEnoughDataError, match=f"all but {odd} of 40 labels"):
        corrected_mean(judged, Labels(labels.rows, human), alpha=0.05)
    human[:2] += [0.25, 0.3]
    assert corrected_mean(judged, Labels(labels.rows, human), alpha=0.05).standard_error > 0


def test_few_clusters_or_a_few_heavy_labels_give_no_number():
    judged, labels = judged_rows()
    with pytest.raises(NotEnoughDataError, match="equal clusters, and at least 10 are needed"):
        corrected_mean(judged, labels, alpha=0.05, clusters=np.arange(120) % 5)
    chances = np.append([0.001] * 4, [1.0] * 36)
    with pytest.raises(NotEnoughDataError, match=r"worth 4\.\d equal clusters"):
        corrected_mean(judged, labels._replace(probabilities=chances), alpha=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.arange(39)}, "must have one shape"),
        ({"rows": np.append(np.arange(39), 0)}, "names a row twice"),
        ({"rows": np.append(np.arange(39), 120)}, "between 0 and 119; found 0 to 120"),
        ({"rows": np.append(np.arange(39), -1)}, "found -1 to 38"),
        ({"rows": np.arange(40) + 0.5}, "whole positions"),
        ({"values": np.full(40, np.nan)}, "not finite"),
        ({"probabilities": np.zeros(40)}, r"must lie in \(0, 1\]"),
        ({"probabilities": np.full(40, 1.1)}, r"must lie in \(0, 1\]"),
        ({"probabilities": np.ones(3)}, "one value for each of the 40 labelled rows"),
    ],
)
def test_labels_that_cannot_be_are_refused(change, message):
    judged, labels = judged_rows()
    with pytest.raises(ValueError, match=message):
        corrected_mean(judged, labels._replace(**change), alpha=0.05)


def test_arms_of_other_queries_are_refused():
    judged, labels = judged_rows()
    with pytest.raises(ValueError, match="must answer the same queries"):
        corrected_difference(judged, judged[:-1], labels, labels, alpha=0.05)


def test_more_labels_are_planned_narrower_down_to_all_of_them():
    fit = corrected_mean(*judged_rows(), alpha=0.05)
    assert planned_half_width(fit, more=0, alpha=0.05) == pytest.approx((fit.high - fit.low) / 2)
    widths = [planned_half_width(fit, more=more, alpha=0.05) for more in (0, 10, 40, 80)]
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(NotEnoughDataError, match="only 80 rows have no label"):
        planned_half_width(fit, more=81, alpha=0.05)
    with pytest.raises(ValueError, match="'more'"):
        planned_half_width(fit, more=-1, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="plan fewer"):
        planned_half_width(fit._replace(standard_error=fit.label_error / 2), more=80, alpha=0.05)


@given(st.integers(0, 2**32 - 1), st.integers(8, 60), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_label_plan_names_new_rows_and_a_chance_for_every_row(seed, more, closed, unsure):
    draw = rng(seed)
    judged = draw.choice(LEVELS, 100) if closed else draw.random(100)
    done = draw.choice(100, 30, replace=False)
    uncertainty = draw.random(100) if unsure else None
    plan = items_to_label(judged, done, more=more, rng=rng(seed), uncertainty=uncertainty)
    assert plan.rows.size == more
    assert not set(plan.rows.tolist()) & set(done.tolist())
    assert np.unique(plan.rows).size == more
    assert np.all((plan.probabilities > 0) & (plan.probabilities <= 1))
    assert plan.probabilities.sum() == pytest.approx(30 + more)
    assert np.array_equal(plan.rows, items_to_label(judged, done, more=more, rng=rng(seed), uncertainty=uncertainty).rows)


def test_without_uncertainty_chances_are_even_and_a_judge_that_is_always_sure_changes_nothing():
    judged = rng().random(100)
    plan = items_to_label(judged, [], more=40, rng=rng())
    assert plan.probabilities == pytest.approx(np.full(100, 0.4))
    assert items_to_label(judged, [], more=40, rng=rng(), uncertainty=np.zeros(100)).probabilities == pytest.approx(np.full(100, 0.4))


def test_all_rows_can_be_asked_for_and_no_more():
    assert items_to_label(np.arange(9.0), [3], more=8, rng=rng()).rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    with pytest.raises(NotEnoughDataError, match="only 8 of the 9 rows"):
        items_to_label(np.arange(9.0), [3], more=9, rng=rng())


def test_a_plan_that_cannot_reach_every_stratum_is_refused():
    with pytest.raises(NotEnoughDataError, match="ask for at least 8"):
        items_to_label(np.arange(100.0), [], more=7, rng=rng())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"more": 0}, "'more'"),
        ({"labelled": [100]}, "'labelled'"),
        ({"labelled": [1, 1]}, "twice"),
        ({"labelled": [0.5]}, "'labelled'"),
        ({"uncertainty": np.full(100, -1.0)}, "'uncertainty'"),
        ({"uncertainty": np.ones(3)}, "'uncertainty'"),
    ],
)
def test_label_plans_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        items_to_label(np.arange(100.0), **{"labelled": [], "more": 20, "rng": rng(), **arguments})


def rated(seed=7, n=60):
    draw = rng(seed)
    human = draw.choice(LEVELS, n)
    return Rated(human, np.where(draw.random(n) < 0.7, human, draw.choice(LEVELS, n)))


def test_a_confusion_matrix_has_people_in_rows():
    assert confusion(Rated([0, 0, 1, 0.5], [0, 1, 1, 1]), levels=LEVELS).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert confusion(Rated([], []), levels=LEVELS).sum() == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "linear", "quadratic"]))
@settings(max_examples=30, deadline=None)
def test_kappa_does_not_ask_who_is_who_and_stays_within_its_range(seed, weighting):
    one = rated(seed)
    there = kappa(one, levels=LEVELS, alpha=0.05, weighting=weighting)
    back = kappa(Rated(one.judge, one.human), levels=LEVELS, alpha=0.05, weighting=weighting)
    assert back == pytest.approx(there)
    assert -1 < there.low < there.estimate < there.high < 1


def test_full_agreement_has_a_share_with_an_interval_and_no_kappa():
    same = Rated([0.0, 1.0] * 20, [0.0, 1.0] * 20)
    share = raw_agreement(same, levels=LEVELS, alpha=0.05)
    assert share.estimate == 1
    # Wilson: n / (n + z^2) with n = 40.
    assert share.low == pytest.approx(40 / (40 + 1.959964**2))
    with pytest.raises(NotEnoughDataError, match="agree on all 40 items"):
        kappa(same, levels=LEVELS, alpha=0.05)
    # In ten clusters nothing shows but that ten agree.
    clustered = raw_agreement(same._replace(clusters=np.arange(40) // 4), levels=LEVELS, alpha=0.05)
    assert clustered.low == pytest.approx(10 / (10 + 1.959964**2))


def test_agreement_without_enough_items_has_no_value():
    with pytest.raises(NotEnoughDataError, match="0 items"):
        raw_agreement(Rated([], []), levels=LEVELS, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="at least 20 items"):
        kappa(rated(n=19), levels=LEVELS, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="equal clusters"):
        kappa(rated()._replace(clusters=np.arange(60) % 4), levels=LEVELS, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="without any variance"):
        kappa(Rated([0.0, 1.0] * 20, [1.0, 0.0] * 20), levels=LEVELS, alpha=0.05)


@pytest.mark.parametrize(
    ("items", "levels", "message"),
    [
        (Rated([0.0, 0.3], [0.0, 0.5]), LEVELS, "'human' must hold only the levels"),
        (Rated([0.0, 0.5], [0.0, 0.7]), LEVELS, "'judge' must hold only the levels"),
        (Rated([0.0], [0.0, 0.5]), LEVELS, "must be of the same items"),
        (Rated([0.0], [0.0]), (0.0,), "at least 2 ascending"),
        (Rated([0.0], [0.0]), (1.0, 0.0), "at least 2 ascending"),
    ],
)
def test_verdicts_off_the_scale_are_refused(items, levels, message):
    with pytest.raises(ValueError, match=message):
        confusion(items, levels=levels)


def test_the_bias_of_an_arm_is_judge_minus_human():
    draw = rng()
    human = draw.random(60)
    fair = Rated(human, human + draw.normal(0, 0.05, 60), np.arange(60))
    lenient = fair._replace(judge=np.asarray(fair.judge) + 0.2 + draw.normal(0, 0.01, 60))
    found = arm_bias(fair, lenient, alpha=0.05)
    assert found.control.low < 0 < found.control.high
    assert found.difference.low < 0.2 < found.difference.high
    assert found.difference.high - found.difference.low < found.treatment.high - found.treatment.low
    with pytest.raises(ValueError, match="either both arms name 'clusters'"):
        arm_bias(fair, lenient._replace(clusters=None), alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="human labels"):
        arm_bias(fair, Rated([1.0], [1.0], [0]), alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="don't vary between clusters"):
        arm_bias(fair, fair, alpha=0.05)


def test_a_judge_flips_on_an_item_or_does_not():
    found = self_agreement(["a", "a", "a", "b", "b", "c"], [1.0, 1.0, 0.5, 0.0, 0.0, 1.0], alpha=0.05)
    assert (found.flipped.estimate, found.n, found.once) == (0.5, 2, 1)
    # a: two of three pairs differ; b: none.
    assert found.disagreement == pytest.approx((2 / 3 + 0) / 2)
    with pytest.raises(NotEnoughDataError, match="none of the 2 items was judged twice"):
        self_agreement(["a", "b"], [1.0, 1.0], alpha=0.05)


def test_a_judge_that_never_flips_still_has_an_interval():
    found = self_agreement(np.repeat(np.arange(50), 2), np.ones(100), alpha=0.05)
    assert (found.flipped.estimate, found.disagreement) == (0, 0)
    assert 0.05 < found.flipped.high < 0.1


def test_noise_beyond_what_was_seen_is_clipped_and_said():
    split = split_noise([0.0, 0.1, 0.2], [1.0, 1.0, 1.0], [2, 2, 2])
    assert (split.between, split.clipped) == (0, True)
    assert split.judge > split.total
    now = planned_precision(split, queries=1, judgments=1, alpha=0.05, power=0.8)
    # Not wider than what was seen: the total is planned with.
    assert now.half_width == pytest.approx(4.302653 * np.sqrt(split.total))


def test_a_query_judged_once_takes_the_noise_of_the_others():
    split = split_noise([0.0, 0.3, 0.6], [0.02, 0.04, np.nan], [2, 3, 1])
    pooled = (1 * 0.02 + 2 * 0.04) / 3
    assert split.judge == pytest.approx((0.02 / 2 + 0.04 / 3 + pooled) / 3 / 3)
    assert split.judgments == 6
    with pytest.raises(NotEnoughDataError, match="judged once"):
        split_noise([0.0, 0.3, 0.6], [0.0, 0.0, 0.0], [1, 1, 1])


@given(st.lists(st.integers(0, 16), min_size=4, max_size=20), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_per_judgment_more_queries_never_lose(tenths, seed):
    differences = rng(seed).normal(0, 0.1, len(tenths))
    found = compare_doublings(split_noise(differences, np.array(tenths) / 100, np.full(len(tenths), 3)), alpha=0.05, power=0.8)
    assert found.twice_the_queries.half_width < found.twice_the_judgments.half_width <= found.now.half_width
    assert found.twice_the_queries.judgments == found.twice_the_judgments.judgments
    assert 0 <= found.share_of_gain < 1


def test_clusters_make_the_split_that_of_the_clustered_error():
    differences = np.repeat([0.0, 0.2, 0.5, 0.7], 3) + np.tile([0.0, 0.01, 0.02], 4)
    clusters = np.repeat(np.arange(4), 3)
    split = split_noise(differences, np.full(12, 0.01), np.full(12, 2), clusters=clusters)
    assert split.total == pytest.approx(paired_t(differences, alpha=0.05, clusters=clusters).standard_error ** 2)
    assert split.df == 3


@pytest.mark.parametrize(
    ("variances", "counts", "message"),
    [
        ([0.1, 0.1], [2, 2, 2], "'within_variances'"),
        ([0.1, -0.1, 0.1], [2, 2, 2], "0 or above"),
        ([0.1, np.nan, 0.1], [2, 2, 2], "not finite"),
        ([0.1, 0.1, 0.1], [2, 2], "'counts'"),
        ([0.1, 0.1, 0.1], [2, 2.5, 2], "'counts'"),
        ([0.1, 0.1, 0.1], [2, 0, 2], "'counts'"),
    ],
)
def test_noise_that_cannot_be_is_refused(variances, counts, message):
    with pytest.raises(ValueError, match=message):
        split_noise([0.0, 0.1, 0.2], variances, counts)


def test_plans_that_cannot_be_are_refused():
    split = split_noise([0.0, 0.1, 0.3], [0.01] * 3, [2] * 3)
    with pytest.raises(ValueError, match="'queries'"):
        planned_precision(split, queries=0, judgments=1, alpha=0.05, power=0.8)
    with pytest.raises(ValueError, match="'judgments'"):
        planned_precision(split, queries=1, judgments=-1, alpha=0.05, power=0.8)
    with pytest.raises(NotEnoughDataError, match="fewer than 2"):
        planned_precision(split, queries=0.5, judgments=1, alpha=0.05, power=0.8)


def test_with_nothing_missing_the_bounds_meet_at_the_paired_interval():
    control, treatment = rng().random((2, 50))
    bounds = worst_case(control, treatment, low=0.0, high=1.0, alpha=0.05)
    assert bounds.worst == bounds.best == paired_t(treatment - control, alpha=0.05)
    assert (bounds.missing_control, bounds.missing_treatment) == (0, 0)


def test_a_query_missing_in_both_arms_may_be_anything():
    bounds = worst_case([0.5, 0.5, np.nan], [0.5, 0.6, np.nan], low=0.0, high=1.0, alpha=0.05)
    assert (bounds.worst.estimate, bounds.best.estimate) == pytest.approx(((0.1 - 1) / 3, (0.1 + 1) / 3))


@pytest.mark.parametrize(
    ("control", "treatment", "span", "message"),
    [
        ([0.1, 1.2], [0.1, 0.2], (0.0, 1.0), "'control' must lie between 0 and 1"),
        ([0.1, 0.2], [0.1, -np.inf], (0.0, 1.0), "'treatment' must lie between"),
        ([0.1, 0.2], [0.1], (0.0, 1.0), "same queries"),
        ([[0.1]], [0.1], (0.0, 1.0), "shape"),
        ([0.1, 0.2], [0.1, 0.2], (1.0, 1.0), "'low' must lie below 'high'"),
        ([0.1, 0.2], [0.1, 0.2], (0.0, np.inf), "'low' must lie below 'high'"),
    ],
)
def test_scores_outside_of_the_metrics_range_are_refused(control, treatment, span, message):
    with pytest.raises(ValueError, match=message):
        worst_case(control, treatment, low=span[0], high=span[1], alpha=0.05)
