"""What every method here accepts: one finite number a query, and the cluster that each query belongs to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtrial.errors import NotEnoughDataError

Values = NDArray[np.float64]
Clusters = Sequence[str] | NDArray[Any]

ROUNDING = 1e-12
"""Differences this close, relative to the largest or to 1, come from floating point and not from the queries."""


def finite_values(values: ArrayLike, *, name: str) -> Values:
    """The values as float64, shape (n,).

    Args:
        values: One number a query; may be empty.
        name: What they are, for the message.

    Raises:
        ValueError: They are not one-dimensional, or one is NaN or infinite (leave unscored queries out, and count them).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name!r} must have the shape (n,), one number a query; found the shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"{name!r} holds {bad.size} values that are not finite, the first at {bad[0]}: leave unscored queries out")
    return array


def paired_values(control: ArrayLike, treatment: ArrayLike) -> tuple[Values, Values]:
    """Both arms' values of the same queries, each of shape (n,).

    Raises:
        ValueError: They differ in length, or `finite_values` refuses one of them.
    """
    left, right = finite_values(control, name="control"), finite_values(treatment, name="treatment")
    if left.shape != right.shape:
        raise ValueError(f"'control' has {left.size} values and 'treatment' {right.size}: both must answer the same queries")
    return left, right


def cluster_codes(clusters: Clusters, n: int) -> tuple[NDArray[np.intp], int]:
    """The cluster of each query as a number from 0, shape (n,), and how many clusters there are.

    Raises:
        ValueError: There is not exactly one label a query.
    """
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"'clusters' must hold one label for each of the {n} values; found the shape {labels.shape}")
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.intp), len(names)


def cluster_sums(values: Values, codes: NDArray[np.intp], n_clusters: int) -> tuple[Values, Values]:
    """Sum and size of each cluster, each of shape (n_clusters,)."""
    sums: Values = np.bincount(codes, weights=values, minlength=n_clusters).astype(np.float64)
    return sums, np.bincount(codes, minlength=n_clusters).astype(np.float64)


def rounding(values: Values) -> float:
    """How far apart two of the values (at least one) may lie and still count as the same."""
    return ROUNDING * max(1.0, float(np.abs(values).max()))


def check_size(n: int, n_clusters: int | None) -> None:
    """Refuses samples that no error can be estimated from.

    Raises:
        NotEnoughDataError: Fewer than 2 queries, or fewer than 2 clusters.
    """
    if n < 2:
        raise NotEnoughDataError(f"at least 2 scored queries are needed to tell a difference from chance, and there are {n}")
    if n_clusters is not None and n_clusters < 2:
        raise NotEnoughDataError(
            f"all {n} scored queries belong to one cluster: at least 2 clusters are needed to tell a difference from chance"
        )


def check_spread(values: Values, clusters: tuple[NDArray[np.intp], int] | None) -> None:
    """Refuses samples without variance: with them no interval exists, and one of width 0 would be a lie.

    Args:
        values: Shape (n,), at least one.
        clusters: Codes and number of clusters; the spread that counts is then that of the cluster means.

    Raises:
        NotEnoughDataError: All values are the same up to rounding, or all cluster means are.
    """
    tolerance = rounding(values)
    if float(np.ptp(values)) <= tolerance:
        raise NotEnoughDataError(
            f"every one of the {values.size} queries got the same difference ({float(values[0]):.6g}): "
            "without variance there is no interval"
        )
    if clusters is None:
        return
    sums, sizes = cluster_sums(values, *clusters)
    if float(np.ptp(sums / sizes)) <= tolerance:
        raise NotEnoughDataError(
            f"every one of the {clusters[1]} clusters got the same mean difference ({float(sums[0] / sizes[0]):.6g}): "
            "without variance between clusters there is no interval"
        )


def check_share(value: float, *, name: str, below: float = 1.0) -> None:
    """Refuses an alpha, power or the like outside of (0, below).

    Raises:
        ValueError: It is outside.
    """
    if not 0.0 < value < below:
        raise ValueError(f"{name!r} must lie between 0 and {below:g}, both excluded; found {value!r}")


def check_resamples(resamples: int) -> None:
    """Refuses a number of resamples below 1.

    Raises:
        ValueError: It is below 1.
    """
    if resamples < 1:
        raise ValueError(f"'resamples' must be at least 1; found {resamples!r}")
