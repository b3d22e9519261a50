"""The mean of paired differences with its t interval, plain or cluster-robust."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.stats.sample import Clusters, check_share, check_size, check_spread, cluster_codes, finite_values


class PairedT(NamedTuple):
    """A mean difference with its uncertainty.

    Attributes:
        estimate: Mean over the queries, in the unit of the differences.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        standard_error: Of the estimate, above 0.
        df: Degrees of freedom: n - 1, or n_clusters - 1.
        p_value: Two-sided, of a mean of 0.
        n: Queries.
        n_clusters: Clusters, or None where the queries were taken as independent.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float
    p_value: float
    n: int
    n_clusters: int | None


def paired_t(differences: ArrayLike, *, alpha: float, clusters: Clusters | None = None) -> PairedT:
    """The mean difference with its t interval (Student 1908), cluster-robust where clusters are given.

    Queries written from one document are not independent. With clusters the standard error is CR1 (Liang and Zeger 1986 with the
    factor G / (G - 1); Cameron and Miller 2015, "A Practitioner's Guide to Cluster-Robust Inference", sections II and VI) and the
    reference distribution t with G - 1 degrees of freedom; the estimate stays the mean over queries. One query a cluster gives the plain
    paired t. Below about 20 clusters the interval is somewhat too narrow, and more so where a few clusters hold most queries.

    Args:
        differences: Treatment minus control, one a query, shape (n,).
        alpha: 1 minus the coverage, e.g. 0.05.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or no variance (all queries, or all cluster means, the same up to rounding).
        ValueError: A value is not finite, shapes don't fit, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    values = finite_values(differences, name="differences")
    codes = None if clusters is None else cluster_codes(clusters, values.size)
    check_size(values.size, None if codes is None else codes[1])
    check_spread(values, codes)
    if codes is None:
        test = stats.ttest_1samp(values, 0.0)
        interval = test.confidence_interval(1.0 - alpha)
        return PairedT(
            estimate=float(values.mean()),
            low=float(interval.low),
            high=float(interval.high),
            standard_error=float(stats.sem(values)),
            df=float(test.df),
            p_value=float(test.pvalue),
            n=values.size,
            n_clusters=None,
        )
    from statsmodels.regression.linear_model import OLS  # here, because of the pandas behind it: half a second

    fit = OLS(values, np.ones((values.size, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": codes[0], "use_correction": True, "df_correction": True}, use_t=True
    )
    low, high = fit.conf_int(alpha)[0]
    return PairedT(
        estimate=float(fit.params[0]),
        low=float(low),
        high=float(high),
        standard_error=float(fit.bse[0]),
        df=float(codes[1] - 1),
        p_value=float(fit.pvalues[0]),
        n=values.size,
        n_clusters=codes[1],
    )


def standardised_effect(differences: ArrayLike) -> float:
    """Cohen's d_z: the mean difference over the standard deviation of the differences (Lakens 2013).

    Args:
        differences: Treatment minus control, one a query, shape (n,).

    Raises:
        NotEnoughDataError: Fewer than 2 queries, or no variance.
        ValueError: A value is not finite.
    """
    values = finite_values(differences, name="differences")
    check_size(values.size, None)
    check_spread(values, None)
    return float(values.mean()) / math.sqrt(float(values.var(ddof=1)))
