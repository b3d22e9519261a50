"""Answers against reference answers by meaning, with an embedding model that should be neither arm's."""

from collections.abc import Sequence

import numpy as np

from ragtrial.contracts import Embedder, Vectors
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from ragtrial.scoring.reasons import ABSTAINED, NO_REFERENCE, why_no_answer


class SimilarityScorer:
    """Scores `answer_similarity`: the cosine of the answer and its nearest reference answer, cut to 0 to 1.

    Cosines have a high floor: two unrelated sentences of one field already score well above 0, so differences are small and only
    the distance to the shuffled-context line can be read. An abstention has no vector and is unscored: 0 would lie far below that floor.

    Args:
        embedder: The judge's model; give one that is neither arm's, which would favour its own arm.
    """

    metrics = (metric_named("answer_similarity"),)
    deterministic = True

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._gold: GoldSet | None = None
        self._references: dict[str, tuple[str, ...]] = {}
        self._vectors: dict[str, Vectors] = {}

    @property
    def version(self) -> str:
        """Name, version, and the identity of the model."""
        identity = self._embedder.identity
        return f"similarity/1 {identity} {identity.key}"

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`. All texts go to the model in one call; a gold set's references go only once.

        Raises:
            ModelError: The model failed; nothing is scored.
        """
        if gold is not self._gold:
            self._gold, self._vectors = gold, {}
            self._references = {query.query_id: tuple(a for a in query.answers if a.strip()) for query in gold.queries}
        reasons = [self._why_not(trial) for trial in trials]
        scorable = [trial for trial, reason in zip(trials, reasons, strict=True) if reason is None]
        values = iter(self._values(scorable))
        return tuple((self._score(reason, None if reason else next(values)),) for reason in reasons)

    def _score(self, reason: str | None, value: float | None) -> Score:
        return Score(metric=self.metrics[0].name, value=value, unscored=reason, scorer=self.version)

    def _why_not(self, trial: Trial) -> str | None:
        reason = why_no_answer(trial)
        if trial.answer is None or reason is not None:
            return reason
        if not self._references[trial.query_id]:
            return NO_REFERENCE
        return ABSTAINED if trial.answer.finish_reason == "abstained" else None

    def _values(self, trials: Sequence[Trial]) -> list[float]:
        """Each trial's cosine with its nearest reference; every trial has an answer and a reference."""
        answers = [trial.answer.text for trial in trials if trial.answer is not None]
        references = {text for trial in trials for text in self._references[trial.query_id]}
        texts = list(dict.fromkeys([*answers, *sorted(references - self._vectors.keys())]))
        rows = dict(zip(texts, self._embedder.embed(texts, kind="passage"), strict=True))
        self._vectors.update((text, rows[text]) for text in references & rows.keys())
        nearest = (
            max(float(rows[answer] @ self._vectors[text]) for text in self._references[trial.query_id])
            for trial, answer in zip(trials, answers, strict=True)
        )
        return [float(np.clip(cosine, 0.0, 1.0)) for cosine in nearest]
