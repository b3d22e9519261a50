"""Concurrent queries embedded and searched together, by the one thread that touches the models and the store.

Torch and Milvus Lite are used from one thread, and a pass over many queries costs little more than one over a single query. Two lanes:
users' queries first; silent work (twins of mode shadow, background scoring) only while no user waits, in small batches, because a user
who arrives meanwhile waits for the end of the pass.
"""

import asyncio
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ragtrial.contracts import Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Failure, Hit, Stage
from ragtrial.errors import OverloadedError, RagtrialError
from ragtrial.reranking.reordering import Reordering
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.search_arm import SearchArm

logger = logging.getLogger("ragtrial.serving")
T = TypeVar("T")

_SAME_FAULT = 2
"""Queries of a failed batch that fail alone until it is clear that it isn't the queries' fault; with a store that is gone, each of them
would wait for a time-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one query got.

    Attributes:
        hits: Best first.
        began_ns: When its pass began, nanoseconds since 1970.
        queued_ms: It waited for that pass to begin.
        embed_ms: Of all queries of the pass with this model, which is what each of them waited.
        search_ms: Likewise, of the arm's search, reranking included.
        rerank_ms: Likewise, of its reranking; None where nothing is reranked.
    """

    hits: tuple[Hit, ...]
    began_ns: int
    queued_ms: float
    embed_ms: float
    search_ms: float
    rerank_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """What the batcher may hold back, and for how long.

    Attributes:
        batch: Most queries in a pass.
        wait_ms: Longest time that the first query of a pass waits for others, where the last pass had several.
        waiting: Most users' queries that wait; beyond it they are refused.
        silent_batch: Most silent queries in a pass.
        silent_waiting: Most silent queries that wait; beyond it they are shed.
        silent_gather_s: Silent queries wait so long to fill a pass: a full one delays fewer users than several small ones.
        silent_patience_s: Silent work waits until no user is in the house; after so long, until none waits for a pass.
        silent_share: Most of the thread's time that silent work takes: after each pass it rests, because a user who arrives during one
            waits for its end.
    """

    batch: int = 32
    wait_ms: float = 3.0
    waiting: int = 256
    silent_batch: int = 4
    silent_waiting: int = 64
    silent_gather_s: float = 0.25
    silent_patience_s: float = 1.0
    silent_share: float = 0.1


