from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.stats.multiplicity import adjust, gated

p_values = st.lists(st.none() | st.floats(0, 1), max_size=12)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1: 0.03, 0.04, and 0.04 (never below the one before).
    assert adjust([0.04, 0.01, 0.02], "holm") == pytest.approx([0.04, 0.03, 0.04])


def test_benjamini_hochberg_by_hand():
    # Sorted 0.01, 0.02, 0.04 times 3/1, 3/2, 3/3: 0.03, 0.03, 0.04.
    assert adjust([0.04, 0.01, 0.02], "bh") == pytest.approx([0.04, 0.03, 0.03])


def test_a_missing_p_stays_missing_and_is_not_counted():
    assert adjust([None, 0.02, None, 0.04], "holm") == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert adjust([None, None], "bh") == [None, None]
    assert adjust([], "holm") == []


def test_none_leaves_all_as_they_are():
    assert adjust([0.5, None, 0.01], "none") == [0.5, None, 0.01]


@settings(max_examples=25)  # statsmodels collects garbage at every Holm, 0.07 s each
@given(p_values, st.sampled_from(["holm", "bh"]))
def test_adjusting_never_makes_a_p_smaller_or_larger_than_one(values, method):
    for before, after in zip(values, adjust(values, method), strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            assert before - 1e-15 <= after <= 1


def test_behind_the_primary_metric_the_secondary_ones_share_alpha_among_themselves_by_hand():
    # Holm among 0.01 and 0.04: 0.02 and 0.04; none below the primary's 0.03.
    assert gated(0.03, [0.01, 0.04], "holm") == pytest.approx([0.03, 0.04])
    assert gated(0.6, [0.001, None], "holm") == [0.6, None]
    assert gated(None, [0.001, 0.2], "holm") == [None, None]
    assert gated(0.6, [0.001, None], "none") == [0.001, None]


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_gatekeeping_is_the_closed_test_whose_intersections_with_the_primary_are_tested_by_it_alone(primary, secondary):
    """Marcus, Peritz and Gabriel 1976: a closed test bounds the chance of any false finding, so what equals one does too."""
    for i, adjusted in enumerate(gated(primary, secondary, "holm")):
        others = [p for j, p in enumerate(secondary) if j != i]
        families = [(secondary[i], *more) for n in range(len(others) + 1) for more in combinations(others, n)]
        without = [min(1.0, len(family) * min(family)) for family in families]
        assert adjusted == pytest.approx(max(primary, *without))


def test_behind_a_primary_metric_without_an_effect_any_finding_among_all_metrics_is_as_rare_as_alpha():
    rng = np.random.default_rng(5)
    draws = rng.random((4_000, 5))
    draws[:, 1] = 1e-9  # one secondary metric does move, so that only the gate and Holm keep the rest
    false = [p[0] < 0.05 or min(gated(p[0], p[1:], "holm")[1:]) < 0.05 for p in draws]  # type: ignore[type-var]  # all have a p
    ungated = [p[0] < 0.05 or min(adjust(p[1:], "holm")[1:]) < 0.05 for p in draws]
    assert np.mean(false) == pytest.approx(0.05, abs=0.01)  # three standard errors of 4,000 draws
    assert np.mean(ungated) > 0.08


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match="a p-value must lie in"):
        adjust([0.5, bad], "none")


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'holm', 'bh' or 'none'; found 'bonferroni'"):
        adjust([0.5], "bonferroni")
