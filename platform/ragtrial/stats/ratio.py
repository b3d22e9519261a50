"""Metrics of a live experiment: a mean over queries where users, not queries, were randomised."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import ROUNDING, Values, check_share, finite_values

JACKKNIFE_BELOW = 200
"""Units in an arm, below which the standard error is the jackknife's: the delta method's is then too small."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitSums:
    """What each unit (user) of one arm adds to a metric, all of shape (n_units,) and in the same order.

    Attributes:
        numerator: Sum of the metric over the unit's scored queries.
        denominator: Number of the unit's scored queries, 0 or more. A unit with 0 is left out, and counted.
        covariate: Sum of the covariate over the unit's queries before the experiment, or one number a unit; None for no CUPED. It must be
            from before the unit's first exposure.
        covariate_denominator: Number of queries in `covariate`; None where it is one number a unit. A unit without history has 0 in both.

    Raises:
        ValueError: Shapes differ, a value is not finite, a denominator is negative, a numerator has no query under it, or there is a
            covariate's denominator without a covariate.
    """

    numerator: ArrayLike
    denominator: ArrayLike
    covariate: ArrayLike | None = None
    covariate_denominator: ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.covariate is None and self.covariate_denominator is not None:
            raise ValueError("'covariate_denominator' is given without 'covariate'")
        size = finite_values(self.numerator, name="numerator").size
        _check_pair(self.numerator, self.denominator, size, name="numerator")
        if self.covariate is not None:
            _check_pair(self.covariate, self.covariate_denominator, size, name="covariate")


class ArmRatio(NamedTuple):
    """One arm's mean over its queries.

    Attributes:
        estimate: Sum over sum; with CUPED, moved to the covariate's mean of both arms.
        standard_error: Of the estimate, with the units as the independent things.
        n_units: Units with at least one scored query.
        n_queries: Their scored queries.
        n_left_out: Units without a scored query.
    """

    estimate: float
    standard_error: float
    n_units: int
    n_queries: int
    n_left_out: int


class RelativeDifference(NamedTuple):
    """Treatment over control minus one, with an interval that is symmetric in the logarithm.

    Attributes:
        estimate: E.g. 0.03 for 3 % more.
        standard_error: Of the estimate, by the delta method.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        log_standard_error: Of the logarithm of treatment over control; what a sequential guardrail takes.
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    log_standard_error: float


class RatioDifference(NamedTuple):
    """Treatment minus control on one metric.

    Attributes:
        control: The control arm.
        treatment: The treatment arm.
        difference: In the metric's unit.
        standard_error: Of the difference, above 0.
        df: Welch's degrees of freedom, counted in units.
        low: Lower end of the two-sided 1 - alpha interval at a planned size. It does not hold under repeated looks: see
            `confidence_sequence`.
        high: Upper end.
        p_value: Two-sided, of a difference of 0, at a planned size.
        relative: The same relative to control, or None where an arm's estimate is not above 0 by at least 2 standard errors.
        variance_reduction: Share of the difference's variance that CUPED took away (below 0: it added), or None without CUPED.
        method: "delta method" or "jackknife", and what CUPED did.
    """

    control: ArmRatio
    treatment: ArmRatio
    difference: float
    standard_error: float
    df: float
    low: float
    high: float
    p_value: float
    relative: RelativeDifference | None
    variance_reduction: float | None
    method: str


class RatioMean(NamedTuple):
    """One mean over queries, clustered by unit.

    Attributes:
        estimate: Sum over sum.
        standard_error: Above 0.
        df: Units minus 1.
        low: Lower end of the two-sided 1 - alpha interval at a planned size.
        high: Upper end.
        p_value: Two-sided, of a mean of 0, at a planned size.
        n_units: Units with at least one scored query.
        n_queries: Their scored queries.
        n_left_out: Units without a scored query.
        method: "delta method" or "jackknife".
    """

    estimate: float
    standard_error: float
    df: float
    low: float
    high: float
    p_value: float
    n_units: int
    n_queries: int
    n_left_out: int
    method: str


class _Arm(NamedTuple):
    """The units that count, and per unit the influence on the arm's ratio and on its covariate's, each (n_units,) with mean about 0."""

    ratio: float
    influence: Values
    covariate: float
    covariate_influence: Values | None
    n_queries: int
    n_left_out: int


def ratio_difference(control: UnitSums, treatment: UnitSums, *, alpha: float) -> RatioDifference:
    """The difference of two means over queries, of users who were randomised (Deng, Knoblich and Lu 2018).

    Queries of one user are not independent, and a user with many of them weighs more. "Applying the Delta Method in Metric Analytics",
    section 3: the ratio of sums R = sum(N) / sum(D) has the variance var(N - R D) / (n mean(D)^2) over n units. With fewer than
    `JACKKNIFE_BELOW` units in an arm both arms get the leave-one-unit-out jackknife instead (Efron and Stein 1981), which leans towards
    the larger error. t interval with Welch's degrees of freedom (Welch 1947) over the units.

    CUPED (Deng, Xu, Kohavi and Walker 2013, with appendix B for ratios): theta times the covariate's difference is taken off, theta being
    the slope over all units of both arms of the metric's linear part on the covariate's. A unit without history adds 0 to the
    covariate's, that is, it counts as average. Theta is taken as known: of an order 1 / n below the rest.

    Ten lines written here because the one library that has them (`tea_tasting.aggr.Aggregates`) brings six packages and ibis for them, and
    has no jackknife; `tests/oracles/test_stats_live.py` compares the two.

    Args:
        control: Units of the control arm.
        treatment: Units of the treatment arm; with a covariate exactly where `control` has one.
        alpha: 1 minus the coverage, e.g. 0.05.

    Raises:
        NotEnoughDataError: Fewer than 2 units with a scored query in an arm, or no variance between them.
        ValueError: Only one arm has a covariate, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if (control.covariate is None) != (treatment.covariate is None):
        raise ValueError("both arms must have a covariate, or none: CUPED with a covariate of one arm would compare unlike things")
    kept = [_kept(control, name="control"), _kept(treatment, name="treatment")]
    jackknife = min(len(sums[0]) for sums in kept) < JACKKNIFE_BELOW
    arms = [_arm(*sums, jackknife=jackknife) for sums in kept]
    plain = [float(arm.influence.var(ddof=1)) / arm.influence.size for arm in arms]
    theta, centre = _theta(kept)
    results, squares = [], []
    for arm in arms:
        influence, moved = arm.influence, 0.0
        if arm.covariate_influence is not None:
            influence, moved = influence - theta * arm.covariate_influence, theta * (arm.covariate - centre)
        squares.append(float(influence.var(ddof=1)) / influence.size)
        results.append(
            ArmRatio(
                estimate=arm.ratio - moved,
                standard_error=math.sqrt(squares[-1]),
                n_units=influence.size,
                n_queries=arm.n_queries,
                n_left_out=arm.n_left_out,
            )
        )
    _check_error(sum(squares), max(abs(result.estimate) for result in results))
    reduction = None if control.covariate is None else 1.0 - sum(squares) / sum(plain)
    return _compared(results[0], results[1], alpha=alpha, reduction=reduction, jackknife=jackknife)


