"""Modes shadow and interleaved."""

import asyncio
import threading
import time

import numpy as np
import pytest

from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import RerankError
from ragtrial.reranking.reordering import Reordering
from ragtrial.serving.asking import twin_id
from ragtrial.serving.parts import ServiceLimits
from unit.parts import Quoting
from unit.serving.house import CORPUS, ask, house, serving


def test_in_mode_shadow_the_custom_arm_answers_in_silence(tmp_path):
    made = house(tmp_path, "shadow")

    async def run():
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i}", f"unit{i}") for i in range(5)]
            await ask(service, unit=None)
            for _ in range(1200):
                if len(made.logged()) == 11:
                    break
                await asyncio.sleep(0.05)
            return served, made.logged()

    served, logged = asyncio.run(run())
    assert {each.arm for each in served} == {"baseline"}
    trials = {trial.trial_id: trial for trial in logged}
    assert len(trials) == 11
    for each in served:
        twin, own = trials[twin_id(each.trial_id)], trials[each.trial_id]
        assert (twin.served, twin.request_id, twin.trial.arm) == (False, each.trial_id, "custom")
        assert (twin.assignment.arm, twin.unit, twin.query, twin.at) == (own.assignment.arm, own.unit, own.query, own.at)


def test_silent_twins_are_shed_where_there_are_too_many(tmp_path):
    made = house(tmp_path, "shadow", limits=ServiceLimits(twins=1))

    async def run():
        async with serving(made) as service:
            made.models["custom"].gate.clear()
            await asyncio.gather(*(ask(service, unit=f"unit{i}") for i in range(4)))
            shed = service.counts.value("ragtrial_shed_total", kind="twin")
            made.models["custom"].gate.set()
            return shed

    assert asyncio.run(run()) == 3


def test_twins_take_few_of_the_places_where_answers_are_generated(tmp_path):
    at_once, most, lock = [0], [0], threading.Lock()

    class Slow(Quoting):
        def generate(self, query, passages):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            time.sleep(0.05)
            with lock:
                at_once[0] -= 1
            return super().generate(query, passages)

    made = house(tmp_path, "shadow", limits=ServiceLimits(silent_generators=1), generators={"custom": Slow(), "baseline": Quoting()})

    async def run():
        async with serving(made) as service:
            await asyncio.gather(*(ask(service, f"where is number{i}", f"unit{i}") for i in range(4)))
            for _ in range(1200):
                if len(made.logged()) == 8:
                    break
                await asyncio.sleep(0.05)
            return len(made.logged())

    assert asyncio.run(run()) == 8
    assert most == [1]


def test_in_mode_interleaved_one_context_comes_from_both_rankings(tmp_path):
    made = house(tmp_path, "interleaved")

    async def run():
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i}", f"unit{i}") for i in range(8)]
            plain = await ask(service, unit=None)
            again = await ask(service, "where is number9", "ann", idempotency_key="k")
            replay = await ask(service, "where is number9", "ann", idempotency_key="k")
            return served, plain, again, replay, made.logged()

    served, plain, again, replay, logged = asyncio.run(run())
    assert {each.arm for each in served} == {"interleaved"}
    assert (plain.arm, plain.reason) == ("baseline", "no unit")
    assert replay.sources == again.sources
    trials = [trial for trial in logged if trial.trial.arm == "interleaved"]
    assert len(trials) == 9
    for trial in trials:
        ids = trial.trial.ranking.passage_ids
        assert set(trial.teams) == set(ids)
        assert len(ids) == 2  # what the generator reads
        assert set(trial.teams.values()) <= {"control", "treatment", "both"}
    assert [trial.teams["p003"] for trial in trials if trial.query.gold_query_id == "q003"] == ["both"]


class Backwards:
    """A reranker that wants the passages in the order of their ids, the last one first; or breaks."""

    identity = ModelIdentity(name="backwards", revision="1", dimension=1)

    def __init__(self):
        self.broken = False

    def score(self, asked):
        if self.broken:
            raise RerankError("broken as asked")
        place = {passage.content: number for number, passage in enumerate(CORPUS.passages)}
        return tuple(np.array([place[text] for text in texts], dtype=np.float32) for _, texts in asked)


async def logs(made, n):
    """Wait until so many trials are logged."""
    for _ in range(1200):
        if len(made.logged()) >= n:
            return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["shadow", "interleaved"])
def test_the_custom_arm_reranks_in_every_mode_and_where_that_fails_it_is_counted(tmp_path, mode):
    reranker = Backwards()
    made = house(tmp_path, mode, reorderings={"custom": Reordering(reranker=reranker, passages=CORPUS.by_id, candidates=8)})

    async def run():
        async with serving(made) as service:
            good = await ask(service, "where is number1", "ann")
            await logs(made, 2 if mode == "shadow" else 1)
            reranker.broken = True
            bad = await ask(service, "where is number2", "bob")
            await logs(made, 4 if mode == "shadow" else 3)
            return good, bad, {(trial.request_id, trial.trial.arm): trial for trial in made.logged()}

    good, bad, logged = asyncio.run(run())
    last = [passage.passage_id for passage in CORPUS.passages][::-1]
    if mode == "shadow":
        twin = logged[good.trial_id, "custom"].trial
        assert list(twin.ranking.passage_ids) == last[:3]
        assert bad.arm == "baseline"
        failed = logged[bad.trial_id, "custom"].trial
    else:
        twin = logged[good.trial_id, "interleaved"].trial
        assert [team for passage_id, team in logged[good.trial_id, "interleaved"].teams.items() if passage_id == last[0]] == ["treatment"]
        assert (bad.arm, bad.reason) == ("baseline", "fallback")
        failed = next(trial.trial for trial in logged.values() if trial.trial.failure is not None)
    assert twin.timings.rerank_ms is not None
    assert (failed.failure.stage, failed.failure.kind) == ("rerank", "RerankError")


def test_an_interleaved_context_with_one_ranking_gone_is_a_failure_and_the_baseline_answers(tmp_path):
    made = house(tmp_path, "interleaved")

    async def run():
        async with serving(made) as service:
            made.index.lost.add("custom")
            served = await ask(service)
            return served, made.logged()

    served, logged = asyncio.run(run())
    assert (served.arm, served.reason) == ("baseline", "fallback")
    assert sorted((trial.trial.arm, trial.served, trial.trial.failure is None) for trial in logged) == [
        ("baseline", False, True),
        ("interleaved", True, False),
    ]