@dataclass(eq=False, slots=True, kw_only=True)
class _Job:
    """A query that waits for its passages in one or both arms, or (with `call`) other work for the thread."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    queued_at: float
    text: str = ""
    arms: tuple[str, ...] = ()
    call: Callable[[], object] | None = None
    found: dict[str, Found | Failure] = field(default_factory=dict)
    queued_ms: float = 0.0
    silent: bool = False


class MicroBatcher:
    """One worker thread in front of models and store, with a bounded queue.

    Args:
        arms: By name.
        counts: What is counted.
        limits: See `BatchLimits`.
    """

    def __init__(self, arms: Mapping[str, SearchArm], *, counts: ServingCounts, limits: BatchLimits | None = None) -> None:
        self._arms, self._counts, self._limits = arms, counts, limits or BatchLimits()
        self._ready = threading.Condition()
        self._users: deque[_Job] = deque()
        self._silent: deque[_Job] = deque()
        self._in_house = 0
        self._last_size = 1
        self._closed = False
        self._began_at: float | None = None
        self._silent_rests_until = 0.0
        self._thread = threading.Thread(target=self._run, name="ragtrial-models", daemon=True)
        self._thread.start()

    @property
    def stuck_s(self) -> float:
        """How long the pass that runs has been running; 0 where none does."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.perf_counter() - began_at

    @contextmanager
    def user(self) -> Iterator[None]:
        """While a user is being answered, be it before, in or after the queue, silent work is held back."""
        with self._ready:
            self._in_house += 1
        try:
            yield
        finally:
            with self._ready:
                self._in_house -= 1
                if not self._in_house and self._silent:
                    self._ready.notify()

    async def find(self, text: str, arms: Sequence[str], *, silent: bool = False) -> Mapping[str, Found | Failure]:
        """The passages of a query in each of these arms, found in one pass; what went wrong is a value beside the others.

        Cancelling the waiting task takes the query out of the queue.

        Raises:
            OverloadedError: Too many wait already.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop=loop, future=loop.create_future(), queued_at=time.perf_counter(), text=text, arms=tuple(arms))
        found: Mapping[str, Found | Failure] = await self._settled(job, silent=silent)
        return found

    async def call(self, work: Callable[[], T]) -> T:
        """Something else that needs models or store, in the silent lane.

        Raises:
            OverloadedError: Too much waits already.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop=loop, future=loop.create_future(), queued_at=time.perf_counter(), call=work)
        result: T = await self._settled(job, silent=True)
        return result

    def close(self) -> None:
        """Finish the pass that runs, refuse what waits, end the thread."""
        with self._ready:
            self._closed = True
            waiting = [*self._users, *self._silent]
            self._users.clear()
            self._silent.clear()
            self._ready.notify()
        _deliver([(job, None, OverloadedError("the service is closing", retry_after_s=1.0)) for job in waiting])
        self._thread.join()

    async def _settled(self, job: _Job, *, silent: bool) -> Any:  # what the job's future holds
        job.silent = silent
        lane, most = (self._silent, self._limits.silent_waiting) if silent else (self._users, self._limits.waiting)
        with self._ready:
            if self._closed:
                raise OverloadedError("the service is closing", retry_after_s=1.0)
            if len(lane) >= most:
                raise OverloadedError(f"{len(lane)} {'silent jobs' if silent else 'queries'} wait already", retry_after_s=1.0)
            lane.append(job)
            self._gauge()
            self._ready.notify()
        try:
            return await job.future
        except asyncio.CancelledError:
            with self._ready:
                if job in lane:
                    lane.remove(job)
                    self._gauge()
            raise

    def _gauge(self) -> None:
        self._counts.queued.set(len(self._users))
        self._counts.silent_queued.set(len(self._silent))

    def _run(self) -> None:
        while (jobs := self._next()) is not None:
            self._began_at = began_at = time.perf_counter()
            if jobs and jobs[0].call is not None:
                _deliver([_called(jobs[0], jobs[0].call)])
            elif jobs:
                self._find_or_fail(jobs)
                _deliver([(job, job.found, None) for job in jobs])
            self._began_at = None
            if jobs and jobs[0].silent:
                ended_at = time.perf_counter()
                self._silent_rests_until = ended_at + (ended_at - began_at) * (1 / self._limits.silent_share - 1)

    def _next(self) -> list[_Job] | None:
        """The next pass; waits for it. None where the batcher is closed."""
        with self._ready:
            while not self._closed and not self._users and not self._silent_may_run():
                self._ready.wait(self._limits.silent_gather_s / 4 if self._silent else None)
            if self._closed:
                return None
            if self._users:
                self._gather()
                jobs = _taken(self._users, self._limits.batch)
                self._last_size = len(jobs)
                self._counts.batch(len(jobs), silent=False)
            else:
                jobs = _taken(self._silent, self._limits.silent_batch)
                self._counts.batch(len(jobs), silent=True)
            self._gauge()
        return jobs

    def _silent_may_run(self) -> bool:
        if not self._silent:
            return False
        first, limits, now = self._silent[0], self._limits, time.perf_counter()
        if now < self._silent_rests_until:
            return False
        waited_s = now - first.queued_at
        full = len(self._silent) >= limits.silent_batch or first.call is not None or waited_s > limits.silent_gather_s
        return waited_s > limits.silent_patience_s or (full and not self._in_house)

    def _gather(self) -> None:
        """Wait a moment for others, where the last pass says that they come in crowds; a lone user never waits."""
        if self._last_size == 1 and len(self._users) == 1:
            return
        until = time.perf_counter() + self._limits.wait_ms / 1000
        while len(self._users) < self._limits.batch and not self._closed:
            left = until - time.perf_counter()
            if left <= 0 or not self._ready.wait(left):
                return

    def _find_or_fail(self, jobs: Sequence[_Job]) -> None:
        """Whatever a foreign model or store returns, the thread lives on: what was not found then is a failure."""
        try:
            self._find(jobs)
        except Exception as error:  # noqa: BLE001
            _log_bug(f"unexpected {type(error).__name__} in a pass", error)
            failure = Failure(stage="search", kind=type(error).__name__, message="unexpected: see the log of the service")
            for job in jobs:
                job.found = {name: job.found.get(name, failure) for name in job.arms}

    def _find(self, jobs: Sequence[_Job]) -> None:
        """Fill in what each job found; each model embeds once, whatever arms and jobs share it.

        Arms that rerank come last, and whoever asked none of them has an answer before: a slow reranker shall not slow the other arm.
        """
        began, began_ns = time.perf_counter(), time.time_ns()
        for job in jobs:
            job.queued_ms = (began - job.queued_at) * 1000
        vectors: dict[ModelIdentity, tuple[dict[str, Vectors | Failure], float]] = {}
        for name, arm in sorted(self._arms.items(), key=lambda pair: pair[1].reordering is not None):
            asking = [job for job in jobs if name in job.arms]
            if not asking:
                continue
            if arm.embedder.identity not in vectors:
                vectors[arm.embedder.identity] = self._embedded(arm, jobs)
            by_text, embed_ms = vectors[arm.embedder.identity]
            if arm.reordering is not None:
                _deliver([(job, job.found, None) for job in jobs if job.found and job.found.keys() >= set(job.arms)])
            self._search(arm, asking, by_text, began_ns=began_ns, embed_ms=embed_ms)

    def _embedded(self, arm: SearchArm, jobs: Sequence[_Job]) -> tuple[dict[str, Vectors | Failure], float]:
        """Each text's vector or failure, for all arms with this model."""
        same = {name for name, other in self._arms.items() if other.embedder.identity == arm.embedder.identity}
        texts = list(dict.fromkeys(job.text for job in jobs if same & set(job.arms)))
        start = time.perf_counter()
        rows = _one_by_one(texts, lambda some: list(arm.embedder.embed(some, kind="query")), stage="embed")
        return dict(zip(texts, rows, strict=True)), (time.perf_counter() - start) * 1000

    def _search(
        self, arm: SearchArm, jobs: Sequence[_Job], by_text: Mapping[str, Vectors | Failure], *, began_ns: int, embed_ms: float
    ) -> None:
        for job in jobs:
            if isinstance(failure := by_text[job.text], Failure):
                job.found[arm.name] = failure
        left = [job for job in jobs if arm.name not in job.found]
        if not left:
            return

        def search(some: Sequence[tuple[str, Vectors]]) -> list[tuple[Hit, ...]]:
            return arm.found([text for text, _ in some], np.stack([vector for _, vector in some]))

        start = time.perf_counter()
        asked = [(job.text, vector) for job in left if not isinstance(vector := by_text[job.text], Failure)]
        results = _one_by_one(asked, search, stage="search")
        searched = time.perf_counter()
        if arm.reordering is not None:
            results = _reranked(arm.reordering, [text for text, _ in asked], results, top_k=arm.top_k)
        done = time.perf_counter()
        rerank_ms = None if arm.reordering is None else (done - searched) * 1000
        for job, hits in zip(left, results, strict=True):
            if isinstance(hits, Failure):
                job.found[arm.name] = hits
                continue
            job.found[arm.name] = Found(
                hits=hits,
                began_ns=began_ns,
                queued_ms=job.queued_ms,
                embed_ms=embed_ms,
                search_ms=(done - start) * 1000,
                rerank_ms=rerank_ms,
            )


