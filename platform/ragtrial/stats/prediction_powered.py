"""Few human labels and many judge scores: means and differences that the judge's bias can't move (PPI++).

A judge scores every row; people label a random few. The judge's mean is corrected by what it was found to be off on the labelled rows:

    estimate = mean of weight * judged, over all rows + mean of (human - weight * judged), over the labelled rows

Angelopoulos, Duchi and Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference", arXiv 2311.01453, sections 2 and 6; known before as
the difference and regression estimator of survey sampling (Cochran 1977, chapter 7). It is right for any judge, however biased, **if the
labelled rows were drawn at random**: rows that people chose, or users' thumbs, say nothing of the rest. Here the judged mean runs over
all rows, labelled ones included, where the paper's runs over the unlabelled; the two agree where the paper's lambda is this weight times
N / (n + N), n labelled and N not. `weight` 0 ignores the judge, 1 takes its scores at face value before they are corrected.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.influence import checked_units, clustered_square, codes_or_rows, effective_units, inverse_weights
from ragtrial.stats.sample import ROUNDING, Clusters, Values, check_share, finite_values


class Labels(NamedTuple):
    """What people said of some of the judged rows.

    Attributes:
        rows: Positions of the labelled rows among the judged ones, shape (n_labelled,), each once. Drawn at random.
        values: Human score of each, on the judge's scale, shape (n_labelled,).
        probabilities: Chance that each of them had to be labelled, shape (n_labelled,), in (0, 1] (see `labelling.items_to_label`);
            None where every row's was the same.
    """

    rows: ArrayLike
    values: ArrayLike
    probabilities: ArrayLike | None = None


class Corrected(NamedTuple):
    """A mean, or a difference of means, on the human scale.

    Attributes:
        estimate: In the unit of the human scores.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        standard_error: Of the estimate, above 0.
        df: Degrees of freedom of that error (Welch-Satterthwaite).
        weight: Of the judge's scores, 0 to 1 unless it was fixed outside; None for a difference of two arms, each of which has its own.
        n_labelled: Labels used, of both arms for a difference.
        n_unlabelled: Judged rows without a label, of both arms for a difference.
        label_error: The part of the standard error that more labels would shrink.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float
    weight: float | None
    n_labelled: int
    n_unlabelled: int
    label_error: float


class CorrectedArms(NamedTuple):
    """Two arms whose labels were drawn independently.

    Attributes:
        control: Its mean.
        treatment: Its mean.
        difference: Treatment minus control.
    """

    control: Corrected
    treatment: Corrected
    difference: Corrected


class _Part(NamedTuple):
    """One corrected mean as influences.

    Attributes:
        estimate: The mean.
        weight: Of the judge's scores.
        judge: Influence of each row through the judged mean, shape (n,).
        label: Influence through the labels, 0 where there is none, shape (n,).
        label_df: Degrees of freedom of the label part.
        n_labelled: Labels.
    """

    estimate: float
    weight: float
    judge: Values
    label: Values
    label_df: float
    n_labelled: int


