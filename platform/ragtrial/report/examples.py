"""The queries on which the arms differ most, with what each arm found and said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.outcome import TIE
from ragtrial.domain.score import LoggedOpinion, ScoreTable
from ragtrial.domain.trial import Answer, Failure, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDifference:
    """One query's primary metric in both arms, repetitions averaged.

    Attributes:
        query_id: The query.
        baseline: The control's value.
        custom: The treatment's value.
        gain: By how much the treatment is better, in the metric's unit; below 0 it is worse.
    """

    query_id: str
    baseline: float
    custom: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPassage:
    """One passage of a ranking.

    Attributes:
        rank: From 1.
        passage_id: Its id.
        similarity: The store's score.
        title: May be empty.
        text: None where the text was not kept.
        grade: Its judgment for this query; None where it is unjudged.
        shared: The other arm retrieved it too.
    """

    rank: int
    passage_id: str
    similarity: float
    title: str
    text: str | None
    grade: int | None
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one arm did with a query, in its first repetition.

    Attributes:
        arm: Its name.
        score: Its primary metric on this query, repetitions averaged.
        passages: Best first; empty where it found nothing.
        n_found: Relevant passages among them.
        answer: None where generation is off or something failed.
        answer_shared: The answer was made once for both arms.
        failure: Why there is no result, or None.
        said: What an LLM judge said of the answer, in the order of metric and repetition; empty where none was asked.
    """

    arm: str
    score: float
    passages: tuple[ShownPassage, ...]
    n_found: int
    answer: Answer | None
    answer_shared: bool
    failure: Failure | None
    said: tuple[LoggedOpinion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query with both arms side by side.

    Attributes:
        query: As in the gold set.
        gain: By how much the treatment is better on the primary metric.
        n_relevant: Relevant passages in the gold set.
        baseline: The control.
        custom: The treatment.
    """

    query: Query
    gain: float
    n_relevant: int
    baseline: Side
    custom: Side


def differences_of(table: ScoreTable, *, control: str, treatment: str) -> tuple[QueryDifference, ...]:
    """Every query scored in both arms, the treatment's largest gain first; equal ones in the gold set's order."""
    scores = table.paired(control, treatment)
    sign = 1.0 if table.metric.higher_is_better else -1.0
    rows = [
        QueryDifference(query_id=query_id, baseline=float(left), custom=float(right), gain=sign * float(right - left))
        for query_id, left, right in zip(scores.query_ids, scores.control, scores.treatment, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: -row.gain))


def largest(differences: Sequence[QueryDifference], n: int) -> tuple[tuple[QueryDifference, ...], tuple[QueryDifference, ...]]:
    """The `n` largest gains and the `n` largest losses, each largest first; ties are in neither."""
    gains = [row for row in differences if row.gain > TIE]
    losses = sorted((row for row in differences if row.gain < -TIE), key=lambda row: row.gain)
    return tuple(gains[:n]), tuple(losses[:n])


class Examples:
    """Makes examples from everything that was logged.

    Args:
        gold: With judgments on passages.
        trials: Of all lines.
        passages: Texts by passage id, as far as they were kept.
        control: The control's name.
        treatment: The treatment's name.
        opinions: What LLM judges said of them.
    """

    def __init__(
        self,
        *,
        gold: GoldSet,
        trials: Sequence[Trial],
        passages: Mapping[str, Passage],
        control: str,
        treatment: str,
        opinions: Sequence[LoggedOpinion] = (),
    ) -> None:
        self._queries = {query.query_id: query for query in gold.queries}
        self._qrels = gold.qrels()
        self._trials = {(trial.arm, trial.query_id): trial for trial in trials if trial.repetition == 0}
        self._passages = passages
        self._arms = (control, treatment)
        self._said: dict[tuple[str, str], list[LoggedOpinion]] = {}
        for logged in opinions:
            if logged.trial_repetition == 0 and metric_named(logged.metric).kind == "answer":  # grades of passages would fill the page
                self._said.setdefault((logged.arm, logged.query_id), []).append(logged)

    def example(self, row: QueryDifference) -> Example:
        """The example of one query."""
        control, treatment = self._arms
        return Example(
            query=self._queries[row.query_id],
            gain=row.gain,
            n_relevant=sum(grade > 0 for grade in self._qrels[row.query_id].values()),
            baseline=self._side(control, row.query_id, row.baseline, other=treatment),
            custom=self._side(treatment, row.query_id, row.custom, other=control),
        )

    def _side(self, arm: str, query_id: str, score: float, *, other: str) -> Side:
        trial = self._trials.get((arm, query_id))
        theirs = set(_ids(self._trials.get((other, query_id))))
        passages = () if trial is None else self._shown(trial, theirs)
        return Side(
            arm=arm,
            score=score,
            passages=passages,
            n_found=sum((passage.grade or 0) > 0 for passage in passages),
            answer=None if trial is None else trial.answer,
            answer_shared=trial is not None and trial.answer_shared,
            failure=None if trial is None else trial.failure,
            said=tuple(self._said.get((arm, query_id), ())),
        )

    def _shown(self, trial: Trial, theirs: set[str]) -> tuple[ShownPassage, ...]:
        grades = self._qrels[trial.query_id]
        shown = []
        for rank, hit in enumerate(() if trial.ranking is None else trial.ranking.hits, start=1):
            passage = self._passages.get(hit.passage_id)
            shown.append(
                ShownPassage(
                    rank=rank,
                    passage_id=hit.passage_id,
                    similarity=hit.similarity,
                    title="" if passage is None else passage.title,
                    text=None if passage is None else passage.text,
                    grade=grades.get(hit.passage_id),
                    shared=hit.passage_id in theirs,
                )
            )
        return tuple(shown)


def _ids(trial: Trial | None) -> tuple[str, ...]:
    return () if trial is None or trial.ranking is None else trial.ranking.passage_ids
