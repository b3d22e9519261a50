"""Where a difference comes from: recall by depth, how far the rankings agree, and what the answers did where retrieval changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from ragtrial.domain.verdict import Slice

RetrievalChange = Literal["better", "worse", "same passages", "other passages"]
CHANGES: tuple[RetrievalChange, ...] = ("better", "worse", "same passages", "other passages")

MOST_GAINS = 400
"""Points of the curve of gains: more than that no chart can show."""

MOST_DEPTHS = 60
"""Points of a curve over k; below that every k has one."""

SHORT, MEDIUM = 5, 12
"""Words of the longest short and of the longest medium query."""

LENGTHS = ("short", "medium", "long")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAt:
    """Mean share of a query's relevant passages that one line has among its first k.

    Attributes:
        arm: The line's name.
        k: Depth, from 1.
        mean: Over the queries with a relevant passage; a query whose search failed found nothing.
        low: Lower end of the 1 - alpha t interval; None where there is none (one query, or the same recall in all).
        high: Upper end.
        n: Queries with a relevant passage.
    """

    arm: str
    k: int
    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapAt:
    """Mean share of the first k passages that both arms have in common, over the `n` queries with a ranking in both."""

    k: int
    mean: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftCell:
    """What the answers did on the queries whose retrieval changed in one way.

    Attributes:
        retrieval: `better` or `worse` on the retrieval metric, `same passages` in the same order, or `other passages` that score the same.
        n: Queries.
        n_scored: Of them, those whose answers are scored in both arms.
        better: Of the scored ones, those whose answer is better with custom.
        equal: Those that score the same.
        worse: Those whose answer is worse.
        mean: Mean gain of the answer metric; None where nothing was scored, and `reason` says so.
        low: Lower end of the gain's 1 - alpha interval; None where there is none, and `reason` says why.
        high: Upper end.
        reason: Why there is no mean or no interval; None where there are both.
    """

    retrieval: RetrievalChange
    n: int
    n_scored: int
    better: int
    equal: int
    worse: int
    mean: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GainAt:
    """One point of the sorted gains: the query's place, from 0 for the largest gain, and its gain on the primary metric."""

    place: int
    gain: float
    query_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Where a difference comes from. All of it is exploratory.

    Attributes:
        recall_curves: For k = 1, 2, ... of both arms and the reference lines that retrieve; empty where nothing is judged relevant.
        overlaps: For the same k; empty where no query has a ranking in both arms.
        retrieval_metric: What `lift` goes by: the primary metric where it is of retrieval, otherwise the first one that is; None without one.
        answer_metric: What the answers are scored by: the headline answer metric; None without one.
        lift: A cell for each way in which retrieval can change, in the order of `CHANGES`; empty without a retrieval metric.
        n_without_ranking: Queries outside of the cells because a search failed.
        n_without_score: Queries outside of the cells because other passages were retrieved and nothing says which are better.
        gains: The sorted gains on the primary metric, thinned to `MOST_GAINS` points; the first and the last are always there.
        n_gains: Queries behind `gains`.
        lengths: The primary metric on short, medium and long queries, as slices of the tag `length`; empty where the gold set has such a tag.
    """

    recall_curves: tuple[RecallAt, ...]
    overlaps: tuple[OverlapAt, ...]
    retrieval_metric: str | None
    answer_metric: str | None
    lift: tuple[LiftCell, ...]
    n_without_ranking: int
    n_without_score: int
    gains: tuple[GainAt, ...]
    n_gains: int
    lengths: tuple[Slice, ...]


def thinned(values: Sequence[_T], most: int) -> list[_T]:
    """At most `most` of the values, evenly taken, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]


def length_of(text: str) -> str:
    """`short`, `medium` or `long`, by its words."""
    words = len(text.split())
    return "short" if words <= SHORT else "medium" if words <= MEDIUM else "long"
