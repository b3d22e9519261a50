"""Simulated traffic: users with planted preferences drive the real service over HTTP, so that a verdict can be watched as it forms.

The service can't tell these users from others. What they are and ask is fixed by a seed; what they do with an answer comes from the gold
set and the planted taste, never from the arm, which they aren't told. One thing can't be simulated in real time: votes that come days
late.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.errors import InputError, RagtrialError
from ragtrial.splitting import Split, initial_state
from ragtrial.suite.traffic_client import Acknowledged, Body, Client, Counts
from ragtrial.suite.traffic_users import Person, Reaction, Reply, Taste, Visit, behaviour, population, react, reworded, visits

Plant = Literal["lost-exposures", "duplicate-votes"]
Told = Callable[[int, "Body | str"], None]
"""Told how many visits are over, and what the service made of them by then: its analysis, or in words why there is none."""

_VOTES_REPEATED = 5
_LOST = 4  # a stream of the seed, beside those of the users


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """How much traffic, from whom, and how fast.

    Attributes:
        n_users: Users; those who come seldom may not come at all.
        n_queries: Questions that users come with. What they ask again in other words comes on top.
        rate: Questions a second, as a Poisson process; None: as fast as `concurrency` allows.
        concurrency: Users that are at it at once, at most.
        seed: The same seed gives the same users, questions and temperaments.
        taste: What users care about.
        own_words: Share of the questions that are not put in the gold query's words, so that no judgment is found for them.
        duplicates: Share of all requests that are sent twice with the same key, as after a time-out.
        look_every: Ask for the analysis after each so many questions; None: never.
        plant: A fault to plant, for developers. `lost-exposures`: the requests of a share of the users whom the split gives the
            treatment never arrive, as where a client breaks in one arm (what a sample ratio test has to find). `duplicate-votes`: every
            vote is sent five times with the same key (what idempotency has to stop).
        plant_share: Share of the treatment's users that `lost-exposures` loses.

    Raises:
        InputError: A number that can't be.
    """

    n_users: int = 300
    n_queries: int = 2000
    rate: float | None = None
    concurrency: int = 16
    seed: int = 7
    taste: Taste = "relevance"
    own_words: float = 0.1
    duplicates: float = 0.02
    look_every: int | None = 200
    plant: Plant | None = None
    plant_share: float = 0.02

    def __post_init__(self) -> None:
        for option, value in (("--users", self.n_users), ("--queries", self.n_queries), ("--concurrency", self.concurrency)):
            if value < 1:
                raise InputError(f"{option} is {value}: give at least 1")
        for option, share in (("--own-words", self.own_words), ("--duplicates", self.duplicates), ("--plant-share", self.plant_share)):
            if not 0 <= share <= 1:
                raise InputError(f"{option} is {share}: give a share from 0 to 1")
        if self.rate is not None and not self.rate > 0:
            raise InputError(f"--rate is {self.rate}: give questions a second above 0, or leave it out")


@dataclass(kw_only=True)
class Traffic:
    """What came of it; filled while it runs, so that there is something to show where it is interrupted.

    Attributes:
        plan: What was asked for.
        counts: What happened between users and service.
        acknowledged: Everything that the service said it has.
        seen: Units whose requests were sent.
        visits: Questions that users came with and that are over, answered or not.
        follow_ups: Questions asked again in other words, beside these.
        satisfied: Answers that their users were content with.
        lost: Visits that a planted fault kept from arriving.
        latencies_ms: From a question to its answer, retries included; with a rate from the moment at which the user wanted to ask, so
            that a slow service can't hide behind users who wait for their turn.
        started: Clock reading at the first question.
        seconds: From the first question to the last reaction.
    """

    plan: TrafficPlan
    counts: Counts = field(default_factory=Counts)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    visits: int = 0
    follow_ups: int = 0
    satisfied: int = 0
    lost: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0

    @property
    def in_order(self) -> bool:
        """Whether every request got what it should: nothing refused for good, given up, failed, unlogged or contradicted."""
        counts = self.counts
        return not (counts.errors or counts.given_up or counts.failed or counts.unlogged or counts.contradictions)

    def latency_ms(self, q: float) -> float | None:
        """A quantile of the latency; None where nothing was answered."""
        return float(np.quantile(self.latencies_ms, q)) if self.latencies_ms else None

    def as_dict(self) -> dict[str, object]:
        """All of it for JSON, without the list of what was acknowledged."""
        counts = self.counts
        return {
            "users": len(self.seen),
            "questions": self.visits,
            "follow_ups": self.follow_ups,
            "satisfied": self.satisfied,
            "lost": self.lost,
            "seconds": round(self.seconds, 3),
            "latency_ms": {name: self.latency_ms(q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
            **{name: dict(value) if isinstance(value, Counter) else value for name, value in vars(counts).items()},
            "acknowledged": dict(Counter(one.kind for one in self.acknowledged)),
        }


def simulate(
    traffic: Traffic,
    *,
    experiment: Experiment,
    gold: GoldSet,
    url: str,
    key: str,
    read_key: str | None = None,
    progress: Progress = no_progress,
    told: Told | None = None,
) -> None:
    """Let the planned users loose on the service at `url`, and fill `traffic` with what came of it.

    Args:
        traffic: With the plan.
        experiment: What the service runs; its name is what the analysis is asked for.
        gold: What users ask, and the truth about it, on passages.
        url: Root of the service.
        key: API key that may ask and vote.
        read_key: API key that may read results; None: the same.
        progress: Told how many visits are over.
        told: Told what the service made of the traffic so far.

    Raises:
        InputError: There is nothing to ask, the service serves another experiment, or the key is refused.
        SetupError: No service answers there.
    """
    people = population(gold, n=traffic.plan.n_users, seed=traffic.plan.seed)
    lost = _lost(people, experiment, traffic.plan)
    client = Client(url, key=key, read_key=read_key, connections=traffic.plan.concurrency + 2)
    traffic.counts, traffic.acknowledged = client.counts, client.acknowledged
    crowd = _Crowd(traffic=traffic, client=client, name=experiment.name, gold=gold, people=people, lost=lost)
    try:
        asyncio.run(crowd.drive(progress, told))
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _lost(people: tuple[Person, ...], experiment: Experiment, plan: TrafficPlan) -> frozenset[str]:
    """Whose requests a planted fault loses: found as a broken client would, by the public scheme of the split."""
    if plan.plant != "lost-exposures":
        return frozenset()
    if experiment.live is not None and experiment.live.mode != "split":
        raise InputError(f"--plant lost-exposures needs live.mode 'split', where users differ in their arm; it is {experiment.live.mode!r}")
    split, state = Split.of(experiment), initial_state(experiment)
    treated = [person.unit for person in people if split.assign(person.unit, state).arm == experiment.treatment.name]
    draws = np.random.default_rng([plan.seed, _LOST]).random(len(treated))
    return frozenset(unit for unit, draw in zip(treated, draws, strict=True) if draw < plan.plant_share)


def _first(group: BaseExceptionGroup) -> BaseException:
    """The error that ended it, out of the groups that tasks put it in; one that the user can mend before others."""
    mended = group.subgroup(RagtrialError)
    error: BaseException = mended or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(kw_only=True)
class _Crowd:
    """All users at it."""

    traffic: Traffic
    client: Client
    name: str
    gold: GoldSet
    people: tuple[Person, ...]
    lost: frozenset[str]
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])  # keys belong to one run: another one asks anew

    async def drive(self, progress: Progress, told: Told | None) -> None:
        plan, traffic = self.traffic.plan, self.traffic
        grades = self.gold.qrels()
        coming = visits(self.people, self.gold, n=plan.n_queries, seed=plan.seed, own_words=plan.own_words, rate=plan.rate)
        queue: asyncio.Queue[tuple[Visit, float] | None] = asyncio.Queue(maxsize=0 if plan.rate else plan.concurrency)
        looks: asyncio.Queue[int | None] = asyncio.Queue()
        async with self.client:
            await self.client.check(self.name)
            advance = progress("questions of simulated users", plan.n_queries)
            traffic.started = time.monotonic()

            async def work() -> None:
                while (item := await queue.get()) is not None:
                    await self._visit(*item, grades[item[0].query.query_id])
                    traffic.visits += 1
                    traffic.seconds = time.monotonic() - traffic.started
                    advance(1)
                    if plan.look_every and traffic.visits % plan.look_every == 0:
                        looks.put_nowait(traffic.visits)

            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._look(looks, told))
                workers = [group.create_task(work()) for _ in range(plan.concurrency)]
                await self._arrive(coming, queue)
                for _ in workers:
                    await queue.put(None)
                await asyncio.wait(workers)
                if told is not None and plan.look_every and traffic.visits % plan.look_every:
                    looks.put_nowait(traffic.visits)
                looks.put_nowait(None)
                await looking

    async def _arrive(self, coming: Iterator[Visit], queue: asyncio.Queue[tuple[Visit, float] | None]) -> None:
        """Users come when they are due, whether or not somebody has time for them."""
        started = self.traffic.started
        for visit in coming:
            if self.traffic.plan.rate is None:
                await queue.put((visit, 0.0))
                continue
            due = started + visit.due_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            queue.put_nowait((visit, due))

    async def _look(self, looks: asyncio.Queue[int | None], told: Told | None) -> None:
        """Looks one after the other, beside the traffic; where they take longer than the traffic the ones in between fall away."""
        while (n := await looks.get()) is not None:
            while not looks.empty():
                later = looks.get_nowait()
                if later is None:
                    looks.put_nowait(None)
                    break
                n = later
            if told is not None:
                told(n, await self.client.analysis(self.name))

    async def _visit(self, visit: Visit, due: float, grades: Mapping[str, int]) -> None:
        """All that a user does about one question."""
        plan, traffic, unit = self.traffic.plan, self.traffic, visit.person.unit
        if unit in self.lost:
            traffic.lost += 1
            return
        traffic.seen.add(unit)
        rng = behaviour(visit, seed=plan.seed)
        text, follow_ups, since = visit.text, 0, due or time.monotonic()
        while True:
            key = f"{self.run}-{visit.number}-{follow_ups}"
            reply = await self.client.ask(text, unit=unit, key=key)
            if reply is None:
                return
            traffic.latencies_ms.append(1000 * (time.monotonic() - since))
            if rng.random() < plan.duplicates:
                await self.client.ask_again(text, unit=unit, key=key, reply=reply)
            reaction = react(visit.person, reply, grades, taste=plan.taste, rng=rng, follow_ups=follow_ups)
            traffic.satisfied += reaction.satisfied
            await self._act(reply, reaction, key, rng)
            if not reaction.asks_again:
                return
            text, follow_ups, since = reworded(text, rng), follow_ups + 1, time.monotonic()
            traffic.follow_ups += 1

    async def _act(self, reply: Reply, reaction: Reaction, key: str, rng: np.random.Generator) -> None:
        """Send what the user did; each request sometimes twice."""
        plan, client = self.traffic.plan, self.client

        def times(least: int = 1) -> int:
            return least + int(rng.random() < plan.duplicates)

        if reaction.copied:
            await client.signal(reply, "copied", key=f"{key}-copied", times=times())
        for number, passage_id in enumerate(reaction.clicked):
            await client.signal(reply, "citation_clicked", key=f"{key}-clicked-{number}", passage_id=passage_id, times=times())
        least = _VOTES_REPEATED if plan.plant == "duplicate-votes" else 1
        for number, ballot in enumerate(reaction.ballots):
            await client.vote(reply, ballot, key=f"{key}-vote-{number}", times=times(least))
        if reaction.asks_again:
            await client.signal(reply, "rephrased", key=f"{key}-rephrased", times=times())
