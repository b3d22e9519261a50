"""Two groups of the same sample: how far apart their means are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Clusters, check_share, cluster_codes, finite_values, rounding

FEWEST = 5
"""Members below which a group's spread is not worth an interval."""


class Contrast(NamedTuple):
    """A difference of two means.

    Attributes:
        estimate: Mean inside the group minus mean outside.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        inside: Mean of the group.
        outside: Mean of the others.
        n_inside: Members.
        n_outside: Others.
        n_clusters: Clusters, or None where all were taken as independent.
    """

    estimate: float
    low: float
    high: float
    inside: float
    outside: float
    n_inside: int
    n_outside: int
    n_clusters: int | None


def group_contrast(values: ArrayLike, group: ArrayLike, *, alpha: float, clusters: Clusters | None = None) -> Contrast:
    """Mean of a group minus the mean of the others: Welch's interval, or a cluster-robust one.

    Without clusters Welch 1947 (statsmodels). With clusters the slope of an indicator in least squares with CR1 errors and t with G - 1 degrees
    of freedom, as in `paired.paired_t`, because one document's queries may lie in both groups.

    Args:
        values: One a query, shape (n,).
        group: Whether each query is in the group, shape (n,).
        alpha: 1 minus the coverage.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: A side has fewer than 5 members, nothing varies, or there are fewer than 2 clusters.
        ValueError: A value is not finite, shapes don't fit, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    y = finite_values(values, name="values")
    inside: NDArray[np.bool_] = np.asarray(group, dtype=bool)
    if inside.shape != y.shape:
        raise ValueError(f"'group' has the shape {inside.shape} and 'values' {y.shape}: one mark for each value")
    left, right = y[inside], y[~inside]
    if min(left.size, right.size) < FEWEST:
        raise NotEnoughDataError(f"the groups have {left.size} and {right.size} members: at least {FEWEST} are needed in each")
    if float(np.ptp(y)) <= rounding(y):
        raise NotEnoughDataError(f"all {y.size} have the same value ({float(y[0]):.6g}): there is nothing to tell apart")
    if max(float(np.ptp(left)), float(np.ptp(right))) <= rounding(y):
        raise NotEnoughDataError(
            f"all {left.size} of the group have the same value, and so have all {right.size} others: without variance there is no interval"
        )
    inner, outer = float(left.mean()), float(right.mean())
    n_clusters = None
    if clusters is None:
        from statsmodels.stats.weightstats import CompareMeans, DescrStatsW  # here, because of the pandas behind it: half a second

        both = CompareMeans(DescrStatsW(left), DescrStatsW(right))
        estimate, (low, high) = inner - outer, map(float, both.tconfint_diff(alpha, usevar="unequal"))
    else:
        from statsmodels.regression.linear_model import OLS  # see above

        codes, n_clusters = cluster_codes(clusters, y.size)
        if n_clusters < 2:
            raise NotEnoughDataError(f"all {y.size} belong to one cluster: at least 2 are needed")
        design = np.column_stack([np.ones(y.size), inside.astype(np.float64)])
        robust = {"groups": codes, "use_correction": True, "df_correction": True}
        fit = OLS(y, design).fit(cov_type="cluster", cov_kwds=robust, use_t=True)
        estimate, (low, high) = float(fit.params[1]), map(float, fit.conf_int(alpha)[1])
    return Contrast(
        estimate=estimate,
        low=low,
        high=high,
        inside=inner,
        outside=outer,
        n_inside=left.size,
        n_outside=right.size,
        n_clusters=n_clusters,
    )
