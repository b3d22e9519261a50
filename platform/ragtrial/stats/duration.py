"""How long a live experiment takes, and what it can see until then."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import half_width
from ragtrial.stats.power import mde_planned, queries_for
from ragtrial.stats.sample import Values, check_share, finite_values

_RECENT_DAYS = 7


class Duration(NamedTuple):
    """Units and days until an effect is seen.

    Attributes:
        units_fixed: Units of both arms for one verdict at the end, with the planned power.
        units_half: Units at which the confidence sequence excludes 0 in half of all experiments, if the effect is there.
        units_sequence: Units at which it has done so with the planned power, at the latest.
        days_fixed: Days from the start until `units_fixed` have come, at least 1.
        days_half: The same for `units_half`.
        days_sequence: The same for `units_sequence`.
        units_per_day: New units a day that the days beyond those given were extrapolated with.
    """

    units_fixed: int
    units_half: int
    units_sequence: int
    days_fixed: int
    days_half: int
    days_sequence: int
    units_per_day: float


class Visible(NamedTuple):
    """The smallest effects that an experiment of some length sees with the planned power.

    Attributes:
        units: Units of both arms until then.
        fixed: By one verdict at the end.
        sequence: By the confidence sequence tuned for that end, at any time until then.
    """

    units: int
    fixed: float
    sequence: float


def split_variance(unit_variance: float, *, treatment_share: float) -> float:
    """Variance of one unit in a difference of two arms, from that in one arm: v / share + v / (1 - share), 4 v for halves.

    What the planner takes, n * standard_error^2 over the n units of both arms. For a running experiment take its own,
    `fit.standard_error**2 * (fit.control.n_units + fit.treatment.n_units)`; before any, n * standard_error^2 of `ratio_mean` on past users.

    Raises:
        ValueError: The variance is not above 0, or the share is outside of (0, 1).
    """
    check_share(treatment_share, name="treatment_share")
    _check_positive(unit_variance, name="unit_variance")
    return unit_variance / treatment_share + unit_variance / (1.0 - treatment_share)


def duration(effect: float, unit_variance: float, *, new_units_by_day: ArrayLike, alpha: float, power: float) -> Duration:
    """How long until `effect` is seen, by one verdict at the end (`stats.power.queries_for`) and by looking all the time.

    The sequence is tuned for the fixed-size plan. It excludes 0 at n units about when |effect| * sqrt(n / V) exceeds its half-width in
    standard errors plus z(power): an approximation by its width at n alone, on the safe side because it may have stopped before.

    Users come back, so units grow more slowly than queries: count each on the day of the first query. Beyond the days given, as many come
    as in the mean of the last seven (or of all, where fewer are given). Novel users dry up, so far extrapolations are too short; and a
    returning user's further queries make the unit variance somewhat smaller than it was, so near ones too long.

    Args:
        effect: Difference to be seen; its sign does not matter.
        unit_variance: V = n * standard_error^2 of the difference (`split_variance`); above 0.
        new_units_by_day: Units of both arms that were seen first on day 1, 2, ...; at least one day.
        alpha: Two-sided level.
        power: Wanted chance to see it.

    Raises:
        NotEnoughDataError: The effect is too small to name a number, or no unit came in the last days.
        ValueError: A number is out of its range.
    """
    _check_positive(unit_variance, name="unit_variance")
    days = _checked_days(new_units_by_day)
    fixed = queries_for(effect, math.sqrt(unit_variance), alpha=alpha, power=power)
    z = float(stats.norm.isf(1.0 - power))
    half = _units_for(abs(effect), unit_variance, 0.0, planned_units=fixed, alpha=alpha)
    sequence = _units_for(abs(effect), unit_variance, z, planned_units=fixed, alpha=alpha)
    return Duration(
        units_fixed=fixed,
        units_half=half,
        units_sequence=sequence,
        days_fixed=_days_until(fixed, days),
        days_half=_days_until(half, days),
        days_sequence=_days_until(sequence, days),
        units_per_day=_recent(days),
    )


def visible_after(n_days: int, unit_variance: float, *, new_units_by_day: ArrayLike, alpha: float, power: float) -> Visible:
    """The inverse: the smallest effect (MDE) that is seen within so many days, with the same extrapolation as `duration`.

    Args:
        n_days: Days from the start; at least 1.
        unit_variance: As in `duration`.
        new_units_by_day: As in `duration`.
        alpha: Two-sided level.
        power: Wanted chance to see it.

    Raises:
        NotEnoughDataError: Fewer than 2 units by then, or no unit came in the last days.
        ValueError: A number is out of its range.
    """
    _check_positive(unit_variance, name="unit_variance")
    if n_days < 1:
        raise ValueError(f"'n_days' must be at least 1; found {n_days!r}")
    days = _checked_days(new_units_by_day)
    beyond = max(0, n_days - days.size)
    units = math.floor(float(days[:n_days].sum()) + (_recent(days) * beyond if beyond else 0.0))
    fixed = mde_planned(math.sqrt(unit_variance), units, alpha=alpha, power=power)
    width = float(half_width(units, unit_variance, alpha=alpha, planned_units=units))
    return Visible(units=units, fixed=fixed, sequence=width + float(stats.norm.isf(1.0 - power)) * math.sqrt(unit_variance / units))


def _units_for(effect: float, unit_variance: float, z: float, *, planned_units: int, alpha: float) -> int:
    """The smallest n with half-width + z standard errors at most `effect`."""

    def missing(log_n: float) -> float:
        n = math.exp(log_n)
        return float(half_width(n, unit_variance, alpha=alpha, planned_units=planned_units)) + z * math.sqrt(unit_variance / n) - effect

    # The sequence needs less than a hundred times the units of the plan, for any alpha and power that can be meant.
    return max(2, math.ceil(math.exp(optimize.brentq(missing, math.log(planned_units) - 5.0, math.log(planned_units) + 5.0, xtol=1e-10))))


def _days_until(units: int, days: Values) -> int:
    total = np.cumsum(days)
    if total[-1] >= units:
        return int(np.searchsorted(total, units)) + 1
    return days.size + math.ceil((units - float(total[-1])) / _recent(days))


def _recent(days: Values) -> float:
    mean = float(days[-_RECENT_DAYS:].mean())
    if mean <= 0.0:
        raise NotEnoughDataError(
            f"no new unit came in the last {min(days.size, _RECENT_DAYS)} days: how long it takes can't be extrapolated"
        )
    return mean


def _checked_days(new_units_by_day: ArrayLike) -> Values:
    days = finite_values(new_units_by_day, name="new_units_by_day")
    if not days.size or (days < 0.0).any():
        raise ValueError("'new_units_by_day' must hold at least one day, and no negative number")
    return days


def _check_positive(value: float, *, name: str) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name!r} must be a finite number above 0; found {value!r}")
