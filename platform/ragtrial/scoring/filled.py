"""Retrieval metrics whose holes an LLM filled: `judge_nDCG@10` beside `nDCG@10`, never in its place.

Judgments are often made on what a baseline retrieved, and an arm that finds other good passages is then punished for finding them. Here
every passage that either arm retrieved and nobody judged gets a grade from the relevance judge; people's grades stay as they are.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Judgment
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.score import Opinion, Score
from ragtrial.domain.trial import Ranking, Trial
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.scoring.umbrela import RelevanceJudge, holes

_Pair = tuple[str, str]


class FilledRetrievalScorer:
    """Scores `judge_nDCG@k` and its like over people's judgments and the LLM's, pooled over the trials that it is given together.

    A grade of the LLM (0 to 3) is brought to the scale of the people's: where theirs ends at 1, as UMBRELA does it, 2 and 3 are relevant;
    where it ends at 2, 3 is 2 and 2 is 1; else it is taken as it is. A ranking with a passage that could not be graded has no score: an
    ungraded passage would count as irrelevant, which is the fault that this is to mend.

    Args:
        metrics: Metrics with the judge `judge` and a retrieval measure.
        judge: Grades passages.
        passages: The corpus by passage id.
    """

    deterministic = False

    def __init__(self, metrics: Sequence[Metric], *, judge: RelevanceJudge, passages: Mapping[str, Passage]) -> None:
        self.metrics = tuple(metrics)
        self._judge, self._passages = judge, passages
        self._plain = RetrievalScorer([metric_named(f"{metric.measure}@{metric.cutoff}") for metric in metrics])
        depths = [metric.cutoff or 1 for metric in metrics]
        self._depth = max(depths)
        self._deepest = depths.index(self._depth)  # its scores bear the opinions of all, so that none is lost or counts twice
        self.version = judge.version.replace("umbrela/", "filled-retrieval/", 1)

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        queries = {query.query_id: query for query in gold.queries}
        qrels = gold.qrels()
        rankings: dict[str, list[Ranking]] = {}
        for trial in trials:
            if trial.ranking is not None:
                rankings.setdefault(trial.arm, []).append(trial.ranking)
        pairs = holes(rankings, qrels, depth=self._depth)
        asked = [(queries[query_id], self._passages[passage_id]) for query_id, passage_id in pairs]
        opinions = dict(zip(pairs, self._judge.judge(asked), strict=True))
        filled = self._filled(trials, gold, qrels, opinions)
        rows = self._plain.score(trials, filled)
        return tuple(self._row(trial, row, opinions) for trial, row in zip(trials, rows, strict=True))

    def _filled(
        self, trials: Sequence[Trial], gold: GoldSet, qrels: Mapping[str, Mapping[str, int]], opinions: Mapping[_Pair, Opinion]
    ) -> GoldSet:
        """The queries of these trials, with people's judgments and the LLM's on the people's scale."""
        asked = {trial.query_id for trial in trials}
        highest = max((judgment.grade for judgment in gold.judgments), default=1)
        human = [
            Judgment(query_id=query_id, target_id=passage_id, grade=grade)
            for query_id in asked
            for passage_id, grade in qrels[query_id].items()
        ]
        machine = [
            Judgment(query_id=query_id, target_id=passage_id, grade=on_scale(int(opinion.value), highest))
            for (query_id, passage_id), opinion in opinions.items()
            if opinion.value is not None
        ]
        queries = tuple(query for query in gold.queries if query.query_id in asked)
        return GoldSet(name=f"{gold.name}, holes filled", queries=queries, judgments=(*human, *machine))

    def _row(self, trial: Trial, row: Sequence[Score], opinions: Mapping[_Pair, Opinion]) -> tuple[Score, ...]:
        seen = () if trial.ranking is None else trial.ranking.passage_ids
        scores = []
        for place, (metric, score) in enumerate(zip(self.metrics, row, strict=True)):
            own = [opinions[pair] for passage_id in seen[: metric.cutoff] if (pair := (trial.query_id, passage_id)) in opinions]
            missing = next((opinion.unscored for opinion in own if opinion.unscored is not None), None)
            kept = (
                tuple(dataclasses.replace(opinion, repetition=number) for number, opinion in enumerate(own))
                if place == self._deepest
                else ()
            )
            scores.append(
                Score(
                    metric=metric.name,
                    value=None if missing else score.value,
                    unscored=missing or score.unscored,
                    scorer=self.version,
                    opinions=kept,
                )
            )
        return tuple(scores)


def on_scale(grade: int, highest: int) -> int:
    """The LLM's grade (0 to 3) on a scale of people that ends at `highest`."""
    if highest >= 3:
        return grade
    return max(0, grade - 1) if highest == 2 else int(grade >= 2)
