"""The sign-flip permutation test: how often chance alone gives a mean difference this large."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Clusters, Values, check_resamples, check_size, cluster_codes, cluster_sums, finite_values, rounding

TIES = 1e-10
"""Sums that differ by less than this share of the sum of absolute differences are the same sum, added up in another order."""

_BITS = 8


class SignFlip(NamedTuple):
    """The result of a sign-flip test.

    Attributes:
        p_value: Two-sided; at least 1 / (n_resamples + 1), never 0.
        n_resamples: Random sign vectors drawn.
    """

    p_value: float
    n_resamples: int


def sign_flip(differences: ArrayLike, *, resamples: int, rng: np.random.Generator, clusters: Clusters | None = None) -> SignFlip:
    """Two-sided p of "the arms are exchangeable within each query", by flipping the signs of the differences at random.

    Fisher's randomisation test (1935) as Smucker, Allan and Carterette (CIKM 2007) found it right for retrieval metrics. The p-value
    counts the observed signs as one of the draws (Phipson and Smyth 2010), so that the test does not reject too often; a resampled sum as
    far from 0 as the observed one, up to rounding, counts as far. With clusters, whole clusters flip.

    Written here because `scipy.stats.permutation_test` is slow at 10,000 queries (experiments/benchmarks/bench_statistics.py). Eight signs
    are one random byte: for each eight queries the 256 possible sums are tabulated once, in float64, and each resample looks its sum up.
    Memory is that of a few arrays of `resamples` numbers.

    Args:
        differences: Treatment minus control, one a query, shape (n,).
        resamples: Random sign vectors to draw, at least 1.
        rng: Where the signs come from; the same state gives the same p.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or all differences (sums of a cluster) are 0, so that nothing can flip.
        ValueError: A value is not finite, shapes don't fit, or resamples is below 1.
    """
    check_resamples(resamples)
    values = finite_values(differences, name="differences")
    n_queries, n_clusters = values.size, None
    if clusters is not None:
        codes, n_clusters = cluster_codes(clusters, values.size)
        check_size(n_queries, n_clusters)
        values, _ = cluster_sums(values, codes, n_clusters)
    check_size(n_queries, n_clusters)
    values = values[np.abs(values) > rounding(values)]
    if not values.size:
        what = f"{n_queries} queries" if n_clusters is None else f"{n_clusters} clusters"
        raise NotEnoughDataError(f"the difference is 0 in every one of the {what}: there is nothing to test")
    sums = _flipped_sums(values, resamples, rng)
    tolerance = TIES * float(np.abs(values).sum())
    as_far = np.count_nonzero(np.abs(sums) >= abs(float(values.sum())) - tolerance)
    return SignFlip(p_value=(1 + int(as_far)) / (resamples + 1), n_resamples=resamples)


def _flipped_sums(values: Values, resamples: int, rng: np.random.Generator) -> Values:
    """The sum of the values under random signs, shape (resamples,)."""
    signs = _all_signs()
    padded = np.zeros(-(-values.size // _BITS) * _BITS)
    padded[: values.size] = values
    sums = np.zeros(resamples)
    for eight in padded.reshape(-1, _BITS):
        sums += (signs @ eight)[np.frombuffer(rng.bytes(resamples), dtype=np.uint8)]
    return sums


def _all_signs() -> NDArray[np.float64]:
    """Every way to sign eight numbers, shape (256, 8)."""
    bits = np.unpackbits(np.arange(2**_BITS, dtype=np.uint8)[:, None], axis=1)
    return np.where(bits, 1.0, -1.0)
