"""How far something has moved, in standard deviations, whatever its unit is: Hedges' g of means, Cohen's h of shares."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Clusters, Values, cluster_codes, cluster_sums, finite_values, rounding
from ragtrial.stats.simultaneous import simultaneous_interval

_LEAST = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of two samples.

    Attributes:
        n: Values, at least 2.
        mean: Their mean; of values that are 0 or 1, the share.
        sd: Their standard deviation, with n - 1 below the line.

    Raises:
        ValueError: A number is out of its range.
    """

    n: int
    mean: float
    sd: float

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"a sample needs at least 2 values; found {self.n}")
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd >= 0.0):
            raise ValueError(f"mean and sd must be finite, and sd not below 0; found {self.mean!r} and {self.sd!r}")


class Clustering(NamedTuple):
    """What it means for a difference of two means that values hang together, as queries of one user do.

    Attributes:
        design_effect: How many times the variance of the difference is larger than that of independent values; at least 1.
        df: Degrees of freedom of that variance.
    """

    design_effect: float
    df: float


class Standardised(NamedTuple):
    """A difference without a unit, later minus reference.

    Attributes:
        estimate: Hedges' g or Cohen's h.
        standard_error: Of the estimate.
        low: Lower end of its interval.
        high: Upper end.
    """

    estimate: float
    standard_error: float
    low: float
    high: float


def hedges_g(reference: Sample, later: Sample, *, alpha: float, family: int = 1, clustering: Clustering | None = None) -> Standardised:
    """The difference of two means in pooled standard deviations, freed from its bias in small samples.

    Hedges 1981, "Distribution Theory for Glass's Estimator of Effect Size and Related Estimators", with his approximation
    1 - 3 / (4 (n1 + n2) - 9) of the correction; its variance 1/n1 + 1/n2 + g^2 / (2 (n1 + n2 - 3.94)) as in Hedges and Olkin 1985,
    "Statistical Methods for Meta-Analysis". Where values hang together, each n in it is divided by the design effect. The interval is that
    of t and not the published normal one, which is too short far out in the tails, where a large family has its ends.

    Args:
        reference: What is compared with.
        later: What is compared.
        alpha: 1 minus the coverage of all intervals of the family together.
        family: How many intervals hold together (Bonferroni).
        clustering: None: all values are independent.

    Raises:
        NotEnoughDataError: Values do not vary, or too few are independent.
        ValueError: Alpha is outside of (0, 1), or the family below 1.
    """
    n = reference.n + later.n
    held = clustering or Clustering(1.0, n - 2.0)
    pooled = math.sqrt(((reference.n - 1) * reference.sd**2 + (later.n - 1) * later.sd**2) / (n - 2))
    if pooled <= rounding(np.array([reference.mean, later.mean])):
        raise NotEnoughDataError("the values do not vary, so there is no standard deviation to measure a difference in")
    independent = n / held.design_effect
    if independent <= _LEAST:
        raise NotEnoughDataError(f"the {n} values say no more than {independent:.1f} independent ones: more than {_LEAST:.0f} are needed")
    estimate = (1.0 - 3.0 / (4.0 * n - 9.0)) * (later.mean - reference.mean) / pooled
    variance = held.design_effect * (1.0 / reference.n + 1.0 / later.n) + estimate**2 / (2.0 * (independent - 3.94))
    return _with_interval(estimate, variance, held.df, alpha=alpha, family=family)


