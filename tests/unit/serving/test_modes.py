"""Modes shadow and interleaved."""

import asyncio
import threading
import time

from ragtrial.serving.asking import twin_id
from ragtrial.serving.parts import ServiceLimits
from unit.parts import Quoting
from unit.serving.house import ask, house, serving


def test_in_mode_shadow_the_custom_arm_answers_in_silence(tmp_path):
    made = house(tmp_path, "shadow")

    async def run():
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i}", f"unit{i}") for i in range(5)]
            await ask(service, unit=None)
            for _ in range(50):
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
            for _ in range(100):
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
