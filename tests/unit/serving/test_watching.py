"""Guardrails that act by themselves, once."""

import asyncio
from dataclasses import replace

import pytest

from ragtrial.domain.live_verdict import GuardrailAlarm, LiveGuardrail
from ragtrial.errors import NotEnoughDataError
from ragtrial.serving.watching import GuardrailWatch
from unit.serving.house import house, serving


def alarm(metric: str) -> GuardrailAlarm:
    found = LiveGuardrail(margin=0.02, relative=False, estimate=0.1, low=0.05, high=0.2, state="broken", method="by hand")
    return GuardrailAlarm(metric=metric, guardrail=found, sentence=f"{metric} got worse.")


def watching(service, alarms, when_broken="stop") -> GuardrailWatch:
    running = service.running
    return GuardrailWatch(
        alarms=alarms,
        history=lambda: running.parts.reader.traffic_history(running.parts.recorder.live_id),
        change=service.change_traffic,
        when_broken=when_broken,
        counts=service.counts,
    )


def test_a_broken_guardrail_stops_the_treatment_and_says_why(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            watch = watching(service, lambda: [alarm("failed")])
            state, again = await watch.look(), await watch.look()
            return state, again, service.state(), service.counts.value("ragtrial_guardrail_actions_total", metric="failed")

    state, again, now, counted = asyncio.run(run())
    assert state is not None
    assert (state.stopped, state.actor, state.version) == (True, "guardrail", 2)
    assert "failed got worse." in state.reason
    assert again is None
    assert now == state
    assert counted == 1


def test_ramping_down_takes_the_share_to_a_tenth_once(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            found = [alarm("failed")]
            watch = watching(service, lambda: found, "ramp-down")
            first, again = await watch.look(), await watch.look()
            found.append(alarm("latency_ms"))
            return first, again, await watch.look(), await watching(service, lambda: found, "ramp-down").look()

    first, again, second, after_a_restart = asyncio.run(run())
    assert (first.share, first.stopped) == (pytest.approx(0.1), False)
    assert again is None
    assert second.share == pytest.approx(0.01)
    assert second.reason.startswith("latency_ms: ")
    assert after_a_restart is None


def test_an_operator_who_starts_again_is_not_overruled(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            watch = watching(service, lambda: [alarm("failed")])
            await watch.look()
            await service.change_traffic(stopped=False, actor="ann", reason="known and accepted")
            return await watch.look()

    assert asyncio.run(run()) is None


def test_of_several_workers_one_acts(tmp_path):
    one, other = house(tmp_path), house(tmp_path)

    async def run():
        async with serving(one) as first, serving(other) as second:
            watches = [watching(service, lambda: [alarm("failed")]) for service in (first, second)]
            states = await asyncio.gather(*(watch.look() for watch in watches))
            return states, one.reader.traffic_history(one.recorder.live_id)

    states, history = asyncio.run(run())
    assert [state.version for state in history] == [1, 2]
    assert sum(state is not None for state in states) == 1


def test_without_enough_data_nothing_happens(tmp_path):
    made = house(tmp_path)

    def nothing():
        raise NotEnoughDataError("no units")

    async def run():
        async with serving(made) as service:
            return await watching(service, nothing).look(), await watching(service, tuple).look(), service.state()

    assert asyncio.run(run())[:2] == (None, None)


def test_alarms_of_the_same_metric_in_another_sentence_are_the_same(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            await watching(service, lambda: [alarm("failed"), alarm("abstained")], "ramp-down").look()
            later = [replace(alarm("abstained"), sentence="Worse still.")]
            return await watching(service, lambda: later, "ramp-down").look()

    assert asyncio.run(run()) is None