def cohens_h(reference: Sample, later: Sample, *, alpha: float, family: int = 1, clustering: Clustering | None = None) -> Standardised:
    """The difference of two shares on the scale on which their error does not depend on them: 2 asin sqrt(p).

    Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", chapter 6; the variance is 1/n1 + 1/n2, the interval as in
    `hedges_g`. It has a value where a share is 0 or 1.

    Args:
        reference: What is compared with; its mean is the share.
        later: What is compared.
        alpha: 1 minus the coverage of all intervals of the family together.
        family: How many intervals hold together (Bonferroni).
        clustering: None: all values are independent.

    Raises:
        ValueError: A mean is no share, alpha is outside of (0, 1), or the family below 1.
    """
    for name, sample in (("reference", reference), ("later", later)):
        if not 0.0 <= sample.mean <= 1.0:
            raise ValueError(f"the mean of {name!r} must be a share between 0 and 1; found {sample.mean!r}")
    held = clustering or Clustering(1.0, reference.n + later.n - 2.0)
    estimate = 2.0 * (math.asin(math.sqrt(later.mean)) - math.asin(math.sqrt(reference.mean)))
    variance = held.design_effect * (1.0 / reference.n + 1.0 / later.n)
    return _with_interval(estimate, variance, held.df, alpha=alpha, family=family)


def _with_interval(estimate: float, variance: float, df: float, *, alpha: float, family: int) -> Standardised:
    error = math.sqrt(variance)
    low, high = simultaneous_interval(estimate, error, df, alpha=alpha, family=family)
    return Standardised(estimate=estimate, standard_error=error, low=low, high=high)


def sample_of(values: ArrayLike) -> Sample:
    """Number, mean and standard deviation of values of shape (n,).

    Raises:
        NotEnoughDataError: There are fewer than 2.
        ValueError: One is not finite.
    """
    numbers = finite_values(values, name="values")
    if numbers.size < 2:
        raise NotEnoughDataError(f"{numbers.size} values have no standard deviation: at least 2 are needed")
    return Sample(n=int(numbers.size), mean=float(numbers.mean()), sd=float(numbers.std(ddof=1)))


def worth_of(clusters: Clusters) -> float:
    """How many equally large clusters would be worth as much: n^2 / sum of squared sizes (Kish 1965, "Survey Sampling").

    With one heavy user it is small, however many others there are.

    Args:
        clusters: The cluster of each value, at least one.
    """
    sizes = np.unique(np.asarray(clusters), return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def clustering_of(reference: ArrayLike, reference_clusters: Clusters, later: ArrayLike, later_clusters: Clusters) -> Clustering:
    """How much the values of two samples hang together, within each sample and from one to the other.

    The variance of the difference of the means is the sum of the squares of what each cluster adds to it (Taylor linearisation, as in
    `stats.ratio`). A user who is in both samples adds a difference, in which habits cancel: of users who come back, much smaller changes
    can be told than of strangers. The degrees of freedom are Satterthwaite's, each sample having as many as `worth_of` says, minus 1.

    Args:
        reference: Values of one sample, shape (n,), n at least 2.
        reference_clusters: The cluster of each; the same label is the same cluster in both samples.
        later: Values of the other sample, shape (m,), m at least 2.
        later_clusters: Likewise.

    Raises:
        NotEnoughDataError: Fewer than 2 values in a sample, or all of one are of one cluster.
        ValueError: Not one finite value and one label each.
    """
    first, second = finite_values(reference, name="reference"), finite_values(later, name="later")
    worth = worth_of(reference_clusters), worth_of(later_clusters)
    if min(first.size, second.size) < 2 or min(worth) <= 1.0:
        raise NotEnoughDataError(
            f"{first.size} and {second.size} values, worth {worth[0]:.1f} and {worth[1]:.1f} clusters: at least 2 are needed"
        )
    codes, n_clusters = cluster_codes(
        np.concatenate([np.asarray(reference_clusters), np.asarray(later_clusters)]), first.size + second.size
    )
    residuals = np.concatenate([-_off_mean(first) / first.size, _off_mean(second) / second.size])
    alone = float((residuals**2).sum())
    added, _ = cluster_sums(residuals, codes, n_clusters)
    found = float((added**2).sum()) * n_clusters / (n_clusters - 1.0)
    parts = [(1.0 / values.size, each - 1.0) for values, each in zip((first, second), worth, strict=True)]
    df = sum(part for part, _ in parts) ** 2 / sum(part**2 / freedom for part, freedom in parts)
    return Clustering(design_effect=max(1.0, found / alone) if alone else 1.0, df=df)


def _off_mean(values: Values) -> Values:
    left: Values = values - values.mean()
    return left
