"""What the run itself tells: latency, tokens, cost."""

from collections.abc import Sequence

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial

NOT_TIMED = "not timed alone"


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
    if name.endswith("_ms"):
        return None if trial.timings is None else float(getattr(trial.timings, name))
    return None if trial.answer is None else getattr(trial.answer.usage, name)


def _why_not(metric: Metric, trial: Trial) -> str:
    if trial.failure is not None:
        return f"failed: {trial.failure.stage}"
    if metric.unit == "ms":
        return NOT_TIMED
    return "not reported by the generator" if trial.answer is not None else "no answer"
