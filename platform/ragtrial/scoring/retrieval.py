"""Retrieval metrics, computed in one vectorised place with trec_eval's definitions.

Ours and not a library's at run time: pytrec_eval and ir_measures re-sort a ranking by float32 score and document id, so
that ties and near-ties change places, and take 3 to 50 times as long. `tests/oracles/` holds every value to pytrec_eval's.

Definitions (Manning, Raghavan, Schütze 2008, chapter 8; trec_eval 9): nDCG has linear gains, its ideal ranks all judged
passages; R and AP divide by all relevant passages, also where there are more than k; P divides by k; a grade above 0 is relevant.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial

NOTHING_RELEVANT = "nothing relevant"
"""The reason of a query without a relevant judgment: no ranking could score on it, so both arms leave it out."""

NOTHING_RETRIEVED = "nothing retrieved"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Judged rankings of n queries, m ranks deep.

    Attributes:
        grade: Grade of the passage at each rank, 0 where unjudged or beyond the ranking's end; shape (n, m).
        judged: Whether the passage at each rank is judged; shape (n, m).
        length: Ranks that the ranking fills; shape (n,).
        ideal: Positive grades of each query's judgments, descending, 0-padded; shape (n, anything).
        n_relevant: Relevant passages of each query; shape (n,).
    """

    grade: Floats
    judged: NDArray[np.bool_]
    length: NDArray[np.int64]
    ideal: Floats
    n_relevant: NDArray[np.int64]


def rank_arrays(rankings: Sequence[Sequence[str]], qrels: Sequence[Mapping[str, int]], *, depth: int) -> Ranks:
    """Look up each ranking's passages in its query's judgments; a passage that stands twice counts at its first rank only."""
    n = len(rankings)
    grade, judged = np.zeros((n, depth)), np.zeros((n, depth), dtype=bool)
    lengths = np.zeros(n, dtype=np.int64)
    for row, (ranking, grades) in enumerate(zip(rankings, qrels, strict=True)):
        ids = list(dict.fromkeys(ranking))[:depth]
        lengths[row] = len(ids)
        for column, passage_id in enumerate(ids):
            if passage_id in grades:
                judged[row, column] = True
                grade[row, column] = grades[passage_id]
    positive = [sorted((g for g in grades.values() if g > 0), reverse=True) for grades in qrels]
    ideal = np.zeros((n, max(map(len, positive), default=0)))
    for row, values in enumerate(positive):
        ideal[row, : len(values)] = values
    return Ranks(grade=grade, judged=judged, length=lengths, ideal=ideal, n_relevant=np.array([len(v) for v in positive], dtype=np.int64))


def _dcg(grades: Floats, k: int) -> Floats:
    """Järvelin and Kekäläinen 2002 with trec_eval's discount: grade / log2(rank + 1), summed over the first k ranks."""
    part = grades[:, :k]
    total: Floats = (part / np.log2(np.arange(2, part.shape[1] + 2))).sum(axis=1)
    return total


def _ndcg(ranks: Ranks, k: int) -> Floats:
    values: Floats = _dcg(ranks.grade, k) / _dcg(ranks.ideal, k)
    return values


def _recall(ranks: Ranks, k: int) -> Floats:
    values: Floats = (ranks.grade[:, :k] > 0).sum(axis=1) / ranks.n_relevant
    return values


def _precision(ranks: Ranks, k: int) -> Floats:
    values: Floats = (ranks.grade[:, :k] > 0).sum(axis=1) / k
    return values


def _reciprocal_rank(ranks: Ranks, k: int) -> Floats:
    relevant = ranks.grade[:, :k] > 0
    values: Floats = relevant.any(axis=1) / (relevant.argmax(axis=1) + 1)
    return values


def _average_precision(ranks: Ranks, k: int) -> Floats:
    relevant = ranks.grade[:, :k] > 0
    precision = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
    total: Floats = (precision * relevant).sum(axis=1) / ranks.n_relevant
    return total


def _success(ranks: Ranks, k: int) -> Floats:
    values: Floats = np.asarray((ranks.grade[:, :k] > 0).any(axis=1), dtype=np.float64)
    return values


def _judged(ranks: Ranks, k: int) -> Floats:
    values: Floats = ranks.judged[:, :k].sum(axis=1) / np.minimum(ranks.length, k)
    return values


_MEASURES: dict[str, Callable[[Ranks, int], Floats]] = {
    "nDCG": _ndcg,
    "R": _recall,
    "P": _precision,
    "RR": _reciprocal_rank,
    "AP": _average_precision,
    "Success": _success,
    "Judged": _judged,
}


def retrieval_values(metric: Metric, ranks: Ranks) -> Floats:
    """The metric of each query, shape (n,); NaN where it is not defined (nothing relevant, or for Judged nothing retrieved).

    Raises:
        ValueError: Not a retrieval metric.
    """
    if metric.measure is None or metric.cutoff is None:
        raise ValueError(f"{metric.name!r} is not a retrieval metric")
    with np.errstate(invalid="ignore", divide="ignore"):
        values = _MEASURES[metric.measure](ranks, metric.cutoff)
    undefined = ranks.length == 0 if metric.measure == "Judged" else ranks.n_relevant == 0
    return np.where(undefined, np.nan, values)


class RetrievalScorer:
    """Scores rankings against the gold set.

    A query that the arm dropped (its search failed) got nothing, so it scores 0, as in `trec_eval -c`, and its failure is
    counted with the trial. A query with nothing relevant is unscored.

    Args:
        metrics: Retrieval metrics.
    """

    version = "retrieval/1"
    deterministic = True

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)
        self._gold: GoldSet | None = None
        self._qrels: dict[str, dict[str, int]] = {}

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        if gold is not self._gold:
            self._gold, self._qrels = gold, gold.qrels()
        depth = max((metric.cutoff or 0 for metric in self.metrics), default=0)
        rankings = [trial.ranking.passage_ids if trial.ranking is not None else () for trial in trials]
        ranks = rank_arrays(rankings, [self._qrels[trial.query_id] for trial in trials], depth=depth)
        columns = [[self._score(metric, value) for value in retrieval_values(metric, ranks)] for metric in self.metrics]
        return tuple(tuple(column[row] for column in columns) for row in range(len(trials)))

    def _score(self, metric: Metric, value: np.float64) -> Score:
        if np.isnan(value):
            reason = NOTHING_RETRIEVED if metric.measure == "Judged" else NOTHING_RELEVANT
            return Score(metric=metric.name, unscored=reason, scorer=self.version)
        return Score(metric=metric.name, value=float(value), scorer=self.version)
