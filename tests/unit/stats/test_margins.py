import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.equivalence import tost
from ragtrial.stats.noninferiority import non_inferiority, non_inferiority_ratio
from ragtrial.stats.quantiles import latency_quantiles

NOISE = np.random.default_rng(3).normal(0.0, 0.1, 200)
CENTRED = NOISE - NOISE.mean()


@pytest.mark.parametrize(("worse_by", "holds", "broken"), [(0.0, True, False), (0.05, False, False), (0.2, False, True)])
def test_a_guardrail_holds_is_not_shown_or_is_broken(worse_by, holds, broken):
    # Standard error about 0.007, so the one-sided bounds lie about 0.012 beside the estimate; the margin is 0.05.
    result = non_inferiority(CENTRED + worse_by, margin=0.05, alpha=0.05)
    assert (result.holds, result.broken) == (holds, broken)
    assert result.lower_bound < result.estimate < result.bound


def test_the_bounds_of_a_ratio_are_ratios_minus_one():
    control = np.exp(np.random.default_rng(4).normal(3.0, 1.0, 200))
    result = non_inferiority_ratio(control, control * np.exp(CENTRED) * 1.10, margin=0.25, alpha=0.05)
    assert result.estimate == pytest.approx(0.10)
    assert 0.08 < result.lower_bound < 0.10 < result.bound < 0.12
    assert result.holds


def test_swapping_the_arms_inverts_the_ratio():
    control = np.exp(NOISE)
    treatment = np.exp(NOISE[::-1] + 0.3)
    there = non_inferiority_ratio(control, treatment, margin=0.25, alpha=0.05)
    back = non_inferiority_ratio(treatment, control, margin=0.25, alpha=0.05)
    assert (1 + there.estimate) * (1 + back.estimate) == pytest.approx(1)
    assert (1 + there.bound) * (1 + back.lower_bound) == pytest.approx(1)


def test_clusters_widen_a_guardrail():
    shared = np.repeat(np.random.default_rng(5).normal(0.0, 0.1, 20), 10)
    clusters = np.repeat([f"document-{i}" for i in range(20)], 10)
    assert non_inferiority(shared, margin=0.1, alpha=0.05, clusters=clusters).bound > non_inferiority(shared, margin=0.1, alpha=0.05).bound
    assert tost(shared, margin=0.1, clusters=clusters).p_value > tost(shared, margin=0.1).p_value
    control = np.ones(200)
    narrow = non_inferiority_ratio(control, np.exp(shared), margin=0.1, alpha=0.05)
    assert non_inferiority_ratio(control, np.exp(shared), margin=0.1, alpha=0.05, clusters=clusters).bound > narrow.bound


def test_what_is_worse_by_the_same_everywhere_has_no_bound():
    with pytest.raises(NotEnoughDataError, match="same difference"):
        non_inferiority(np.zeros(50), margin=0.05, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="same difference"):
        non_inferiority_ratio(np.arange(1.0, 51.0), 3.0 * np.arange(1.0, 51.0), margin=0.25, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="same difference"):
        tost(np.zeros(50), margin=0.05)


def test_a_ratio_needs_positive_values():
    with pytest.raises(ValueError, match=r"'control' must be above 0 to form a ratio; found 0\.0"):
        non_inferiority_ratio([0.0, 1.0], [1.0, 1.0], margin=0.25, alpha=0.05)


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan"), float("inf")])
def test_a_margin_must_be_above_zero(margin):
    for call in (
        lambda: non_inferiority(NOISE, margin=margin, alpha=0.05),
        lambda: non_inferiority_ratio(np.exp(NOISE), np.exp(CENTRED), margin=margin, alpha=0.05),
        lambda: tost(NOISE, margin=margin),
    ):
        with pytest.raises(ValueError, match="'margin' must be a finite number above 0"):
            call()


def test_a_one_sided_alpha_of_a_half_is_refused():
    with pytest.raises(ValueError, match=r"'alpha' must lie between 0 and 0\.5"):
        non_inferiority(NOISE, margin=0.05, alpha=0.5)


def test_equivalence_is_shown_only_within_the_margin():
    assert tost(CENTRED, margin=0.05).p_value < 0.001
    assert tost(CENTRED + 0.05, margin=0.05).p_value == pytest.approx(0.5)
    assert tost(CENTRED + 0.1, margin=0.05).p_value > 0.99


def test_too_few_queries_are_not_equivalent():
    # The mean is 0, but two queries say nothing: t = 0.05 / 0.1 with 1 degree of freedom, p = 1/2 - atan(1/2) / pi.
    assert tost([-0.1, 0.1], margin=0.05).p_value == pytest.approx(0.5 - np.arctan(0.5) / np.pi)


def test_quantiles_by_hand():
    # Type 7: position (n - 1) q from 0, so 1..101 has its quantiles at 51, 96 and 100.
    assert latency_quantiles(np.arange(1.0, 102.0)[::-1]) == (51.0, 96.0, 100.0, 101)
    assert latency_quantiles([7.0]) == (7.0, 7.0, 7.0, 1)


def test_no_latencies_have_no_quantiles():
    with pytest.raises(NotEnoughDataError, match="there are no latencies"):
        latency_quantiles([])


def test_a_latency_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        latency_quantiles([1.0, float("nan")])
