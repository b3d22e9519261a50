import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.stats.multiplicity import adjust

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


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match="a p-value must lie in"):
        adjust([0.5, bad], "none")


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'holm', 'bh' or 'none'; found 'bonferroni'"):
        adjust([0.5], "bonferroni")
