"""Do people and the judge agree, does the judge favour an arm, and does it agree with itself?"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.binary import Share, wilson
from ragtrial.stats.influence import (
    MIN_CLUSTERS,
    MIN_LABELS,
    checked_units,
    clustered_square,
    codes_or_rows,
    effective_units,
    inverse_weights,
)
from ragtrial.stats.sample import ROUNDING, Clusters, Values, check_share, cluster_codes, finite_values

Weighting = Literal["none", "linear", "quadratic"]


class Rated(NamedTuple):
    """Items that people and the judge both gave a verdict on.

    Attributes:
        human: Verdicts or scores of people, shape (n,).
        judge: Those of the judge on the same items, on the same scale.
        clusters: Label of each item's cluster (its query, or its source document), shape (n,); None for independent items.
        probabilities: Chance that each item had to be labelled, shape (n,), in (0, 1]; None where all were equal. Items that were not
            drawn at random say nothing of the others.
    """

    human: ArrayLike
    judge: ArrayLike
    clusters: Clusters | None = None
    probabilities: ArrayLike | None = None


class Kappa(NamedTuple):
    """Agreement beyond chance.

    Attributes:
        estimate: 1 for full agreement, 0 for as much as two raters who don't look would reach, below 0 for less.
        low: Lower end of the two-sided 1 - alpha interval, above -1.
        high: Upper end, below 1.
        standard_error: Of the estimate.
        n: Items.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    n: int


