"""The standardised kernel distance against its definition, and its promises: no growth with n, users kept together."""

import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.alpha_spending import spent_at
from ragtrial.stats.two_sample import KernelDistance, kernel_distance


def unit_rows(rng, n, *, shift=0.0, share=1.0, dimension=48):
    rows = rng.normal(size=(n, dimension)) * np.linspace(1.0, 0.2, dimension)
    rows[:, 0] += 1.0
    rows[rng.random(n) < share, 1] += shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def distance(first, second, *, clusters=None, alpha=0.05, **more) -> KernelDistance:
    of = (np.arange(len(first)), np.arange(len(second)) + len(first)) if clusters is None else clusters
    return kernel_distance(first, second, reference_clusters=of[0], later_clusters=of[1], alpha=alpha, **more)


def by_definition(first, second, first_clusters, second_clusters):
    """MMD^2 over the variance within, pair by pair."""
    apart = [np.linalg.norm(a - b) for i, a in enumerate(first.astype(float)) for b in first[:i].astype(float)]
    width = np.median(apart)

    def mean(left, right, left_of, right_of):
        values = [
            np.exp(-float(((a.astype(float) - b.astype(float)) ** 2).sum()) / (2 * width**2))
            for a, u in zip(left, left_of, strict=True)
            for b, v in zip(right, right_of, strict=True)
            if u != v
        ]
        return np.mean(values)

    xx = mean(first, first, first_clusters, first_clusters)
    yy = mean(second, second, second_clusters, second_clusters)
    squared = xx + yy - 2 * mean(first, second, first_clusters, second_clusters)
    return squared, squared / (1 - (xx + yy) / 2)


def test_it_is_what_its_definition_says_pair_by_pair():
    rng = np.random.default_rng(1)
    first, second = unit_rows(rng, 30), unit_rows(rng, 24, shift=1.5)
    clusters = rng.integers(0, 12, 30), rng.integers(6, 20, 24)
    found = distance(first, second, clusters=clusters)
    squared, standardised = by_definition(first, second, *clusters)
    assert found.squared == pytest.approx(squared, rel=1e-5)
    assert found.estimate == pytest.approx(np.sqrt(standardised), rel=1e-5)
    means = first.mean(axis=0), second.mean(axis=0)
    assert found.centroid_cosine == pytest.approx(means[0] @ means[1] / np.prod([np.linalg.norm(m) for m in means]), rel=1e-5)


def test_the_jackknife_is_what_leaving_out_each_cluster_gives():
    rng = np.random.default_rng(2)
    first, second = unit_rows(rng, 30), unit_rows(rng, 30, shift=2.0)
    of = np.arange(30) // 2, np.arange(30) // 2 + 8  # 15 clusters each, 7 of them in both
    found = distance(first, second, clusters=of)
    width = found.bandwidth
    rows, sides = np.concatenate([first, second]).astype(float), np.repeat([0, 1], 30)
    codes = np.concatenate(of)
    kernel = np.exp(-((rows[:, None] - rows[None]) ** 2).sum(axis=2) / (2 * width**2))

    def ratio(kept):
        apart = codes[:, None] != codes[None]
        of_sides = [
            kernel[np.ix_(kept & (sides == a), kept & (sides == b))][apart[np.ix_(kept & (sides == a), kept & (sides == b))]].mean()
            for a, b in ((0, 0), (1, 1), (0, 1))
        ]
        return (of_sides[0] + of_sides[1] - 2 * of_sides[2]) / (1 - (of_sides[0] + of_sides[1]) / 2)

    names = np.unique(codes)
    full = ratio(np.ones(60, dtype=bool))
    error = np.sqrt(sum((ratio(codes != name) - full) ** 2 for name in names) * (len(names) - 1) / len(names))
    from scipy.stats import t

    half = t.ppf(0.975, 15 + 15 - 2) * error
    assert found.low == pytest.approx(np.sign(full - half) * np.sqrt(abs(full - half)), rel=1e-4)
    assert found.high == pytest.approx(np.sqrt(full + half), rel=1e-4)