def ratio_mean(sums: UnitSums, *, alpha: float) -> RatioMean:
    """The mean over the queries of one sample of users, e.g. the mean preference of an interleaved experiment.

    The one-sample form of `ratio_difference`, with the same errors and units - 1 degrees of freedom.

    Args:
        sums: Units with their sums; a covariate is refused, for there is no second arm to compare it with.
        alpha: 1 minus the coverage, e.g. 0.05.

    Raises:
        NotEnoughDataError: Fewer than 2 units with a scored query, or no variance between them.
        ValueError: There is a covariate, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if sums.covariate is not None:
        raise ValueError("'sums' has a covariate, which one sample has nothing to compare with: leave it out")
    kept = _kept(sums, name="sample")
    jackknife = kept[0].size < JACKKNIFE_BELOW
    arm = _arm(*kept, jackknife=jackknife)
    n = arm.influence.size
    square = float(arm.influence.var(ddof=1)) / n
    _check_error(square, abs(arm.ratio))
    error = math.sqrt(square)
    half = float(-special.stdtrit(n - 1, alpha / 2.0)) * error
    return RatioMean(
        estimate=arm.ratio,
        standard_error=error,
        df=float(n - 1),
        low=arm.ratio - half,
        high=arm.ratio + half,
        p_value=float(2.0 * special.stdtr(n - 1, -abs(arm.ratio) / error)),
        n_units=n,
        n_queries=arm.n_queries,
        n_left_out=arm.n_left_out,
        method="jackknife" if jackknife else "delta method",
    )


def _check_pair(values: ArrayLike, counts: ArrayLike | None, size: int, *, name: str) -> None:
    sums = finite_values(values, name=name)
    below = np.ones(size) if counts is None else finite_values(counts, name=f"denominator of {name}")
    if sums.size != size or below.size != size:
        raise ValueError(f"each of the {size} units needs one {name} and one denominator; found {sums.size} and {below.size}")
    if (below < 0.0).any():
        raise ValueError(f"the denominator of {name!r} counts queries and can't be negative; found {float(below.min())!r}")
    if (sums[below == 0.0] != 0.0).any():
        raise ValueError(f"a unit has a {name} and a denominator of 0: a sum over no queries is 0")


def _kept(sums: UnitSums, *, name: str) -> tuple[Values, Values, Values | None, Values | None, int]:
    """Numerator, denominator, covariate and its denominator of the units that have a scored query, and how many have none."""
    numerator, denominator = finite_values(sums.numerator, name="numerator"), finite_values(sums.denominator, name="denominator")
    scored = denominator > 0.0
    n = int(np.count_nonzero(scored))
    if n < 2:
        raise NotEnoughDataError(f"at least 2 units with a scored query are needed in the {name}, and there are {n}")
    covariate = below = None
    if sums.covariate is not None:
        covariate = finite_values(sums.covariate, name="covariate")[scored]
        given = sums.covariate_denominator
        below = np.ones(n) if given is None else finite_values(given, name="covariate_denominator")[scored]
        if np.count_nonzero(below) < 2:
            raise NotEnoughDataError(f"fewer than 2 units in the {name} have a history for CUPED: analyse without the covariate")
    return numerator[scored], denominator[scored], covariate, below, int(scored.size - n)


def _arm(
    numerator: Values, denominator: Values, covariate: Values | None, below: Values | None, n_left_out: int, *, jackknife: bool
) -> _Arm:
    shift, of_covariate = 0.0, None
    if covariate is not None and below is not None:
        shift, of_covariate = float(covariate.sum() / below.sum()), _influence(covariate, below, jackknife=jackknife)
    return _Arm(
        ratio=float(numerator.sum() / denominator.sum()),
        influence=_influence(numerator, denominator, jackknife=jackknife),
        covariate=shift,
        covariate_influence=of_covariate,
        n_queries=round(float(denominator.sum())),
        n_left_out=n_left_out,
    )


def _influence(numerator: Values, denominator: Values, *, jackknife: bool) -> Values:
    """Each unit's influence on sum(numerator) / sum(denominator): their sample variance over n is the ratio's variance."""
    total, below, n = numerator.sum(), denominator.sum(), numerator.size
    if not jackknife:
        return np.asarray((numerator - total / below * denominator) * (n / below), dtype=np.float64)
    rest = below - denominator
    if (rest <= 0.0).any():
        raise NotEnoughDataError("one unit holds every query that has a value: an error needs at least 2 such units")
    without = (total - numerator) / rest
    return np.asarray((n - 1) * (without.mean() - without), dtype=np.float64)


def _theta(kept: list[tuple[Values, Values, Values | None, Values | None, int]]) -> tuple[float, float]:
    """CUPED's slope over all units, and the covariate's mean over both arms; (0, 0) without covariate or where it doesn't vary."""
    (numerator, denominator, covariate, below, _), (numerator_t, denominator_t, covariate_t, below_t, _) = kept
    if covariate is None or below is None or covariate_t is None or below_t is None:
        return 0.0, 0.0
    y = _influence(np.append(numerator, numerator_t), np.append(denominator, denominator_t), jackknife=False)
    above, under = np.append(covariate, covariate_t), np.append(below, below_t)
    x = _influence(above, under, jackknife=False)
    spread, centre = float(x.var()), float(above.sum() / under.sum())
    if spread <= (ROUNDING * max(1.0, abs(centre))) ** 2:
        return 0.0, centre
    return float(np.mean((x - x.mean()) * (y - y.mean()))) / spread, centre


