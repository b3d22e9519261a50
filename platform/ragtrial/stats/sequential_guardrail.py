"""Guardrails that are looked at all the time, and stop the experiment by themselves."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import confidence_bounds
from ragtrial.stats.sample import Values, check_share

_STEPS = 60
_UNEXPECTED = 0.25
_NEAR_0, _NEAR_1 = 1e-300, 1.0 - 1e-16

State = Literal["broken", "holds", "not shown"]


class SequentialGuardrail(NamedTuple):
    """How much worse the treatment is, against a margin, at any look.

    Attributes:
        estimate: How much worse; below 0 is better. In the metric's unit, or as a ratio minus one.
        bound: One-sided upper bound that holds at all looks together with probability 1 - alpha.
        lower_bound: One-sided lower bound, likewise.
        holds: The upper bound is below the margin: shown to be no worse than by the margin.
        broken: The lower bound is above the margin: shown to be worse than by the margin; stop.
    """

    estimate: float
    bound: float
    lower_bound: float
    holds: bool
    broken: bool

    @property
    def state(self) -> State:
        """The two flags in words."""
        return "broken" if self.broken else "holds" if self.holds else "not shown"


def sequential_guardrail(
    worse_by: float, standard_error: float, *, units: tuple[int, int], margin: float, alpha: float, planned_units: int
) -> SequentialGuardrail:
    """Non-inferiority with bounds from an asymptotic confidence sequence: `stats.noninferiority` under continuous looks.

    An experiment that is worse by just the margin is stopped at any time with a probability of at most alpha.

    Args:
        worse_by: How much worse the treatment is, in the metric's unit (the difference, or minus the difference where more is better).
        standard_error: Of that, over the units; above 0.
        units: Units with data in control and in treatment.
        margin: The largest loss that is still accepted; 0 or more. 0 stops for any loss that is shown.
        alpha: One-sided level of each bound, below 0.5.
        planned_units: Units of both arms at which the bounds shall be tightest. For an early stop, fewer than for the verdict.

    Raises:
        NotEnoughDataError: Fewer than `confidence_sequence.MINIMUM_UNITS` units in an arm.
        ValueError: A number is out of its range.
    """
    _check_margin(margin)
    bounds = confidence_bounds(worse_by, standard_error, units=units, alpha=alpha, planned_units=planned_units)
    return _guardrail(worse_by, bounds.lower, bounds.upper, margin)


def sequential_guardrail_ratio(
    relative_increase: float, log_standard_error: float, *, units: tuple[int, int], margin: float, alpha: float, planned_units: int
) -> SequentialGuardrail:
    """The same for a relative margin and a metric whose increase is worse, such as mean or p95 latency; computed in logarithms.

    Args:
        relative_increase: Treatment over control minus one; above -1.
        log_standard_error: Of log(treatment / control): `RelativeDifference.log_standard_error`, or that of `quantile_difference`.
        units: Units with data in control and in treatment.
        margin: The largest relative increase that is still accepted, e.g. 0.25; 0 or more.
        alpha: One-sided level of each bound, below 0.5.
        planned_units: Units of both arms at which the bounds shall be tightest.

    Raises:
        NotEnoughDataError: Fewer than `confidence_sequence.MINIMUM_UNITS` units in an arm.
        ValueError: A number is out of its range.
    """
    _check_margin(margin)
    if not relative_increase > -1.0:
        raise ValueError(f"'relative_increase' must be above -1; found {relative_increase!r}")
    bounds = confidence_bounds(math.log1p(relative_increase), log_standard_error, units=units, alpha=alpha, planned_units=planned_units)
    return _guardrail(relative_increase, math.expm1(bounds.lower), math.expm1(bounds.upper), margin)


def sequential_guardrail_rate(
    failures: tuple[int, int], trials: tuple[int, int], *, margin: float, alpha: float, expected_rate: float = 0.02
) -> SequentialGuardrail:
    """The same for a difference of failure rates, honest from the first trial on: no normal approximation, no standard error of 0.

    With few failures the normal theory is wrong, and with none in an arm its error is 0. The e-value against "worse by at most d" is the
    probability of what was seen, averaged over a prior for each arm's rate (Robbins 1970), over the largest probability that rates
    with a difference of at most d give it: "universal inference" (Wasserman, Ramdas and Balakrishnan 2020, section 8, on sequences). The
    prior is Beta(1, (1 - r) / r) with the expected rate r, and for a quarter uniform, so that an arm that fails altogether is stopped too.
    Whatever the true rates, the e-value is at most a martingale that starts at 1, so it ever reaches 1 / alpha with a probability of at
    most alpha. The bounds are the d at which it equals 1 / alpha.

    It pays for its honesty where failures are many: a rate that jumps is stopped about as early as by the normal theory, a small regression
    takes twice as many trials. So run `sequential_guardrail` on failures per query beside it once there are units, each at half of alpha.

    Trials must be independent within an arm. Failures of the system (timeouts, malformed answers) nearly are; where they cling to users,
    count each user once, by the first query. An outage that hits both arms alike does no harm.

    Args:
        failures: Failed trials in control and in treatment.
        trials: Trials in control and in treatment.
        margin: The largest increase of the rate that is still accepted, e.g. 0.01 for one percentage point; at least 0 and below 1.
        alpha: One-sided level of each bound, below 0.5.
        expected_rate: Prior mean of the rates. The bounds are valid for any, and tightest near the truth.

    Raises:
        NotEnoughDataError: An arm has no trial.
        ValueError: A number is out of its range.
    """
    check_share(alpha, name="alpha", below=0.5)
    check_share(expected_rate, name="expected_rate")
    _check_margin(margin, below=1.0)
    if min(trials) < 1:
        raise NotEnoughDataError(f"each arm needs a trial to have a failure rate; found {trials[0]} and {trials[1]}")
    if any(not 0 <= failed <= n for failed, n in zip(failures, trials, strict=True)):
        raise ValueError(f"'failures' must lie between 0 and 'trials'; found {failures!r} of {trials!r}")
    estimate = failures[1] / trials[1] - failures[0] / trials[0]
    needed = -math.log(alpha)

    def excess(difference: float) -> float:
        return float(rate_log_e_value(failures, trials, difference=difference, expected_rate=expected_rate)) - needed

    lower, upper = _crossing(excess, outside=-1.0, inside=estimate), _crossing(excess, outside=1.0, inside=estimate)
    return _guardrail(estimate, lower, upper, margin)


def rate_log_e_value(
    failures: tuple[ArrayLike, ArrayLike], trials: tuple[ArrayLike, ArrayLike], *, difference: float, expected_rate: float = 0.02
) -> Values:
    """Logarithm of the e-value against a difference of rates on that side of `difference` where the estimate is not.

    What `sequential_guardrail_rate` inverts, for arrays: above `difference` the estimate speaks against "at most", below against "at least".

    Args:
        failures: Failed trials in control and in treatment, of one shape.
        trials: Trials, at least 1, of the same shape.
        difference: Treatment's rate minus control's, between -1 and 1.
        expected_rate: Prior mean of both rates.

    Returns:
        The logarithm, of the shape of the counts.
    """
    failed_c, failed_t = (np.asarray(counts, dtype=np.float64) for counts in failures)
    n_c, n_t = (np.asarray(counts, dtype=np.float64) for counts in trials)
    mixture = _log_mixture(failed_c, n_c, expected_rate) + _log_mixture(failed_t, n_t, expected_rate)
    if failed_c.ndim == 0:  # one look's bounds ask for some thirty, each far quicker in Python's own numbers
        rate = np.asarray(_likeliest_rate(float(failed_c), float(failed_t), float(n_c), float(n_t), difference, _clip))
    else:
        rate = _likeliest_rate(failed_c, failed_t, n_c, n_t, difference, np.clip)
    other = np.clip(rate + difference, 0.0, 1.0)
    likelihood = special.xlogy(failed_c, rate) + special.xlog1py(n_c - failed_c, -rate)
    likelihood = likelihood + special.xlogy(failed_t, other) + special.xlog1py(n_t - failed_t, -other)
    return np.asarray(mixture - likelihood, dtype=np.float64)


def _likeliest_rate(failed_c: Any, failed_t: Any, n_c: Any, n_t: Any, difference: float, clip: Callable[[Any, float, float], Any]) -> Any:
    """Control's rate of the largest likelihood where treatment's is that plus `difference`, by bisection; for numbers or arrays.

    The likelihood along treatment = control + difference is concave in control's rate: its slope changes sign once.
    """
    low, high = max(0.0, -difference) + 0.0 * failed_c, min(1.0, 1.0 - difference) + 0.0 * failed_c
    for _ in range(_STEPS):
        rate = clip(0.5 * (low + high), _NEAR_0, _NEAR_1)
        other = clip(rate + difference, _NEAR_0, _NEAR_1)
        rising = failed_c / rate - (n_c - failed_c) / (1.0 - rate) + failed_t / other - (n_t - failed_t) / (1.0 - other) > 0.0
        low, high = low + (rate - low) * rising, rate + (high - rate) * rising
    return 0.5 * (low + high)


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _log_mixture(failed: Values, n: Values, expected_rate: float) -> Values:
    """Logarithm of the probability of one sequence of trials, averaged over the prior of its rate."""
    b = (1.0 - expected_rate) / expected_rate
    expected = math.log1p(-_UNEXPECTED) + special.betaln(1.0 + failed, b + n - failed) - special.betaln(1.0, b)
    anything = math.log(_UNEXPECTED) + special.betaln(1.0 + failed, 1.0 + n - failed)
    return np.asarray(np.logaddexp(expected, anything), dtype=np.float64)


def _crossing(excess: Callable[[float], float], *, outside: float, inside: float) -> float:
    """Where `excess` changes its sign between `inside` (below 0 there) and `outside`; `outside` itself where it never does."""
    edge = outside * (1.0 - 1e-12)
    if excess(edge) < 0.0:
        return outside
    return float(optimize.brentq(excess, edge, inside, xtol=1e-12))


def _guardrail(estimate: float, lower: float, upper: float, margin: float) -> SequentialGuardrail:
    return SequentialGuardrail(estimate=estimate, bound=upper, lower_bound=lower, holds=upper < margin, broken=lower > margin)


def _check_margin(margin: float, *, below: float = math.inf) -> None:
    if not 0.0 <= margin < below:
        raise ValueError(f"'margin' must be a finite number of 0 or more (and below {below:g}); found {margin!r}")
