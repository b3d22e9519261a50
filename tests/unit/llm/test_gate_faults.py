"""The gate against servers that refuse, break and die: each fault has its class, and nothing is lost or doubled."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ragtrial.errors import StoppedError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import CallFailure, Completion
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import about, answered, ask, asked_for, echo, error_body, failed, items, one, quick, texts

DEAD = "http://127.0.0.1:9/v1"


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
            with quick(cache, patience_s=1.0, concurrency=4) as gate, pytest.raises(StoppedError, match="does not answer"):
                gate.complete(requests, progress=progress)
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
    with (
        quick(attempts=8, patience_s=2.0) as gate,
        pytest.raises(StoppedError, match=r"does not answer \(connection: .*start it, or mend its base_url, and resume"),
    ):
        gate.complete(items(DEAD, n))
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
