"""The percentile bootstrap interval of a mean difference, shown beside the t interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.stats.sample import (
    Clusters,
    Values,
    check_resamples,
    check_share,
    check_size,
    check_spread,
    cluster_codes,
    cluster_sums,
    finite_values,
)

_DRAWS_AT_ONCE = 2**18


class BootstrapInterval(NamedTuple):
    """A percentile interval.

    Attributes:
        low: The alpha / 2 quantile of the resampled means.
        high: The 1 - alpha / 2 quantile.
    """

    low: float
    high: float


def bootstrap_mean(
    differences: ArrayLike, *, alpha: float, resamples: int, rng: np.random.Generator, clusters: Clusters | None = None
) -> BootstrapInterval:
    """Percentile bootstrap interval of the mean (Efron 1979; Efron and Tibshirani 1993, chapter 13).

    Percentile and not BCa: with few queries and mostly identical differences, BCa's acceleration is estimated from a handful of values,
    and its interval misses too often. With clusters, whole clusters are drawn, and a resample's mean is the sum of the sums over the sum
    of the sizes (Davison and Hinkley 1997, section 3.8).

    Written here because `scipy.stats.bootstrap` builds its resamples by `batch` in a slower generic way and knows no clusters. Indices are
    drawn some 2^18 at a time, which stay in the processor's cache; memory does not grow with queries times resamples. Drawing counts
    from a multinomial instead of indices was slower.

    Args:
        differences: Treatment minus control, one a query, shape (n,).
        alpha: 1 minus the coverage, e.g. 0.05.
        resamples: Samples to draw, at least 1.
        rng: Where the draws come from; the same state gives the same interval.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or no variance (all queries, or all cluster means, the same up to rounding).
        ValueError: A value is not finite, shapes don't fit, alpha is outside of (0, 1), or resamples is below 1.
    """
    check_share(alpha, name="alpha")
    check_resamples(resamples)
    values = finite_values(differences, name="differences")
    codes = None if clusters is None else cluster_codes(clusters, values.size)
    check_size(values.size, None if codes is None else codes[1])
    check_spread(values, codes)
    sums, sizes = (values, None) if codes is None else cluster_sums(values, *codes)
    low, high = np.quantile(_resampled_means(sums, sizes, resamples, rng), [alpha / 2.0, 1.0 - alpha / 2.0])
    return BootstrapInterval(low=float(low), high=float(high))


def _resampled_means(sums: Values, sizes: Values | None, resamples: int, rng: np.random.Generator) -> Values:
    """Mean of each resample of the units, shape (resamples,); `sizes` None means that each unit is one query."""
    n = sums.size
    means = np.empty(resamples)
    rows = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, n, size=(min(rows, resamples - start), n))
        total = sums[drawn].sum(axis=1)
        means[start : start + len(drawn)] = total / (n if sizes is None else sizes[drawn].sum(axis=1))
    return means
