"""Intervals and p-values that stay valid however often, and whenever, one looks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import Values, check_share

MINIMUM_UNITS = 100
"""Units in each arm before anything is said: the sequence is asymptotic, and starts where a normal approximation is fair."""


class ConfidenceSequence(NamedTuple):
    """The current member of a sequence of intervals that all hold together with probability 1 - alpha.

    Attributes:
        low: Lower end of the two-sided interval.
        high: Upper end.
        p_value: Always-valid, two-sided, of an estimate of 0: below alpha exactly where the interval excludes 0. The smallest of all
            looks so far is valid as well.
        n_units: Units of all arms.
        planned_units: Where the interval is tightest.
    """

    low: float
    high: float
    p_value: float
    n_units: int
    planned_units: int


class ConfidenceBounds(NamedTuple):
    """One-sided bounds, each of which holds at all looks together with probability 1 - alpha.

    Attributes:
        lower: Lower bound.
        upper: Upper bound.
    """

    lower: float
    upper: float


def confidence_sequence(
    estimate: float, standard_error: float, *, units: Sequence[int], alpha: float, planned_units: int
) -> ConfidenceSequence:
    """The asymptotic confidence sequence of an estimate (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, theorem 2.2).

    "Time-uniform central limit theory and asymptotic confidence sequences": with V = n * standard_error^2 the variance of one unit,
    estimate +- sqrt(V) * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(sqrt(n rho^2 + 1) / alpha)), Robbins' normal mixture (1970) with an
    estimated variance. The clock n is the units of all arms. With returning users the error must be the one by unit (`ratio_difference`):
    where the same users come back, a sequence on the error by query alarms on four of ten equal pairs.

    It is asymptotic: valid as n grows and, in `tests/simulation/test_live_statistics.py`, from `MINIMUM_UNITS` units an arm on.

    Args:
        estimate: Of the difference, or of one mean.
        standard_error: Of the estimate, over the units; above 0.
        units: Units with data, one number an arm: (n_control, n_treatment), or (n,) for one sample.
        alpha: 1 minus the coverage of all looks together.
        planned_units: Units of all arms at which the width shall be smallest, e.g. at which the verdict is planned. Fixed before the data.

    Raises:
        NotEnoughDataError: An arm has fewer than `MINIMUM_UNITS` units.
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha")
    n = _clock(estimate, standard_error, units)
    x = n * rho_squared(planned_units, alpha=alpha)
    half = float(_two_sided(x, alpha)) * standard_error
    z = estimate / standard_error
    log_p = 0.5 * math.log1p(x) - 0.5 * z * z * x / (1.0 + x)
    return ConfidenceSequence(
        low=estimate - half, high=estimate + half, p_value=math.exp(min(0.0, log_p)), n_units=n, planned_units=planned_units
    )


def confidence_bounds(
    estimate: float, standard_error: float, *, units: Sequence[int], alpha: float, planned_units: int
) -> ConfidenceBounds:
    """One-sided bounds (the same paper, appendix B.1): with log(1 + sqrt(n rho^2 + 1) / (2 alpha)) in the place of the logarithm.

    Somewhat wider than the half-normal mixture that it bounds, whose normal distribution function has no inverse: 1 - Phi(x) is at most
    exp(-x^2 / 2) / 2. Each bound has the level alpha for itself.

    Args:
        estimate: As in `confidence_sequence`.
        standard_error: As in `confidence_sequence`.
        units: As in `confidence_sequence`.
        alpha: One-sided level of each bound, below 0.5.
        planned_units: As in `confidence_sequence`.

    Raises:
        NotEnoughDataError: An arm has fewer than `MINIMUM_UNITS` units.
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha", below=0.5)
    n = _clock(estimate, standard_error, units)
    half = float(_one_sided(n * rho_squared(planned_units, alpha=2.0 * alpha), alpha)) * standard_error
    return ConfidenceBounds(lower=estimate - half, upper=estimate + half)


def one_sided_p(estimate: float, standard_error: float, *, units: Sequence[int], alpha: float, planned_units: int) -> float:
    """The always-valid p-value of "at most 0": below alpha exactly where the lower bound is above 0.

    Args:
        estimate: As in `confidence_sequence`; subtract a margin to test it.
        standard_error: As in `confidence_sequence`.
        units: As in `confidence_sequence`.
        alpha: Level that the bounds are tuned for, below 0.5.
        planned_units: As in `confidence_sequence`.

    Raises:
        NotEnoughDataError: An arm has fewer than `MINIMUM_UNITS` units.
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha", below=0.5)
    n = _clock(estimate, standard_error, units)
    if estimate <= 0.0:
        return 1.0
    x = n * rho_squared(planned_units, alpha=2.0 * alpha)
    z = estimate / standard_error
    exponent = 0.5 * z * z * x / (1.0 + x)
    log_p = 0.5 * math.log1p(x) - math.log(2.0) - (exponent + math.log(-math.expm1(-exponent)))
    return math.exp(min(0.0, log_p))