def _check_error(square: float, size: float) -> None:
    if square <= (ROUNDING * max(1.0, size)) ** 2:
        raise NotEnoughDataError("every unit has the same mean: without variance between units there is no interval")


def _welch(control: float, treatment: float, n_control: int, n_treatment: int) -> float:
    """Welch's degrees of freedom of two squared errors."""
    return (control + treatment) ** 2 / (control**2 / (n_control - 1) + treatment**2 / (n_treatment - 1))


def _compared(control: ArmRatio, treatment: ArmRatio, *, alpha: float, reduction: float | None, jackknife: bool) -> RatioDifference:
    left, right = control.standard_error**2, treatment.standard_error**2
    df = _welch(left, right, control.n_units, treatment.n_units)
    difference, error = treatment.estimate - control.estimate, math.sqrt(left + right)
    half = float(-special.stdtrit(df, alpha / 2.0)) * error
    method = "jackknife" if jackknife else "delta method"
    if reduction is not None:
        method = f"{method} + CUPED, variance {-100.0 * reduction:+.0f} %"
    return RatioDifference(
        control=control,
        treatment=treatment,
        difference=difference,
        standard_error=error,
        df=df,
        low=difference - half,
        high=difference + half,
        p_value=float(2.0 * special.stdtr(df, -abs(difference) / error)),
        relative=_relative(control, treatment, alpha=alpha),
        variance_reduction=reduction,
        method=method,
    )


def _relative(control: ArmRatio, treatment: ArmRatio, *, alpha: float) -> RelativeDifference | None:
    if any(arm.estimate <= 2.0 * arm.standard_error or arm.estimate <= 0.0 for arm in (control, treatment)):
        return None
    left, right = (control.standard_error / control.estimate) ** 2, (treatment.standard_error / treatment.estimate) ** 2
    log_error = math.sqrt(left + right)
    ratio = treatment.estimate / control.estimate
    half = float(-special.stdtrit(_welch(left, right, control.n_units, treatment.n_units), alpha / 2.0)) * log_error
    return RelativeDifference(
        estimate=ratio - 1.0,
        standard_error=ratio * log_error,
        low=ratio * math.exp(-half) - 1.0,
        high=ratio * math.exp(half) - 1.0,
        log_standard_error=log_error,
    )
