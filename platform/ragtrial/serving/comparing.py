"""Both arms' answers to one query beside each other, for somebody who is not told which is which.

Both trials are logged as overrides, so that they are in no analysis of the split, and in one transaction with the comparison itself. The
answers leave together, so that the order in which they were made tells nothing.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from functools import partial

from ragtrial.domain.gold import Query
from ragtrial.domain.live import Assignment, LiveSpec, TrafficState
from ragtrial.domain.live_preference import Comparison, Preference
from ragtrial.domain.live_trial import LiveTrial, StoredQuery
from ragtrial.errors import (
    AnswerFailedError,
    DuplicateRequestError,
    InputError,
    OverloadedError,
    StoreError,
    TreatmentStoppedError,
    UnknownComparisonError,
)
from ragtrial.serving.answering import Answering, Made
from ragtrial.serving.asking import Question, new_trial_id
from ragtrial.serving.committing import Committing, kept
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.outages import Outages
from ragtrial.serving.parts import ServiceParts
from ragtrial.serving.recalling import ShownAnswer, shown
from ragtrial.serving.traffic import TrafficWatch
from ragtrial.splitting import Split, pseudonym

_RETRY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Two answers to one query.

    Attributes:
        comparison_id: What preferences refer to.
        query: As the log keeps it; None where it keeps the hash alone.
        left: One arm's answer.
        right: The other one's.
        preference: The one that holds now; None where there is none, or it was withdrawn.
        replayed: They were given before, to the same idempotency key.
    """

    comparison_id: str
    query: str | None
    left: ShownAnswer
    right: ShownAnswer
    preference: Preference | None = None
    replayed: bool = False


