"""Each query's outcome in both arms."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.ranked import retrieved_by, shares_in_common
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.outcome import QueryOutcome
from ragtrial.domain.score import ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis


def outcomes_of(
    *, experiment: Experiment, analysis: Analysis, gold: GoldSet, tables: Mapping[str, ScoreTable], trials: Sequence[Trial]
) -> Iterator[QueryOutcome]:
    """One after the other, in the gold set's order.

    Args:
        experiment: The plan.
        analysis: What was concluded.
        gold: With judgments on passages.
        tables: Scores by metric.
        trials: Of all lines, ordered by repetition.
    """
    arms = (experiment.control.name, experiment.treatment.name)
    depth = max(experiment.retrieval_of(arm).top_k for arm in experiment.arms)
    retrieved = retrieved_by(arms, trials, [query.query_id for query in gold.queries])
    failed = Counter(trial.query_id for trial in trials if trial.failure is not None and trial.arm in arms)
    primary = _Scores.of(tables.get(analysis.primary.metric.name), arms, len(gold.queries))
    answers = _Scores.of(tables.get(analysis.headline_answer_metric or ""), arms, len(gold.queries))
    qrels = gold.qrels()
    for place, query in enumerate(gold.queries):
        grades = qrels[query.query_id]
        left, right = (retrieved[arm].first(place) for arm in arms)
        baseline, custom, gain = primary.at(place)
        baseline_answer, custom_answer, answer_gain = answers.at(place)
        in_common = [] if left is None or right is None else shares_in_common(left, right, depth)
        yield QueryOutcome(
            position=place,
            query_id=query.query_id,
            text=query.text,
            tags=query.tags,
            words=len(query.text.split()),
            baseline=baseline,
            custom=custom,
            gain=gain,
            baseline_answer=baseline_answer,
            custom_answer=custom_answer,
            answer_gain=answer_gain,
            relevant=sum(grade > 0 for grade in grades.values()),
            baseline_found=sum(grades.get(passage, 0) > 0 for passage in left or ()),
            custom_found=sum(grades.get(passage, 0) > 0 for passage in right or ()),
            overlap=in_common[-1] if in_common else None,
            unjudged=len({*(left or ()), *(right or ())} - grades.keys()),
            failed=failed[query.query_id],
        )


class _Scores:
    """One metric of both arms, by the query's place."""

    def __init__(self, control: NDArray[np.float64], treatment: NDArray[np.float64], sign: float) -> None:
        self._control, self._treatment, self._sign = control, treatment, sign

    @classmethod
    def of(cls, table: ScoreTable | None, arms: tuple[str, str], n: int) -> "_Scores":
        if table is None:
            nothing = np.full(n, np.nan)
            return cls(nothing, nothing, 1.0)
        return cls(table.per_query(arms[0]), table.per_query(arms[1]), 1.0 if table.metric.higher_is_better else -1.0)

    def at(self, place: int) -> tuple[float | None, float | None, float | None]:
        """The control's score, the treatment's, and by how much the latter is better."""
        left, right = float(self._control[place]), float(self._treatment[place])
        gain = self._sign * (right - left)
        return tuple(None if np.isnan(value) else value for value in (left, right, gain))  # type: ignore[return-value]  # three of them
