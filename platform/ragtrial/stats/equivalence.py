"""Equivalence: the only way to say that two arms are the same for practical purposes."""

import math
from typing import NamedTuple

from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.stats.paired import paired_t
from ragtrial.stats.sample import Clusters


class Equivalence(NamedTuple):
    """The result of two one-sided tests.

    Attributes:
        p_value: The larger of the two; below alpha means equivalent within the margin.
        p_above: Of "the mean is at or below -margin".
        p_below: Of "the mean is at or above +margin".
    """

    p_value: float
    p_above: float
    p_below: float


def tost(differences: ArrayLike, *, margin: float, clusters: Clusters | None = None) -> Equivalence:
    """Two one-sided t tests of |mean difference| < margin (Schuirmann 1987), cluster-robust where clusters are given.

    Two lines on top of `paired_t`, because statsmodels' `ttost_mean` takes no clusters; without them both agree.

    Args:
        differences: Treatment minus control, one a query, shape (n,).
        margin: The largest difference that does not matter, planned before the data; above 0.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or no variance.
        ValueError: A value is not finite, shapes don't fit, or the margin is not above 0.
    """
    if not (math.isfinite(margin) and margin > 0.0):
        raise ValueError(f"'margin' must be a finite number above 0; found {margin!r}")
    # The standard error and df do not depend on alpha.
    fit = paired_t(differences, alpha=0.05, clusters=clusters)
    above = float(stats.t.sf((fit.estimate + margin) / fit.standard_error, fit.df))
    below = float(stats.t.cdf((fit.estimate - margin) / fit.standard_error, fit.df))
    return Equivalence(p_value=max(above, below), p_above=above, p_below=below)
