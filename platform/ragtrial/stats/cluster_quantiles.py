"""A quantile of live queries, such as p95 latency, where users were randomised."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Clusters, Values, check_resamples, check_share, cluster_codes, finite_values

MOST_GROUPS = 2_000
"""Above so many units, the bootstrap draws that many random groups of units."""

_ERRORS_AROUND = 8.0


class QuantileDifference(NamedTuple):
    """One quantile in both arms, compared.

    Attributes:
        control: The quantile of control's queries, in their unit.
        treatment: The quantile of treatment's.
        difference: Treatment minus control.
        standard_error: Of the difference, from the bootstrap.
        low: Lower end of the difference's two-sided 1 - alpha percentile interval.
        high: Upper end.
        ratio: Treatment over control, or None where a quantile or a resampled one is not above 0; so are the three below.
        ratio_low: Lower end of its interval.
        ratio_high: Upper end.
        log_standard_error: Of the logarithm of the ratio; what a sequential guardrail takes.
        n_units: Units in control and in treatment.
        n_queries: Queries in control and in treatment.
    """

    control: float
    treatment: float
    difference: float
    standard_error: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    log_standard_error: float | None
    n_units: tuple[int, int]
    n_queries: tuple[int, int]


class _Arm(NamedTuple):
    quantile: float
    resampled: Values
    n_units: int
    n_queries: int


def quantile_difference(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    control_units: Clusters,
    treatment_units: Clusters,
    quantile: float,
    alpha: float,
    resamples: int,
    rng: np.random.Generator,
) -> QuantileDifference:
    """The difference and the ratio of a quantile over queries, with percentile intervals that draw whole users.

    Cluster bootstrap (Davison and Hinkley 1997, section 3.8) of the type 7 quantile (Hyndman and Fan 1996). A bootstrap of queries takes
    one user's queries for independent, and its 95 % interval covers 54 to 74 %.

    Two things keep it fast for many queries and change nothing but noise. Above `MOST_GROUPS` units, random groups of units are drawn in
    their place (Wolter 2007, "Introduction to Variance Estimation", chapter 2). And only values near the quantile are weighed one by one,
    those within 8 standard errors of its share (Woodruff 1952); the rest is counted by group.

    Args:
        control: Values of control's queries, shape (n_queries,).
        treatment: Values of treatment's.
        control_units: Each query's unit, shape (n_queries,).
        treatment_units: The same for treatment.
        quantile: Share at or below it, e.g. 0.95.
        alpha: 1 minus the coverage, at a planned size.
        resamples: Samples to draw, at least 2.
        rng: Where the draws come from.

    Raises:
        NotEnoughDataError: An arm has fewer than 20 units, or fewer than 10 of its values are expected beyond the quantile, or
            it does not vary between resamples.
        ValueError: A value is not finite, shapes don't fit, or an argument is out of its range.
    """
    check_share(alpha, name="alpha")
    check_share(quantile, name="quantile")
    check_resamples(resamples - 1)
    left = _arm(control, control_units, quantile, resamples, rng, name="control")
    right = _arm(treatment, treatment_units, quantile, resamples, rng, name="treatment")
    differences = right.resampled - left.resampled
    error = float(differences.std(ddof=1))
    if error == 0.0:
        raise NotEnoughDataError("the quantile is the same in every resample: without variance there is no interval")
    ends = [alpha / 2.0, 1.0 - alpha / 2.0]
    low, high = np.quantile(differences, ends)
    ratio = ratio_low = ratio_high = log_error = None
    if min(left.quantile, right.quantile, left.resampled.min(), right.resampled.min()) > 0.0:
        logs = np.log(right.resampled / left.resampled)
        ratio, log_error = right.quantile / left.quantile, float(logs.std(ddof=1))
        ratio_low, ratio_high = (float(end) for end in np.exp(np.quantile(logs, ends)))
    return QuantileDifference(
        control=left.quantile,
        treatment=right.quantile,
        difference=right.quantile - left.quantile,
        standard_error=error,
        low=float(low),
        high=float(high),
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        log_standard_error=log_error,
        n_units=(left.n_units, right.n_units),
        n_queries=(left.n_queries, right.n_queries),
    )


def _arm(values: ArrayLike, units: Clusters, quantile: float, resamples: int, rng: np.random.Generator, *, name: str) -> _Arm:
    sample = finite_values(values, name=name)
    codes, n_units = cluster_codes(units, sample.size)
    beyond = min(quantile, 1.0 - quantile) * sample.size
    if n_units < 20 or beyond < 10.0:
        raise NotEnoughDataError(
            f"a quantile of {quantile:g} needs at least 20 units and 10 values beyond it; {name} has {n_units} units and {beyond:.1f} values"
        )
    if n_units > MOST_GROUPS:
        codes = rng.permutation(n_units)[codes] % MOST_GROUPS
    order = np.argsort(sample, kind="stable")
    resampled = _resampled_quantiles(sample[order], codes[order], min(n_units, MOST_GROUPS), quantile, resamples, rng)
    return _Arm(quantile=float(np.quantile(sample, quantile)), resampled=resampled, n_units=n_units, n_queries=sample.size)


def _resampled_quantiles(
    values: Values, groups: NDArray[np.intp], n_groups: int, quantile: float, resamples: int, rng: np.random.Generator
) -> Values:
    """The quantile of each resample of whole groups, shape (resamples,); `values` are sorted, `groups` go with them."""
    n = values.size
    sizes = np.bincount(groups, minlength=n_groups).astype(np.float64)
    at_or_below = np.bincount(groups[: int(np.ceil(quantile * n))], minlength=n_groups).astype(np.float64)
    share_error = float(np.sqrt(np.sum((at_or_below - quantile * sizes) ** 2))) / n
    reach = int(np.ceil(_ERRORS_AROUND * share_error * n)) + 2
    start, stop = max(0, int(quantile * n) - reach), min(n, int(quantile * n) + reach)
    before = np.bincount(groups[:start], minlength=n_groups).astype(np.float64)
    near, window = groups[start:stop], values[start:stop]
    results = np.empty(resamples)
    for row in range(resamples):
        weights = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
        position = quantile * (float(weights @ sizes) - 1.0)
        reached = np.cumsum(weights[near]) + float(weights @ before)
        lower, upper = np.searchsorted(reached, [np.floor(position), np.floor(position) + 1.0], side="right").clip(0, window.size - 1)
        results[row] = window[lower] + (position - np.floor(position)) * (window[upper] - window[lower])
    return results
