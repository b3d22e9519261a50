"""How much of what a pipeline of somebody else's found is no passage of the corpus."""

from collections.abc import Callable, Mapping, Sequence

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial

NOT_KNOWN = "asked in an earlier run"


class UnmappedScorer:
    """The share of a query's first top_k hits that are no passage of the corpus; 0 for arms that search the corpus itself.

    Args:
        shares: By arm, what of a query's last hits was unmapped; None where the query was not asked. Only arms with a retriever of their own.
    """

    version = "unmapped/1"
    deterministic = True

    def __init__(self, shares: Mapping[str, Callable[[str], float | None]]) -> None:
        self._shares = shares
        self.metrics: tuple[Metric, ...] = (metric_named("unmapped"),)

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        del gold
        return tuple((self._score(trial),) for trial in trials)

    def _score(self, trial: Trial) -> Score:
        if trial.ranking is None and trial.failure is not None:
            return Score(metric="unmapped", unscored=f"failed: {trial.failure.stage}", scorer=self.version)
        share = self._shares[trial.arm](trial.query_id) if trial.arm in self._shares else 0.0
        if share is None:
            return Score(metric="unmapped", unscored=NOT_KNOWN, scorer=self.version)
        return Score(metric="unmapped", value=share, scorer=self.version)
