"""Did the arms get the shares of users that were planned? Asked after every user, for the price of one question."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import ConfidenceSequence, confidence_sequence
from ragtrial.stats.ratio import RatioDifference, UnitSums, ratio_difference
from ragtrial.stats.sample import Values, check_share, finite_values

_LARGEST_LOG = 700.0


class SampleRatio(NamedTuple):
    """A sequential test of the split.

    Attributes:
        log_e_value: Natural logarithm of the evidence against the planned shares; 0 is none.
        e_value: The evidence itself, a Bayes factor; at most exp(700).
        p_value: Sequential: one over the largest e-value so far, at most 1. Below alpha it fires, and stays fired.
        posterior: Probability of a mismatch, if it was as likely as not before the first unit.
        observed: Each arm's share of all units.
        expected: Each arm's planned share of the same units.
        n_units: Units in all.
        chi_square_p_value: Of Pearson's test at a single look; under repeated looks it fires far too often. Shown, never used.
    """

    log_e_value: float
    e_value: float
    p_value: float
    posterior: float
    observed: tuple[float, ...]
    expected: tuple[float, ...]
    n_units: int
    chi_square_p_value: float


class QueriesPerUnit(NamedTuple):
    """Do the arms' users show up with equally many queries?

    Attributes:
        fit: Queries per unit in each arm, with the difference at a fixed size.
        log_ratio: Of treatment's queries per unit over control's, with its sequence: `low` and `high` are logarithms.
        ratio: Treatment's queries per unit over control's; 0.98 is 2 % fewer.
        low: Lower end of the always-valid interval of the ratio.
        high: Upper end.
        p_value: Always-valid, of a ratio of 1.
    """

    fit: RatioDifference
    log_ratio: ConfidenceSequence
    ratio: float
    low: float
    high: float
    p_value: float


def sample_ratio(counts: ArrayLike, shares: ArrayLike, *, concentration: float = 100.0, largest_e_value_before: float = 1.0) -> SampleRatio:
    """The sequential multinomial test of Lindon and Malek (2022), "Anytime-Valid Inference For Multinomial Count Data", section 2.

    The Bayes factor of a Dirichlet mixture around the planned shares, with `concentration` k times the shares as its parameter, against
    the planned shares themselves. Under these it is a martingale that starts at 1, so that P(it ever reaches 1 / alpha) is at most alpha
    (Ville 1939). k = 100 looks for mismatches of a few percent; the test is valid for every k.

    Where the plan's shares were changed (a ramp), each period has its own counts and shares: a period's factor starts anew at 1 and, given
    all that came before, is a martingale until the period's end, even where that end was decided by looking. So the product is a
    martingale again (Vovk and Wang 2021, "E-values: Calibration, combination, and applications", section 4). Count a unit once, in the
    period of its first assignment: it keeps its arm later on, whatever the shares are then.

    Args:
        counts: Units by arm, shape (n_arms,), or (n_periods, n_arms).
        shares: Planned shares of the same shape, each row above 0 and with the sum 1. An arm without traffic in a period has share 0 and
            count 0 there.
        concentration: k, above 0.
        largest_e_value_before: The largest `e_value` of earlier looks, so that an alarm is not taken back.

    Raises:
        NotEnoughDataError: No unit was assigned while at least two arms had a share.
        ValueError: Shapes differ, a count is negative or no whole number, shares don't add up to 1, or a unit is in an arm of share 0.
    """
    seen, planned = _periods(counts, shares)
    if not (math.isfinite(concentration) and concentration > 0.0):
        raise ValueError(f"'concentration' must be a finite number above 0; found {concentration!r}")
    if not largest_e_value_before >= 1.0:
        raise ValueError(f"'largest_e_value_before' must be at least 1, the value before the first unit; found {largest_e_value_before!r}")
    n = int(seen.sum())
    if seen[(planned > 0.0).sum(axis=1) > 1].sum() == 0:
        raise NotEnoughDataError(f"of {n} units, none was assigned while two arms had traffic: there is no split to test")
    log_e = sum(_log_e_value(row, share, concentration) for row, share in zip(seen, planned, strict=True))
    e_value = math.exp(min(log_e, _LARGEST_LOG))
    expected = (seen.sum(axis=1, keepdims=True) * planned).sum(axis=0)
    return SampleRatio(
        log_e_value=log_e,
        e_value=e_value,
        p_value=1.0 / max(e_value, largest_e_value_before),
        posterior=float(special.expit(log_e)),
        observed=tuple(float(share) for share in seen.sum(axis=0) / n),
        expected=tuple(float(share) for share in expected / n),
        n_units=n,
        chi_square_p_value=_chi_square_p(seen, planned),
    )


def queries_per_unit(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alpha: float,
    planned_units: int,
    before_control: ArrayLike | None = None,
    before_treatment: ArrayLike | None = None,
) -> QueriesPerUnit:
    """Whether queries are missing in an arm whose users are all there, e.g. because exposures were lost on the way to the log.

    Query counts are no multinomial sample: one user brings many, and the test of `sample_ratio` on queries fires on honest splits. The
    users are the independent things, so what is compared is queries per unit, in the logarithm, with the always-valid sequence on the
    error by unit. What fires it is either lost exposures or an arm that made users ask more or less: read the two together with the
    failures. Queries per user vary a lot, so small losses take many users: about 2 (4 CV / loss)^2 an arm with CV the standard deviation
    over the mean (less, where counts from before the experiment are given). Where lost queries leave any trace (an assignment without a
    trial), compare that share instead: it needs far fewer.

    Args:
        control: Queries of each unit assigned to control, shape (n_units,), 0 included where a unit can be assigned without a query.
        treatment: The same for the treatment.
        alpha: Level of all looks together.
        planned_units: Units of both arms at the planned end.
        before_control: Queries of the same units before the experiment, for CUPED, or None.
        before_treatment: The same for the treatment; both or none.

    Raises:
        NotEnoughDataError: Fewer than `confidence_sequence.MINIMUM_UNITS` units in an arm, all units with equally many queries, or too few
            queries to form a ratio.
        ValueError: Values are not finite or negative, or alpha is out of its range.
    """
    check_share(alpha, name="alpha")
    arms = []
    for name, counts, before in (("control", control, before_control), ("treatment", treatment, before_treatment)):
        values = finite_values(counts, name=name)
        if (values < 0.0).any():
            raise ValueError(f"{name!r} counts queries and can't be negative; found {float(values.min())!r}")
        arms.append(UnitSums(numerator=values, denominator=np.ones(values.size), covariate=before))
    fit = ratio_difference(arms[0], arms[1], alpha=alpha)
    if fit.relative is None:
        raise NotEnoughDataError("too few queries per unit to compare the arms' queries per unit as a ratio")
    sequence = confidence_sequence(
        math.log1p(fit.relative.estimate),
        fit.relative.log_standard_error,
        units=(fit.control.n_units, fit.treatment.n_units),
        alpha=alpha,
        planned_units=planned_units,
    )
    return QueriesPerUnit(
        fit=fit,
        log_ratio=sequence,
        ratio=1.0 + fit.relative.estimate,
        low=math.exp(sequence.low),
        high=math.exp(sequence.high),
        p_value=sequence.p_value,
    )


def _periods(counts: ArrayLike, shares: ArrayLike) -> tuple[Values, Values]:
    """Counts and shares, each of shape (n_periods, n_arms)."""
    seen, planned = np.atleast_2d(np.asarray(counts, dtype=np.float64)), np.atleast_2d(np.asarray(shares, dtype=np.float64))
    if seen.shape != planned.shape or seen.ndim != 2 or seen.shape[1] < 2:
        raise ValueError(f"'counts' and 'shares' must be one number for each of two or more arms; found {seen.shape} and {planned.shape}")
    if not (np.isfinite(seen).all() and (seen >= 0.0).all() and (seen == np.floor(seen)).all()):
        raise ValueError(f"'counts' must be whole numbers of 0 or more; found {seen.tolist()}")
    if not ((planned >= 0.0).all() and np.allclose(planned.sum(axis=1), 1.0, rtol=0.0, atol=1e-9)):
        raise ValueError(f"'shares' must be 0 or more and add up to 1 in every period; found {planned.tolist()}")
    if (seen[planned == 0.0] > 0.0).any():
        raise ValueError("a unit was counted in an arm whose planned share is 0: no test is needed to call that a mismatch")
    return seen, planned


def _log_e_value(counts: Values, shares: Values, concentration: float) -> float:
    """Log of the Dirichlet-multinomial over the multinomial probability of one sequence of units; arms of share 0 don't take part."""
    used = shares > 0.0
    seen, prior = counts[used], concentration * shares[used]
    mixture = special.gammaln(prior.sum()) - special.gammaln(prior.sum() + seen.sum())
    mixture += (special.gammaln(prior + seen) - special.gammaln(prior)).sum()
    return float(mixture - special.xlogy(seen, shares[used]).sum())


def _chi_square_p(counts: Values, shares: Values) -> float:
    """Pearson's test of the arms' totals with the multinomial covariances of the periods added up; one period gives the usual one."""
    sizes = counts.sum(axis=1)
    arms = np.flatnonzero((sizes[:, None] * shares).sum(axis=0))[:-1]
    excess = (counts - sizes[:, None] * shares).sum(axis=0)[arms]
    spread = np.diag((sizes[:, None] * shares).sum(axis=0)[arms])
    spread -= (shares[:, arms] * sizes[:, None]).T @ shares[:, arms]
    solved, _, rank, _ = np.linalg.lstsq(spread, excess, rcond=1e-9)
    return float(special.chdtrc(rank, float(excess @ solved)))
