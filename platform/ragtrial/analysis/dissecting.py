"""Takes an analysed evaluation apart: see `anatomy`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.anatomy import (
    CHANGES,
    LENGTHS,
    MOST_DEPTHS,
    MOST_GAINS,
    Anatomy,
    GainAt,
    LiftCell,
    OverlapAt,
    RecallAt,
    RetrievalChange,
    length_of,
    thinned,
)
from ragtrial.analysis.comparing import MIN_SLICE, slices_by
from ragtrial.analysis.ranked import Retrieved, retrieved_by, shares_in_common
from ragtrial.analysis.setting import Setting
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.outcome import TIE
from ragtrial.domain.score import ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis, Slice
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values
from ragtrial.stats.paired import paired_t

Floats = NDArray[np.float64]

_LENGTH = "length"
_BORROWS = "shuffled-context"  # the line that retrieves nothing of its own
_NO_RANKING, _NO_SCORE = -1, -2


def anatomy_of(
    *,
    evaluation: Evaluation,
    experiment: Experiment,
    analysis: Analysis,
    gold: GoldSet,
    tables: Mapping[str, ScoreTable],
    trials: Sequence[Trial],
) -> Anatomy:
    """Take an analysed evaluation apart.

    Args:
        evaluation: The run.
        experiment: The plan.
        analysis: What was concluded.
        gold: With judgments on passages.
        tables: Scores by metric.
        trials: Of all lines.
    """
    setting = Setting(evaluation=evaluation, experiment=experiment, plan=experiment.analysis, tables=tables, failures={})
    arms = (experiment.control.name, experiment.treatment.name)
    depth = max(experiment.retrieval_of(arm).top_k for arm in experiment.arms)
    lines = (*arms, *(line for line in setting.references if line != _BORROWS))
    retrieved = retrieved_by(lines, trials, [query.query_id for query in gold.queries])
    changes = _Changes.of(setting, analysis, (retrieved[arms[0]], retrieved[arms[1]]))
    gains, n_gains = _gains(tables[analysis.primary.metric.name], arms)
    return Anatomy(
        recall_curves=tuple(point for line in lines for point in _recall_curve(setting, retrieved[line], gold, depth)),
        overlaps=_overlaps(retrieved[arms[0]], retrieved[arms[1]], depth),
        retrieval_metric=changes.metric,
        answer_metric=changes.answer_metric,
        lift=changes.cells(),
        n_without_ranking=changes.n_without_ranking,
        n_without_score=changes.n_without_score,
        gains=gains,
        n_gains=n_gains,
        lengths=_lengths(setting, gold),
    )


def _depths(depth: int) -> list[int]:
    return thinned(range(1, depth + 1), MOST_DEPTHS)


def _recall_curve(setting: Setting, line: Retrieved, gold: GoldSet, depth: int) -> list[RecallAt]:
    """As the metric R@k: a query without anything relevant is left out, and a search that failed found nothing."""
    qrels = list(gold.qrels().values())
    rows = [(query, ids or ()) for query, repetitions in enumerate(line.by_query) for ids in repetitions]
    if not rows:
        return []
    places = np.array([query for query, _ids in rows])
    ranks = rank_arrays([ids for _query, ids in rows], [qrels[query] for query in places], depth=depth)
    known = ranks.n_relevant > 0
    queries, counts = np.unique(places[known], return_counts=True)
    if not queries.size:
        return []
    clusters = _clusters(setting, queries)
    curve = []
    for k in _depths(depth):
        values = retrieval_values(metric_named(f"R@{k}"), ranks)[known]
        means = np.bincount(places[known], weights=values)[queries] / counts
        low, high, _reason = _interval(means, setting.plan.alpha, clusters)
        low, high = (None if low is None else max(0.0, low)), (None if high is None else min(1.0, high))
        curve.append(RecallAt(arm=line.arm, k=k, mean=float(means.mean()), low=low, high=high, n=queries.size))
    return curve


def _overlaps(control: Retrieved, treatment: Retrieved, depth: int) -> tuple[OverlapAt, ...]:
    total, n = np.zeros(depth), 0
    for query in range(len(control.by_query)):
        left, right = control.first(query), treatment.first(query)
        shares = [] if left is None or right is None else shares_in_common(left, right, depth)
        if shares:
            total, n = total + shares, n + 1
    return tuple(OverlapAt(k=k, mean=float(total[k - 1] / n), n=n) for k in _depths(depth)) if n else ()


def _gains(table: ScoreTable, arms: tuple[str, str]) -> tuple[tuple[GainAt, ...], int]:
    gain = gains_on(table, arms)
    known = np.flatnonzero(~np.isnan(gain))
    order = known[np.argsort(-gain[known], kind="stable")]
    points = thinned(range(order.size), MOST_GAINS)
    return tuple(GainAt(place=p, gain=float(gain[order[p]]), query_id=table.query_ids[order[p]]) for p in points), order.size


def gains_on(table: ScoreTable, arms: tuple[str, str]) -> Floats:
    """By how much the treatment is better on each query, shape (n_queries,); NaN where either arm has no score."""
    gain: Floats = table.per_query(arms[1]) - table.per_query(arms[0])
    return gain if table.metric.higher_is_better else -gain


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """How each query's retrieval changed, and what its answer did.

    Attributes:
        setting: Of the analysis.
        metric: What says whether retrieval got better; None without a metric of retrieval.
        answer_metric: What says whether the answer got better; None without one.
        kinds: Index into `CHANGES` for each query, or one of `_NO_RANKING` and `_NO_SCORE`; shape (n_queries,).
        answer_gain: Shape (n_queries,); NaN where either arm has no score.
    """

    setting: Setting
    metric: str | None
    answer_metric: str | None
    kinds: NDArray[np.int64]
    answer_gain: Floats

    @classmethod
    def of(cls, setting: Setting, analysis: Analysis, retrieved: tuple[Retrieved, Retrieved]) -> "_Changes":
        left, right = retrieved
        arms = (left.arm, right.arm)
        n = len(left.by_query)
        metric = next((c.metric.name for c in analysis.comparisons if c.metric.kind == "retrieval" and c.metric.measure != "Judged"), None)
        answers = analysis.headline_answer_metric if analysis.headline_answer_metric in setting.tables else None
        nothing = np.full(n, np.nan)
        gain = nothing if metric is None else gains_on(setting.tables[metric], arms)
        return cls(
            setting=setting,
            metric=metric,
            answer_metric=answers,
            kinds=np.array([_change(left, right, query, float(gain[query])) for query in range(n)], dtype=np.int64),
            answer_gain=nothing if answers is None else gains_on(setting.tables[answers], arms),
        )

    @property
    def n_without_ranking(self) -> int:
        return int((self.kinds == _NO_RANKING).sum())

    @property
    def n_without_score(self) -> int:
        return int((self.kinds == _NO_SCORE).sum())

    def cells(self) -> tuple[LiftCell, ...]:
        return () if self.metric is None else tuple(self._cell(number, change) for number, change in enumerate(CHANGES))

    def _cell(self, number: int, change: RetrievalChange) -> LiftCell:
        mine = self.kinds == number
        scored = np.flatnonzero(mine & ~np.isnan(self.answer_gain))
        gain = self.answer_gain[scored]
        low, high, reason = self._effect(gain, scored)
        return LiftCell(
            retrieval=change,
            n=int(mine.sum()),
            n_scored=scored.size,
            better=int((gain > TIE).sum()),
            equal=int((abs(gain) <= TIE).sum()),
            worse=int((gain < -TIE).sum()),
            mean=float(gain.mean()) if gain.size else None,
            low=low,
            high=high,
            reason=reason,
        )

    def _effect(self, gain: Floats, queries: NDArray[np.int64]) -> tuple[float | None, float | None, str | None]:
        if self.answer_metric is None:
            return None, None, "no answers were scored against references"
        if not gain.size:
            return None, None, f"no query of these has a value of {self.answer_metric} in both arms"
        if gain.size < MIN_SLICE:
            return None, None, f"fewer than {MIN_SLICE} queries"
        return _interval(gain, self.setting.plan.alpha, _clusters(self.setting, queries))


def _change(left: Retrieved, right: Retrieved, query: int, gain: float) -> int:
    """An index into `CHANGES`, or why there is none."""
    if not left.complete(query) or not right.complete(query):
        return _NO_RANKING
    if left.by_query[query] == right.by_query[query]:
        return CHANGES.index("same passages")
    if np.isnan(gain):
        return _NO_SCORE
    return CHANGES.index("other passages" if abs(gain) <= TIE else "better" if gain > 0 else "worse")


def _interval(values: Floats, alpha: float, clusters: NDArray[np.str_] | None) -> tuple[float | None, float | None, str | None]:
    """The ends of the mean's t interval, or the reason why there is none."""
    try:
        result = paired_t(values, alpha=alpha, clusters=clusters)
    except NotEnoughDataError as error:
        return None, None, str(error)
    return result.low, result.high, None


def _clusters(setting: Setting, queries: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Of these queries, where the plan wants clusters and queries really share one."""
    labels = setting.tables[setting.experiment.metrics.primary.name].clusters
    if setting.plan.cluster == "none" or labels is None:
        return None
    mine = np.array(labels)[queries]
    return mine if len(np.unique(mine)) < mine.size else None


def _lengths(setting: Setting, gold: GoldSet) -> tuple[Slice, ...]:
    if any(_LENGTH in query.tags for query in gold.queries):
        return ()
    tags = {query.query_id: {_LENGTH: length_of(query.text)} for query in gold.queries}
    return tuple(sorted(slices_by(setting, tags), key=lambda part: LENGTHS.index(part.value)))
