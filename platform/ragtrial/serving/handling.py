"""One request from its arrival to what is served: assigned, answered, logged, and what happens where one of these fails.

The rules are those of `service`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from opentelemetry.trace import Span

from ragtrial.domain.gold import Query
from ragtrial.domain.live import Assignment, LiveSpec
from ragtrial.domain.live_trial import LiveTrial, StoredQuery
from ragtrial.domain.trial import Failure, Trial, Usage
from ragtrial.errors import (
    AnswerFailedError,
    DuplicateRequestError,
    InputError,
    OverloadedError,
    StoreError,
)
from ragtrial.serving.answering import Answering, Made
from ragtrial.serving.asking import Question, Served, ServedReason, Source, fallback_id, new_trial_id, twin_id
from ragtrial.serving.committing import Committing, kept
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.outages import Outages
from ragtrial.serving.parts import ServiceParts
from ragtrial.serving.tracing import Tracing
from ragtrial.serving.traffic import TrafficWatch
from ragtrial.splitting import Split, drawn, pseudonym

logger = logging.getLogger("ragtrial.serving")

_RETRY_S = 2.0

_UNITLESS_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A question on its way.

    Attributes:
        question: As it came.
        trial_id: Of the trial that it will be.
        start: Its arrival, as `time.perf_counter` tells it.
        span: Around all that is done for it.
    """

    question: Question
    trial_id: str
    start: float
    span: Span

    @property
    def waited_ms(self) -> float:
        """Since its arrival."""
        return (time.perf_counter() - self.start) * 1000


class Unitless:
    """Warns of requests without a unit, at most once a minute: a front end that forgets to send it makes an experiment of nobody."""

    def __init__(self) -> None:
        self._n, self._said_at = 0, -_UNITLESS_EVERY_S

    def tell(self, now: float) -> None:
        """One more request, at this second of a clock that never goes back."""
        self._n += 1
        if now - self._said_at < _UNITLESS_EVERY_S:
            return
        logger.warning(
            "requests without a unit since the last such line: %d; the baseline answers them, and they are outside the experiment: "
            "send unit, metadata.user_id or user",
            self._n,
            extra={"requests": self._n},
        )
        self._n, self._said_at = 0, now


