"""What one row contributes to an estimate: sampling weights, and the cluster-robust error that the contributions add up to.

Every estimate of `prediction_powered` and `agreement` is, to first order, the truth plus a sum of one small number a row (its influence;
Huber 1981, section 1.5). Rows of one cluster are added before they are squared, so that queries from one document, both arms' answers
to one query, and labelled rows that also stand among the judged ones are never taken as independent.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import ROUNDING, Clusters, Values, cluster_codes, finite_values

MIN_LABELS = 20
"""Human labels a group that an interval asks for: with 20 and `MIN_ODD_GAPS` it covered 94 % or more in
`tests/simulation/test_judged_statistics.py`; with 10 and no other limit 65 %."""

MIN_CLUSTERS = 10.0
"""What the labels must be worth in equal clusters: the t interval of as few is still fair, of fewer it is a guess."""

MIN_ODD_GAPS = 2
"""Labels whose gap between human and judge must differ from the commonest gap. Where judge and people nearly always agree, the error hangs
on the few exceptions: with 30 labels of a judge that is wrong at one answer of twenty, 81 % of the intervals covered the truth, and 98 % of
those from two exceptions or more."""


def inverse_weights(probabilities: ArrayLike | None, n: int) -> Values:
    """Weights that undo an unequal chance of being labelled (Hájek 1971): 1 / probability, scaled to a sum of 1, shape (n,).

    Args:
        probabilities: Chance of each labelled row to be labelled, shape (n,), in (0, 1]; None where all were equal.
        n: Labelled rows, at least 1.

    Raises:
        ValueError: There is not one probability a row, or one is outside of (0, 1].
    """
    if probabilities is None:
        return np.full(n, 1.0 / max(n, 1))
    chances = finite_values(probabilities, name="probabilities")
    if chances.size != n:
        raise ValueError(f"'probabilities' must hold one value for each of the {n} labelled rows; found {chances.size}")
    if n and not (chances.min() > 0.0 and chances.max() <= 1.0):
        raise ValueError(f"'probabilities' must lie in (0, 1]; found {float(chances.min())!r} to {float(chances.max())!r}")
    inverse = np.reciprocal(chances)
    weights: Values = inverse / inverse.sum()
    return weights


def codes_or_rows(clusters: Clusters | None, n: int) -> NDArray[np.intp]:
    """The cluster of each row as a number from 0, shape (n,); each row its own cluster where none are given.

    Raises:
        ValueError: There is not exactly one label a row.
    """
    return np.arange(n, dtype=np.intp) if clusters is None else cluster_codes(clusters, n)[0]


def effective_units(weights: Values, codes: NDArray[np.intp]) -> float:
    """How many equally weighted clusters these are worth (Kish 1965, section 11.7): 1 over the sum of the squared cluster weights.

    Args:
        weights: Of each row, summing to 1, shape (n,).
        codes: Cluster of each row, shape (n,).

    Returns:
        n for n rows of equal weight in n clusters; near 1 where one cluster holds nearly all of the weight.
    """
    return float(1.0 / np.square(np.bincount(codes, weights=weights)).sum())


def clustered_square(influence: Values, codes: NDArray[np.intp]) -> float:
    """The variance that influences add up to: the sum over clusters of the squared sum within each (Liang and Zeger 1986)."""
    return float(np.square(np.bincount(codes, weights=influence)).sum())


def checked_units(gaps: Values, weights: Values, codes: NDArray[np.intp]) -> float:
    """What the labelled rows are worth in equal clusters (`effective_units`), if an honest error of their mean gap can be estimated.

    Args:
        gaps: Human less judge on each labelled row, shape (n,).
        weights: Of each row, summing to 1, shape (n,).
        codes: Cluster of each row, shape (n,).

    Raises:
        NotEnoughDataError: They are too few, or human and judge are apart by the same on all but one of them.
    """
    if gaps.size < MIN_LABELS:
        raise NotEnoughDataError(f"at least {MIN_LABELS} human labels are needed to hold the judge against, and there are {gaps.size}")
    units = effective_units(weights, codes)
    if units < MIN_CLUSTERS:
        raise NotEnoughDataError(
            f"the {gaps.size} human labels are worth {units:.1f} equal clusters, and at least {MIN_CLUSTERS:g} are needed: "
            "label rows of more clusters, or with less unequal probabilities"
        )
    steps = np.round(gaps / (1e3 * ROUNDING * max(1.0, float(np.abs(gaps).max()))))
    odd = gaps.size - int(np.unique(steps, return_counts=True)[1].max())
    if odd < MIN_ODD_GAPS:
        raise NotEnoughDataError(
            f"human and judge are apart by the same on all but {odd} of {gaps.size} labels: "
            "no error can be told from so few exceptions; label more rows"
        )
    return units
