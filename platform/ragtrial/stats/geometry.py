"""How the vectors of a model lie: near and far pairs, groups, the use of the space.

scikit-learn, scipy and numpy do the work; what is written here are formulas of a line or two, each with its paper.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from ragtrial.errors import MissingExtraError, NotEnoughDataError
from ragtrial.stats.sample import Values, check_resamples, check_share, finite_values

Rows = NDArray[np.float32] | NDArray[np.float64]

FEWEST_PAIRS = 2
MOST_ROWS = 2000
"""More rows than this change no such statistic beyond its third decimal, and cost their square."""


class Separation(NamedTuple):
    """How well similarity tells near pairs from far ones.

    Attributes:
        auc: Chance that a near pair is more similar than a far one, ties half; 0.5 is chance.
        low: Lower end of the 1 - alpha interval.
        high: Upper end.
        near_wrong: For each near pair, the far pairs that are at least as similar, shape (n_near,).
        far_wrong: For each far pair, the near pairs that are at most as similar, shape (n_far,).
    """

    auc: float
    low: float
    high: float
    near_wrong: NDArray[np.int64]
    far_wrong: NDArray[np.int64]


class Change(NamedTuple):
    """A difference with its interval.

    Attributes:
        estimate: Second minus first.
        low: Lower end.
        high: Upper end.
    """

    estimate: float
    low: float
    high: float


class Coherence(NamedTuple):
    """How groups of vectors hold together.

    Attributes:
        silhouette: Silhouette of each vector by cosine distance, -1 to 1, shape (n,); their mean is that of the grouping.
        within: Mean cosine of two members of one group, averaged over groups.
        between: Mean cosine of members of two groups.
        n: Vectors.
        n_groups: Groups.
    """

    silhouette: Values
    within: float
    between: float
    n: int
    n_groups: int


def separation(near: ArrayLike, far: ArrayLike, *, alpha: float) -> Separation:
    """The area under the ROC curve of similarity, near pairs against far ones (Mann and Whitney 1947).

    The interval solves |AUC - theta| = z sqrt(V(theta)) with Hanley and McNeil's variance, averaged sizes (Newcombe 2006, "Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", Statistics in Medicine 25:559, method 5): it has a
    width also where all pairs are on the right side, as with few pairs they often are. Pairs are taken as independent.

    Args:
        near: Similarities of pairs that should be near, shape (n_near,).
        far: Of pairs that should be far, shape (n_far,).
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: Fewer than 2 pairs of a kind.
        ValueError: A value is not finite, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    left, right = finite_values(near, name="near"), finite_values(far, name="far")
    if min(left.size, right.size) < FEWEST_PAIRS:
        raise NotEnoughDataError(f"there are {left.size} near and {right.size} far pairs: at least {FEWEST_PAIRS} of each are needed")
    auc = _auc(left, right)
    low, high = _newcombe(auc, left.size, right.size, z=float(stats.norm.isf(alpha / 2)))
    wrong = left[:, None] <= right[None, :]
    return Separation(auc=auc, low=low, high=high, near_wrong=wrong.sum(axis=1), far_wrong=wrong.sum(axis=0))


def separation_change(
    near: tuple[ArrayLike, ArrayLike], far: tuple[ArrayLike, ArrayLike], *, alpha: float, resamples: int, rng: np.random.Generator
) -> Change:
    """AUC of the second model minus that of the first on the same pairs, percentile bootstrap over near and far pairs apart.

    Args:
        near: Similarities of the near pairs in the first and the second model.
        far: Of the far pairs.
        alpha: 1 minus the coverage.
        resamples: At least 1.
        rng: Where the draws come from.

    Raises:
        NotEnoughDataError: Fewer than 2 pairs of a kind, or every resample gives the same: then there is no interval.
        ValueError: Shapes don't fit, or an argument is out of its range.
    """
    check_share(alpha, name="alpha")
    check_resamples(resamples)
    a, b = (finite_values(values, name="near") for values in near)
    c, d = (finite_values(values, name="far") for values in far)
    if a.shape != b.shape or c.shape != d.shape:
        raise ValueError(f"the models have {a.size} and {b.size} near pairs, {c.size} and {d.size} far ones: both need the same pairs")
    if min(a.size, c.size) < FEWEST_PAIRS:
        raise NotEnoughDataError(f"there are {a.size} near and {c.size} far pairs: at least {FEWEST_PAIRS} of each are needed")
    drawn = np.empty(resamples)
    for place in range(resamples):
        i, j = rng.integers(0, a.size, a.size), rng.integers(0, c.size, c.size)
        drawn[place] = _auc(b[i], d[j]) - _auc(a[i], c[j])
    if float(np.ptp(drawn)) == 0.0:
        raise NotEnoughDataError(f"every resample gives the same change ({drawn[0]:+.3f}): without variance there is no interval")
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Change(estimate=_auc(b, d) - _auc(a, c), low=float(low), high=float(high))


