"""What an experiment can see, and how many queries it takes."""

import math

from scipy import special, stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import check_share

_T_IS_NORMAL = 100_000


def mde(standard_error: float, df: float, *, alpha: float, power: float) -> float:
    """The smallest true mean difference that a two-sided t test at alpha sees with this power (Bloom 1995), same unit as the error.

    From the noncentral t distribution, so it holds for few queries and for clusters too. scipy's `nctdtrinc` and not `solve_power` of
    statsmodels, which misses the power by up to 0.0006 at a million queries; the chance to find the effect with the wrong sign (a millionth
    at 80 % power) is left out.

    Args:
        standard_error: Of the mean difference; above 0.
        df: Degrees of freedom of that error: n - 1, or clusters - 1; at least 1.
        alpha: Two-sided level of the test.
        power: Wanted chance to see it, e.g. 0.8.

    Raises:
        NotEnoughDataError: It can't be found for so few degrees of freedom.
        ValueError: An argument is out of its range.
    """
    _check_levels(alpha, power)
    _check_above_zero(standard_error, name="standard_error")
    if df < 1:
        raise ValueError(f"'df' must be at least 1; found {df!r}")
    noncentrality = float(special.nctdtrinc(df, 1.0 - power, stats.t.isf(alpha / 2.0, df)))
    if not (math.isfinite(noncentrality) and noncentrality > 0.0):
        raise NotEnoughDataError(f"no effect is large enough to be seen with a power of {power:g} and {df:g} degrees of freedom")
    return noncentrality * standard_error


def mde_planned(sd: float, n: int, *, alpha: float, power: float) -> float:
    """The MDE of `n` independent queries whose differences are expected to have the standard deviation `sd`, before any run.

    Args:
        sd: Standard deviation of the paired differences; above 0.
        n: Queries.
        alpha: Two-sided level of the test.
        power: Wanted chance to see it.

    Raises:
        NotEnoughDataError: Fewer than 2 queries, or too few for this power.
        ValueError: An argument is out of its range.
    """
    _check_above_zero(sd, name="sd")
    if n < 2:
        raise NotEnoughDataError(f"at least 2 queries are needed to see any effect, and there are {n}")
    return mde(sd / math.sqrt(n), n - 1, alpha=alpha, power=power)


def queries_for(effect: float, sd: float, *, alpha: float, power: float) -> int:
    """How many independent queries a two-sided paired t test at alpha needs to see `effect` with this power, at least 2.

    Args:
        effect: Mean difference to be seen; its sign does not matter, 0 is refused.
        sd: Standard deviation of the paired differences; above 0.
        alpha: Two-sided level of the test.
        power: Wanted chance to see it.

    Raises:
        NotEnoughDataError: The effect is too small to be seen with any number of queries that can be named.
        ValueError: An argument is out of its range.
    """
    _check_levels(alpha, power)
    _check_above_zero(sd, name="sd")
    _check_above_zero(abs(effect), name="effect")
    size = abs(effect) / sd
    from statsmodels.stats.power import TTestPower  # here, because of the pandas behind it: half a second

    solver = TTestPower()
    # The normal approximation falls short by about z^2 / 2 queries (Guenther 1981); from there on the noncentral t decides.
    deviations = (_z(alpha / 2.0) + _z(1.0 - power)) / size
    normal = deviations * deviations
    if not math.isfinite(normal):
        raise NotEnoughDataError(f"an effect of {effect:g} is too small beside a deviation of {sd:g} to name a number of queries")
    n = max(2, math.floor(normal))
    if n > _T_IS_NORMAL:
        return n + math.ceil(_z(alpha / 2.0) ** 2 / 2.0)
    while float(solver.power(size, n, alpha, alternative="two-sided")) < power:
        n += 1
    return n


def queries_to_decide(n: int, half_width_now: float, half_width_needed: float, *, alpha: float, power: float) -> int:
    """How many queries in all (those at hand included) would decide, if the estimate stays what it is.

    An interval whose half-width equals the distance to the bound excludes it only every second time. For the planned power the standard
    error must be the distance over z(1 - alpha/2) + z(power), and it shrinks with the root of the queries:
    n * (half_width_now / half_width_needed * (z(1 - alpha/2) + z(power)) / z(1 - alpha/2))^2 (Chow, Shao, Wang 2008, section 3.1).

    Args:
        n: Queries that gave the interval at hand; at least 1.
        half_width_now: Half the width of that two-sided 1 - alpha interval; above 0.
        half_width_needed: Distance of the estimate from the bound that is to be excluded.
        alpha: Of the interval.
        power: Wanted chance to decide.

    Returns:
        A number that is exact to the query and means about: round it for people.

    Raises:
        NotEnoughDataError: The estimate lies on the bound (a distance of 0 or less), which no number of queries decides.
        ValueError: An argument is out of its range.
    """
    _check_levels(alpha, power)
    _check_above_zero(half_width_now, name="half_width_now")
    if n < 1:
        raise ValueError(f"'n' must be at least 1; found {n!r}")
    if half_width_needed <= 0.0:
        raise NotEnoughDataError("the estimate lies on the bound that decides: no number of queries can be named")
    z = _z(alpha / 2.0)
    narrower = half_width_now / half_width_needed * (z + _z(1.0 - power)) / z
    needed = n * narrower * narrower
    if not math.isfinite(needed):
        raise NotEnoughDataError("the estimate lies too near to the bound that decides: no number of queries can be named")
    return math.ceil(needed)


def _z(tail: float) -> float:
    """The standard normal's upper `tail` quantile."""
    return float(stats.norm.isf(tail))


def _check_levels(alpha: float, power: float) -> None:
    check_share(alpha, name="alpha")
    check_share(power, name="power")
    if power <= alpha:
        raise ValueError(f"'power' must be above 'alpha'; found {power!r} and {alpha!r}")


def _check_above_zero(value: float, *, name: str) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name!r} must be a finite number above 0; found {value!r}")
