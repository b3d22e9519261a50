"""Simulated users on the real service in this process: assigned, answered, logged, scored, watched, analysed; one look after the other.

What runs on timers in `ragtrial serve` (scoring, the watch over guardrails) is called here after each stretch of queries, so that a seed
gives the same looks however fast the machine is.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_trial import LiveTrial, SignalEvent, Vote
from ragtrial.domain.live_verdict import LiveAnalysis
from ragtrial.domain.score import Score
from ragtrial.errors import AnswerFailedError, OverloadedError, UnknownTrialError
from ragtrial.formats.experiment import ExperimentFile
from ragtrial.serving.parts import ServiceParts
from ragtrial.serving.scoring import BackgroundScoring
from ragtrial.serving.service import LiveService, Question, Served
from ragtrial.serving.watching import GuardrailWatch
from ragtrial.suite.live_analysis import analyse_live
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.selftest.border import recording
from ragtrial.suite.selftest.world import World
from ragtrial.suite.serving import live_service
from ragtrial.suite.serving_beside import alarms, scoring_plan
from ragtrial.suite.traffic_users import Person, Reply, SeenSource, Visit, behaviour, population, react, visits

USERS, QUERIES, LOOK_EVERY = 700, 1200, 100
AT_ONCE = 16

PRIMARY = "nDCG@10"


@dataclass(kw_only=True)
class Told:
    """What users, who are outside of the service, know of what it did.

    Attributes:
        sent: Queries.
        refused: Queries that the service refused to take.
        failed: Queries without an answer.
        ballots: Votes that users meant to cast, by trial: the last thumb of each.
        sent_votes: Votes that were sent, repetitions included.
        outcomes: What the service said to them.
        scores: Of the primary metric: query and value, by arm; listened to on their way to the log.
    """

    sent: int = 0
    refused: int = 0
    failed: int = 0
    ballots: dict[str, str] = field(default_factory=dict)
    sent_votes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    scores: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything that there is to see after so many queries.

    Attributes:
        n: Queries sent.
        analysis: As anybody would get it.
        traffic: What holds of the traffic.
        told: What users know.
        reader: Of the log.
        live_id: The experiment's number.
        file: Its file.
    """

    n: int
    analysis: LiveAnalysis
    traffic: TrafficState
    told: Told
    reader: LiveReader
    live_id: int
    file: ExperimentFile

    def check(self, name: str) -> tuple[str, str]:
        """State and detail of a health check; `("", "")` where there is no such check."""
        return next(((each.state, each.detail) for each in self.analysis.checks if each.name == name), ("", ""))


Detect = Callable[[Look], str | None]
"""What a user would read where something is caught; None where nothing is."""


async def _nothing(service: LiveService, n: int) -> None:
    del service, n


@dataclass(frozen=True, kw_only=True)
class Injection:
    """How a fault is planted into the traffic.

    Attributes:
        altered: Of the service's parts.
        question: Of each question, with the number of its visit.
        votes: How often each vote is sent.
        at_look: Done to the service after so many queries.
        changes: Top-level keys of the experiment file.
        models: Of each arm; different ones where a model itself is at fault, for equal ones embed once for both arms.
    """

    altered: Callable[[ServiceParts], ServiceParts] | None = None
    question: Callable[[Question, int], Question] = field(default=lambda question, _number: question)
    votes: int = 1
    at_look: Callable[[LiveService, int], Awaitable[None]] = _nothing
    changes: Mapping[str, Any] = field(default_factory=dict)
    models: str = "aa"