def _auc(near: Values, far: Values) -> float:
    signs = np.sign(near[:, None] - far[None, :])
    return float((signs.mean() + 1.0) / 2.0)


def _newcombe(auc: float, m: int, n: int, *, z: float) -> tuple[float, float]:
    star = (m + n) / 2 - 1

    def variance(theta: float) -> float:
        return theta * (1 - theta) / (m * n) * (1 + star * ((1 - theta) / (2 - theta) + theta / (1 + theta)))

    def gap(theta: float) -> float:
        return abs(auc - theta) - z * float(np.sqrt(max(variance(theta), 0.0)))

    tiny = 1e-9
    low = 0.0 if auc <= tiny else float(optimize.brentq(gap, 0.0, auc - tiny * auc)) if gap(auc * (1 - tiny)) < 0 else auc
    high = 1.0 if auc >= 1 - tiny else float(optimize.brentq(gap, auc + tiny * (1 - auc), 1.0)) if gap(auc + tiny * (1 - auc)) < 0 else auc
    return low, high


def coherence(vectors: Rows, labels: ArrayLike) -> Coherence:
    """Silhouette (Rousseeuw 1987) by cosine distance, and mean cosine inside and between groups.

    Args:
        vectors: Unit rows, shape (n, dimension).
        labels: The group of each row, shape (n,). A label that no row has is no group.

    Raises:
        NotEnoughDataError: There are no vectors, fewer than 2 groups, or a group with a single member (leave it out, and count it): how a
            group holds together is not defined there, and never 0.
        MissingExtraError: scikit-learn is not installed.
        ValueError: There is not one label a row.
    """
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    if codes.shape != (len(vectors),):
        raise ValueError(f"there are {len(vectors)} vectors and {codes.size} labels: one label for each")
    if not len(vectors):
        raise NotEnoughDataError("there are no vectors to group: every group is empty")
    if len(names) < 2:
        raise NotEnoughDataError(f"all {len(vectors)} vectors are of the one group {str(names[0])!r}: at least 2 groups are needed")
    sizes = np.bincount(codes)
    if sizes.min() < 2:
        alone = str(names[int(np.argmin(sizes))])
        raise NotEnoughDataError(f"group {alone!r} has a single member: nothing can be said of how it holds together")
    try:
        from sklearn.metrics import silhouette_samples
    except ImportError as error:
        raise MissingExtraError(package="scikit-learn", extra="local", purpose="silhouettes") from error
    rows = np.asarray(vectors, dtype=np.float64)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, codes, rows)
    own = (sums * sums).sum(axis=1) - (rows * rows).sum(axis=1) @ (codes[:, None] == np.arange(len(names)))
    within = own / (sizes * (sizes - 1))
    total = sums.sum(axis=0)
    across = float(total @ total - (sums * sums).sum())
    n_across = float(int(sizes.sum()) ** 2 - int((sizes * sizes).sum()))
    return Coherence(
        silhouette=np.asarray(silhouette_samples(rows, codes, metric="cosine"), dtype=np.float64),
        within=float(within.mean()),
        between=across / n_across,
        n=len(rows),
        n_groups=len(names),
    )


def alignment(left: Rows, right: Rows) -> Values:
    """Squared distance of each pair that belongs together, shape (n,); their mean is the alignment of Wang and Isola 2020, equation 2.

    Lower is better; for unit rows it is 2 - 2 cosine.
    """
    gap = np.asarray(left, dtype=np.float64) - np.asarray(right, dtype=np.float64)
    found: Values = (gap * gap).sum(axis=1)
    return found


def uniformity(vectors: Rows) -> Values:
    """Log of the mean of exp(-2 squared distance) over pairs (Wang and Isola 2020, equation 3): lower is more evenly spread.

    Args:
        vectors: Unit rows, shape (n, dimension).

    Returns:
        One value a row whose mean is the uniformity; see `anisotropy`.

    Raises:
        NotEnoughDataError: Fewer than 3 vectors.
    """
    kernel = np.exp(-2.0 * (2.0 - 2.0 * _cosines(vectors)))
    mean, rows = _projected(kernel)
    found: Values = np.log(mean) + (rows - mean) / mean  # the delta method
    return found


