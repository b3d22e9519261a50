"""What people should label next, and what it would buy."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.prediction_powered import Corrected
from ragtrial.stats.sample import Values, check_share, finite_values

_STRATA = 4
_FLOOR = 2


class LabelPlan(NamedTuple):
    """The next rows to label.

    Attributes:
        rows: Positions of the rows to label next, ascending, shape (more,).
        probabilities: Chance of every row to be labelled once these are, those labelled before included, shape (n,), in (0, 1]. With all
            labels at hand, `Labels.probabilities` is `probabilities[labels.rows]`.
    """

    rows: NDArray[np.intp]
    probabilities: Values


def items_to_label(
    judged: ArrayLike, labelled: ArrayLike, *, more: int, rng: np.random.Generator, uncertainty: ArrayLike | None = None
) -> LabelPlan:
    """A random sample of rows to label next, spread over strata so that the corrected interval becomes narrow.

    It **must stay random**. The correction is the mean gap between people and judge on the labelled rows, taken for that of all rows. The
    rows where the judge looks most wrong, or that a reader finds interesting, have another gap, and no formula can tell how different;
    the interval would then cover anything but the truth. A random sample may well be denser where the judge is unsure, as long as every
    row's chance is above 0 and known: the estimate then weighs each label by 1 / chance (Horvitz and Thompson 1952).

    Rows are cut into up to four strata at the quartiles of `uncertainty`, or of `judged` where there is none. Without uncertainty each
    stratum gets its share of the labels, so that chances are equal up to rounding. With it, half of the labels go by size and half by
    size times root-mean-square uncertainty (Neyman 1934; Cochran 1977, section 5.5; mixed with the even half as in Zrnic and Candès
    2024, "Active Statistical Inference", arXiv 2403.03208, so that a judge that is surely wrong is found out). Within a stratum every
    row has the same chance. The human labels at hand never steer the choice: only so are the chances those of one stratified sample.

    Args:
        judged: Judge's score of every row (or its paired differences), shape (n,).
        labelled: Positions of the rows labelled so far, which must have been drawn evenly at random or by this function with the **same**
            `judged` and `uncertainty`; may be empty.
        more: How many rows to add, at least 1.
        rng: Where the draw comes from.
        uncertainty: How unsure the judge is of each row, 0 or above, shape (n,), e.g. the standard deviation of its repeated judgments.

    Raises:
        NotEnoughDataError: Fewer than `more` rows are unlabelled, or `more` is too few to reach every stratum.
        ValueError: A value is not finite, an uncertainty is negative, a position does not exist or stands twice, or more is below 1.
    """
    scores = finite_values(judged, name="judged")
    done = _positions(labelled, scores.size)
    if more < 1:
        raise ValueError(f"'more' must be at least 1; found {more!r}")
    if more > scores.size - done.size:
        raise NotEnoughDataError(f"only {scores.size - done.size} of the {scores.size} rows have no label, and {more} more are asked for")
    unsure = None if uncertainty is None else _uncertainty(uncertainty, scores.size)
    strata = _strata(scores if unsure is None else unsure)
    sizes = np.bincount(strata)
    so_far = np.bincount(strata[done], minlength=sizes.size)
    counts = _allocation(sizes, so_far, more, _shares(strata, sizes, unsure))
    open_rows = np.setdiff1d(np.arange(scores.size), done)
    drawn = [
        rng.choice(open_rows[strata[open_rows] == stratum], size=int(counts[stratum] - so_far[stratum]), replace=False)
        for stratum in range(sizes.size)
    ]
    return LabelPlan(rows=np.sort(np.concatenate(drawn)).astype(np.intp), probabilities=(counts / sizes)[strata])


def realised_chances(judged: ArrayLike, labelled: ArrayLike, *, uncertainty: ArrayLike | None = None, all_strata: bool = True) -> Values:
    """Labelled share of each labelled row's stratum: the chances to go by when labels have come in, shape (n_labelled,), in (0, 1].

    The strata are those of `items_to_label` with the same `judged` and `uncertainty`. Where all that was drawn is labelled, these are its
    `probabilities` of the labelled rows, over any number of rounds. Where some of it was left blank, a row stands for its stratum all the
    same (post-stratification; Holt and Smith 1979), which is right as long as rows were left blank by chance.

    Args:
        judged: As given to `items_to_label`.
        labelled: Positions of all labelled rows, drawn at random.
        uncertainty: As given to `items_to_label`.
        all_strata: Refuse labels that leave a stratum out: nothing would stand for its rows.

    Raises:
        NotEnoughDataError: A stratum has no label, and all of them are asked for.
        ValueError: As `items_to_label`.
    """
    scores = finite_values(judged, name="judged")
    done = _positions(labelled, scores.size)
    strata = _strata(scores if uncertainty is None else _uncertainty(uncertainty, scores.size))
    sizes = np.bincount(strata)
    counts = np.bincount(strata[done], minlength=sizes.size)
    if all_strata and np.any(counts == 0):
        left_out = int(sizes[counts == 0].sum())
        raise NotEnoughDataError(f"no label stands for {left_out} of the {scores.size} rows: label what was drawn of them")
    shares: Values = (counts / sizes)[strata[done]]
    return shares


def planned_half_width(fit: Corrected, *, more: int, alpha: float) -> float:
    """Half the width that the interval of `fit` is expected to have with `more` labels, spread like those at hand.

    The part of the variance that comes from the labels shrinks with their number; the rest, from having so many queries, stays
    (Angelopoulos, Duchi and Zrnic 2023, section 6). Degrees of freedom grow in proportion.

    Args:
        fit: From `corrected_mean`, or the difference of `corrected_difference` (labels of both arms are then counted together).
        more: Additional labels; 0 gives the half-width at hand.
        alpha: 1 minus the coverage.

    Raises:
        NotEnoughDataError: There are not as many unlabelled rows, or the parts of the error leave nothing for the plan.
        ValueError: more is below 0, or alpha outside of (0, 1).
    """
    check_share(alpha, name="alpha")
    if more < 0:
        raise ValueError(f"'more' must be at least 0; found {more!r}")
    if more > fit.n_unlabelled:
        raise NotEnoughDataError(f"only {fit.n_unlabelled} rows have no label, and {more} more are asked for")
    growth = (fit.n_labelled + more) / fit.n_labelled
    variance = fit.standard_error**2 - fit.label_error**2 * (1.0 - 1.0 / growth)
    if variance <= 0.0:
        raise NotEnoughDataError(f"the error of {fit.n_labelled} labels is too rough to plan {more} more with; plan fewer")
    return float(stats.t.isf(alpha / 2.0, fit.df * growth)) * math.sqrt(variance)


def _positions(labelled: ArrayLike, n: int) -> NDArray[np.intp]:
    """The labelled positions, each once.

    Raises:
        ValueError: A position is not whole, outside of 0..n - 1, or named twice.
    """
    rows = np.asarray(labelled)
    if rows.size == 0:
        return np.empty(0, dtype=np.intp)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or int(rows.min()) < 0 or int(rows.max()) >= n:
        raise ValueError(f"'labelled' must hold whole positions between 0 and {n - 1}, shape (n_labelled,)")
    if np.unique(rows).size < rows.size:
        raise ValueError("'labelled' names a row twice")
    return rows.astype(np.intp)


def _uncertainty(uncertainty: ArrayLike, n: int) -> Values:
    values = finite_values(uncertainty, name="uncertainty")
    if values.size != n or np.any(values < 0.0):
        raise ValueError(f"'uncertainty' must hold one value of at least 0 for each of the {n} rows")
    return values


def _strata(values: Values) -> NDArray[np.intp]:
    """Stratum of each row from 0, shape (n,), cut at the quartiles; equal values stay together, and no stratum is empty."""
    edges = np.unique(np.quantile(values, np.arange(1, _STRATA) / _STRATA))
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.intp)


def _shares(strata: NDArray[np.intp], sizes: NDArray[np.intp], unsure: Values | None) -> Values:
    """Share of the labels that each stratum should have, shape (n_strata,), summing to 1."""
    even: Values = sizes / sizes.sum()
    if unsure is None or not np.any(unsure):
        return even
    neyman = sizes * np.sqrt(np.bincount(strata, weights=unsure**2) / sizes)
    mixed: Values = 0.5 * even + 0.5 * neyman / neyman.sum()
    return mixed


def _allocation(sizes: NDArray[np.intp], so_far: NDArray[np.intp], more: int, shares: Values) -> NDArray[np.intp]:
    """Labels of each stratum in the end, shape (n_strata,): two (or all) at least, then one at a time to where most are lacking.

    Raises:
        NotEnoughDataError: `more` does not reach two in every stratum.
    """
    counts = np.maximum(so_far, np.minimum(sizes, _FLOOR))
    left = more - int((counts - so_far).sum())
    if left < 0:
        raise NotEnoughDataError(f"{more} more labels don't reach every stratum of the judge's scores: ask for at least {more - left}")
    target = shares * (so_far.sum() + more)
    for _ in range(left):
        counts[np.argmax(np.where(counts < sizes, target - counts, -np.inf))] += 1
    return counts