class Handling:
    """Handles requests.

    Args:
        parts: Of the service.
        live: The experiment's `live` section.
        split: Who gets what.
        traffic: Under which state.
        answering: Makes trials.
        outages: Where the log can't be written.
        committing: Waits for commits.
        counts: What is counted.
        tracing: Spans.
        spawn: Begins a twin that nobody waits for; False where there are too many.
    """

    def __init__(
        self,
        *,
        parts: ServiceParts,
        live: LiveSpec,
        split: Split,
        traffic: TrafficWatch,
        answering: Answering,
        outages: Outages,
        committing: Committing,
        counts: ServingCounts,
        tracing: Tracing,
        spawn: Callable[[Coroutine[Any, Any, None]], bool],
    ) -> None:
        self._parts, self._live, self._split, self._traffic = parts, live, split, traffic
        self._answering, self._outages, self._counts, self._tracing = answering, outages, counts, tracing
        self._committing, self._spawn = committing, spawn
        self._unitless = Unitless()
        self._control, self._treatment = parts.control.pipeline.arm, parts.treatment.pipeline.arm

    async def handle(self, request: Request) -> Served:
        """What the request gets.

        Raises:
            InputError: The override names no arm, or the idempotency key was used for another query.
            OverloadedError: Too much waits, or the log can't be written.
            AnswerFailedError: There is no answer; the failed trial is logged.
        """
        question = request.question
        if self._outages.blocked():
            return await self._without_log(request, None)
        if (replay := await self._replayed(question)) is not None:
            return replay
        assignment = self._split.assign(question.unit, self._traffic.in_force, override=question.override)
        self._counts.assigned(assignment.reason)
        if not question.unit:
            self._unitless.tell(time.monotonic())
        self._tracing.assigned(request.span, arm=assignment.arm, reason=assignment.reason)
        query = self._query(question)
        making = self._answering.make(assignment.arm, query, request_id=request.trial_id)
        if self._parts.slow_to_store:
            made, stored = await asyncio.gather(making, asyncio.to_thread(self._parts.store_query, question.text))
        else:
            made, stored = await making, self._parts.store_query(question.text)
        trial = self._logged_as(request, assignment, stored, made)
        stand_in = await self._stand_in(request, trial, query)
        try:
            rows = (row for row in (trial, stand_in and stand_in[0]) if row is not None)
            await self._committing.logged(partial(self._parts.recorder.log, *rows))
        except DuplicateRequestError as error:  # the same request, at the same time: the other one came first
            if (replay := await self._replayed(question)) is not None:
                return replay
            raise OverloadedError("the same request is being answered: try again", retry_after_s=_RETRY_S) from error
        except StoreError:
            return await self._without_log(request, made if stand_in is None else stand_in[1])
        self._begin_twin(trial, query)
        if trial.trial.failure is None:
            return self._served(trial, made.trial, made.sources)
        if stand_in is None or stand_in[1].trial.failure is not None:
            self._counts.request(arm=assignment.arm, outcome="failed")
            raise AnswerFailedError(trial.trial_id, _words(trial.trial.failure))
        return self._served(trial, stand_in[1].trial, stand_in[1].sources)

    def _query(self, question: Question) -> Query:
        return Query(query_id=self._parts.digest(question.text), text=question.text)

    def _logged_as(self, request: Request, assignment: Assignment, query: StoredQuery, made: Made) -> LiveTrial:
        question = request.question
        return LiveTrial(
            trial_id=request.trial_id,
            request_id=request.trial_id,
            experiment=self._parts.experiment.name,
            unit=None if not question.unit else pseudonym(question.unit),
            assignment=assignment,
            served=True,
            query=query,
            trial=kept(made.trial, self._live.query_text),
            teams=made.teams,
            solicited=assignment.counted and drawn(f"{self._split.salt}.solicit", request.trial_id, self._live.solicit),
            waited_ms=request.waited_ms,
            idempotency_key=question.idempotency_key,
            caller=question.caller,
            at=question.query_at,
        )

    async def _stand_in(self, request: Request, trial: LiveTrial, query: Query) -> tuple[LiveTrial, Made] | None:
        """The baseline's trial in place of one that failed; None where none failed, the baseline itself did, or it would wait as long."""
        failure = trial.trial.failure
        if failure is None or trial.assignment.arm == self._control or (failure.stage, failure.kind) == ("search", "timeout"):
            return None
        try:
            made = await self._answering.make(self._control, query, request_id=request.trial_id)
        except OverloadedError:
            return None
        row = replace(
            trial,
            trial_id=fallback_id(trial.trial_id),
            assignment=replace(trial.assignment, arm=self._control, reason="fallback", propensity=None),
            served=False,
            trial=kept(made.trial, self._live.query_text),
            teams=None,
            solicited=False,
            waited_ms=request.waited_ms,
            idempotency_key=None,
        )
        return row, made

    async def _without_log(self, request: Request, made: Made | None) -> Served:
        """What is served while the log can't be written.

        Args:
            request: The request.
            made: What was made for it already, if anything.

        Raises:
            OverloadedError: The experiment says to refuse, or there is no answer either.
        """
        if self._live.availability == "refuse":
            self._outages.refused()
            raise OverloadedError("the log can't be written, so nothing is answered: try again", retry_after_s=_RETRY_S)
        if made is None or made.trial.arm != self._control or made.trial.failure is not None:
            made = await self._answering.make(self._control, self._query(request.question), request_id=request.trial_id)
        if made.trial.failure is not None:
            self._outages.refused()
            raise OverloadedError("the log can't be written, and the baseline has no answer: try again", retry_after_s=_RETRY_S)
        self._outages.unlogged()
        self._counts.request(arm=self._control, outcome="unlogged")
        # an id of its own: a database that went away while it committed may have logged the trial under the request's
        return _served(new_trial_id(), "unlogged", made.trial, made.sources, waited_ms=request.waited_ms, logged=False)

    def _served(self, logged: LiveTrial, trial: Trial, sources: tuple[Source, ...], *, replayed: bool = False) -> Served:
        """From the trial in the log, and the trial whose answer is shown."""
        fell_back = trial.arm != logged.trial.arm
        outcome = "replayed" if replayed else "fallback" if fell_back else "answered"
        self._counts.request(arm=logged.assignment.arm, outcome=outcome)
        return _served(
            logged.trial_id,
            "fallback" if fell_back else logged.assignment.reason,
            trial,
            sources,
            waited_ms=logged.waited_ms,
            solicited=logged.solicited,
            replayed=replayed,
        )

    async def _replayed(self, question: Question) -> Served | None:
        """What the same idempotency key got before, or None."""
        key = question.idempotency_key
        if key is None:
            return None
        try:
            logged = await asyncio.to_thread(self._logged_before, question.caller, key)
        except StoreError as error:
            self._outages.failed(str(error), lost=True)
            if self._live.availability == "unlogged":
                return None
            self._outages.refused()
            raise OverloadedError("the log can't be read, so nothing is answered: try again", retry_after_s=_RETRY_S) from error
        if logged is None:
            return None
        trial, shown = logged
        unit = None if not question.unit else pseudonym(question.unit)
        if trial.query.digest != self._parts.digest(question.text) or trial.unit != unit:
            raise InputError(f"idempotency key {key!r} was used for another query or unit: give each request a key of its own")
        if shown.failure is not None:
            self._counts.request(arm=trial.assignment.arm, outcome="failed")
            raise AnswerFailedError(trial.trial_id, _words(shown.failure))
        return self._served(trial, shown, self._answering.sources(shown), replayed=True)

    def _logged_before(self, caller: str, key: str) -> tuple[LiveTrial, Trial] | None:
        """The trial that was logged, and the one whose answer was shown."""
        reader = self._parts.reader
        logged = reader.by_key(self._parts.recorder.live_id, caller=caller, idempotency_key=key)
        if logged is None:
            return None
        stand_in = None if logged.trial.failure is None else reader.trial(fallback_id(logged.trial_id))
        return logged, logged.trial if stand_in is None else stand_in.trial

    def _begin_twin(self, served: LiveTrial, query: Query) -> None:
        """Mode shadow: let the custom arm answer the same query in silence."""
        if self._live.mode == "shadow" and served.assignment.counted and not self._spawn(self._twin(served, query)):
            self._counts.shed("twin")

    async def _twin(self, served: LiveTrial, query: Query) -> None:
        start = time.perf_counter()
        try:
            made = await self._answering.make(self._treatment, query, request_id=served.trial_id, silent=True)
        except OverloadedError:
            self._counts.shed("twin")
            return
        timings = made.trial.timings  # without the time in the silent queue, which no user would wait
        waited_ms = (time.perf_counter() - start) * 1000 if timings is None else timings.latency_ms
        row = replace(
            served,
            trial_id=twin_id(served.trial_id),
            served=False,
            trial=kept(made.trial, self._live.query_text),
            teams=None,
            solicited=False,
            waited_ms=waited_ms,
            idempotency_key=None,
        )
        try:
            # of an outage nothing is told: users' own trials tell whether the log is lost, and nobody would write this one's end
            await self._committing.committed(partial(self._parts.recorder.log, row))
        except StoreError:
            self._counts.shed("twin not logged")


def _served(
    trial_id: str,
    reason: ServedReason,
    trial: Trial,
    sources: tuple[Source, ...],
    *,
    waited_ms: float,
    solicited: bool = False,
    logged: bool = True,
    replayed: bool = False,
) -> Served:
    answer = trial.answer
    return Served(
        trial_id=trial_id,
        arm=trial.arm,
        reason=reason,
        answer="" if answer is None else answer.text,
        abstained=answer is not None and answer.finish_reason == "abstained",
        sources=sources,
        solicited=solicited,
        usage=Usage() if answer is None else answer.usage,
        waited_ms=waited_ms,
        logged=logged,
        replayed=replayed,
    )


def _words(failure: Failure) -> str:
    return f"{failure.stage}: {failure.kind}"
