"""Guardrails: is the treatment shown to be no worse than by a margin?"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.stats.paired import paired_t
from ragtrial.stats.sample import Clusters, check_share, paired_values


class NonInferiority(NamedTuple):
    """How much worse the treatment is, against a margin.

    Attributes:
        estimate: How much worse; below 0 is better. In the metric's unit, or as a ratio minus one.
        bound: One-sided upper 1 - alpha confidence bound.
        lower_bound: One-sided lower 1 - alpha confidence bound.
        holds: The upper bound is below the margin: shown to be no worse than by the margin.
        broken: The lower bound is above the margin: shown to be worse than by the margin. Neither of the two is: not shown.
    """

    estimate: float
    bound: float
    lower_bound: float
    holds: bool
    broken: bool


def non_inferiority(worse_by: ArrayLike, *, margin: float, alpha: float, clusters: Clusters | None = None) -> NonInferiority:
    """One-sided t bounds on the mean of `worse_by`, compared with the margin (CPMP/EWP/2158/99; Piaggio et al. 2012, CONSORT).

    The bounds are the ends of the two-sided 1 - 2 alpha interval of `paired_t`. Where every query is worse by the same (0 included) there
    is no sampling error to estimate, so that no bound exists; the caller reports that and decides nothing by it.

    Args:
        worse_by: How much worse the treatment is than control, one a query, shape (n,), in the metric's unit.
        margin: The largest loss that is still accepted; above 0.
        alpha: One-sided level of each bound, below 0.5.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or no variance.
        ValueError: A value is not finite, shapes don't fit, or margin or alpha is out of its range.
    """
    check_share(alpha, name="alpha", below=0.5)
    _check_margin(margin)
    fit = paired_t(worse_by, alpha=2.0 * alpha, clusters=clusters)
    return NonInferiority(
        estimate=fit.estimate, bound=fit.high, lower_bound=fit.low, holds=bool(fit.high < margin), broken=bool(fit.low > margin)
    )


def non_inferiority_ratio(
    control: ArrayLike, treatment: ArrayLike, *, margin: float, alpha: float, clusters: Clusters | None = None
) -> NonInferiority:
    """The same for values where a ratio is meant and more is worse, such as latency or cost.

    The mean of log(treatment / control) and its bounds, turned back: the geometric mean of the queries' ratios minus one (as for
    bioequivalence: FDA 2001, "Statistical Approaches to Establishing Bioequivalence", section VI). One slow query can't carry it away,
    and it says nothing about the tail: look at p95 for that.

    Args:
        control: Positive values, one a query, shape (n,).
        treatment: The same for the same queries.
        margin: The largest relative increase that is still accepted, e.g. 0.25; above 0.
        alpha: One-sided level of each bound, below 0.5.
        clusters: Label of each query's cluster, shape (n,), or None.

    Raises:
        NotEnoughDataError: Fewer than 2 queries or clusters, or all ratios are the same.
        ValueError: A value is not finite or not above 0, shapes don't fit, or margin or alpha is out of its range.
    """
    check_share(alpha, name="alpha", below=0.5)
    _check_margin(margin)
    left, right = paired_values(control, treatment)
    for name, values in (("control", left), ("treatment", right)):
        bad = values[values <= 0.0]
        if bad.size:
            raise ValueError(f"{name!r} must be above 0 to form a ratio; found {float(bad[0])!r}")
    fit = non_inferiority(np.log(right) - np.log(left), margin=math.log1p(margin), alpha=alpha, clusters=clusters)
    return fit._replace(estimate=math.expm1(fit.estimate), bound=math.expm1(fit.bound), lower_bound=math.expm1(fit.lower_bound))


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin > 0.0):
        raise ValueError(f"'margin' must be a finite number above 0; found {margin!r}")
