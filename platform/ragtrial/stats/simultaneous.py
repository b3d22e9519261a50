"""Intervals of several metrics that hold together."""

import math
from typing import NamedTuple

from scipy import special

from ragtrial.stats.sample import check_share


class SimultaneousInterval(NamedTuple):
    """One of several intervals that all hold together with probability 1 - alpha.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def simultaneous_interval(estimate: float, standard_error: float, df: float, *, alpha: float, family: int) -> SimultaneousInterval:
    """The t interval at alpha / family (Dunn 1961, "Multiple Comparisons among Means").

    All intervals of a family made so cover their truths together with probability 1 - alpha at least (Bonferroni), whatever the metrics
    have to do with each other. They treat all metrics alike, which the p-values don't: those of secondary metrics stand behind the primary
    one's (`multiplicity.gated`), so that an interval can hold 0 where such a p is below alpha, and the other way round where the primary
    metric is not shown. For a family of one it is the t interval.

    Args:
        estimate: Of the mean difference.
        standard_error: Of the estimate; above 0.
        df: Degrees of freedom of that error; above 0.
        alpha: 1 minus the coverage of all together.
        family: How many intervals there are; at least 1.

    Raises:
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha")
    if family < 1:
        raise ValueError(f"'family' must be at least 1; found {family!r}")
    for name, value in (("standard_error", standard_error), ("df", df)):
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name!r} must be a finite number above 0; found {value!r}")
    half = float(-special.stdtrit(df, alpha / family / 2.0)) * standard_error
    return SimultaneousInterval(low=estimate - half, high=estimate + half)
