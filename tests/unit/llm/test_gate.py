"""The gate under load, faults, caps and interrupts: nothing lost, nothing doubled, nothing paid beyond the cap."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragtrial.errors import InputError, StoppedError, StoreError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import CallFailure, Completion
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import Price, PriceTable
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import COST, KEY, MODEL, about, answered, ask, error_body, failed, first, items, one, quick

DEAD = "http://127.0.0.1:9/v1"


def echo(asked: dict[str, Any], _number: int) -> Reply:
    return Reply(text=f"answer to {user_text(asked)}")


def texts(cache: CallCache) -> set[str]:
    return {entry.completion.text for entry in cache.entries()}


def asked_for(server: ScriptedLlm) -> Counter[str]:
    return Counter(user_text(asked) for asked in server.requests)


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


# --- rate limits


@pytest.mark.parametrize(
    "headers",
    [{"retry-after": "1"}, {"retry-after-ms": "600"}, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "600ms"}],
)
def test_a_429_with_a_waiting_time_holds_all_calls_back_for_that_long(server: ScriptedLlm, headers: dict[str, str]):
    moments: list[float] = []

    def script(asked: dict[str, Any], number: int) -> Reply:
        moments.append(time.monotonic())
        return Reply(status=429, headers=headers) if number == 0 else echo(asked, number)

    server.script = script
    said: list[str] = []
    with quick(concurrency=1, notify=said.append) as gate:
        outcomes = gate.complete(items(server, 5))
    assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}" for n in range(5)]
    assert moments[1] - moments[0] >= 0.55
    assert (gate.spending.retried, gate.spending.failed, gate.spending.attempts) == ({"rate_limit": 1}, {}, 6)
    assert "too many requests (429), waiting" in said[0]


def test_a_used_up_quota_holds_the_next_call_before_it_is_refused(server: ScriptedLlm):
    moments: list[float] = []

    def script(asked: dict[str, Any], number: int) -> Reply:
        moments.append(time.monotonic())
        return Reply(headers={"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "500ms"} if number == 0 else {})

    server.script = script
    with quick(concurrency=1) as gate:
        gate.complete(items(server, 3))
    assert moments[1] - moments[0] >= 0.45
    assert gate.spending.retried == {}


def test_a_waiting_time_beyond_the_longest_stops_resumably(server: ScriptedLlm, cache: CallCache):
    server.script = lambda asked, number: Reply(status=429, headers={"retry-after": "3600"}) if number == 3 else echo(asked, number)
    with quick(cache, concurrency=1, max_wait_s=5) as gate:
        with pytest.raises(StoppedError, match=r"asks to wait 3,600 s, more than llm.max_wait_s \(5 s\): resume later"):
            gate.complete(items(server, 50))
        with pytest.raises(StoppedError, match="3,600 s"):  # a stopped gate stays stopped
            gate.complete(items(server, 1))
    assert (len(server.requests), len(texts(cache))) == (4, 3)


def test_a_server_that_lets_only_so_many_through_is_found_out_and_no_call_is_lost(server: ScriptedLlm):
    """A token bucket without Retry-After: 60 a second, 5 at once."""
    bucket = {"tokens": 5.0, "at": time.monotonic()}

    def script(asked: dict[str, Any], number: int) -> Reply:
        now = time.monotonic()
        bucket["tokens"] = min(5.0, bucket["tokens"] + (now - bucket["at"]) * 60)
        bucket["at"] = now
        if bucket["tokens"] < 1:
            return Reply(status=429)
        bucket["tokens"] -= 1
        return Reply(text=f"answer to {user_text(asked)}", delay_s=0.01)

    server.script = script
    with quick(concurrency=16, attempts=8, patience_s=30) as gate:
        outcomes = gate.complete(items(server, 150))
    assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}" for n in range(150)]
    assert gate.spending.completions == server.answered == 150
    assert gate.spending.retried["rate_limit"] == len(server.requests) - 150


def test_nothing_but_429_stops_resumably_instead_of_failing_every_item(server: ScriptedLlm, cache: CallCache):
    server.script = lambda asked, number: echo(asked, number) if number < 3 else Reply(status=429)
    with (
        quick(cache, concurrency=1, attempts=50, max_wait_s=0.3, patience_s=0.3) as gate,
        pytest.raises(StoppedError, match="nothing but 'too many"),
    ):
        gate.complete(items(server, 50))
    assert gate.spending.failed == {}
    assert len(texts(cache)) == 3


def test_concurrency_begins_at_half_grows_to_the_limit_and_never_beyond(server: ScriptedLlm):
    seen: list[int] = []

    def script(_asked: dict[str, Any], _number: int) -> Reply:
        seen.append(server.in_flight)
        return Reply(delay_s=0.03)

    server.script = script
    with quick(concurrency=8) as gate:
        gate.complete(items(server, 80))
    assert server.most_in_flight == 8
    assert max(seen[:4]) <= 4


# --- faults of the server


def test_one_item_that_the_server_can_not_digest_fails_alone(server: ScriptedLlm):
    server.script = about("item 7", Reply(status=500))
    with quick() as gate:
        outcomes = gate.complete(items(server, 100))
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, CallFailure)] == [7]
    assert (gate.spending.failed, gate.spending.retried, gate.spending.completions) == ({"server": 1}, {"server": 2}, 99)


@pytest.mark.parametrize("status", [500, 400])
def test_a_run_that_is_resumed_with_nothing_but_indigestible_items_comes_to_its_end(server: ScriptedLlm, cache: CallCache, status: int):
    """They must not pass for a dead server, or the run would stop at every resume, for ever."""
    server.script = lambda asked, _number: Reply(status=status) if user_text(asked).startswith("item") else Reply()
    with quick(cache, attempts=2) as gate:
        outcomes = gate.complete(items(server, 15))
    assert {failed(outcome).kind for outcome in outcomes} == {"server" if status == 500 else "bad_request"}
    assert asked_for(server)["item 3"] == (2 if status == 500 else 1)


def test_a_setting_that_every_call_is_refused_for_stops_the_run(server: ScriptedLlm):
    server.script = lambda _asked, _number: Reply(status=400, raw=error_body("Unsupported value: 'temperature' does not support 0.0"))
    with quick() as gate, pytest.raises(StoppedError, match=r"refuses every call \(HTTP 400: Unsupported value: 'temperature'"):
        gate.complete(items(server, 1000))
    assert len(server.requests) < 40


def test_an_outage_costs_no_item_and_the_run_goes_on_where_it_was(cache: CallCache):
    """The server dies half-way, and comes back on the same port."""
    with contextlib.ExitStack() as servers:
        before = servers.enter_context(ScriptedLlm(lambda asked, _number: Reply(text=f"answer to {user_text(asked)}", delay_s=0.02)))
        port = int(before.url.split(":")[2].split("/")[0])
        after = ScriptedLlm(echo, port=port)

        def fail_over() -> None:
            while before.answered < 50:
                time.sleep(0.01)
            before.stop()
            time.sleep(0.5)
            servers.enter_context(after)

        said: list[str] = []
        with quick(cache, said.append, patience_s=30) as gate:
            requests = items(before.url, 200)
            started = threading.Thread(target=fail_over)
            started.start()
            outcomes = gate.complete(requests)
            started.join()
        assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}" for n in range(200)]
        assert gate.spending.completions == 200
        assert 0 < before.answered < 200
        assert before.answered + after.answered <= 200 + 8 + gate.spending.attempts - 200
        assert any("probe" in line for line in said)
    assert len(texts(cache)) == 200


def test_a_server_that_dies_for_good_stops_the_run_and_a_second_gate_asks_only_what_is_missing(tmp_path: Path):
    requests: list[Any] = []
    with CallCache(tmp_path / "calls") as cache:
        with ScriptedLlm(echo) as server:
            port = int(server.url.split(":")[2].split("/")[0])
            requests = items(server, 60)

            def progress(_n: int) -> None:
                if server.answered >= 25 and not stopping.is_alive():
                    with contextlib.suppress(RuntimeError):
                        stopping.start()

            stopping = threading.Thread(target=server.stop)
            server.script = lambda asked, _number: Reply(text=f"answer to {user_text(asked)}", delay_s=0.02)
            start = time.monotonic()
            with quick(cache, patience_s=1.0, concurrency=4) as gate, pytest.raises(StoppedError, match="does not answer"):
                gate.complete(requests, progress=progress)
            assert time.monotonic() - start < 15
            stopping.join()
            kept = texts(cache)
            assert gate.spending.completions == len(kept) >= 25
            assert gate.spending.failed == {}
        with ScriptedLlm(echo, port=port) as revived, quick(cache) as second:
            outcomes = second.complete(requests)
            assert [answered(outcome).text for outcome in outcomes] == [f"answer to item {n}" for n in range(60)]
            assert len(revived.requests) == 60 - len(kept)
            assert (second.spending.from_cache, second.spending.completions) == (len(kept), 60 - len(kept))


@pytest.mark.parametrize("n", [1, 300])
def test_a_server_that_never_was_there_stops_the_run_within_its_patience(n: int):
    start = time.monotonic()
    with (
        quick(attempts=8, patience_s=2.0) as gate,
        pytest.raises(StoppedError, match=r"does not answer \(connection: .*start it, or mend its base_url, and resume"),
    ):
        gate.complete(items(DEAD, n))
    assert time.monotonic() - start < 10
    assert (gate.spending.failed, gate.spending.completions, gate.spending.cost_usd, gate.spending.unpriced) == ({}, 0, 0.0, 0)


def test_two_thousand_waiting_calls_all_come_through_when_the_circuit_closes(server: ScriptedLlm):
    server.script = lambda asked, number: Reply(status=503) if number < 12 else echo(asked, number)
    with quick(concurrency=16, patience_s=30) as gate:
        outcomes = gate.complete(items(server, 2000))
    assert sum(isinstance(outcome, Completion) for outcome in outcomes) == 2000
    assert gate.spending.completions == 2000
    assert max(asked_for(server).values()) <= 3


def test_a_503_that_says_when_to_come_back_is_believed(server: ScriptedLlm):
    moments: list[float] = []

    def script(asked: dict[str, Any], number: int) -> Reply:
        moments.append(time.monotonic())
        return Reply(status=503, headers={"retry-after": "1"}) if number == 0 else Reply()

    server.script = script
    with quick() as gate:
        answered(one(gate, ask(server)))
    assert moments[1] - moments[0] >= 0.95


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
    start = time.monotonic()
    gate.close()
    assert time.monotonic() - start < 5
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
    start = time.monotonic()
    gate.close()
    gate.close()
    assert time.monotonic() - start < 5


def test_when_the_first_who_asks_is_cancelled_the_next_asks(server: ScriptedLlm):
    server.script = lambda _asked, number: Reply(delay_s=0.3, text=f"reply {number}")

    async def both() -> Any:
        one_who_leaves = asyncio.ensure_future(gate.ask(ask(server)))
        await asyncio.sleep(0.05)
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
