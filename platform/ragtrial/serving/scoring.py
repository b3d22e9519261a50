"""Scores of live trials, computed beside the answers from what is in the log.

What is unscored is what SQL has no score of, so that a kill loses nothing and a start goes on by itself. A metric that can't be computed,
or that nobody pays for, gets its reason in the value's place; what only has to wait is left for later.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from ragtrial.contracts import Scorer
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.live import LiveSpec
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from ragtrial.errors import OverloadedError, StoppedError
from ragtrial.scoring.reasons import JUDGE_FAILED
from ragtrial.serving.asking import twin_id
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.tracing import Tracing
from ragtrial.splitting import drawn

logger = logging.getLogger("ragtrial.serving")
T = TypeVar("T")

TRIAL_FAILED = "the trial failed"
STOOD_IN = "the baseline stood in for another arm"
NOT_GOLD = "the query is not in the gold set"
NOT_COUNTED = "not in the analysis"
NOT_SAMPLED = "not sampled"
OVER_BUDGET = "over budget"
THROTTLED = "throttled"
NO_TEXT = "the query's text is not stored"

_NOBODY = "live/1"
"""The scorer of what no scorer was asked."""

_AT_ONCE, _JUDGED_AT_ONCE = 32, 8
_IDLE_S, _PAUSE_S, _STOPPED_S = 2.0, 0.05, 30.0
_TWIN_LATE_S = 30.0
_JUDGE_LATE_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """What is scored, and by whom.

    Attributes:
        free: Scorers that ask nobody.
        judged: Scorers that ask an LLM, or are RAGAS'.
        gold: With judgments on passages.
        live: The experiment's `live` section.
        salt: The judge's sample is drawn with it.
    """

    free: Sequence[Scorer]
    judged: Sequence[Scorer]
    gold: GoldSet
    live: LiveSpec
    salt: str
    texts: Mapping[str, Query] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", {query.query_id: query for query in self.gold.queries})


class BackgroundScoring:
    """Scores what is in the log.

    Args:
        plan: See `ScoringPlan`.
        reader: Where trials are found.
        recorder: Where scores go.
        counts: What is counted.
        tracing: A span for each batch of the judge.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        plan: ScoringPlan,
        *,
        reader: LiveReader,
        recorder: LiveRecorder,
        counts: ServingCounts,
        tracing: Tracing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plan, self._reader, self._recorder = plan, reader, recorder
        self._counts, self._tracing, self._clock = counts, tracing, clock
        # threads of its own: those that wait for a judge must not be missing where the traffic is to be stopped
        self._threads = ThreadPoolExecutor(_JUDGED_AT_ONCE + 2, thread_name_prefix="ragtrial-scoring")

    async def run(self) -> None:
        """Score for ever: what is free, and beside it what an LLM judges, so that a slow judge holds nothing else up."""
        await asyncio.gather(self._repeated(self.score_free), self._repeated(self.score_judged))

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _aside(self, work: Callable[..., T], *what: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *what)

    async def _repeated(self, step: Callable[[], Awaitable[int]]) -> None:
        while True:
            try:
                pause = _PAUSE_S if await step() else _IDLE_S
            except OverloadedError:  # users need the models
                pause = _IDLE_S
            except StoppedError as error:  # a dead endpoint, say; the trials stay unscored and are taken up again
                logger.warning("the judge has stopped: %s", error)
                pause = _STOPPED_S
            await asyncio.sleep(pause)

    async def score_free(self) -> int:
        """Score the next trials on what costs nothing; how many there were.

        Raises:
            StoreError: The log can't be read or written.
            OverloadedError: Users need the models.
        """
        metrics = metrics_of(self._plan.free)
        trials = await self._unscored(metrics, _AT_ONCE)
        if trials:
            scores = await self._aside(self._free_scores, trials, metrics)
            await self._record(scores)
        return len(trials)

    async def score_judged(self) -> int:
        """Let the judge score the next requests, both twins of one together; how many trials got their scores.

        Raises:
            StoreError: The log can't be read or written.
            StoppedError: The endpoint is dead, or asks for patience.
            OverloadedError: Users need the models.
        """
        metrics = metrics_of(self._plan.judged)
        trials = await self._unscored(metrics, _AT_ONCE)
        groups: list[list[LiveTrial]] = await self._aside(self._requests, trials)
        asked: list[list[LiveTrial]] = []
        skipped: dict[str, list[Score]] = {}
        for group in groups:
            reasons = {trial.trial_id: self._why_not_judged(trial) for trial in group}
            skipped |= {trial_id: _unscored(metrics, why) for trial_id, why in reasons.items() if why is not None}
            judged = [trial for trial in group if reasons[trial.trial_id] is None]
            if judged:
                asked.append(judged)
        await self._record(skipped)
        asked = asked[:_JUDGED_AT_ONCE]
        spent = bool(asked) and await self._aside(self._over_budget)
        if spent:
            over = {trial.trial_id: _unscored(metrics, OVER_BUDGET) for group in asked for trial in group}
            await self._record(over)
            return len(skipped) + len(over)
        with self._tracing.judging(len(metrics), sum(map(len, asked))):
            judged_scores = await asyncio.gather(*(self._aside(self._judged_scores, group) for group in asked), return_exceptions=True)
        for each in judged_scores:
            if not isinstance(each, BaseException):
                await self._record(each)
        for each in judged_scores:
            if isinstance(each, BaseException):
                raise each
        return len(skipped) + sum(map(len, asked))

    async def _unscored(self, metrics: Sequence[Metric], limit: int) -> tuple[LiveTrial, ...]:
        if not metrics:
            return ()
        names = [metric.name for metric in metrics]
        return await self._aside(partial(self._reader.unscored, self._recorder.live_id, names, limit=limit))

    async def _record(self, scores: Mapping[str, Sequence[Score]]) -> None:
        """Write scores; while an import writes others, they wait here, for a judge may be paid for them."""
        waiting = True
        while waiting:
            written = [asyncio.wrap_future(self._recorder.score(trial_id, own)) for trial_id, own in scores.items()]
            failed = [each for each in await asyncio.gather(*written, return_exceptions=True) if isinstance(each, BaseException)]
            waiting = any(isinstance(each, OverloadedError) for each in failed)
            for each in failed:
                if not isinstance(each, OverloadedError):
                    raise each
            if waiting:
                await asyncio.sleep(_IDLE_S)
        for own in scores.values():
            for score in own:
                self._counts.scored(score.metric, reason=score.unscored)

    def _free_scores(self, trials: Sequence[LiveTrial], metrics: Sequence[Metric]) -> dict[str, list[Score]]:
        """Each trial's scores, by trial."""
        scores: dict[str, list[Score]] = {}
        scorable = []
        for trial in trials:
            why = TRIAL_FAILED if trial.trial.failure is not None else STOOD_IN if _stood_in(trial) else None
            scores[trial.trial_id] = [] if why is None else _unscored(metrics, why)
            if why is None:
                scorable.append(trial)
        for scorer in self._plan.free:
            for trial, own in zip(scorable, self._scored(scorer, scorable), strict=True):
                scores[trial.trial_id] += own
        return scores

    def _judged_scores(self, group: Sequence[LiveTrial]) -> dict[str, list[Score]]:
        """The judge's scores of the trials of one request."""
        scores: dict[str, list[Score]] = {trial.trial_id: [] for trial in group}
        for scorer in self._plan.judged:
            for trial, own in zip(group, self._scored(scorer, group), strict=True):
                scores[trial.trial_id] += [_throttled(score) for score in own]
        return scores

    def _scored(self, scorer: Scorer, trials: Sequence[LiveTrial]) -> list[list[Score]]:
        """Each trial's scores by one scorer; what needs the gold set has a reason where the query isn't in it."""
        rows: dict[str, list[Score]] = {}
        golden = [trial for trial in trials if trial.query.gold_query_id in self._plan.texts]
        if golden:
            own = [replace(trial.trial, query_id=str(trial.query.gold_query_id)) for trial in golden]
            rows |= _by_trial(golden, scorer.score(own, self._plan.gold))
        others = [trial for trial in trials if trial.trial_id not in rows]
        able = {metric.name for metric in scorer.metrics if metric.kind != "retrieval" and not metric.needs_reference}
        if others and able:
            for trial_id, scores in _by_trial(others, scorer.score(*_without_gold(others))).items():
                rows[trial_id] = [score if score.metric in able else _reason(score.metric, NOT_GOLD) for score in scores]
        for trial in others:
            rows.setdefault(trial.trial_id, _unscored(scorer.metrics, NOT_GOLD))
        return [rows[trial.trial_id] for trial in trials]

    def _requests(self, trials: Iterable[LiveTrial]) -> list[list[LiveTrial]]:
        """The trials by request, served ones first; a request whose twin may still come is left for later."""
        groups: dict[str, list[LiveTrial]] = {}
        for trial in trials:
            groups.setdefault(trial.request_id, []).append(trial)
        complete = []
        for request_id, found in groups.items():
            group = list(found)
            served = next((trial for trial in group if trial.served), None)
            if self._plan.live.mode == "shadow" and served is not None and served.assignment.counted and len(group) == 1:
                twin = self._reader.trial(twin_id(request_id))
                if twin is None and self._clock() - served.at < _TWIN_LATE_S:
                    continue
                group.extend([] if twin is None else [twin])
            complete.append(sorted(group, key=lambda trial: not trial.served))
        return complete

    def _why_not_judged(self, trial: LiveTrial) -> str | None:
        """Why the judge is not asked about the trial, whatever the budget; None where it is."""
        sampled = drawn(f"{self._plan.salt}.judge", trial.request_id, self._plan.live.scoring.judge_share)
        rules = (
            (TRIAL_FAILED, trial.trial.failure is not None),
            (STOOD_IN, _stood_in(trial)),
            (NOT_COUNTED, not trial.assignment.counted),
            (NOT_SAMPLED, not sampled),
            (NO_TEXT, trial.query.text is None and trial.query.gold_query_id not in self._plan.texts),
            (THROTTLED, self._clock() - trial.at > _JUDGE_LATE_S),
        )
        return next((reason for reason, holds in rules if holds), None)

    def _over_budget(self) -> bool:
        """Whether today's money (UTC) is spent, or nobody can tell what was; a batch that is under way may go beyond it."""
        cap = self._plan.live.scoring.max_cost_usd_per_day
        if cap is None:
            return False
        midnight = datetime.fromtimestamp(self._clock(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        spent = self._reader.judge_spend(self._recorder.live_id, since=midnight.timestamp())
        return spent is None or spent >= cap


def _stood_in(trial: LiveTrial) -> bool:
    return trial.assignment.reason == "fallback"


def metrics_of(scorers: Iterable[Scorer]) -> tuple[Metric, ...]:
    """What the scorers compute, in their order."""
    return tuple(metric for scorer in scorers for metric in scorer.metrics)


def _by_trial(trials: Sequence[LiveTrial], rows: Sequence[Sequence[Score]]) -> dict[str, list[Score]]:
    return {trial.trial_id: list(row) for trial, row in zip(trials, rows, strict=True)}


def _without_gold(trials: Sequence[LiveTrial]) -> tuple[list[Trial], GoldSet]:
    """The trials with a gold set that knows their queries and nothing else."""
    queries = {trial.query.digest: Query(query_id=trial.query.digest, text=trial.query.text or "(not stored)") for trial in trials}
    own = [replace(trial.trial, query_id=trial.query.digest) for trial in trials]
    return own, GoldSet(name="live", queries=tuple(queries.values()), judgments=())


def _throttled(score: Score) -> Score:
    """A judgment that was refused for being one too many says so."""
    return replace(score, unscored=THROTTLED) if score.unscored == f"{JUDGE_FAILED}: rate_limit" else score


def _unscored(metrics: Iterable[Metric], reason: str) -> list[Score]:
    return [_reason(metric.name, reason) for metric in metrics]


def _reason(metric: str, reason: str) -> Score:
    return Score(metric=metric, unscored=reason, scorer=_NOBODY)