def half_width(n_units: ArrayLike, unit_variance: float, *, alpha: float, planned_units: int) -> Values:
    """Half the width of the two-sided sequence after so many units, for pictures and planning; shape of `n_units`.

    Args:
        n_units: Units of all arms, above 0.
        unit_variance: n * standard_error^2 of the estimate, as it is or is expected; above 0.
        alpha: 1 minus the coverage.
        planned_units: As in `confidence_sequence`.

    Raises:
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha")
    _check_positive(unit_variance, name="unit_variance")
    n = np.asarray(n_units, dtype=np.float64)
    if not ((n > 0.0) & np.isfinite(n)).all():
        raise ValueError("'n_units' must be above 0 and finite")
    return np.asarray(_two_sided(n * rho_squared(planned_units, alpha=alpha), alpha) * np.sqrt(unit_variance / n), dtype=np.float64)


def rho_squared(planned_units: int, *, alpha: float) -> float:
    """The mixture's rho^2 that makes the two-sided interval tightest at `planned_units` (same paper, appendix B.2).

    (-W(-alpha^2 / e) - 1) / planned_units with the branch -1 of Lambert's W: the minimum of (1 + 1 / x) * log((1 + x) / alpha^2) over
    x = n rho^2. There the sequence is about 1.55 times as wide as a 95 % interval at a fixed size. One-sided: 2 * alpha in its place.

    Raises:
        ValueError: `planned_units` is below 1, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if planned_units < 1:
        raise ValueError(f"'planned_units' must be at least 1; found {planned_units!r}")
    return float(-special.lambertw(-alpha * alpha / math.e, -1).real - 1.0) / planned_units


def _two_sided(x: ArrayLike, alpha: float) -> Values:
    """Half the width in standard errors, at x = n rho^2."""
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(np.sqrt((1.0 + 1.0 / x) * (np.log1p(x) - 2.0 * math.log(alpha))), dtype=np.float64)


def _one_sided(x: ArrayLike, alpha: float) -> Values:
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(np.sqrt(2.0 * (1.0 + 1.0 / x) * np.log1p(np.sqrt(1.0 + x) / (2.0 * alpha))), dtype=np.float64)


def _clock(estimate: float, standard_error: float, units: Sequence[int]) -> int:
    if not math.isfinite(estimate):
        raise ValueError(f"'estimate' must be finite; found {estimate!r}")
    _check_positive(standard_error, name="standard_error")
    if not units:
        raise ValueError("'units' must hold the number of units of at least one arm")
    if min(units) < MINIMUM_UNITS:
        raise NotEnoughDataError(
            f"an arm has {min(units)} units: below {MINIMUM_UNITS} in every arm, nothing that stays valid under repeated looks can be said"
        )
    return int(sum(units))


def _check_positive(value: float, *, name: str) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name!r} must be a finite number above 0; found {value!r}")