def anisotropy(vectors: Rows) -> Values:
    """Mean cosine of two different texts (Ethayarajh 2019, section 4.1): 0 where vectors use all directions, near 1 in a narrow cone.

    Returns:
        One value a row whose mean is the anisotropy, and whose spread is that of Hoeffding's projection (1948, "A class of statistics with
        asymptotically normal distribution", section 5): an interval for their mean is one for the anisotropy of the texts sampled from.

    Raises:
        NotEnoughDataError: Fewer than 3 vectors.
    """
    return _projected(_cosines(vectors))[1]


def _projected(pairs: Values) -> tuple[float, Values]:
    """The mean of a symmetric kernel over pairs of different rows, and each row's share in it."""
    n = len(pairs)
    each = (pairs.sum(axis=1) - np.diag(pairs)) / (n - 1)
    mean = float(each.mean())
    return mean, 2.0 * each - mean


def effective_dimension(vectors: Rows) -> float:
    """Directions that the variance is spread over, between 1 and the dimension.

    The participation ratio, (sum of eigenvalues)^2 / sum of their squares (Gao et al. 2017, "A theory of multineuronal dimensionality,
    dynamics and measurement").

    Raises:
        NotEnoughDataError: Fewer than 2 vectors, or all the same.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if len(rows) < 2:
        raise NotEnoughDataError(f"there are {len(rows)} vectors: at least 2 are needed")
    centred = rows - rows.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    if values.sum() <= 1e-12 * len(rows):
        raise NotEnoughDataError("all vectors are the same: they have no dimension")
    return float(values.sum() ** 2 / (values**2).sum())


def _cosines(vectors: Rows) -> Values:
    """Cosine of every two rows, shape (n, n)."""
    rows = np.asarray(vectors, dtype=np.float64)
    if len(rows) < 3:
        raise NotEnoughDataError(f"there are {len(rows)} vectors: at least 3 are needed")
    found: Values = rows @ rows.T
    return found


def neighbour_overlap(first: Rows, second: Rows, *, k: int) -> Values:
    """Share of each text's k nearest others that two models have in common, shape (n,), 0 to 1.

    Args:
        first: Unit rows of one model, shape (n, any).
        second: Of the other, the same texts in the same order.
        k: At least 1.

    Raises:
        NotEnoughDataError: There are not more than k texts.
        ValueError: The models have different numbers of rows.
    """
    if len(first) != len(second):
        raise ValueError(f"the models have {len(first)} and {len(second)} rows: both need the same texts")
    if len(first) <= k:
        raise NotEnoughDataError(f"there are {len(first)} texts: neighbourhoods of {k} need more")
    nearest = []
    for rows in (first, second):
        similarity = np.asarray(rows, dtype=np.float64) @ np.asarray(rows, dtype=np.float64).T
        np.fill_diagonal(similarity, -np.inf)
        nearest.append(np.argsort(-similarity, axis=1, kind="stable")[:, :k])
    return np.array([len(set(a) & set(b)) / k for a, b in zip(*(each.tolist() for each in nearest), strict=True)])


def rank_correlation(first: ArrayLike, second: ArrayLike, *, alpha: float, resamples: int, rng: np.random.Generator) -> Change:
    """Spearman's correlation with a percentile bootstrap interval over items.

    Args:
        first: Shape (n,).
        second: Shape (n,).
        alpha: 1 minus the coverage.
        resamples: At least 1.
        rng: Where the draws come from.

    Raises:
        NotEnoughDataError: Fewer than 5 items, or one side never varies.
        ValueError: Shapes don't fit, or an argument is out of its range.
    """
    check_share(alpha, name="alpha")
    check_resamples(resamples)
    a, b = finite_values(first, name="first"), finite_values(second, name="second")
    if a.shape != b.shape:
        raise ValueError(f"there are {a.size} and {b.size} values: one of each for every item")
    if a.size < 5:
        raise NotEnoughDataError(f"there are {a.size} items: a rank correlation with an interval needs at least 5")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise NotEnoughDataError("all items have the same value: there is no order to compare")
    drawn = []
    for _ in range(resamples):
        i = rng.integers(0, a.size, a.size)
        if np.ptp(a[i]) > 0 and np.ptp(b[i]) > 0:
            drawn.append(_spearman(a[i], b[i]))
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Change(estimate=_spearman(a, b), low=float(low), high=float(high))


def _spearman(a: Values, b: Values) -> float:
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
