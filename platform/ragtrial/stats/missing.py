"""What missing scores could have been, at worst and at best."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.stats.paired import PairedT, paired_t
from ragtrial.stats.sample import Clusters, Values


class WorstCase(NamedTuple):
    """The mean paired difference under the two extreme guesses of what is missing.

    Attributes:
        worst: Every missing score is the best possible in control and the worst possible in treatment. `worst.estimate` is the lower
            bound of the estimate, `worst.low` that of the interval.
        best: The other way round. `best.estimate` and `best.high` are the upper bounds.
        missing_control: Queries without a score in control.
        missing_treatment: Queries without a score in treatment.
    """

    worst: PairedT
    best: PairedT
    missing_control: int
    missing_treatment: int


def worst_case(
    control: ArrayLike, treatment: ArrayLike, *, low: float, high: float, alpha: float, clusters: Clusters | None = None
) -> WorstCase:
    """Bounds of the mean paired difference that hold whatever the missing scores are.

    Manski 1990, "Nonparametric Bounds on Treatment Effects", American Economic Review 80(2), pages 319 to 323.

    From `worst.low` to `best.high` covers the true mean with at least 1 - alpha, also where queries fail *because* of what they are
    (Horowitz and Manski 2000). The bounds are apart by the missing shares of both arms times the range; with nothing missing they meet.

    Args:
        control: One score a query, shape (n,), NaN where there is none.
        treatment: The same queries.
        low: Smallest value that the metric can have.
        high: Largest.
        alpha: 1 minus the coverage of each of the two intervals.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: `paired_t` has no interval for one of the guesses.
        ValueError: A score lies outside of [low, high], the range is empty or not finite, or shapes don't fit.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"'low' must lie below 'high', both finite; found {low!r} and {high!r}")
    left, right = _in_range(control, low, high, name="control"), _in_range(treatment, low, high, name="treatment")
    if left.shape != right.shape:
        raise ValueError(f"'control' has {left.size} values and 'treatment' {right.size}: both must answer the same queries")
    no_left, no_right = np.isnan(left), np.isnan(right)
    worst = np.where(no_right, low, right) - np.where(no_left, high, left)
    best = np.where(no_right, high, right) - np.where(no_left, low, left)
    return WorstCase(
        worst=paired_t(worst, alpha=alpha, clusters=clusters),
        best=paired_t(best, alpha=alpha, clusters=clusters),
        missing_control=int(no_left.sum()),
        missing_treatment=int(no_right.sum()),
    )


def _in_range(scores: ArrayLike, low: float, high: float, *, name: str) -> Values:
    """The scores as float64, shape (n,), NaN where missing.

    Raises:
        ValueError: They are not one-dimensional, or one lies outside of the range.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name!r} must have the shape (n,), one number a query; found the shape {values.shape}")
    outside = np.flatnonzero((values < low) | (values > high))
    if outside.size:
        raise ValueError(
            f"{name!r} must lie between {low:g} and {high:g}, or be NaN where missing; found {float(values[outside[0]])!r} at {outside[0]}"
        )
    return values
