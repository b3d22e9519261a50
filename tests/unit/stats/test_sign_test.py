"""The sign test: against binomial coefficients, and its error rate by counting every outcome."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sign_test import sign_test


@given(ahead=st.integers(0, 60), behind=st.integers(0, 60))
def test_the_p_value_is_twice_the_smaller_tail_of_fair_coins(ahead: int, behind: int) -> None:
    n = ahead + behind
    if not n:
        return
    tail = sum(math.comb(n, k) for k in range(min(ahead, behind) + 1)) / 2**n
    assert sign_test(ahead, behind) == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize("n", range(1, 30))
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_equal_arms_are_told_apart_with_a_probability_of_at_most_alpha(n: int, alpha: float) -> None:
    assert sum(math.comb(n, k) for k in range(n + 1) if sign_test(k, n - k) <= alpha) / 2**n <= alpha


def test_without_anybody_ahead_or_behind_there_is_no_p_value() -> None:
    with pytest.raises(NotEnoughDataError):
        sign_test(0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        sign_test(-1, 3)
