"""The gate under load, faults, caps and interrupts: nothing lost, nothing doubled, nothing paid beyond the cap."""

import asyncio
import contextlib
import json
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragtrial.errors import InputError, StoppedError, StoreError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Completion
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import Price, PriceTable
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import COST, KEY, MODEL, about, answered, ask, echo, failed, first, items, one, quick, texts

# --- answers, order, cache


def test_answers_come_in_the_order_of_the_requests_however_late_each_is(server: ScriptedLlm):
    server.script = lambda asked, number: Reply(text=user_text(asked), delay_s=(number * 7 % 5) * 0.02)
    done: list[int] = []
    with quick() as gate:
        outcomes = gate.complete(items(server, 30), progress=done.append)
    assert [answered(outcome).text for outcome in outcomes] == [f"item {n}" for n in range(30)]
    assert sum(done) == 30


def test_an_answer_from_the_cache_has_todays_price_and_the_day_it_was_made(server: ScriptedLlm, tmp_path: Path):
    before = time.time()
    with CallCache(tmp_path) as cache:
        with quick(cache) as gate:
            made = answered(one(gate, ask(server)))
        dear = PriceTable([(MODEL, Price(prompt=10.0, cached=2.5, completion=20.0, as_of=date(2026, 2, 1)))])
        with Gate(Limits(), prices=dear, cache=cache) as gate:
            kept = answered(one(gate, ask(server)))
        with Gate(Limits(), prices=PriceTable([]), cache=cache) as gate:
            unpriced = answered(one(gate, ask(server)))
    assert (made.cost_usd, made.made_at) == (pytest.approx(COST), None)
    assert kept.cost_usd == pytest.approx(10 * COST)
    assert unpriced.cost_usd is None
    assert before <= (kept.made_at or 0) <= time.time()
    assert len(server.requests) == 1


def test_what_was_answered_once_is_not_asked_again(server: ScriptedLlm, cache: CallCache):
    server.script = echo
    with quick(cache) as gate:
        before = gate.complete(items(server, 5))
        again = gate.complete(items(server, 7))
    assert len(server.requests) == 7
    assert [outcome.from_cache for outcome in map(answered, again)] == [True] * 5 + [False] * 2
    assert [answered(outcome).text for outcome in again[:5]] == [answered(outcome).text for outcome in before]
    assert (gate.spending.completions, gate.spending.from_cache) == (7, 5)
    assert gate.spending.saved_usd == pytest.approx(5 * COST)


def test_equal_requests_at_the_same_moment_are_asked_once(server: ScriptedLlm):
    server.script = lambda _asked, _number: Reply(delay_s=0.1)
    with quick() as gate:
        outcomes = gate.complete([ask(server)] * 20)
    assert len(server.requests) == 1
    assert [answered(outcome).from_cache for outcome in outcomes].count(False) == 1
    assert (gate.spending.completions, gate.spending.shared, gate.spending.cost_usd) == (1, 19, pytest.approx(COST))


def test_equal_requests_share_a_failure_that_is_counted_once(server: ScriptedLlm):
    server.script = lambda _asked, _number: Reply(status=400, delay_s=0.1)
    with quick() as gate:
        outcomes = gate.complete([ask(server)] * 5)
    assert {failed(outcome).kind for outcome in outcomes} == {"bad_request"}
    assert (len(server.requests), gate.spending.failed) == (1, {"bad_request": 1})


def test_repetitions_are_asked_anew_and_kept_apart(server: ScriptedLlm, cache: CallCache):
    server.script = lambda _asked, number: Reply(text=f"opinion {number}")
    requests = [ask(server, repetition=repetition) for repetition in range(3)]
    with quick(cache) as gate:
        outcomes = gate.complete(requests)
        assert {answered(outcome).text for outcome in outcomes} == {"opinion 0", "opinion 1", "opinion 2"}
        assert [answered(outcome).text for outcome in gate.complete(requests)] == [answered(outcome).text for outcome in outcomes]
    assert len(server.requests) == 3


def test_without_a_cache_each_run_asks_anew(server: ScriptedLlm):
    with quick() as gate:
        one(gate, ask(server))
        one(gate, ask(server))
    assert len(server.requests) == 2


def no_yes(text: str) -> None:
    if "yes" in text:
        raise ValueError("it says yes")