NO_INJECTION = Injection()


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One simulated live experiment, as far as it went.

    Attributes:
        found: By the name of its detector the number of queries and the sentence, the first time only.
        last: The last look; None where the service did not even start.
        n: Queries sent.
        n_looks: Looks.
    """

    found: Mapping[str, tuple[int, str]]
    last: Look | None
    n: int
    n_looks: int


def drive(
    world: World,
    name: str,
    injection: Injection,
    detectors: Mapping[str, Detect],
    *,
    stop_at_first: bool = True,
    n_queries: int | None = None,
    inspect: Callable[[Look], None] | None = None,
) -> Driven:
    """Let users loose on the service until something is caught, or all have asked.

    Args:
        world: Where.
        name: Of the experiment.
        injection: What is planted.
        detectors: What looks, by name.
        stop_at_first: End where any of them has found something.
        n_queries: At most; default: `QUERIES`.
        inspect: Shown the last look while its log can still be read.
    """
    path = world.experiment(name, live={}, models=injection.models, **injection.changes)
    return asyncio.run(
        _Drive(world=world, name=name, path=path, injection=injection).run(detectors, stop_at_first, n_queries or QUERIES, inspect)
    )


@dataclass(kw_only=True)
class _Drive:
    world: World
    name: str
    path: Path
    injection: Injection
    told: Told = field(default_factory=Told)

    async def run(
        self, detectors: Mapping[str, Detect], stop_at_first: bool, n_queries: int, inspect: Callable[[Look], None] | None
    ) -> Driven:
        file, prepared = self.world.file(self.path), self.world.prepared(self.path)
        people = [replace(person, unit=f"{self.name}-{person.unit}") for person in population(prepared.gold, n=USERS, seed=self.world.seed)]
        coming = visits(people, prepared.gold, n=n_queries, seed=self.world.seed)
        service = live_service(file, self.world.settings, background=False, altered=self._altered)
        found: dict[str, tuple[int, str]] = {}
        last: Look | None = None
        n_looks = 0
        await service.start()
        try:
            with ExitStack() as stack:
                scoring = _scoring(prepared, service, stack)
                watch = _watch(file, service)
                while stretch := list(islice(coming, LOOK_EVERY)):
                    await self._asked(service, stretch, prepared)
                    await self.injection.at_look(service, self.told.sent)
                    last = await self._look(service, scoring, watch, file)
                    n_looks += 1
                    _note(found, detectors, last)
                    if (stop_at_first and found) or last.traffic.stopped:
                        break
                if inspect is not None and last is not None:
                    inspect(last)
        finally:
            await service.close()
        return Driven(found=found, last=last, n=self.told.sent, n_looks=n_looks)

    def _altered(self, parts: ServiceParts) -> ServiceParts:
        """The service's parts with what is planted, and somebody who listens to the scores."""
        of: dict[str, tuple[str, str]] = {}

        def note(trial: LiveTrial) -> LiveTrial:
            of[trial.trial_id] = (trial.trial.arm, trial.query.gold_query_id or "")
            return trial

        def listen(trial_id: str, scores: Sequence[Score]) -> Sequence[Score]:
            for score in scores:
                if score.metric == PRIMARY and score.value is not None and trial_id in of:
                    arm, query = of[trial_id]
                    self.told.scores.setdefault(arm, []).append((query, score.value))
            return scores

        altered = parts if self.injection.altered is None else self.injection.altered(parts)
        return recording(altered, trial=note, scores=listen)

    async def _asked(self, service: LiveService, stretch: Sequence[Visit], prepared: Prepared) -> None:
        """One stretch of visits, some at once."""
        grades = prepared.gold.qrels()
        waiting: Iterator[Visit] = iter(stretch)

        async def work() -> None:
            for visit in waiting:
                await self._visit(service, visit, grades[visit.query.query_id])

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _visit(self, service: LiveService, visit: Visit, grades: Mapping[str, int]) -> None:
        question = Question(
            text=visit.text, unit=visit.person.unit, caller="selftest", query_at=time.time(), idempotency_key=f"{self.name}-{visit.number}"
        )
        self.told.sent += 1
        try:
            served = await service.ask(self.injection.question(question, visit.number))
        except OverloadedError:
            self.told.refused += 1
            return
        except AnswerFailedError:
            self.told.failed += 1
            return
        await self._react(service, visit, served, grades)

    async def _react(self, service: LiveService, visit: Visit, served: Served, grades: Mapping[str, int]) -> None:
        sources = tuple(SeenSource(passage_id=source.passage_id, cited=source.cited) for source in served.sources)
        reply = Reply(trial_id=served.trial_id, sources=sources, abstained=served.abstained, solicited=served.solicited)
        reaction = react(_once(visit.person), reply, grades, taste="relevance", rng=behaviour(visit, seed=self.world.seed))
        with suppress(UnknownTrialError):  # a planted loss: the user votes on what nobody has
            if reaction.copied:
                await service.signal(SignalEvent(trial_id=served.trial_id, key="copied", signal="copied", at=time.time()))
            for number, ballot in enumerate(each for each in reaction.ballots if each.passage_id is None):
                vote = Vote(trial_id=served.trial_id, key=f"vote-{number}", thumb=ballot.thumb, at=time.time())
                for _ in range(self.injection.votes):
                    self.told.sent_votes += 1
                    self.told.outcomes[await service.vote(vote)] += 1
                self.told.ballots[served.trial_id] = ballot.thumb

    async def _look(self, service: LiveService, scoring: BackgroundScoring, watch: GuardrailWatch, file: ExperimentFile) -> Look:
        """Score, watch and analyse as the service does beside the answers, and as anybody may at any time."""
        parts = service.running.parts
        reader, live_id = parts.reader, parts.recorder.live_id
        while await scoring.score_free():
            pass
        await watch.look()
        analysis = await asyncio.to_thread(analyse_live, file, reader, pictures=False)
        traffic = await asyncio.to_thread(reader.traffic, live_id)
        return Look(
            n=self.told.sent,
            analysis=analysis,
            traffic=traffic,
            told=self.told,
            reader=reader,
            live_id=live_id,
            file=file,
        )


def _once(person: Person) -> Person:
    """The same user, who volunteers no more than others, so that votes are of use early."""
    return replace(person, volunteers=max(person.volunteers, 0.1))


def _note(found: dict[str, tuple[int, str]], detectors: Mapping[str, Detect], look: Look) -> None:
    for name, detect in detectors.items():
        sentence = detect(look)
        if sentence is not None:
            found.setdefault(name, (look.n, sentence))


def _scoring(prepared: Prepared, service: LiveService, stack: ExitStack) -> BackgroundScoring:
    parts = service.running.parts
    scoring = BackgroundScoring(
        scoring_plan(prepared, None, stack),
        reader=parts.reader,
        recorder=parts.recorder,
        counts=service.counts,
        tracing=service.running.tracing,
    )
    stack.callback(scoring.close)
    return scoring


def _watch(file: ExperimentFile, service: LiveService) -> GuardrailWatch:
    parts, live = service.running.parts, file.experiment.live
    return GuardrailWatch(
        alarms=partial(alarms, file.experiment, parts.reader, parts.recorder.live_id),
        history=partial(parts.reader.traffic_history, parts.recorder.live_id),
        change=service.change_traffic,
        when_broken="stop" if live is None else live.when_broken,
        counts=service.counts,
    )


def by_query(told: Told, arms: tuple[str, str]) -> float | None:
    """How many standard errors the arms are apart where each query is taken as independent: what a naive reader would compute.

    Args:
        told: With the scores.
        arms: Control and treatment.

    Returns:
        None where there are few queries, or nothing varies.
    """
    left, right = (np.array([value for _, value in told.scores.get(arm, [])]) for arm in arms)
    if min(left.size, right.size) < LOOK_EVERY:
        return None
    error = float(np.sqrt(left.var(ddof=1) / left.size + right.var(ddof=1) / right.size))
    return float(right.mean() - left.mean()) / error if error else None
