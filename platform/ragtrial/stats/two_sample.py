"""Whether two sets of vectors come from one distribution, and how far apart they are on a scale that does not grow with their number.

Libraries were looked at and not taken: alibi-detect 0.13 and frouros 0.9 install only with older versions of numpy, scipy and transformers
than the rest of this project needs, evidently 0.7 brings a web server of its own and some twenty packages, and hyppo 0.5, which does fit,
gives a p-value without an interval. None of them knows that texts of one user or document hang together, and none has an effect that may
be looked at again and again. What is left to write is a sum over a kernel matrix; its test is against the definition, pair by pair.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Clusters, Values, cluster_codes
from ragtrial.stats.simultaneous import simultaneous_interval
from ragtrial.stats.standardised import worth_of

_FEWEST = 10


class KernelDistance(NamedTuple):
    """How far two sets of vectors are apart.

    Attributes:
        estimate: Distance of the two means in the kernel's feature space, in standard deviations within a set; the sign is that of the
            unbiased estimate of its square, which is below 0 about half the time where nothing differs.
        low: Lower end of its interval.
        high: Upper end.
        squared: The unbiased estimate of MMD^2 itself.
        bandwidth: Of the kernel.
        centroid_cosine: Of the two means of the vectors themselves; 1: the same direction.
        p_value: By permutation of whole clusters; None where none was asked for.
    """

    estimate: float
    low: float
    high: float
    squared: float
    bandwidth: float
    centroid_cosine: float
    p_value: float | None


def kernel_distance(
    reference: NDArray[np.float32],
    later: NDArray[np.float32],
    *,
    reference_clusters: Clusters,
    later_clusters: Clusters,
    alpha: float,
    family: int = 1,
    resamples: int = 0,
    rng: np.random.Generator | None = None,
) -> KernelDistance:
    """The maximum mean discrepancy of two sets of vectors, standardised, with an interval.

    MMD^2 is Gretton et al. 2012, "A Kernel Two-Sample Test" (JMLR 13), the unbiased estimate of their lemma 6, with a Gaussian kernel whose
    bandwidth is the median distance within the reference (their section 8). Two changes: pairs of vectors of one cluster are left out of
    all three means, because queries of one user resemble each other whether or not anything drifts; and it is divided by the variance
    within a set, 1 - (E k(x, x') + E k(y, y')) / 2, as Cohen's d divides by a standard deviation. The estimate is the square root of that.
    Of traffic of which a share p comes from elsewhere it is p times what it is of all that comes from elsewhere.

    The interval is the t interval of a jackknife that leaves out one cluster at a time, from both sets where it is in both (Efron and
    Stein 1981, "The Jackknife Estimate of Variance": on average it is not too short, where nothing differs it is too long), with square
    roots of its ends. Its degrees of freedom are what the clusters are worth, minus 2.

    Args:
        reference: What is compared with, shape (n, dimension).
        later: What is compared, shape (m, dimension).
        reference_clusters: Whose each vector is, shape (n,); the same label is the same cluster in both sets.
        later_clusters: Likewise, shape (m,).
        alpha: 1 minus the coverage of all intervals of the family together.
        family: How many intervals hold together (Bonferroni).
        resamples: Permutations for the p-value; 0: none.
        rng: Draws them.

    Raises:
        NotEnoughDataError: Fewer than 10 vectors or 3 clusters in a set, or the vectors do not vary.
        ValueError: The shapes don't fit, or a number is out of its range.
    """
    if reference.ndim != 2 or later.ndim != 2 or reference.shape[1] != later.shape[1]:
        raise ValueError(f"vectors must have shape (n, dimension), alike in both sets; found {reference.shape} and {later.shape}")
    n, m = len(reference), len(later)
    if min(n, m) < _FEWEST:
        raise NotEnoughDataError(f"{n} and {m} vectors: at least {_FEWEST} in each set are needed")
    if min(worth := (worth_of(reference_clusters), worth_of(later_clusters))) < 3.0:
        raise NotEnoughDataError(f"{n} and {m} vectors, worth {worth[0]:.1f} and {worth[1]:.1f} clusters: at least 3 are needed")
    vectors = np.concatenate([reference, later]).astype(np.float64)
    labels = np.concatenate([np.asarray(reference_clusters), np.asarray(later_clusters)])
    codes, n_clusters = cluster_codes(labels, n + m)
    bandwidth, kernel = _kernel(vectors, n)
    kernel[codes[:, None] == codes[None, :]] = 0.0
    within = np.zeros((n + m, 2))
    within[:n, 0] = within[n:, 1] = 1.0
    standardised, squared = _ratio(*_sums(kernel, within, codes, n_clusters))
    without = _without_each(kernel, within, codes, n_clusters)
    error = math.sqrt(float(((without - standardised) ** 2).sum()) * (n_clusters - 1.0) / n_clusters)
    ends = simultaneous_interval(float(standardised), error, max(sum(worth) - 2.0, 1.0), alpha=alpha, family=family)
    return KernelDistance(
        estimate=_root(float(standardised)),
        low=_root(ends.low),
        high=_root(ends.high),
        squared=float(squared),
        bandwidth=bandwidth,
        centroid_cosine=_cosine(vectors[:n].mean(axis=0), vectors[n:].mean(axis=0)),
        p_value=_p_value(kernel, within, codes, n_clusters, float(standardised), resamples, rng) if resamples else None,
    )


def _kernel(vectors: Values, n: int) -> tuple[float, Values]:
    """Bandwidth and kernel matrix of all vectors, of which the first n are the reference."""
    norms = (vectors**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms[None, :] - 2.0 * vectors @ vectors.T, 0.0)
    bandwidth = math.sqrt(float(np.median(squares[:n, :n][np.triu_indices(n, 1)])))
    if not bandwidth > 1e-6:
        raise NotEnoughDataError("most texts of the reference are the same, so there is no distance to measure others by")
    return bandwidth, np.exp(squares / (-2.0 * bandwidth**2))


def _sums(kernel: Values, within: Values, codes: NDArray[np.intp], n_clusters: int) -> tuple[Values, Values]:
    """Sums of the kernel over pairs of different clusters, and how many pairs: both (3,), within reference, within later, between."""
    rows = kernel @ within
    sizes = _sizes(within, codes, n_clusters)
    return _three(within.T @ rows), _three(np.outer(sizes.sum(axis=0), sizes.sum(axis=0)) - sizes.T @ sizes)


def _three(square: Values) -> Values:
    return np.array([square[0, 0], square[1, 1], square[0, 1]])


def _sizes(within: Values, codes: NDArray[np.intp], n_clusters: int) -> Values:
    return np.stack([np.bincount(codes, weights=within[:, side], minlength=n_clusters) for side in (0, 1)], axis=1)


def _ratio(sums: Values, pairs: Values) -> tuple[Values, Values]:
    """MMD^2 over the variance within a set, and MMD^2; the first axis has 3 entries.

    Raises:
        NotEnoughDataError: There is no pair of different clusters, or the vectors do not vary.
    """
    if not (pairs > 0).all():
        raise NotEnoughDataError("without one cluster no pairs are left: a few clusters hold almost everything")
    first, second, between = sums / pairs
    squared = first + second - 2.0 * between
    variance = 1.0 - (first + second) / 2.0
    if not (np.asarray(variance) > 1e-9).all():
        raise NotEnoughDataError("the vectors do not vary")
    return squared / variance, squared


def _without_each(kernel: Values, within: Values, codes: NDArray[np.intp], n_clusters: int) -> Values:
    """The standardised square without one cluster at a time, shape (n_clusters,)."""
    sums, pairs = _sums(kernel, within, codes, n_clusters)
    rows = kernel @ within
    sizes = _sizes(within, codes, n_clusters)
    total = sizes.sum(axis=0)

    def of(side: int, other: int) -> Values:
        """What each cluster's vectors of one side add to the sum with the other side."""
        return np.bincount(codes, weights=within[:, side] * rows[:, other], minlength=n_clusters).astype(np.float64)

    left = np.stack([sums[0] - 2.0 * of(0, 0), sums[1] - 2.0 * of(1, 1), sums[2] - of(0, 1) - of(1, 0)])
    first, second = sizes[:, 0], sizes[:, 1]
    fewer = np.stack(
        [
            pairs[0] - 2.0 * first * (total[0] - first),
            pairs[1] - 2.0 * second * (total[1] - second),
            pairs[2] - first * (total[1] - second) - second * (total[0] - first),
        ]
    )
    return _ratio(left, fewer)[0]