def test_an_answer_that_is_not_accepted_is_malformed_paid_and_not_kept(server: ScriptedLlm, cache: CallCache):
    server.script = about("item 0", Reply(text="yes"), Reply(text="no"))
    with quick(cache) as gate:
        outcomes = gate.complete(items(server, 2), accept=no_yes)
        assert (failed(outcomes[0]).kind, failed(outcomes[0]).message) == ("malformed", "it says yes")
        assert (gate.spending.completions, gate.spending.failed) == (1, {"malformed": 1})
        assert gate.spending.cost_usd == pytest.approx(2 * COST)
        assert texts(cache) == {"no"}


def test_a_kept_answer_that_is_not_accepted_any_more_is_asked_again(server: ScriptedLlm, cache: CallCache):
    server.script = first(1, Reply(text="yes"), Reply(text="no"))
    with quick(cache) as gate:
        assert answered(one(gate, ask(server))).text == "yes"
        assert answered(one(gate, ask(server), accept=no_yes)).text == "no"
        assert texts(cache) == {"no"}


# --- limits of the run


def sensible_usage(asked: dict[str, Any], number: int) -> Reply:
    """As many tokens as a real model would count for these few words; now and then none are told, or the answer is of no use."""
    usage = {"prompt_tokens": 12 + number % 9, "completion_tokens": 20 + number % 31}
    kinds = (Reply(usage=usage), Reply(usage=None), Reply(usage=usage, finish_reason="length"), Reply(status=500), Reply(usage=usage))
    return kinds[(number * 7) % 5]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cap=st.floats(0.0, 0.006), concurrency=st.integers(1, 12))
def test_the_spending_cap_is_never_exceeded(server: ScriptedLlm, cap: float, concurrency: int):
    server.script = sensible_usage
    with quick(max_cost_usd=cap, concurrency=concurrency) as gate:
        with contextlib.suppress(StoppedError):
            gate.complete(items(server, 40))
        assert gate._budget.spent_usd <= cap
        assert gate.spending.cost_usd <= gate._budget.spent_usd + 1e-12
        assert gate._budget._reserved == {}


def test_the_cap_stops_resumably_when_what_is_in_flight_has_settled(server: ScriptedLlm, cache: CallCache):
    """Eight calls may go out at the reserved price; as each turns out cheaper, more fit: about cap over cost in the end."""
    server.script = lambda asked, _n: Reply(
        text=f"answer to {user_text(asked)}", delay_s=0.02, usage={"prompt_tokens": 20, "completion_tokens": 5}
    )
    cost, cap = 30e-6, 0.003
    with (
        quick(cache, max_cost_usd=cap) as gate,
        pytest.raises(StoppedError, match=r"the spending cap of 0.003 USD is reached.*Raise llm.max_cost_usd"),
    ):
        gate.complete(items(server, 500))
    most = gate._budget.most(ask(server, "item 100"))
    assert cap - most - cost <= gate.spending.cost_usd <= cap
    assert gate.spending.completions == len(texts(cache)) == len(server.requests)
    n_before = len(server.requests)
    with quick(cache, max_cost_usd=1.0) as gate:
        assert all(isinstance(outcome, Completion) for outcome in gate.complete(items(server, 120)))
    assert len(server.requests) == 120
    assert gate.spending.completions == 120 - n_before


def test_what_is_in_the_cache_needs_no_money(server: ScriptedLlm, cache: CallCache):
    with quick(cache) as gate:
        one(gate, ask(server))
    with quick(cache, max_cost_usd=0.0) as gate:
        assert answered(one(gate, ask(server))).from_cache
        with pytest.raises(StoppedError, match="spending cap of 0 USD"):
            one(gate, ask(server, "another"))


def test_a_cap_without_a_price_is_refused_before_a_call(server: ScriptedLlm):
    with quick(max_cost_usd=1.0) as gate, pytest.raises(InputError, match="'free-for-all' has no price"):
        gate.complete(items(server, 5, endpoint={"model": "free-for-all"}))
    assert server.requests == []


def test_the_time_limit_stops_the_run_and_lets_what_is_in_flight_end(server: ScriptedLlm, cache: CallCache):
    server.script = lambda asked, _number: Reply(text=f"answer to {user_text(asked)}", delay_s=0.1)
    with quick(cache, run_timeout_s=2) as gate, pytest.raises(StoppedError, match=r"llm.run_timeout_s \(2 s\) is over"):
        gate.complete(items(server, 1000))
    assert 0 < gate.spending.completions == len(texts(cache)) == len(server.requests) < 400