def test_the_effect_does_not_grow_with_n_while_the_evidence_does():
    rng = np.random.default_rng(3)
    effects, widths, cosines = [], [], []
    for n, repetitions in ((80, 30), (320, 8), (1280, 2)):
        found = [distance(unit_rows(rng, n), unit_rows(rng, n, shift=2.0)) for _ in range(repetitions)]
        effects.append(np.mean([each.estimate for each in found]))
        widths.append(np.mean([each.high - each.low for each in found]))
        cosines.append(np.mean([distance(unit_rows(rng, n), unit_rows(rng, n)).centroid_cosine for _ in range(2)]))
    assert max(effects) / min(effects) < 1.05
    assert widths[0] > 1.7 * widths[1] > 1.7 * 1.7 * widths[2]
    assert cosines[0] < cosines[1] < cosines[2]  # the cosine of centroids does grow, with nothing drifting: it decides nothing


def test_a_share_of_foreign_queries_counts_in_proportion():
    rng = np.random.default_rng(4)
    whole, half = (
        np.mean([distance(unit_rows(rng, 400), unit_rows(rng, 400, shift=3.0, share=share)).estimate for _ in range(6)])
        for share in (1.0, 0.5)
    )
    assert half / whole == pytest.approx(0.5, abs=0.06)


def test_users_with_a_subject_of_their_own_are_no_drift():
    """Every user asks ten like queries: pairs of one user would make any two windows look alike within and different between."""
    rng = np.random.default_rng(5)
    covered = naive = 0
    for _ in range(40):
        users = unit_rows(rng, 80)
        rows = np.repeat(users, 10, axis=0) + 0.05 * rng.normal(size=(800, 48))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        of = np.repeat(np.arange(40), 10)
        found = distance(rows[:400], rows[400:], clusters=(of, of + 40))
        covered += found.low <= 0.0
        naive += distance(rows[:400], rows[400:]).low > 0.0
    assert covered >= 36
    assert naive >= 36


def test_the_permutation_p_value_is_uniform_without_drift_and_small_with_it():
    rng = np.random.default_rng(6)
    found = [distance(unit_rows(rng, 60), unit_rows(rng, 60), resamples=99, rng=rng).p_value for _ in range(200)]
    assert np.mean(np.array(found) <= 0.1) <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 200)
    assert np.mean(found) == pytest.approx(0.5, abs=0.09)
    assert distance(unit_rows(rng, 60), unit_rows(rng, 60, shift=3.0), resamples=99, rng=rng).p_value == 0.01


@pytest.mark.parametrize(
    ("first", "second", "clusters", "message"),
    [
        (np.eye(5, 8), np.eye(12, 8), None, "5 and 12 vectors: at least 10"),
        (np.ones((20, 4)) / 2, np.ones((20, 4)) / 2, None, "most texts of the reference are the same"),
        (np.eye(20), np.eye(20), (np.zeros(20), np.arange(20)), "worth 1.0 and 20.0 clusters"),
    ],
)
def test_what_can_not_be_told_has_a_reason(first, second, clusters, message):
    with pytest.raises(NotEnoughDataError, match=message):
        distance(first.astype(np.float32), second.astype(np.float32), clusters=clusters)


def test_all_looks_together_spend_no_more_than_alpha():
    spent = np.cumsum([spent_at(look, alpha=0.05) for look in range(1, 20_001)])
    assert spent[0] == pytest.approx(0.05 * 0.4933, rel=1e-3)  # 1 / (2.1097 x 2 x ln^2 2)
    assert spent[-1] < 0.05
    # the rest of the series is about its integral, 1 / ln(20001.5)
    assert spent[-1] + 0.05 / 2.1097428 / np.log(20_001.5) == pytest.approx(0.05, rel=1e-4)