def _p_value(
    kernel: Values,
    within: Values,
    codes: NDArray[np.intp],
    n_clusters: int,
    found: float,
    resamples: int,
    rng: np.random.Generator | None,
) -> float:
    """Share of permutations of whole clusters that are at least as far apart (Phipson and Smyth 2010: the sample itself is one of them).

    Clusters of one set change places among each other; those of both sets keep or swap their sides.
    """
    chance = np.random.default_rng(0) if rng is None else rng
    sizes = _sizes(within, codes, n_clusters)
    both = (sizes > 0).all(axis=1)
    alone = np.flatnonzero(~both)
    as_large = 0
    for _ in range(resamples):
        swap = np.zeros(n_clusters, dtype=bool)
        swap[both] = chance.random(int(both.sum())) < 0.5
        sides = sizes[alone, 1] > 0
        swap[alone] = sides != chance.permutation(sides)
        moved = np.where(swap[codes][:, None], within[:, ::-1], within)
        try:
            as_large += bool(_ratio(*_sums(kernel, moved, codes, n_clusters))[0] >= found)
        except NotEnoughDataError:
            as_large += 1
    return (1 + as_large) / (1 + resamples)


def _root(square: float) -> float:
    return math.copysign(math.sqrt(abs(square)), square)


def _cosine(first: Values, second: Values) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths > 0.0 else 0.0