class Comparing:
    """Makes comparisons, and finds them again.

    Args:
        parts: Of the service.
        live: The experiment's `live` section.
        split: Knows the buckets of units.
        traffic: Under which state.
        answering: Makes trials.
        outages: Where the log can't be written.
        committing: Waits for commits.
        counts: What is counted.
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
    ) -> None:
        self._parts, self._live, self._split, self._traffic = parts, live, split, traffic
        self._answering, self._outages, self._committing, self._counts = answering, outages, committing, counts
        self._arms = (parts.control.pipeline.arm, parts.treatment.pipeline.arm)

    async def compare(self, question: Question, *, comparison_id: str, start: float) -> SideBySide:
        """Both answers, in an order that is drawn.

        Args:
            question: Whose `override` says nothing here.
            comparison_id: Of the comparison that it will be.
            start: Its arrival, as `time.perf_counter` tells it.

        Raises:
            InputError: The idempotency key was used for another query or unit.
            TreatmentStoppedError: Everyone gets the baseline.
            OverloadedError: Too much waits, or the log can't be written; unlike single answers, these are never served unlogged.
            AnswerFailedError: An arm failed; both trials are logged.
        """
        if self._outages.blocked():
            raise self._refused("the log can't be written, so nothing is answered: try again")
        if (replay := await self._replayed(question)) is not None:
            return replay
        state = self._traffic.in_force
        if state.stopped:
            raise TreatmentStoppedError("the experiment is stopped and everyone gets the same answers: there is nothing to compare")
        made, stored = await self._made(question)
        trials = [self._trial(question, arm, each, stored, state, start) for arm, each in zip(self._arms, made, strict=True)]
        if secrets.randbits(1):
            trials.reverse()
        if any(trial.trial.failure is not None for trial in trials):
            raise await self._failed(trials)
        comparison = Comparison(
            comparison_id=comparison_id,
            left=trials[0],
            right=trials[1],
            unit=trials[0].unit,
            caller=question.caller,
            idempotency_key=question.idempotency_key,
            at=question.query_at,
        )
        try:
            await self._committing.logged(partial(self._parts.recorder.compare, comparison))
        except DuplicateRequestError as error:  # the same request, at the same time: the other one came first
            if (replay := await self._replayed(question)) is not None:
                return replay
            raise OverloadedError("the same request is being answered: try again", retry_after_s=_RETRY_S) from error
        except StoreError as error:
            raise self._refused("the log can't be written, so nothing is answered: try again") from error
        for arm in self._arms:
            self._counts.request(arm=arm, outcome="answered")
        return self._shown(comparison)

    async def find(self, comparison_id: str, *, caller: str) -> SideBySide:
        """A comparison that this caller was shown, with the preference that holds now.

        Raises:
            UnknownComparisonError: There is none, or it is somebody else's.
            StoreError: The log can't be read.
        """
        return await asyncio.to_thread(self._found, comparison_id, caller)

    def _found(self, comparison_id: str, caller: str) -> SideBySide:
        reader = self._parts.reader
        found = reader.comparison(comparison_id)
        if found is None or found.caller != caller or found.left.experiment != self._parts.experiment.name:
            raise UnknownComparisonError(f"there is no comparison {comparison_id!r} that you asked for")
        said = reader.preferences_of(comparison_id)
        holds = said[-1] if said and said[-1].choice != "withdrawn" else None
        return replace(self._shown(found), preference=holds)

    async def _made(self, question: Question) -> tuple[list[Made], StoredQuery]:
        """Both arms' trials, made at the same time.

        Raises:
            OverloadedError: Too many wait already; what the other arm has made is let go.
        """
        query = Query(query_id=self._parts.digest(question.text), text=question.text)
        for _ in self._arms:
            self._counts.assigned("override")
        making = asyncio.gather(
            *(self._answering.make(arm, query, request_id=new_trial_id()) for arm in self._arms), return_exceptions=True
        )  # under way from here on
        store = self._parts.store_query
        stored = await asyncio.to_thread(store, question.text) if self._parts.slow_to_store else store(question.text)
        found = []
        for each in await making:
            if isinstance(each, BaseException):
                raise each
            found.append(each)
        return found, stored

    def _trial(self, question: Question, arm: str, made: Made, stored: StoredQuery, state: TrafficState, start: float) -> LiveTrial:
        trial_id, unit = new_trial_id(), question.unit
        assignment = Assignment(unit=None, arm=arm, reason="override", version=state.version)
        if unit:
            assignment = self._split.assign(unit, state, override=arm)
        return LiveTrial(
            trial_id=trial_id,
            request_id=trial_id,
            experiment=self._parts.experiment.name,
            unit=pseudonym(unit) if unit else None,
            assignment=assignment,
            served=True,
            query=stored,
            trial=kept(made.trial, self._live.query_text),
            waited_ms=(time.perf_counter() - start) * 1000,
            caller=question.caller,
            at=question.query_at,
        )

    async def _failed(self, trials: list[LiveTrial]) -> AnswerFailedError:
        """Log both, and say what failed without saying whose it was.

        Raises:
            OverloadedError: The log can't be written.
        """
        try:
            await self._committing.logged(partial(self._parts.recorder.log, *trials))
        except StoreError as error:
            raise self._refused("the log can't be written, so nothing is answered: try again") from error
        for trial in trials:
            self._counts.request(arm=trial.trial.arm, outcome="answered" if trial.trial.failure is None else "failed")
        broken = [(trial.trial_id, trial.trial.failure) for trial in trials if trial.trial.failure is not None]
        what = "; ".join(f"{failure.stage}: {failure.kind}" for _, failure in broken)
        return AnswerFailedError(broken[0][0], f"{'both' if len(broken) > 1 else 'one'} of the two: {what}")

    async def _replayed(self, question: Question) -> SideBySide | None:
        """What the same idempotency key got before, or None."""
        key = question.idempotency_key
        if key is None:
            return None
        find = partial(self._parts.reader.comparison_by_key, self._parts.recorder.live_id, caller=question.caller, idempotency_key=key)
        try:
            found = await asyncio.to_thread(find)
        except StoreError as error:
            self._outages.failed(str(error), lost=True)
            raise self._refused("the log can't be read, so nothing is answered: try again") from error
        if found is None:
            return None
        unit = pseudonym(question.unit) if question.unit else None
        if found.left.query.digest != self._parts.digest(question.text) or found.unit != unit:
            raise InputError(f"idempotency key {key!r} was used for another query or unit: give each request a key of its own")
        for arm in self._arms:
            self._counts.request(arm=arm, outcome="replayed")
        return replace(self._shown(found), replayed=True)

    def _shown(self, comparison: Comparison) -> SideBySide:
        left, right = (shown(trial.trial, self._answering) for trial in comparison.trials)
        return SideBySide(comparison_id=comparison.comparison_id, query=comparison.left.query.text, left=left, right=right)

    def _refused(self, message: str) -> OverloadedError:
        self._outages.refused()
        return OverloadedError(message, retry_after_s=_RETRY_S)