def corrected_mean(
    judged: ArrayLike, labels: Labels, *, alpha: float, weight: float | None = None, clusters: Clusters | None = None
) -> Corrected:
    """The mean human score of all rows, from the judge's score of each and labels of a random few (PPI++; see the module).

    A row is whatever people label as one: an answer, or a query of which **both arms'** answers are labelled. For the latter give the
    judge's differences (treatment minus control) and the human ones; the result is the mean paired difference.

    The weight is the one of least estimated variance, ignoring clusters, clipped to [0, 1] (the paper's section 6, power tuning). The
    error is cluster-robust; its label part carries the factor u / (u - 2) (u - 1 with a fixed weight) for u effective labelled clusters,
    and the quantile is Student's t. With unequal probabilities the labels' mean is Hájek's, whose error is right for labels drawn
    independently, and too wide rather than too narrow for those drawn within strata.

    Args:
        judged: Judge's score of every row, labelled or not, shape (n,).
        labels: Of a random sample of the rows.
        alpha: 1 minus the coverage, e.g. 0.05.
        weight: Of the judge's scores, fixed before the labels were seen; None to estimate it.
        clusters: Label of each row's cluster, shape (n,), such as the source document; None for independent rows.

    Raises:
        NotEnoughDataError: `influence.checked_units` finds too few labels, clusters or exceptions, or nothing varies.
        ValueError: A value is not finite, a row is labelled twice or does not exist, shapes don't fit, or alpha is outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    scores = finite_values(judged, name="judged")
    codes = codes_or_rows(clusters, scores.size)
    return _interval(_part(scores, labels, codes, weight), codes, alpha)


def corrected_difference(
    control_judged: ArrayLike,
    treatment_judged: ArrayLike,
    control_labels: Labels,
    treatment_labels: Labels,
    *,
    alpha: float,
    weight: float | None = None,
    clusters: Clusters | None = None,
) -> CorrectedArms:
    """Treatment minus control where each arm's labels are a random sample of its own, drawn independently of the other's.

    Each arm's mean is corrected with its own weight. Both judged means are of the **same queries**, and a query may happen to be labelled
    in both arms: the influences of a query in the two arms are subtracted before they are squared, so that their covariance is kept.
    Where people label both arms' answers to one query, `corrected_mean` of the differences is narrower.

    Args:
        control_judged: Judge's score of every query in control, shape (n_queries,).
        treatment_judged: The same queries in treatment, in the same order.
        control_labels: Of a random sample of control's answers; rows are positions of queries.
        treatment_labels: Of a random sample of treatment's.
        alpha: 1 minus the coverage.
        weight: Of the judge's scores in both arms, fixed before the labels were seen; None to estimate one for each.
        clusters: Label of each query's cluster, shape (n_queries,), or None.

    Raises:
        NotEnoughDataError: As in `corrected_mean`, of either arm.
        ValueError: As in `corrected_mean`, or the arms differ in length.
    """
    check_share(alpha, name="alpha")
    left, right = finite_values(control_judged, name="control_judged"), finite_values(treatment_judged, name="treatment_judged")
    if left.shape != right.shape:
        raise ValueError(f"'control_judged' has {left.size} values and 'treatment_judged' {right.size}: both must answer the same queries")
    codes = codes_or_rows(clusters, left.size)
    control, treatment = _part(left, control_labels, codes, weight), _part(right, treatment_labels, codes, weight)
    return CorrectedArms(
        control=_interval(control, codes, alpha),
        treatment=_interval(treatment, codes, alpha),
        difference=_difference(control, treatment, codes, alpha),
    )


def _part(judged: Values, labels: Labels, codes: NDArray[np.intp], weight: float | None) -> _Part:
    """The corrected mean of one column of judge scores, as influences."""
    rows, human = _checked(labels, judged.size)
    shares = inverse_weights(labels.probabilities, rows.size)
    units = checked_units(human - (1.0 if weight is None else weight) * judged[rows], shares, codes[rows])
    tuned = _tuned(judged, rows, human, shares) if weight is None else None
    chosen = weight if weight is not None else (tuned or 0.0)
    residuals = human - chosen * judged[rows]
    off = float(shares @ residuals)
    lost = 1 if tuned is None else 2
    label = np.zeros(judged.size)
    label[rows] = shares * (residuals - off) * math.sqrt(units / (units - lost))
    even = effective_units(np.full(judged.size, 1.0 / judged.size), codes)
    judge = chosen * (judged - judged.mean()) / judged.size * math.sqrt(even / (even - 1.0))
    return _Part(
        estimate=chosen * float(judged.mean()) + off, weight=chosen, judge=judge, label=label, label_df=units - lost, n_labelled=rows.size
    )


def _checked(labels: Labels, n: int) -> tuple[NDArray[np.intp], Values]:
    """Positions and human scores of the labelled rows.

    Raises:
        ValueError: A position is not whole, outside of 0..n - 1 or named twice, or there is not one score a position.
    """
    rows, human = np.asarray(labels.rows), finite_values(labels.values, name="labels.values")
    if rows.shape != human.shape:
        raise ValueError(f"'labels.rows' and 'labels.values' must have one shape (n_labelled,); found {rows.shape} and {human.shape}")
    if rows.size and not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"'labels.rows' must hold whole positions of the judged rows; found the type {rows.dtype}")
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= n):
        raise ValueError(f"'labels.rows' must lie between 0 and {n - 1}; found {int(rows.min())} to {int(rows.max())}")
    if np.unique(rows).size < rows.size:
        raise ValueError("'labels.rows' names a row twice: merge the labels of a row (their mean) before")
    return rows.astype(np.intp), human


def _tuned(judged: Values, rows: NDArray[np.intp], human: Values, shares: Values) -> float | None:
    """The judge's weight of least estimated variance in [0, 1]; None where no weight changes the estimate.

    The influence of a row is a + weight * b, and the sum of the squares is least at -sum(a b) / sum(b b).
    """
    seen = judged[rows]
    by_judge = (judged - judged.mean()) / judged.size
    by_judge[rows] -= shares * (seen - float(shares @ seen))
    by_human = shares * (human - float(shares @ human))
    squares = float(by_judge @ by_judge)
    if squares <= (ROUNDING * max(1.0, float(np.abs(judged).max()))) ** 2:
        return None
    return float(np.clip(-(by_human @ by_judge[rows]) / squares, 0.0, 1.0))


def _interval(part: _Part, codes: NDArray[np.intp], alpha: float) -> Corrected:
    """One mean with its interval."""
    return _with_interval(
        part.estimate,
        part.judge,
        [part],
        codes,
        alpha=alpha,
        signed_label=part.label,
        weight=part.weight,
        n_unlabelled=part.label.size - part.n_labelled,
    )


def _difference(control: _Part, treatment: _Part, codes: NDArray[np.intp], alpha: float) -> Corrected:
    """Treatment minus control with its interval."""
    return _with_interval(
        treatment.estimate - control.estimate,
        treatment.judge - control.judge,
        [control, treatment],
        codes,
        alpha=alpha,
        signed_label=treatment.label - control.label,
        weight=None,
        n_unlabelled=2 * control.label.size - control.n_labelled - treatment.n_labelled,
    )


def _with_interval(
    estimate: float,
    judge: Values,
    parts: list[_Part],
    codes: NDArray[np.intp],
    *,
    alpha: float,
    signed_label: Values,
    weight: float | None,
    n_unlabelled: int,
) -> Corrected:
    """An estimate with the t interval of its influences; degrees of freedom by Welch-Satterthwaite over the judge's and each label part."""
    variance = clustered_square(judge + signed_label, codes)
    if variance <= ROUNDING**2:
        raise NotEnoughDataError("neither judge nor labels vary: without variance there is no interval")
    even = effective_units(np.full(judge.size, 1.0 / judge.size), codes)
    by_source = [(clustered_square(judge, codes), even - 1.0), *((clustered_square(part.label, codes), part.label_df) for part in parts)]
    df = sum(v for v, _ in by_source) ** 2 / sum(v * v / d for v, d in by_source)
    half = float(stats.t.isf(alpha / 2.0, df)) * math.sqrt(variance)
    return Corrected(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        standard_error=math.sqrt(variance),
        df=df,
        weight=weight,
        n_labelled=sum(part.n_labelled for part in parts),
        n_unlabelled=n_unlabelled,
        label_error=math.sqrt(clustered_square(signed_label, codes)),
    )