def test_a_time_limit_that_is_not_reached_changes_nothing(server: ScriptedLlm):
    with quick(run_timeout_s=60) as gate:
        answered(one(gate, ask(server)))


# --- interrupts and other processes


def test_an_interrupt_leaves_a_usable_cache_and_closing_does_not_hang(server: ScriptedLlm, cache: CallCache):
    server.script = lambda asked, _number: Reply(text=f"answer to {user_text(asked)}", delay_s=0.02)
    gate = quick(cache)
    work = [lambda request=request: gate.ask(request) for request in items(server, 300)]
    future = asyncio.run_coroutine_threadsafe(gate._gather(work, None), gate._loop)
    while gate.spending.completions < 20:
        time.sleep(0.01)
    future.cancel()  # what `gather` does on KeyboardInterrupt
    gate.close()
    kept = texts(cache)
    assert len(kept) >= gate.spending.completions >= 20
    with quick(cache) as second:
        outcomes = second.complete(items(server, 300))
    assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}" for n in range(300)]
    assert second.spending.completions == 300 - len(kept)
    assert len(server.requests) <= 300 + 8


def test_closing_does_not_wait_for_a_server_that_hangs(server: ScriptedLlm):
    server.script = lambda _asked, _number: Reply(delay_s=60)
    gate = quick(timeout_s=60)
    asyncio.run_coroutine_threadsafe(gate.ask(ask(server)), gate._loop)
    while not server.requests:
        time.sleep(0.01)
    gate.close()
    gate.close()
    assert server.answered == 0


def test_when_the_first_who_asks_is_cancelled_the_next_asks(server: ScriptedLlm):
    server.script = lambda _asked, number: Reply(delay_s=0.3 if number else 2.0, text=f"reply {number}")

    async def both() -> Any:
        one_who_leaves = asyncio.ensure_future(gate.ask(ask(server)))
        while not server.requests:
            await asyncio.sleep(0.01)
        other = asyncio.ensure_future(gate.ask(ask(server)))
        await asyncio.sleep(0.05)
        one_who_leaves.cancel()
        return await other

    with quick() as gate:
        (outcome,) = gate.gather([both])
    assert (answered(outcome).text, answered(outcome).from_cache) == ("reply 1", False)


def test_a_cache_that_can_not_be_written_stops_the_paying(server: ScriptedLlm, cache: CallCache, monkeypatch: pytest.MonkeyPatch):
    def full(_items: Any) -> None:
        raise StoreError("call cache can't be written: No space left on device")

    monkeypatch.setattr(cache, "keep", full)
    server.script = lambda _asked, _number: Reply(delay_s=0.02)
    with quick(cache) as gate, pytest.raises(StoreError, match="No space left"):
        gate.complete(items(server, 500))
    assert len(server.requests) <= 16


def test_an_error_of_the_callers_own_reaches_the_caller(server: ScriptedLlm):
    async def broken() -> None:
        raise KeyError("mine")

    with quick() as gate:
        with pytest.raises(KeyError, match="mine"):
            gate.gather([broken])
        answered(one(gate, ask(server)))


def test_gather_on_the_gates_own_loop_is_refused_instead_of_hanging(server: ScriptedLlm):
    async def nested() -> Any:
        return gate.complete([ask(server)])

    with quick() as gate, pytest.raises(RuntimeError, match="call ask there"):
        gate.gather([nested])


def test_the_same_gate_serves_several_threads(server: ScriptedLlm):
    server.script = echo
    found: dict[int, Any] = {}
    with quick() as gate:
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: gate.complete([ask(server, f"item {n}.{each}") for each in range(20)])}))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for n, outcomes in found.items():
        assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}.{each}" for each in range(20)]
    assert (gate.spending.completions, len(found)) == (80, 4)


def test_a_line_about_trouble_comes_at_most_every_five_seconds(server: ScriptedLlm):
    said: list[str] = []
    server.script = first(6, Reply(status=429))
    with quick(notify=said.append, attempts=8) as gate:
        gate.complete(items(server, 4))
    assert len(said) == 1
    assert KEY not in said[0]
    json.dumps(said)
