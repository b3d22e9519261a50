"""What the run itself tells: latency, tokens, cost, failures."""

from collections.abc import Sequence

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from ragtrial.scoring.reasons import why_no_answer

NOT_TIMED = "not timed alone"
NOT_TIMED_NOW = "not timed alone, or its answer was made before this evaluation"
"""An answer from the cache keeps the time that it took on another day."""

NOT_RERANKED = "not reranked, or not timed alone"
NOT_REPORTED = "not reported by the generator"


class OperationScorer:
    """Reads timings and usage off the trials; what wasn't measured has a reason and is never 0.

    Args:
        metrics: Metrics of kind `operation`.
    """

    version = "operation/1"
    deterministic = False

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        del gold
        return tuple(tuple(self._score(metric, trial) for metric in self.metrics) for trial in trials)

    def _score(self, metric: Metric, trial: Trial) -> Score:
        value = _measured(metric.name, trial)
        if value is None:
            reason = _why_not(metric, trial)
            return Score(metric=metric.name, unscored=reason, scorer=self.version)
        return Score(metric=metric.name, value=float(value), scorer=self.version)


def _measured(name: str, trial: Trial) -> float | None:
    if name == "failed":
        return float(trial.failure is not None)
    if name == "generate_ms" and trial.answer is None:
        return None  # the clock ran around nothing
    if name.endswith("_ms"):
        return None if trial.timings is None else getattr(trial.timings, name)
    return None if trial.answer is None else getattr(trial.answer.usage, name)


def _why_not(metric: Metric, trial: Trial) -> str:
    needs_answer = metric.unit != "ms" or metric.name == "generate_ms"
    reason = why_no_answer(trial) if needs_answer or trial.failure is not None else None
    if reason is None and metric.name == "rerank_ms":
        return NOT_RERANKED
    if reason is None and metric.unit == "ms":
        return NOT_TIMED if trial.answer is None or trial.answer.generate_ms is None else NOT_TIMED_NOW
    return reason or NOT_REPORTED
