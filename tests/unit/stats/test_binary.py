import numpy as np
import pytest
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.binary import mcnemar_midp, most_unseen, wilson


def test_as_many_wins_as_losses_by_hand():
    # One win, one loss: 1 - P(X = 1 | 2, 1/2) / 2 = 1 - 0.5 / 2.
    assert mcnemar_midp([0, 1, 1], [1, 0, 1]) == (pytest.approx(0.75), 1, 1)


def test_only_wins_by_hand():
    # Five wins: exact p = 2 / 32, less P(X = 5) = 1 / 32.
    assert mcnemar_midp([0] * 5 + [1], [1] * 6) == (pytest.approx(1 / 32), 5, 0)


def test_swapping_the_arms_swaps_wins_and_losses():
    control, treatment = np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 0, 1])
    there, back = mcnemar_midp(control, treatment), mcnemar_midp(treatment, control)
    assert (there.wins, there.losses) == (back.losses, back.wins) == (3, 1)
    assert there.p_value == pytest.approx(back.p_value)


def test_no_changed_query_is_nothing_to_test():
    with pytest.raises(NotEnoughDataError, match="none of the 3 queries changed"):
        mcnemar_midp([True, False, True], [True, False, True])


def test_a_value_between_zero_and_one_is_refused():
    with pytest.raises(ValueError, match=r"'treatment' must hold only 0 and 1 .* found 0\.5"):
        mcnemar_midp([0, 1], [0.5, 1])


def test_arms_of_different_length_are_refused():
    with pytest.raises(ValueError, match="'control' has 2 values and 'treatment' 1"):
        mcnemar_midp([0, 1], [1])


def test_a_share_of_all_or_none_has_an_interval_of_some_width():
    none, everything = wilson(0, 20, alpha=0.05), wilson(20, 20, alpha=0.05)
    assert none.estimate == 0
    assert none.low == pytest.approx(0, abs=1e-12)
    assert 0.1 < none.high < 0.2
    assert everything.low == pytest.approx(1 - none.high)


def test_a_share_of_nothing_has_no_value():
    with pytest.raises(NotEnoughDataError, match="a share of 0 queries"):
        wilson(0, 0, alpha=0.05)


def test_more_successes_than_queries_are_refused():
    with pytest.raises(ValueError, match="between 0 and n = 5; found 6"):
        wilson(6, 5, alpha=0.05)


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.05), (59, 0.05), (296, 0.004), (10_000, 0.05)])
def test_what_was_never_seen_may_be_as_frequent_as_clopper_and_pearson_say(n: int, alpha: float) -> None:
    expected = stats.binomtest(0, n, alternative="less").proportion_ci(1 - alpha, method="exact").high
    assert most_unseen(n, alpha=alpha) == pytest.approx(expected)


def test_nothing_is_known_of_a_share_without_queries() -> None:
    assert most_unseen(59, alpha=0.05) <= 0.05 < most_unseen(58, alpha=0.05), "Wilks 1941: 59 for 95 % with 95 %"
    with pytest.raises(NotEnoughDataError, match="no query was scored"):
        most_unseen(0, alpha=0.05)
