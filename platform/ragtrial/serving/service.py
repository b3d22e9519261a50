"""The service itself, without HTTP: assign, retrieve, answer, log, and only then let the answer go.

Three rules hold whatever breaks:

- A request counts for the arm that it was assigned to. Where that arm fails, its failed trial is what is logged as served (`failed` is 1
  for that arm, and votes on the answer count for it), and the baseline answers in its place: its trial is logged beside the failed one,
  not as served, with the reason `fallback`, so that it is in no analysis, and under an id that follows from the failed one's
  (`asking.fallback_id`). Where the baseline itself fails there is no answer.
- An answer leaves after its trial is committed. Where the log can't be written, the experiment says whether to refuse, or to serve the
  baseline without a record, also to units of the treatment: what is not logged must not be an experiment.
- Users come first: silent work waits until nobody else does, and is shed and counted where it gets too much.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_preference import Preference
from ragtrial.domain.live_trial import LONGEST_QUERY, SignalEvent, Vote, VoteOutcome
from ragtrial.errors import (
    AnswerFailedError,
    InputError,
    OverloadedError,
    SetupError,
    StartingError,
    StoreError,
    UnknownComparisonError,
    UnknownSourceError,
    UnknownTrialError,
)
from ragtrial.serving.asking import Question, Readiness, Served, Source, new_comparison_id, new_trial_id
from ragtrial.serving.comparing import SideBySide
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.handling import Request
from ragtrial.serving.parts import ServiceLimits, ServiceParts
from ragtrial.serving.recalling import Recalled
from ragtrial.serving.running import Running

__all__ = ["LiveService", "Question", "Readiness", "Served", "ServiceLimits", "ServiceParts", "Source"]

logger = logging.getLogger("ragtrial.serving")

_CLOSING_S = 10.0
_AGAIN_AFTER_S = 5.0
_RETRY_S = 1.0
_UNKNOWN = {UnknownTrialError: "unknown trial", UnknownSourceError: "unknown source", UnknownComparisonError: "unknown comparison"}


class LiveService:
    """Serves one live experiment. All coroutines run on one event loop; models and store on a thread of their own.

    Args:
        experiment: With a `live` section.
        open_parts: Loads models and opens stores, which takes seconds; called by `start`, on a thread.

    Attributes:
        counts: What the service counts of itself.
    """

    def __init__(self, experiment: Experiment, open_parts: Callable[[], ServiceParts]) -> None:
        self._experiment, self._open_parts = experiment, open_parts
        self.counts = ServingCounts(experiment.name)
        self._opened: Running | None = None
        self._warm = self._closing = False
        self._in_flight = 0
        self._beside: set[asyncio.Task[None]] = set()
        self._twins: set[asyncio.Task[None]] = set()

    @property
    def experiment(self) -> Experiment:
        """What is run."""
        return self._experiment

    @property
    def running(self) -> Running:
        """The machinery.

        Raises:
            StartingError: `start` has not come so far.
            OverloadedError: It is closed.
        """
        if self._opened is None and self._closing:
            raise OverloadedError("the service is closed", retry_after_s=_RETRY_S)
        if self._opened is None:
            raise StartingError("the service is starting", retry_after_s=_RETRY_S)
        return self._opened

    def ready(self) -> Readiness:
        """Whether it can answer; never waits."""
        if self._opened is None:
            return Readiness(warm=False)
        running = self._opened
        outage = running.outages.reason if running.outages.lost else None
        return Readiness(
            warm=self._warm and not self._closing,
            database=running.traffic.error or outage,
            milvus=running.health.error,
            degraded=running.health.degraded,
        )

    def state(self) -> TrafficState:
        """The traffic's state as last read.

        Raises:
            OverloadedError: The service is starting.
        """
        return self.running.traffic.state

    async def start(self) -> None:
        """Load, warm up (one query through each arm), and begin to watch. Until then `ready().warm` is False and `ask` refuses.

        Raises:
            RagtrialError: Something that is needed is wrong or missing.
            SetupError: An arm can't answer a query.
        """
        parts = await asyncio.to_thread(self._open_parts)
        try:
            opened = self._opened = Running(parts, counts=self.counts, spawn=self._spawn_twin)
        except BaseException:
            parts.resources.close()
            raise
        for failure in await opened.answering.warm_up():
            raise SetupError(f"the service can't start: {failure.stage} fails with {failure.kind}: {failure.message}")
        watches: dict[str, Callable[[], Awaitable[None]]] = {
            "traffic": opened.traffic.run,
            "outages": partial(self._write_outages, opened),
            "milvus": opened.health.run,
            **{name: partial(work, self) for name, work in parts.beside.items()},
        }
        for name, work in watches.items():
            self._spawn(self._beside, self._for_ever(name, work))
        self._warm = True

    async def close(self) -> None:
        """Finish what runs, write what is queued, let go of everything. Once is enough."""
        opened, self._closing = self._opened, True
        if opened is None:
            return
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._twins:
            _, late = await asyncio.wait(self._twins, timeout=_CLOSING_S)
            for task in late:
                task.cancel()
        self._opened = None
        await opened.close()

    async def ask(self, question: Question) -> Served:
        """Answer a query.

        Raises:
            InputError: The query is blank or too long, the override names no arm, or the idempotency key was used for another query.
            OverloadedError: Try again after `retry_after_s` seconds; nothing was served.
            AnswerFailedError: There is no answer; the failed trial is logged.
        """
        start = time.perf_counter()
        with self._place(question) as running:
            served = await self._asked(running, question, start)
        waited_s = time.perf_counter() - start
        self.counts.waited(waited_s, arm=served.arm)
        more = {"trial_id": served.trial_id, "arm": served.arm, "reason": served.reason, "waited_ms": round(waited_s * 1000, 1)}
        logger.info("answered", extra=more)
        return served

    async def compare(self, question: Question) -> SideBySide:
        """Answer a query with both arms, for somebody who is not told which is which.

        Raises:
            InputError: As `ask`.
            TreatmentStoppedError: Everyone gets the baseline.
            OverloadedError: As `ask`.
            AnswerFailedError: An arm has no answer; both trials are logged.
        """
        start, comparison_id = time.perf_counter(), new_comparison_id()
        with self._place(question) as running, running.batcher.user(), running.tracing.asking(comparison_id, question.text) as span:
            running.tracing.assigned(span, arm="both", reason="override")
            found = await running.comparing.compare(question, comparison_id=comparison_id, start=start)
        waited_ms = round((time.perf_counter() - start) * 1000, 1)
        logger.info("compared", extra={"comparison_id": found.comparison_id, "waited_ms": waited_ms})
        return found

    async def comparison(self, comparison_id: str, *, caller: str) -> SideBySide:
        """Two answers that this caller was shown; see `Comparing.find`."""
        return await self.running.comparing.find(comparison_id, caller=caller)

    async def recall(self, trial_id: str, *, caller: str) -> Recalled:
        """An answer that this caller was given; see `Recalling.answer`."""
        return await asyncio.to_thread(self.running.recalling.answer, trial_id, caller=caller)

    @contextmanager
    def _place(self, question: Question) -> Iterator[Running]:
        """One of the places for requests; what is refused is counted."""
        try:
            running = self._admitted(question)
            self._in_flight += 1
            self.counts.in_flight.set(self._in_flight)
            try:
                yield running
            finally:
                self._in_flight -= 1
                self.counts.in_flight.set(self._in_flight)
        except (InputError, OverloadedError) as error:
            self.counts.request(arm="", outcome="invalid" if isinstance(error, InputError) else "refused")
            raise

    def _admitted(self, question: Question) -> Running:
        """Refuse what is no query, or too much."""
        if not question.text.strip():
            raise InputError("the query is blank: ask something")
        if len(question.text) > LONGEST_QUERY:
            raise InputError(f"the query has {len(question.text):,} characters: ask with at most {LONGEST_QUERY:,}")
        running = self.running
        if self._closing:
            raise OverloadedError("the service is closing", retry_after_s=_RETRY_S)
        if not self._warm:
            raise StartingError("the service is starting", retry_after_s=_RETRY_S)
        if self._in_flight >= running.parts.limits.in_flight:
            raise OverloadedError(f"{self._in_flight} requests are being answered already", retry_after_s=_RETRY_S)
        return running

    async def _asked(self, running: Running, question: Question, start: float) -> Served:
        trial_id = new_trial_id()
        with running.batcher.user(), running.tracing.asking(trial_id, question.text) as span:
            try:
                served = await running.handling.handle(Request(question=question, trial_id=trial_id, start=start, span=span))
            except AnswerFailedError as error:
                logger.warning("no answer: %s", error.failure, extra={"trial_id": error.trial_id})
                raise
            running.tracing.answered(span, served.answer)
        return served

    async def vote(self, vote: Vote) -> VoteOutcome:
        """Record a vote; committed when it returns.

        Raises:
            UnknownTrialError: No such served trial.
            UnknownSourceError: The passage is none of its sources.
            OverloadedError: The log can't be written.
        """
        return await self._voted("vote", partial(self.running.parts.recorder.vote, vote))

    async def signal(self, event: SignalEvent) -> VoteOutcome:
        """As `vote`."""
        return await self._voted(event.signal, partial(self.running.parts.recorder.signal, event))

    async def prefer(self, preference: Preference) -> VoteOutcome:
        """Record which of two answers was preferred; committed when it returns.

        Raises:
            UnknownComparisonError: Its caller was shown no such comparison.
            OverloadedError: The log can't be written.
        """
        return await self._voted("preference", partial(self.running.parts.recorder.prefer, preference))

    async def change_traffic(
        self,
        *,
        share: float | None = None,
        treatment: float | None = None,
        stopped: bool | None = None,
        actor: str,
        reason: str,
        expected_version: int | None = None,
    ) -> TrafficState:
        """A new state of the traffic, in force here at once and in other workers within a second; None leaves a part as it is.

        Args:
            share: Of the units that take part.
            treatment: Of those, the share that gets the treatment.
            stopped: Everyone gets the baseline.
            actor: Who wants it.
            reason: Why.
            expected_version: The version that is to be changed; None: whatever holds now.

        Raises:
            InputError: A share that can't be.
            ConflictError: Another version than `expected_version` is current.
            StoreError: The database can't be written.
            OverloadedError: The service is starting.
        """
        state = await self.running.change_traffic(
            share=share, treatment=treatment, stopped=stopped, actor=actor, reason=reason, expected_version=expected_version
        )
        logger.info("traffic is now version %d", state.version, extra={"actor": actor, "stopped": state.stopped, "share": state.share})
        return state

    async def _voted(self, kind: str, write: Callable[[], Future[VoteOutcome]]) -> VoteOutcome:
        try:
            outcome = await asyncio.shield(asyncio.wrap_future(write()))
        except (UnknownTrialError, UnknownSourceError, UnknownComparisonError) as error:
            self.counts.voted(kind=kind, outcome=_UNKNOWN[type(error)])
            raise
        except StoreError as error:
            self.counts.voted(kind=kind, outcome="refused")
            raise OverloadedError("the log can't be written, so the vote is not recorded: try again", retry_after_s=2.0) from error
        self.counts.voted(kind=kind, outcome=outcome)
        return outcome

    async def _write_outages(self, running: Running) -> None:
        """Log each outage once the database takes it."""
        while True:
            await asyncio.sleep(1.0)
            self.counts.outage.set(int(running.outages.open))
            if (outage := running.outages.due()) is None:
                continue
            try:
                await asyncio.to_thread(running.parts.recorder.outage, outage)
            except StoreError as error:
                running.outages.failed(str(error), lost=True)
            else:
                running.outages.written(outage)
                logger.warning("the log could not be written: %s", outage)

    async def _for_ever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """What runs beside the answers must not end with its first error."""
        while True:
            try:
                await work()
            except Exception:
                self.counts.failed(name)
                logger.exception("%s failed and begins again in %g s", name, _AGAIN_AFTER_S)
            else:
                return
            await asyncio.sleep(_AGAIN_AFTER_S)

    def _spawn_twin(self, work: Coroutine[Any, Any, None]) -> bool:
        if self._opened is None or self._closing or len(self._twins) >= self._opened.parts.limits.twins:
            work.close()
            return False
        self._spawn(self._twins, work).add_done_callback(self._twin_ended)
        return True

    def _twin_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.counts.failed("twin")
            logger.error("unexpected %s in a silent twin, which is lost", type(error).__name__)  # its message may hold the query's text

    def _spawn(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task
