"""What each of unboundedly many looks may spend of an error rate."""

import math

from ragtrial.stats.sample import check_share

_SERIES = 2.1097428012368919
"""Sum over k >= 2 of 1 / (k ln^2 k)."""


def spent_at(look: int, *, alpha: float) -> float:
    """The part of alpha that a look may spend, so that all looks together, however many, spend no more than alpha.

    Look k gets alpha / (2.1097 (k + 1) ln^2(k + 1)): half of it for the first look, and so little less from look to look that intervals a
    year of hourly looks later are twice as wide as the first ones, and not more. Spending by a series fixed beforehand is the alpha
    spending of Lan and DeMets 1983, "Discrete Sequential Boundaries for Clinical Trials", without an end; the union bound makes it hold
    whatever looks have to do with each other, so windows may overlap, and anybody may stop or go on at any look.

    Args:
        look: From 1.
        alpha: Of all looks together.

    Raises:
        ValueError: The look is below 1, or alpha outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if look < 1:
        raise ValueError(f"'look' must be at least 1; found {look!r}")
    k = look + 1.0
    return alpha / (_SERIES * k * math.log(k) ** 2)
