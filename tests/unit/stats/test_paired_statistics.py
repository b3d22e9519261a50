import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.bootstrap import bootstrap_mean
from ragtrial.stats.paired import paired_t, standardised_effect
from ragtrial.stats.permutation import sign_flip

# Multiples of 1/64 add up without rounding, so that equalities hold to the bit or nearly so.
differences = arrays(np.float64, st.integers(2, 60), elements=st.integers(-64, 64).map(lambda k: k / 64)).filter(lambda d: np.ptp(d) > 0)


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(differences)
def test_swapping_the_arms_mirrors_the_interval_and_keeps_the_p(values):
    there, back = paired_t(values, alpha=0.05), paired_t(-values, alpha=0.05)
    assert back.estimate == pytest.approx(-there.estimate)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p_value == pytest.approx(there.p_value)
    assert sign_flip(values, resamples=99, rng=rng()) == sign_flip(-values, resamples=99, rng=rng())


@given(differences, st.integers(-64, 64))
def test_a_shift_moves_the_interval_and_keeps_its_width(values, k):
    shift = k / 64
    before, after = paired_t(values, alpha=0.1), paired_t(values + shift, alpha=0.1)
    assert (after.estimate, after.low, after.high) == pytest.approx((before.estimate + shift, before.low + shift, before.high + shift))
    assert after.standard_error == pytest.approx(before.standard_error)
    ends = bootstrap_mean(values, alpha=0.1, resamples=200, rng=rng())
    moved = bootstrap_mean(values + shift, alpha=0.1, resamples=200, rng=rng())
    assert moved == pytest.approx((ends.low + shift, ends.high + shift))


@given(differences, st.data())
def test_the_order_of_the_queries_does_not_matter(values, data):
    order = data.draw(st.permutations(range(values.size)))
    clusters = np.array([f"document-{i % 4}" for i in range(values.size)])
    assert paired_t(values[order], alpha=0.05)[:6] == pytest.approx(paired_t(values, alpha=0.05)[:6])
    try:
        expected = paired_t(values, alpha=0.05, clusters=clusters)
    except NotEnoughDataError:
        with pytest.raises(NotEnoughDataError):
            paired_t(values[order], alpha=0.05, clusters=clusters[order])
    else:
        assert paired_t(values[order], alpha=0.05, clusters=clusters[order])[:6] == pytest.approx(expected[:6])


@given(differences)
def test_one_query_a_cluster_is_no_clustering(values):
    alone = [f"document-{i}" for i in range(values.size)]
    plain, clustered = paired_t(values, alpha=0.05), paired_t(values, alpha=0.05, clusters=alone)
    assert clustered[:6] == pytest.approx(plain[:6])
    assert (plain.n_clusters, clustered.n_clusters) == (None, values.size)


@given(differences)
def test_the_interval_excludes_zero_exactly_where_p_is_below_alpha(values):
    fit = paired_t(values, alpha=0.05)
    if abs(fit.p_value - 0.05) > 1e-9:
        assert (fit.low > 0 or fit.high < 0) == (fit.p_value < 0.05)
    assert fit.low <= fit.estimate <= fit.high
    assert fit.standard_error > 0


@given(differences)
@settings(max_examples=50)
def test_a_p_value_is_never_zero_and_an_interval_lies_within_the_data(values):
    assert 1 / 100 <= sign_flip(values, resamples=99, rng=rng()).p_value <= 1 if np.any(values) else True
    low, high = bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng())
    assert values.min() <= low <= high <= values.max()


@pytest.mark.parametrize("constant", [0.0, 0.25, -0.1])
def test_identical_differences_have_no_interval(constant):
    values = np.full(50, constant)
    for interval in (
        lambda: paired_t(values, alpha=0.05),
        lambda: bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng()),
        lambda: standardised_effect(values),
    ):
        with pytest.raises(NotEnoughDataError, match="every one of the 50 queries got the same difference"):
            interval()


def test_differences_that_are_identical_up_to_rounding_have_no_interval():
    # 0.3 - 0.2, 0.4 - 0.3 and 0.9 - 0.8 are three different floats, and one number.
    values = np.array([0.3, 0.4, 0.9]) - np.array([0.2, 0.3, 0.8])
    assert np.ptp(values) > 0
    with pytest.raises(NotEnoughDataError, match="same difference"):
        paired_t(values, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="same difference"):
        bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng())