class Bias(NamedTuple):
    """A mean of judge minus human, or a difference of two such means.

    Attributes:
        estimate: In the unit of the scores; above 0 where the judge is lenient.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        standard_error: Of the estimate.
        df: Degrees of freedom of that error.
        n: Items.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float
    n: int


class ArmBias(NamedTuple):
    """Whether the judge is more lenient to one arm.

    Attributes:
        control: Bias in control.
        treatment: Bias in treatment.
        difference: Treatment's minus control's: by so much the judge's own comparison is off.
    """

    control: Bias
    treatment: Bias
    difference: Bias


class SelfAgreement(NamedTuple):
    """How often the judge contradicts itself on the same items.

    Attributes:
        flipped: Share of the items whose verdicts are not all equal, with its interval. Grows with the number of repetitions.
        disagreement: Chance that two judgments of one item differ, mean over items, which does not: the number to compare judges by.
        n: Items that were judged at least twice.
        once: Items that were judged once and left out.
    """

    flipped: Share
    disagreement: float
    n: int
    once: int


class _Part(NamedTuple):
    bias: Bias
    influence: Values


def confusion(rated: Rated, *, levels: ArrayLike) -> NDArray[np.int64]:
    """How often people gave level i where the judge gave level j, shape (n_levels, n_levels), people in rows; items are counted as they are.

    Args:
        rated: The items.
        levels: Every possible verdict, ascending, e.g. (0, 0.5, 1), shape (n_levels,).

    Raises:
        ValueError: A verdict is none of the levels, levels are not ascending or fewer than 2, or lengths differ.
    """
    human, judge, scale = _verdicts(rated, levels)
    return np.bincount(human * scale.size + judge, minlength=scale.size**2).reshape(scale.size, scale.size).astype(np.int64)


def raw_agreement(rated: Rated, *, levels: ArrayLike, alpha: float) -> Share:
    """Share of items with the same verdict, with Wilson's interval.

    Clusters and unequal probabilities count through the design effect (Kish 1965, section 8.2; Korn and Graubard 1998): the interval is
    that of as many independent items as would have the same error, and never of more than there are. Where people and judge agree on
    all items (or on none) no design effect shows, and each cluster counts as one item.

    Args:
        rated: The items.
        levels: Every possible verdict, ascending.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: There is no item.
        ValueError: As in `confusion`, or the clusters or probabilities don't fit.
    """
    check_share(alpha, name="alpha")
    human, judge, _ = _verdicts(rated, levels)
    if human.size == 0:
        raise NotEnoughDataError("an agreement on 0 items has no value")
    weights, codes = _design(rated, human.size)
    same = (human == judge).astype(np.float64)
    share = min(1.0, float(weights @ same))
    variance = clustered_square(weights * (same - share), codes)
    spread = share * (1.0 - share)
    worth = effective_units(weights, codes) if min(spread, variance) <= ROUNDING else spread / variance
    worth = min(float(human.size), worth)
    from statsmodels.stats.proportion import proportion_confint  # here, because of the pandas behind it: half a second

    low, high = proportion_confint(share * worth, worth, alpha=alpha, method="wilson")
    return Share(estimate=share, low=float(low), high=float(high))


def kappa(rated: Rated, *, levels: ArrayLike, alpha: float, weighting: Weighting = "none") -> Kappa:
    """Cohen's kappa (1960), or weighted kappa (Cohen 1968) by the distance of the levels or its square.

    The error is the asymptotic one of Fleiss, Cohen and Everitt 1969, summed within clusters, which statsmodels' `cohens_kappa` has
    without clusters and sampling weights. The interval is built on arctanh(kappa), with Student's t: on kappa itself, as in statsmodels,
    or by bootstrap, up to a fifth of the intervals miss where judge and people mostly agree. With quadratic weights, which hang on the few
    large distances, this one, too, covers less than it claims: 92 % of 95 with 60 items (docs/statistics.md).

    Args:
        rated: The items.
        levels: Every possible verdict, ascending; their values are the distances.
        alpha: 1 minus the coverage.
        weighting: "none": every disagreement counts alike; "linear" or "quadratic": by distance.

    Raises:
        NotEnoughDataError: Fewer than `MIN_LABELS` items, one level only was given, or all verdicts agree, so that no error shows.
        ValueError: As in `confusion`, or the clusters or probabilities don't fit.
    """
    check_share(alpha, name="alpha")
    human, judge, scale = _verdicts(rated, levels)
    if human.size < MIN_LABELS:
        raise NotEnoughDataError(f"at least {MIN_LABELS} items are needed for a kappa, and there are {human.size}")
    weights, codes = _design(rated, human.size)
    units = effective_units(weights, codes)
    if units < MIN_CLUSTERS:
        raise NotEnoughDataError(f"the {human.size} items are worth {units:.1f} equal clusters: a kappa asks for {MIN_CLUSTERS:g}")
    if np.all(human == judge):
        raise NotEnoughDataError(f"people and judge agree on all {human.size} items: kappa has no error there; go by the raw agreement")
    apart = np.abs(scale[:, None] - scale)
    costs = {"none": (apart > 0.0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weighting]
    estimate, influence = _kappa(human, judge, costs, weights)
    error = math.sqrt(clustered_square(influence, codes) * units / (units - 1.0))
    if error <= ROUNDING or abs(estimate) >= 1.0 - ROUNDING:
        raise NotEnoughDataError(f"kappa is {estimate:.6g} without any variance: there is no interval")
    half = float(stats.t.isf(alpha / 2.0, units - 1.0)) * error / (1.0 - estimate**2)
    centre = math.atanh(estimate)
    return Kappa(estimate=estimate, low=math.tanh(centre - half), high=math.tanh(centre + half), standard_error=error, n=human.size)


def arm_bias(control: Rated, treatment: Rated, *, alpha: float) -> ArmBias:
    """Mean of judge minus human in each arm, and how much more lenient the judge is to treatment than to control.

    Every item of one cluster, in whichever arm, is summed before it is squared: give the query as the cluster where both arms' answers to
    it were labelled. A difference that excludes 0 makes the judge's own comparison wrong by about that much;
    `prediction_powered` takes it out. One that includes 0 is no proof of fairness: read how wide the interval is.

    Args:
        control: Labelled items of control; scores of any kind.
        treatment: Labelled items of treatment, not necessarily of the same queries. Equal cluster labels mean the same cluster.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: `influence.checked_units` refuses the labels of an arm, or the biases differ without any variance.
        ValueError: A value is not finite, shapes don't fit, or only one arm names clusters.
    """
    check_share(alpha, name="alpha")
    apart, labels = [_gaps(control), _gaps(treatment)], _labels(control, treatment)
    n = apart[0].size
    codes = codes_or_rows(labels, n + apart[1].size)
    weights = [inverse_weights(arm.probabilities, gaps.size) for arm, gaps in zip((control, treatment), apart, strict=True)]
    left, right = (_bias(*one, alpha=alpha) for one in zip(apart, weights, (codes[:n], codes[n:]), strict=True))
    influence = np.concatenate([-left.influence, right.influence])
    # A cluster in both arms is one: no more degrees of freedom than there are clusters in all.
    both = effective_units(np.concatenate(weights) / 2.0, codes) - 1.0
    v, w = left.bias.standard_error**2, right.bias.standard_error**2
    welch = (v + w) ** 2 / (v**2 / left.bias.df + w**2 / right.bias.df)
    return ArmBias(
        control=left.bias,
        treatment=right.bias,
        difference=_with_interval(
            right.bias.estimate - left.bias.estimate, clustered_square(influence, codes), min(welch, both), codes.size, alpha=alpha
        ),
    )


def self_agreement(items: Clusters, verdicts: ArrayLike, *, alpha: float) -> SelfAgreement:
    """How often the judge contradicts itself when it judges the same item again (an A/A check of the judge).

    Args:
        items: Which item each judgment is of, shape (n_judgments,).
        verdicts: Its verdict, shape (n_judgments,); equal means equal up to rounding at 1e-9.
        alpha: 1 minus the coverage of the share that flipped (Wilson 1927).

    Raises:
        NotEnoughDataError: No item was judged twice.
        ValueError: A verdict is not finite, or lengths differ.
    """
    values = finite_values(verdicts, name="verdicts")
    codes, n = cluster_codes(items, values.size)
    counts = np.bincount(codes, minlength=n)
    again = counts > 1
    if not again.any():
        raise NotEnoughDataError(f"none of the {n} items was judged twice: how the judge agrees with itself does not show")
    kinds = np.unique(np.round(values, 9), return_inverse=True)[1]
    pairs, repeats = np.unique(np.stack([codes, kinds]), axis=1, return_counts=True)
    same = np.bincount(pairs[0], weights=repeats * (repeats - 1.0), minlength=n)[again]
    ordered = counts[again] * (counts[again] - 1.0)
    flips = int(np.count_nonzero(same < ordered))
    return SelfAgreement(
        flipped=wilson(flips, ordered.size, alpha=alpha),
        disagreement=float(np.mean(1.0 - same / ordered)),
        n=ordered.size,
        once=int(n - ordered.size),
    )


def _verdicts(rated: Rated, levels: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp], Values]:
    """Positions of people's and the judge's verdicts among the levels, each of shape (n,), and the levels.

    Raises:
        ValueError: A verdict is none of the levels, levels are not ascending or fewer than 2, or lengths differ.
    """
    scale = finite_values(levels, name="levels")
    if scale.size < 2 or np.any(np.diff(scale) <= 0.0):
        raise ValueError(f"'levels' must be at least 2 ascending values; found {scale.tolist()!r}")
    human, judge = _both(rated)
    found = []
    for name, values in (("human", human), ("judge", judge)):
        nearest = np.abs(values[:, None] - scale).argmin(axis=1)
        other = values[~np.isclose(values, scale[nearest], rtol=0.0, atol=1e-9)]
        if other.size:
            raise ValueError(f"{name!r} must hold only the levels {scale.tolist()!r}; found {float(other[0])!r}")
        found.append(nearest)
    return found[0], found[1], scale


def _both(rated: Rated) -> tuple[Values, Values]:
    human, judge = finite_values(rated.human, name="human"), finite_values(rated.judge, name="judge")
    if human.shape != judge.shape:
        raise ValueError(f"'human' has {human.size} values and 'judge' {judge.size}: both must be of the same items")
    return human, judge


def _design(rated: Rated, n: int) -> tuple[Values, NDArray[np.intp]]:
    return inverse_weights(rated.probabilities, n), codes_or_rows(rated.clusters, n)


def _kappa(human: NDArray[np.intp], judge: NDArray[np.intp], costs: Values, weights: Values) -> tuple[float, Values]:
    """Kappa and each item's influence on it, shape (n,).

    kappa = 1 - seen / chance, for the mean cost of a disagreement as seen and with both margins independent. The derivative of `chance`
    by an item is its row's and its column's mean cost, less twice `chance` (Fleiss, Cohen and Everitt 1969, in other letters).
    """
    by_human = np.bincount(human, weights=weights, minlength=len(costs))
    by_judge = np.bincount(judge, weights=weights, minlength=len(costs))
    seen, chance = float(weights @ costs[human, judge]), float(by_human @ costs @ by_judge)
    if chance <= ROUNDING:
        raise NotEnoughDataError("people and judge gave one level to every item: kappa has no value there")
    on_seen = costs[human, judge] - seen
    on_chance = (costs @ by_judge)[human] + (by_human @ costs)[judge] - 2.0 * chance
    return 1.0 - seen / chance, weights * (seen / chance * on_chance - on_seen) / chance


def _gaps(rated: Rated) -> Values:
    """Judge minus human, shape (n,)."""
    human, judge = _both(rated)
    return judge - human


def _labels(control: Rated, treatment: Rated) -> Clusters | None:
    """Both arms' cluster labels one after the other, or None where neither names any."""
    if control.clusters is None or treatment.clusters is None:
        if control.clusters is not treatment.clusters:
            raise ValueError("either both arms name 'clusters' or none does: a query of both arms must be known as one")
        return None
    return np.concatenate([np.asarray(control.clusters), np.asarray(treatment.clusters)])


def _bias(gaps: Values, weights: Values, codes: NDArray[np.intp], *, alpha: float) -> _Part:
    """The mean gap of one arm with its interval, and the influence of each item on it."""
    units = checked_units(gaps, weights, codes)
    mean = float(weights @ gaps)
    influence = weights * (gaps - mean) * math.sqrt(units / (units - 1.0))
    return _Part(_with_interval(mean, clustered_square(influence, codes), units - 1.0, gaps.size, alpha=alpha), influence)


def _with_interval(estimate: float, variance: float, df: float, n: int, *, alpha: float) -> Bias:
    if variance <= ROUNDING**2:
        raise NotEnoughDataError("the gaps between human and judge don't vary between clusters: without variance there is no interval")
    error = math.sqrt(variance)
    half = float(stats.t.isf(alpha / 2.0, df)) * error
    return Bias(estimate=estimate, low=estimate - half, high=estimate + half, standard_error=error, df=df, n=n)
