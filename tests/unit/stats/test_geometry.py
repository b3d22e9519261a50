"""Shapes of vectors against scikit-learn, scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, silhouette_samples

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.geometry import (
    alignment,
    anisotropy,
    coherence,
    effective_dimension,
    neighbour_overlap,
    rank_correlation,
    separation,
    separation_change,
    uniformity,
)


def unit(n: int, dimension: int = 8, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_separation_of_term_pairs_is_scikit_learns_area_under_the_curve() -> None:
    rng = np.random.default_rng(1)
    near, far = rng.normal(0.6, 0.3, 14), rng.normal(0.3, 0.3, 19)
    found = separation(near, far, alpha=0.05)
    assert found.auc == pytest.approx(roc_auc_score([1] * 14 + [0] * 19, np.concatenate([near, far])))
    assert found.low < found.auc < found.high
    assert found.near_wrong.sum() == found.far_wrong.sum() == np.sum(near[:, None] <= far[None, :])


def test_the_interval_is_newcombes_method_5() -> None:
    """theta at the ends solves |AUC - theta| = z sqrt(V(theta)); with 10 near and 10 far pairs all right the upper end is 1."""
    found = separation(np.linspace(0.7, 0.9, 10), np.linspace(0.1, 0.3, 10), alpha=0.05)
    assert (found.auc, found.high) == (1.0, 1.0)
    t, star = found.low, 9.0
    variance = t * (1 - t) / 100 * (1 + star * ((1 - t) / (2 - t) + t / (1 + t)))
    assert 1.0 - t == pytest.approx(stats.norm.isf(0.025) * np.sqrt(variance), abs=1e-6)
    assert 0.6 < t < 0.9


def test_newcombes_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal scores 1 apart: AUC is Phi(1 / sqrt 2) = 0.7602."""
    rng, truth, hits = np.random.default_rng(2), float(stats.norm.cdf(1 / np.sqrt(2))), 0
    for _ in range(400):
        found = separation(rng.normal(1, 1, 15), rng.normal(0, 1, 15), alpha=0.05)
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 400 <= 0.995


def test_one_pair_of_a_kind_gives_a_reason_and_no_number() -> None:
    with pytest.raises(NotEnoughDataError, match="1 near and 3 far pairs"):
        separation([0.5], [0.1, 0.2, 0.3], alpha=0.05)


def test_models_that_order_all_pairs_alike_have_no_interval_of_the_change() -> None:
    near, far = [0.8, 0.9], [0.1, 0.2]
    with pytest.raises(NotEnoughDataError, match="the same change"):
        separation_change((near, near), (far, far), alpha=0.05, resamples=100, rng=np.random.default_rng(0))


def test_the_change_of_separation_is_that_of_both_areas() -> None:
    near, far = ([0.2, 0.6, 0.7], [0.8, 0.9, 0.7]), ([0.5, 0.3, 0.65], [0.1, 0.2, 0.3])
    found = separation_change(near, far, alpha=0.05, resamples=200, rng=np.random.default_rng(0))
    before = roc_auc_score([1, 1, 1, 0, 0, 0], [*near[0], *far[0]])
    assert found.estimate == pytest.approx(1.0 - before)
    assert found.low <= found.estimate <= found.high


def test_silhouette_and_similarities_of_groups_are_scikit_learns_and_numpys() -> None:
    rows, labels = unit(30, seed=3), np.array(["a", "b", "c"] * 10)
    found = coherence(rows, labels)
    assert found.silhouette == pytest.approx(silhouette_samples(rows, labels, metric="cosine"))
    cosines = rows @ rows.T
    same = labels[:, None] == labels[None, :]
    inside = [cosines[np.ix_(labels == name, labels == name)][np.triu_indices(10, 1)].mean() for name in "abc"]
    assert found.within == pytest.approx(np.mean(inside))
    assert found.between == pytest.approx(cosines[~same].mean())


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([], "every group is empty"), (["a"] * 4, "one group 'a'"), (["a", "a", "a", "b"], "'b' has a single member")],
)
def test_an_empty_a_single_and_a_one_member_cluster_are_reasons_and_never_numbers(labels: list[str], reason: str) -> None:
    with pytest.raises(NotEnoughDataError, match=reason):
        coherence(unit(len(labels)) if labels else np.empty((0, 8)), labels)


def test_alignment_is_two_minus_twice_the_cosine() -> None:
    left, right = unit(6, seed=4), unit(6, seed=5)
    assert alignment(left, right) == pytest.approx(2 - 2 * (left * right).sum(axis=1))
    assert alignment(left, left) == pytest.approx(np.zeros(6))


def test_uniformity_and_anisotropy_are_means_over_all_pairs_of_different_texts() -> None:
    rows = unit(25, seed=6)
    pairs = (rows @ rows.T)[np.triu_indices(25, 1)]
    assert anisotropy(rows).mean() == pytest.approx(pairs.mean())
    assert uniformity(rows).mean() == pytest.approx(np.log(np.exp(-2 * (2 - 2 * pairs)).mean()))


def test_the_spread_of_anisotropys_shares_is_the_error_of_the_mean_cosine() -> None:
    """Directions around a mean of length m have mean cosine m^2; the t error from one sample meets the spread over samples."""
    rng = np.random.default_rng(7)

    def sample() -> np.ndarray:
        rows = rng.normal(size=(80, 6)) + np.array([1.0, 0, 0, 0, 0, 0])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    shares = [anisotropy(sample()) for _ in range(200)]
    spread = np.std([each.mean() for each in shares])
    assert np.mean([stats.sem(each) for each in shares]) == pytest.approx(spread, rel=0.2)


def test_the_effective_dimension_counts_equal_directions() -> None:
    axes = np.vstack([np.eye(4), -np.eye(4)])
    assert effective_dimension(axes) == pytest.approx(4.0)
    line = np.array([[1.0, 0], [-1.0, 0], [1.0, 0]])
    assert effective_dimension(line) == pytest.approx(1.0)
    with pytest.raises(NotEnoughDataError, match="the same"):
        effective_dimension(np.ones((3, 4)) / 2)


def test_neighbours_of_a_turned_space_are_all_kept_and_of_another_space_few() -> None:
    rows = unit(40, seed=8)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(8, 8)))[0]
    assert neighbour_overlap(rows, rows @ turn, k=5).tolist() == [1.0] * 40
    assert neighbour_overlap(rows, unit(40, seed=10), k=5).mean() < 0.4
    with pytest.raises(NotEnoughDataError, match="neighbourhoods of 5"):
        neighbour_overlap(rows[:5], rows[:5], k=5)


def test_the_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(11)
    a = rng.normal(size=30)
    b = a + rng.normal(size=30)
    found = rank_correlation(a, b, alpha=0.05, resamples=500, rng=rng)
    assert found.estimate == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low < found.estimate < found.high
    with pytest.raises(NotEnoughDataError, match="no order"):
        rank_correlation(np.ones(6), b[:6], alpha=0.05, resamples=10, rng=rng)
