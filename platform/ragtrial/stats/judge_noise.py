"""How much of an interval's width comes from the judge's own wavering, and what would narrow it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.paired import paired_t
from ragtrial.stats.power import mde
from ragtrial.stats.sample import Clusters, Values, check_share, finite_values

_ANY_ALPHA = 0.05  # the standard error does not depend on it


class NoiseSplit(NamedTuple):
    """The variance of a mean difference, in the squared unit of the differences.

    Attributes:
        total: Squared standard error of the mean difference; above 0.
        between: Its part that comes from queries (or clusters) being different: total less judge, 0 where that is negative.
        judge: Its part that comes from the judge, which would judge the same answers otherwise another time.
        clipped: Whether `between` was negative and set to 0: the judge's noise alone explains all that was seen, or more.
        df: Degrees of freedom of total: n - 1, or clusters - 1.
        judgments: Judgments in all, the sum of the counts.
    """

    total: float
    between: float
    judge: float
    clipped: bool
    df: float
    judgments: int


class Precision(NamedTuple):
    """What an experiment of a planned size would give.

    Attributes:
        half_width: Half the width of the expected 1 - alpha interval.
        mde: Smallest true effect seen with the planned power.
        judgments: Judgments that it takes in all.
    """

    half_width: float
    mde: float
    judgments: int


class Doublings(NamedTuple):
    """Two ways to spend as many judgments again, beside the experiment at hand.

    Per judgment, more queries never narrow the interval less than more judgments: a new query halves the judge's noise *and* what queries
    differ. More judgments are for where no more queries can be had.

    Attributes:
        now: The experiment at hand, from the two parts of its variance.
        twice_the_judgments: Every query judged twice as often.
        twice_the_queries: Twice as many queries, each judged as often as now.
        share_of_gain: How much of the narrowing by twice the queries twice the judgments would bring: 0 (the judge does not waver) to
            just below 1 (nothing but the judge varies). The number that decides, as both cost the same judgments.
    """

    now: Precision
    twice_the_judgments: Precision
    twice_the_queries: Precision
    share_of_gain: float


def split_noise(differences: ArrayLike, within_variances: ArrayLike, counts: ArrayLike, *, clusters: Clusters | None = None) -> NoiseSplit:
    """Splits the variance of the mean difference into queries and judge (one-way random effects, method of moments).

    E[sample variance of the query means] = variance between queries + mean of (within variance / count), for any counts, as the estimate
    is the plain mean over queries (Searle, Casella and McCulloch 1992, "Variance Components", chapter 3; with equal counts it is the
    analysis of variance). Noise may differ from query to query. A query judged once shows no noise of its own and is taken to have the
    pooled one. The moment estimate of `between` can be negative; it is then set to 0, and `clipped` says so. With clusters, total is the
    cluster-robust variance.

    Args:
        differences: Treatment minus control, the mean over the judgments of each query, shape (n,).
        within_variances: Sample variance (over count - 1) of the single judgments' differences of each query, shape (n,); where the arms
            were judged apart, the sum of both arms' variances. Ignored where the count is 1.
        counts: Judgments of each query, whole, at least 1, shape (n,).
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: No query was judged more than once, or `paired_t` has no error for these differences.
        ValueError: A value is not finite, a variance is negative, a count is not whole or below 1, or shapes don't fit.
    """
    means, judged = finite_values(differences, name="differences"), finite_values(counts, name="counts")
    if judged.shape != means.shape or np.any(judged < 1.0) or np.any(judged != np.floor(judged)):
        raise ValueError(f"'counts' must hold one whole number of at least 1 for each of the {means.size} differences")
    noise = _single_judgment_variances(within_variances, judged)
    fit = paired_t(means, alpha=_ANY_ALPHA, clusters=clusters)
    total, judge = fit.standard_error**2, float(np.mean(noise / judged)) / means.size
    return NoiseSplit(
        total=total, between=max(total - judge, 0.0), judge=judge, clipped=judge > total, df=fit.df, judgments=int(judged.sum())
    )


def planned_precision(split: NoiseSplit, *, queries: float, judgments: float, alpha: float, power: float) -> Precision:
    """What `queries` times as many queries, each judged `judgments` times as often, would give.

    Variance = (between + judge / judgments) / queries; Student's t with (df + 1) * queries - 1 degrees of freedom, clusters taken to grow
    with the queries. Where `split.clipped`, the present variance is planned with as judge's noise alone, which is hopeful.

    Args:
        split: Of the experiment at hand.
        queries: Factor on the number of queries, above 0; 1 keeps it.
        judgments: Factor on the judgments of each query, above 0.
        alpha: 1 minus the coverage.
        power: For the MDE, e.g. 0.8.

    Raises:
        NotEnoughDataError: Fewer than 2 queries (or clusters) would be left, no MDE exists for so few, or nothing would vary.
        ValueError: An argument is out of its range.
    """
    check_share(alpha, name="alpha")
    for name, factor in (("queries", queries), ("judgments", judgments)):
        if not (math.isfinite(factor) and factor > 0.0):
            raise ValueError(f"{name!r} must be a finite factor above 0; found {factor!r}")
    df = (split.df + 1.0) * queries - 1.0
    if df < 1.0:
        raise NotEnoughDataError(f"{queries:g} times the queries would leave fewer than 2: no error can be planned")
    judge = min(split.judge, split.total)
    variance = (split.between + judge / judgments) / queries
    error = math.sqrt(variance)
    return Precision(
        half_width=float(stats.t.isf(alpha / 2.0, df)) * error,
        mde=mde(error, df, alpha=alpha, power=power),
        judgments=math.ceil(split.judgments * queries * judgments),
    )


def compare_doublings(split: NoiseSplit, *, alpha: float, power: float) -> Doublings:
    """Twice the judgments of each query against twice the queries, at the same number of judgments.

    Args:
        split: Of the experiment at hand.
        alpha: 1 minus the coverage.
        power: For the MDEs.

    Raises:
        NotEnoughDataError: As in `planned_precision`.
        ValueError: An argument is out of its range.
    """
    now = planned_precision(split, queries=1, judgments=1, alpha=alpha, power=power)
    more_judgments = planned_precision(split, queries=1, judgments=2, alpha=alpha, power=power)
    more_queries = planned_precision(split, queries=2, judgments=1, alpha=alpha, power=power)
    return Doublings(
        now=now,
        twice_the_judgments=more_judgments,
        twice_the_queries=more_queries,
        share_of_gain=(now.half_width - more_judgments.half_width) / (now.half_width - more_queries.half_width),
    )


def _single_judgment_variances(within_variances: ArrayLike, counts: Values) -> Values:
    """Variance of one judgment of each query, shape (n,): its own, or the pooled one where it was judged once.

    Raises:
        NotEnoughDataError: Every query was judged once.
        ValueError: There is not one value a query, or one is negative or not finite where the count is above 1.
    """
    variances, repeated = np.asarray(within_variances, dtype=np.float64), counts > 1.0
    if variances.shape != counts.shape:
        raise ValueError(f"'within_variances' must hold one value for each of the {counts.size} queries; found the shape {variances.shape}")
    if not repeated.any():
        raise NotEnoughDataError("every query was judged once: how much the judge wavers shows only where it judges the same answer again")
    own = finite_values(variances[repeated], name="within_variances")
    if np.any(own < 0.0):
        raise ValueError(f"'within_variances' must be 0 or above; found {float(own.min())!r}")
    pooled = float(np.average(own, weights=counts[repeated] - 1.0))
    return np.where(repeated, variances, pooled)