def test_differences_that_are_zero_up_to_rounding_are_nothing_to_test():
    with pytest.raises(NotEnoughDataError, match="0 in every one of the 3 queries"):
        sign_flip(np.array([0.1 + 0.2 - 0.3, 0.0, 0.0]), resamples=99, rng=rng())


def test_equal_differences_can_still_be_flipped():
    # All 2^20 sign vectors but two give a smaller sum, so that about none of 999 does as well: p = 1 / 1000.
    assert sign_flip(np.full(20, 0.1), resamples=999, rng=rng()).p_value == pytest.approx(0.001, abs=1e-12)


def test_clusters_whose_means_are_equal_have_no_interval_even_where_queries_differ():
    values, clusters = np.array([1.0, -1.0, 1.0, -1.0]), ["a", "a", "b", "b"]
    with pytest.raises(NotEnoughDataError, match="every one of the 2 clusters got the same mean difference"):
        paired_t(values, alpha=0.05, clusters=clusters)
    with pytest.raises(NotEnoughDataError, match="2 clusters"):
        bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng(), clusters=clusters)
    with pytest.raises(NotEnoughDataError, match="0 in every one of the 2 clusters"):
        sign_flip(values, resamples=99, rng=rng(), clusters=clusters)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_queries_have_no_statistic(values):
    for statistic in (
        lambda: paired_t(values, alpha=0.05),
        lambda: sign_flip(values, resamples=99, rng=rng()),
        lambda: bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng()),
        lambda: standardised_effect(values),
    ):
        with pytest.raises(NotEnoughDataError, match=f"at least 2 scored queries .* there are {len(values)}"):
            statistic()


def test_one_cluster_has_no_statistic():
    values, clusters = [0.1, 0.2, 0.4], ["a", "a", "a"]
    for statistic in (
        lambda: paired_t(values, alpha=0.05, clusters=clusters),
        lambda: sign_flip(values, resamples=99, rng=rng(), clusters=clusters),
        lambda: bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng(), clusters=clusters),
    ):
        with pytest.raises(NotEnoughDataError, match="all 3 scored queries belong to one cluster"):
            statistic()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    values = [0.1, bad, 0.3]
    for statistic in (
        lambda: paired_t(values, alpha=0.05),
        lambda: sign_flip(values, resamples=99, rng=rng()),
        lambda: bootstrap_mean(values, alpha=0.05, resamples=99, rng=rng()),
    ):
        with pytest.raises(ValueError, match="'differences' holds 1 values that are not finite, the first at 1"):
            statistic()


def test_labels_that_do_not_fit_the_queries_are_refused():
    with pytest.raises(ValueError, match="'clusters' must hold one label for each of the 3 values"):
        paired_t([0.1, 0.2, 0.3], alpha=0.05, clusters=["a", "b"])


def test_a_matrix_is_refused():
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        paired_t(np.zeros((2, 2)), alpha=0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(ValueError, match="'alpha' must lie between 0 and 1"):
        paired_t([0.1, 0.2], alpha=alpha)
    with pytest.raises(ValueError, match="'alpha' must lie between 0 and 1"):
        bootstrap_mean([0.1, 0.2], alpha=alpha, resamples=9, rng=rng())


def test_no_resamples_are_refused():
    with pytest.raises(ValueError, match="'resamples' must be at least 1"):
        sign_flip([0.1, 0.2], resamples=0, rng=rng())
    with pytest.raises(ValueError, match="'resamples' must be at least 1"):
        bootstrap_mean([0.1, 0.2], alpha=0.05, resamples=0, rng=rng())


def test_the_same_seed_gives_the_same_numbers():
    values = rng(1).normal(size=101)
    clusters = rng(2).integers(0, 30, 101).astype(str)
    assert sign_flip(values, resamples=500, rng=rng()) == sign_flip(values, resamples=500, rng=rng())
    first = bootstrap_mean(values, alpha=0.05, resamples=500, rng=rng(), clusters=clusters)
    assert first == bootstrap_mean(values, alpha=0.05, resamples=500, rng=rng(), clusters=clusters)


def test_chunks_cover_every_resample():
    # 2^18 draws at once: 300,000 queries are drawn one resample at a time, 100 queries 2,621 at a time, with a remainder.
    wide = rng(1).normal(size=300_000)
    low, high = bootstrap_mean(wide, alpha=0.5, resamples=5, rng=rng())
    assert abs(low) < 0.02
    assert abs(high) < 0.02
    low, high = bootstrap_mean(rng(1).normal(size=100), alpha=0.01, resamples=3_000, rng=rng())
    assert -0.5 < low < high < 0.5
