"""Thumbs: who votes first, what they vote second, and what can be said of those who don't."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.stats.ratio import RatioDifference, UnitSums, ratio_difference
from ragtrial.stats.sample import check_share, finite_values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoteSums:
    """Votes of each unit (user) of one arm, all of shape (n_units,).

    Attributes:
        up: Queries voted up.
        rated: Queries voted up or down.
        asked: Queries whose answer could be voted on. For the estimate from solicited votes: queries after which the user was asked, at
            random, and `up` and `rated` are of these alone.

    Raises:
        ValueError: Shapes differ, or not 0 <= up <= rated <= asked.
    """

    up: ArrayLike
    rated: ArrayLike
    asked: ArrayLike

    def __post_init__(self) -> None:
        up, rated, asked = (finite_values(values, name=name) for name, values in self._named())
        if not up.shape == rated.shape == asked.shape:
            raise ValueError(f"'up', 'rated' and 'asked' must have one number for each unit; found {up.size}, {rated.size}, {asked.size}")
        if not ((up >= 0.0) & (up <= rated) & (rated <= asked)).all():
            raise ValueError("in every unit 0 <= up <= rated <= asked must hold")

    def _named(self) -> tuple[tuple[str, ArrayLike], ...]:
        return (("up", self.up), ("rated", self.rated), ("asked", self.asked))


class Bounds(NamedTuple):
    """What the difference of the share of satisfied queries can be, whatever those think who did not vote.

    Attributes:
        lower: All silent queries of the treatment were bad, all of control good.
        upper: The reverse.
        low: `lower` minus its sampling error: with `high`, the interval covers the true difference with probability 1 - alpha or more.
        high: `upper` plus its sampling error.
    """

    lower: float
    upper: float
    low: float
    high: float


class Votes(NamedTuple):
    """Votes of both arms, compared.

    Attributes:
        rating_rate: Rated over asked, tested first.
        share: Up over rated: the naive difference, of those who vote.
        who_rates_differs: The rating rates differ at alpha. The naive difference may then have the wrong sign, and must not be read.
        bounds: Manski's bounds, which hold whoever votes.
    """

    rating_rate: RatioDifference
    share: RatioDifference
    who_rates_differs: bool
    bounds: Bounds


def vote_difference(control: VoteSums, treatment: VoteSums, *, alpha: float) -> Votes:
    """The vote share's difference with the two things that it hides: the rating rate, and the bounds without assumptions.

    Who votes is not random. An arm that moves unhappy users to vote looks worse while it is better. So the rating rate per arm is tested
    first, and Manski's bounds (1989, "Anatomy of the Selection Problem"; 2003, chapter 1) tell what the votes alone can show: each silent
    query was good or bad. Equal rating rates are no proof that the same users rate.

    The way out is to ask a random share of users, and to look at these votes only: pass them as `VoteSums` whose `asked` are the queries
    asked about. Their bounds are narrow where most of those asked answer; their `share` is right where answering, once asked, does not
    depend on the arm's quality.

    Args:
        control: Units of the control arm.
        treatment: Units of the treatment arm.
        alpha: 1 minus the coverage of each interval, and the level of the test of the rating rates, at a planned size.

    Raises:
        NotEnoughDataError: Fewer than 2 units with a vote in an arm, or no variance between units in the rating or in the votes.
        ValueError: Alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    arms = (control, treatment)
    rating = ratio_difference(*(UnitSums(numerator=arm.rated, denominator=arm.asked) for arm in arms), alpha=alpha)
    share = ratio_difference(*(UnitSums(numerator=arm.up, denominator=arm.rated) for arm in arms), alpha=alpha)
    return Votes(rating_rate=rating, share=share, who_rates_differs=rating.p_value < alpha, bounds=_bounds(control, treatment, alpha))


def _bounds(control: VoteSums, treatment: VoteSums, alpha: float) -> Bounds:
    """The worst cases for the treatment and for control, each with a one-sided 1 - alpha / 2 bound."""
    pessimist = _of_sums(_best(control), _worst(treatment), alpha)
    optimist = _of_sums(_worst(control), _best(treatment), alpha)
    return Bounds(lower=pessimist[0], upper=optimist[0], low=pessimist[0] - pessimist[1], high=optimist[0] + optimist[1])


def _worst(arm: VoteSums) -> UnitSums:
    """Every silent query counts as bad."""
    return UnitSums(numerator=arm.up, denominator=arm.asked)


def _best(arm: VoteSums) -> UnitSums:
    """Every silent query counts as good."""
    up, rated, asked = (np.asarray(values, dtype=np.float64) for values in (arm.up, arm.rated, arm.asked))
    return UnitSums(numerator=up + asked - rated, denominator=asked)


def _of_sums(control: UnitSums, treatment: UnitSums, alpha: float) -> tuple[float, float]:
    """A difference and the half-width of its two-sided 1 - alpha interval."""
    fit = ratio_difference(control, treatment, alpha=alpha)
    return fit.difference, fit.high - fit.difference
