"""From a query to a trial of one arm, or of both rankings interleaved; every failure is a value, so that it is counted."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ragtrial.domain.gold import Query
from ragtrial.domain.live_trial import Team
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial
from ragtrial.drafting import team_draft
from ragtrial.errors import StoppedError
from ragtrial.pipeline import Pipeline
from ragtrial.serving.asking import Source
from ragtrial.serving.batching import Found, MicroBatcher
from ragtrial.serving.search_arm import SearchArm
from ragtrial.serving.tracing import Tracing

logger = logging.getLogger("ragtrial.serving")

INTERLEAVED = "interleaved"
"""The arm of answers that come from both rankings."""


@dataclass(frozen=True, kw_only=True)
class ServingArm:
    """One arm as it serves.

    Attributes:
        pipeline: Its generator, its passages, how many of them are retrieved and read.
        search: Where its passages are found.
    """

    pipeline: Pipeline
    search: SearchArm


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A trial as it was made.

    Attributes:
        trial: Ranking, answer, timings, or failure.
        sources: What the generator read, with what it cited; all that was retrieved where there is no generation.
        teams: Mode interleaved: whose passage each one is.
    """

    trial: Trial
    sources: tuple[Source, ...] = ()
    teams: Mapping[str, Team] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each part may take before the trial counts as failed, in seconds."""

    retrieve_s: float = 20.0
    generate_s: float = 90.0


class Answering:
    """Makes trials; identical for every arm.

    Args:
        control: The baseline.
        treatment: The custom arm.
        batcher: That finds passages, of the same two arms.
        threads: On which generators run.
        tracing: Spans of each part.
        salt: Of the experiment; the draft of mode interleaved is drawn with it.
        patience: See `Patience`.
        silent_generators: Most answers that are generated in silence at a time: they share threads, and the LLM's places, with users.
    """

    def __init__(
        self,
        *,
        control: ServingArm,
        treatment: ServingArm,
        batcher: MicroBatcher,
        threads: Executor,
        tracing: Tracing,
        salt: str,
        patience: Patience | None = None,
        silent_generators: int = 4,
    ) -> None:
        self._control, self._treatment = control.pipeline, treatment.pipeline
        self._pipelines = {self._control.arm: self._control, self._treatment.arm: self._treatment}
        self._interleaved = replace(self._control, arm=INTERLEAVED)
        self._batcher, self._threads, self._tracing, self._salt = batcher, threads, tracing, salt
        self._patience = patience or Patience()
        self._silent = asyncio.Semaphore(silent_generators)

    async def warm_up(self) -> tuple[Failure, ...]:
        """Run one query through each arm, so that no user waits for what is loaded at first use; what failed on the way.

        A generator that waits for a server is not asked: it would cost, and has nothing to warm.
        """
        query = Query(query_id="warm-up", text="warm-up")
        found = await self._batcher.find(query.text, tuple(self._pipelines))
        failures = [each for each in found.values() if isinstance(each, Failure)]
        for pipeline in self._pipelines.values():
            each = found[pipeline.arm]
            if isinstance(each, Found) and pipeline.generator is not None and not pipeline.waits:
                answer = await self._generated(pipeline, query, Ranking(query_id=query.query_id, hits=each.hits))
                failures += [answer] if isinstance(answer, Failure) else []
        return tuple(failures)

    async def make(self, arm: str, query: Query, *, request_id: str, silent: bool = False) -> Made:
        """A trial of one arm, or of `interleaved`.

        Args:
            arm: Whose.
            query: With its digest as id.
            request_id: Draws the teams of an interleaved context.
            silent: Nobody waits for it.

        Raises:
            OverloadedError: Too many wait already; nothing was begun.
        """
        if arm == INTERLEAVED:
            return await self._make_interleaved(query, request_id)
        pipeline = self._pipelines[arm]
        found = (await self._found(query, (arm,), silent=silent))[arm]
        if isinstance(found, Failure):
            return Made(trial=pipeline.trial(query, found, None))
        ranking = Ranking(query_id=query.query_id, hits=found.hits)
        async with self._silent if silent else nullcontext():
            timings = Timings(embed_ms=found.embed_ms, search_ms=found.search_ms, generate_ms=0.0, rerank_ms=found.rerank_ms)
            return await self._answered(pipeline, query, ranking, timings)

    async def _make_interleaved(self, query: Query, request_id: str) -> Made:
        """One context from both rankings: drafted to the length that the generator reads, so that every passage in it can earn credit.

        A ranking that fails fails the trial: half a draft would credit the other arm for being there.
        """
        pipeline = self._interleaved
        both = await self._found(query, tuple(self._pipelines), silent=False)
        parts = [both[self._control.arm], both[self._treatment.arm]]
        found = [part for part in parts if isinstance(part, Found)]
        if len(found) < len(parts):
            failure = next(part for part in parts if isinstance(part, Failure))
            return Made(trial=pipeline.trial(query, failure, None))
        rankings = [[hit.passage_id for hit in part.hits] for part in found]
        length = pipeline.top_k if pipeline.generator is None else pipeline.context_passages
        drafted = team_draft(rankings[0], rankings[1], length=length, rng=_rng(self._salt, request_id))
        # Similarities of two models can't be compared, so a merged ranking has reciprocal ranks in their place.
        hits = tuple(Hit(passage_id=passage_id, similarity=1 / rank) for rank, (passage_id, _) in enumerate(drafted, 1))
        ranking = Ranking(query_id=query.query_id, hits=hits)
        reranked = [part.rerank_ms for part in found if part.rerank_ms is not None]
        timings = Timings(
            embed_ms=max(part.embed_ms for part in found),
            search_ms=sum(part.search_ms for part in found),
            generate_ms=0.0,
            rerank_ms=sum(reranked) if reranked else None,
        )
        made = await self._answered(pipeline, query, ranking, timings)
        return replace(made, teams=dict(drafted))

    async def _found(self, query: Query, arms: tuple[str, ...], *, silent: bool) -> Mapping[str, Found | Failure]:
        began_ns = time.time_ns()
        try:
            found = await asyncio.wait_for(
                self._batcher.find(query.text, arms, silent=silent), None if silent else self._patience.retrieve_s
            )
        except TimeoutError:
            late = Failure(stage="search", kind="timeout", message=f"no passages after {self._patience.retrieve_s:g} s")
            return dict.fromkeys(arms, late)
        self._tracing.retrieved(query, found, began_ns=began_ns)
        return found

    async def _answered(self, pipeline: Pipeline, query: Query, ranking: Ranking, retrieved: Timings) -> Made:
        start, began_ns = time.perf_counter(), time.time_ns()
        answer = None if pipeline.generator is None else await self._generated(pipeline, query, ranking)
        generate_ms = (time.perf_counter() - start) * 1000
        if pipeline.generator is not None:
            self._tracing.generated(query, pipeline.generator, answer, began_ns=began_ns)
        timings = None if isinstance(answer, Failure) else replace(retrieved, generate_ms=generate_ms)
        trial = pipeline.trial(query, ranking, answer, timings=timings)
        return Made(trial=trial, sources=sources_of(pipeline, trial))

    async def _generated(self, pipeline: Pipeline, query: Query, ranking: Ranking) -> Answer | Failure | None:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, partial(_answer, pipeline.answer, query, ranking))
        try:
            return await asyncio.wait_for(running, self._patience.generate_s)
        except TimeoutError:
            return Failure(stage="generate", kind="timeout", message=f"no answer after {self._patience.generate_s:g} s")

    def sources(self, trial: Trial) -> tuple[Source, ...]:
        """As they were shown with this trial, for a replay."""
        pipeline = self._interleaved if trial.arm == INTERLEAVED else self._pipelines.get(trial.arm, self._control)
        return sources_of(pipeline, trial)


def sources_of(pipeline: Pipeline, trial: Trial) -> tuple[Source, ...]:
    """The passages that the generator read, best first; all that were retrieved where there is no generation; none where it failed."""
    if trial.ranking is None or trial.failure is not None:
        return ()
    shown = trial.ranking.passage_ids if pipeline.generator is None else pipeline.context_of(trial.ranking)
    cited = set() if trial.answer is None else set(trial.answer.cited)
    known = [pipeline.passages[passage_id] for passage_id in shown if passage_id in pipeline.passages]
    return tuple(
        Source(passage_id=passage.passage_id, title=passage.title, text=passage.text, cited=passage.passage_id in cited)
        for passage in known
    )


def _answer(answer: Callable[[Query, Ranking], Answer | Failure | None], query: Query, ranking: Ranking) -> Answer | Failure | None:
    """An answer or why there is none, whatever happens: the service goes on."""
    try:
        return answer(query, ranking)
    except StoppedError as error:  # an evaluation would end here, to be resumed
        return Failure(stage="generate", kind="StoppedError", message=str(error))
    except Exception as error:  # noqa: BLE001  # a foreign generator's bug fails the trial that met it, and is counted
        logger.error("unexpected %s in stage 'generate'", type(error).__name__)  # noqa: TRY400  # its message may hold the query's text
        return Failure(stage="generate", kind=type(error).__name__, message="unexpected: see the log of the service")


def _rng(salt: str, request_id: str) -> np.random.Generator:
    seed = hashlib.sha256(f"ragtrial.draft.{salt}.{request_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:16], "big"))
