"""Interleaved experiments: both arms fill one list, and the user's reaction tells whose passages served."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.stats.ratio import RatioMean, UnitSums, ratio_mean
from ragtrial.stats.sample import Clusters, cluster_codes, cluster_sums, finite_values

Team = Literal["control", "treatment", "both"]


class Credit(NamedTuple):
    """What one query's reactions gave each arm.

    Attributes:
        control: Credits of control's passages; down-votes make it smaller.
        treatment: Credits of treatment's.
        preference: 1 for treatment, -1 for control, 0 for a tie (no reaction included).
    """

    control: float
    treatment: float
    preference: int


class InterleavedPreference(NamedTuple):
    """Which arm's passages serve better.

    Attributes:
        fit: Mean preference per query with its error by unit; above 0 for treatment. `estimate`, `standard_error` and `n_units` are what
            `confidence_sequence` takes, with `units=(fit.n_units,)`.
        n_for_treatment: Queries with a preference above 0.
        n_for_control: Queries with a preference below 0.
        n_ties: Queries with a preference of 0.
        units_for_treatment: Units whose queries sum up to more than 0.
        units_for_control: Units whose queries sum up to less than 0.
        sign_p_value: Two-sided, of the sign test over units without the tied ones; beside the mean, which decides.
    """

    fit: RatioMean
    n_for_treatment: int
    n_for_control: int
    n_ties: int
    units_for_treatment: int
    units_for_control: int
    sign_p_value: float


def credit(drafted: Sequence[tuple[str, Team]], *, cited: Collection[str], votes: Mapping[str, int]) -> Credit:
    """Credits of one query: 1 for each passage that the answer cites, 1 more for each of its votes up, 1 less for each down.

    What both arms would have put there counts for neither.

    Args:
        drafted: Id and team of each passage that the answer was made from (`ragtrial.drafting.team_draft`).
        cited: Ids of the passages that the answer cites; empty where it cites none.
        votes: Sum of the votes on a source by passage id; empty where nobody voted.

    Raises:
        ValueError: A passage was cited or voted on that was not among the drafted.
    """
    strangers = sorted((set(cited) | set(votes)) - {passage for passage, _ in drafted})
    if strangers:
        raise ValueError(f"passage {strangers[0]!r} was cited or voted on, and was not shown: credits must be of the same query")
    credits_of: dict[Team, float] = {"control": 0.0, "treatment": 0.0, "both": 0.0}
    chosen = set(cited)
    for passage, team in drafted:
        credits_of[team] += (passage in chosen) + votes.get(passage, 0)
    difference = credits_of["treatment"] - credits_of["control"]
    return Credit(credits_of["control"], credits_of["treatment"], preference=int(np.sign(difference)))


def interleaved_preference(preferences: ArrayLike, *, units: Clusters, alpha: float) -> InterleavedPreference:
    """The mean preference per query with an error by unit (Chapelle, Joachims, Radlinski and Yue 2012, sections 4 and 5).

    Ties count in the mean as 0. Both arms serve each query, so the users' own variance falls out: that is why it takes fewer queries than
    a split. It says who wins, not by how much any metric moves.

    Args:
        preferences: One number a query, shape (n_queries,): `Credit.preference`, or treatment's credits minus control's.
        units: Each query's unit, shape (n_queries,).
        alpha: 1 minus the coverage, at a planned size.

    Raises:
        NotEnoughDataError: Fewer than 2 units, or no variance between them (all ties included).
        ValueError: A value is not finite, or shapes don't fit.
    """
    values = finite_values(preferences, name="preferences")
    codes, n_units = cluster_codes(units, values.size)
    sums, sizes = cluster_sums(values, codes, n_units)
    fit = ratio_mean(UnitSums(numerator=sums, denominator=sizes), alpha=alpha)
    ahead, behind = int(np.count_nonzero(sums > 0.0)), int(np.count_nonzero(sums < 0.0))
    return InterleavedPreference(
        fit=fit,
        n_for_treatment=int(np.count_nonzero(values > 0.0)),
        n_for_control=int(np.count_nonzero(values < 0.0)),
        n_ties=int(np.count_nonzero(values == 0.0)),
        units_for_treatment=ahead,
        units_for_control=behind,
        sign_p_value=float(stats.binomtest(ahead, ahead + behind).pvalue),
    )