def _reranked(
    how: Reordering, texts: Sequence[str], found: Sequence[tuple[Hit, ...] | Failure], *, top_k: int
) -> list[tuple[Hit, ...] | Failure]:
    """Each query's hits in the reranker's order, or why there is none: never in the order that the search left, which is another arm's."""
    asked = [(text, hits) for text, hits in zip(texts, found, strict=True) if not isinstance(hits, Failure)]
    ordered = iter(_one_by_one(asked, lambda some: list(how.reordered(some, top_k=top_k)), stage="rerank") if asked else [])
    return [hits if isinstance(hits, Failure) else next(ordered) for hits in found]


def _taken(lane: deque[_Job], most: int) -> list[_Job]:
    """The next jobs of a lane that somebody still waits for; other work goes alone."""
    jobs: list[_Job] = []
    while lane and len(jobs) < most:
        if lane[0].call is not None and jobs:
            break
        job = lane.popleft()
        if not job.future.cancelled():
            jobs.append(job)
        if job.call is not None and jobs:
            break
    return jobs


S = TypeVar("S")


def _one_by_one(items: list[S], work: Callable[[Sequence[S]], list[T]], *, stage: Stage) -> list[T | Failure]:
    """A result for each item: of all at once, or one by one where that fails, so that one can't take others down."""
    whole = _tried(items, work, stage)
    if not isinstance(whole, Failure):
        return list(whole)
    if len(items) == 1:
        return [whole]
    results: list[T | Failure] = []
    for item in items:
        if len(results) >= _SAME_FAULT and all(isinstance(result, Failure) for result in results):
            results.append(results[-1])
            continue
        alone = _tried([item], work, stage)
        results.append(alone if isinstance(alone, Failure) else alone[0])
    return results


def _tried(items: Sequence[S], work: Callable[[Sequence[S]], list[T]], stage: Stage) -> list[T] | Failure:
    try:
        return work(items)
    except RagtrialError as error:
        return Failure(stage=stage, kind=type(error).__name__, message=str(error))
    except Exception as error:  # noqa: BLE001  # a foreign model's bug fails the trial that met it, is counted, and the thread serves on
        _log_bug(f"unexpected {type(error).__name__} in stage {stage!r}", error)
        return Failure(stage=stage, kind=type(error).__name__, message="unexpected: see the log of the service")


def _called(job: _Job, work: Callable[[], object]) -> tuple[_Job, object, BaseException | None]:
    try:
        return job, work(), None
    except Exception as error:  # noqa: BLE001  # handed to whoever waits for it
        return job, None, error


def _log_bug(said: str, error: BaseException) -> None:
    """Where it happened, without its message: that may hold a query's text."""
    logger.error("%s\n%s", said, "".join(traceback.format_tb(error.__traceback__)))


def _deliver(settled: Sequence[tuple[_Job, object, BaseException | None]]) -> None:
    """Hand results to the event loops that wait for them, one call for each loop."""
    for loop in {job.loop for job, _, _ in settled}:
        mine = [each for each in settled if each[0].loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # the loop is closed, so nobody waits any more
            logger.warning("%d results came after their event loop was closed", len(mine))


def _settle(settled: Sequence[tuple[_Job, object, BaseException | None]]) -> None:
    for job, result, error in settled:
        if job.future.done():
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
