"""Metrics that are 0 or 1 for every query, such as a hit among the first ten."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import check_share, paired_values


class McNemar(NamedTuple):
    """The result of McNemar's test.

    Attributes:
        p_value: Two-sided mid-p.
        wins: Queries with 0 in control and 1 in treatment.
        losses: Queries with 1 in control and 0 in treatment.
    """

    p_value: float
    wins: int
    losses: int


class Share(NamedTuple):
    """A share with its interval.

    Attributes:
        estimate: successes / n.
        low: Lower end of the two-sided 1 - alpha interval, at least 0.
        high: Upper end, at most 1.
    """

    estimate: float
    low: float
    high: float


def mcnemar_midp(control: ArrayLike, treatment: ArrayLike) -> McNemar:
    """McNemar's mid-p test: do as many queries turn from 0 to 1 as from 1 to 0?

    Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-pairs data", BMC Medical Research Methodology 13:91: the exact
    conditional p less the probability of the observed table, or 1 less half of it where wins equal losses. Written here, on scipy's
    binomial, because statsmodels' `mcnemar` has the exact (too careful) and the asymptotic version only. Queries are taken as independent.

    Args:
        control: 0 or 1 for each query, shape (n,); booleans are fine.
        treatment: The same for the same queries.

    Raises:
        NotEnoughDataError: No query changed, so there is nothing to test.
        ValueError: A value is neither 0 nor 1, or lengths differ.
    """
    left, right = paired_values(control, treatment)
    for name, values in (("control", left), ("treatment", right)):
        other = values[(values != 0.0) & (values != 1.0)]
        if other.size:
            raise ValueError(f"{name!r} must hold only 0 and 1 for McNemar's test; found {float(other[0])!r}")
    wins, losses = int(np.count_nonzero(right > left)), int(np.count_nonzero(right < left))
    changed = wins + losses
    if changed == 0:
        raise NotEnoughDataError(f"none of the {left.size} queries changed between the arms: there is nothing to test")
    observed = float(stats.binom.pmf(wins, changed, 0.5))
    if wins == losses:
        return McNemar(p_value=1.0 - observed / 2.0, wins=wins, losses=losses)
    exact = float(stats.binomtest(wins, changed, 0.5).pvalue)
    return McNemar(p_value=exact - observed, wins=wins, losses=losses)


def wilson(successes: int, n: int, *, alpha: float) -> Share:
    """A share with its score interval (Wilson 1927), through scipy; sound near 0 and 1 and for few queries.

    Args:
        successes: How many of them.
        n: Out of how many.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: n is 0.
        ValueError: successes is outside of 0..n, or alpha outside of (0, 1).
    """
    return _share(successes, n, alpha=alpha, method="wilson")


def clopper_pearson(successes: int, n: int, *, alpha: float) -> Share:
    """A share with its exact interval (Clopper and Pearson 1934), through scipy: it covers at least as often as it says, for any n.

    Wider than Wilson's; for claims about error rates, where "at least" is what counts.

    Args:
        successes: How many of them.
        n: Out of how many.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: n is 0.
        ValueError: successes is outside of 0..n, or alpha outside of (0, 1).
    """
    return _share(successes, n, alpha=alpha, method="exact")


def _share(successes: int, n: int, *, alpha: float, method: Literal["wilson", "exact"]) -> Share:
    check_share(alpha, name="alpha")
    if not 0 <= successes <= n:
        raise ValueError(f"'successes' must lie between 0 and n = {n}; found {successes!r}")
    if n == 0:
        raise NotEnoughDataError("a share of 0 queries or runs has no value")
    low, high = stats.binomtest(successes, n).proportion_ci(1.0 - alpha, method=method)
    return Share(estimate=successes / n, low=float(low), high=float(high))


def least_excess(n: int, share: float, *, alpha: float) -> int:
    """The smallest count that shows a share above `share`: the critical value of the exact one-sided binomial test of level alpha.

    Where the share is just `share`, a count as large as this, or larger, comes up with a probability of at most alpha.

    Args:
        n: Independent runs.
        share: What is allowed, in [0, 1].
        alpha: The level.

    Returns:
        Up to n; n + 1 where so few runs can't show it at all.

    Raises:
        ValueError: Alpha or the share is outside of its range, or n negative.
    """
    check_share(alpha, name="alpha")
    if n < 0 or not 0.0 <= share <= 1.0:
        raise ValueError(f"'n' must be 0 or more and 'share' within [0, 1]; found {n!r} and {share!r}")
    tails = stats.binom.sf(np.arange(-1, n), n, share)  # P(X >= 0), ..., P(X >= n)
    return int(np.count_nonzero(tails > alpha))


def most_unseen(n: int, *, alpha: float) -> float:
    """The largest share of a kind of query that n queries can fail to show: the exact one-sided upper end where none was seen.

    1 - alpha^(1/n) (Clopper and Pearson 1934 with 0 successes; about 3 / n for alpha 0.05, Hanley and Lippman-Hand 1983).

    Args:
        n: Independent queries, none of which is of the kind.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: There are none.
        ValueError: Alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if n < 1:
        raise NotEnoughDataError("no query was scored: nothing is known of the share")
    return float(1.0 - alpha ** (1.0 / n))
