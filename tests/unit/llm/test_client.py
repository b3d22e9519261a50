"""Every way a server can misbehave: what the user sees of it, and what is counted."""

import logging
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from ragtrial.errors import StoppedError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Completion, FailureKind
from ragtrial.llm.headers import hold, retry_after
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import COST, KEY, SCHEMA, about, answered, ask, error_body, failed, first, items, one, quick

BAD_REPLIES: dict[str, tuple[Reply, FailureKind, str, float]] = {
    "no JSON": (Reply(raw="<html>Bad gateway</html>"), "server", "no chat completion", 0.0),
    "cut JSON": (Reply(raw='{"id": "chatcmpl-1", "choices": [{"ind'), "server", "no chat completion", 0.0),
    "JSON of another shape": (Reply(raw='{"hello": 1}'), "server", "no chat completion", 0.0),
    "a JSON list": (Reply(raw="[1, 2]"), "server", "no chat completion", 0.0),
    "a choice that is none": (Reply(raw='{"choices": ["x"], "model": "m"}'), "server", "no chat completion", 0.0),
    "no choices": (Reply(raw='{"choices": [], "model": "m"}'), "server", "no chat completion", 0.0),
    "an empty body": (Reply(raw=""), "server", "no chat completion", 0.0),
    "cut connection": (Reply(abort_after=40), "connection", "cut", 0.0),
    "cut before a byte": (Reply(abort_after=0), "connection", "cut", 0.0),
    "500": (Reply(status=500), "server", "HTTP 500: scripted 500", 0.0),
    "502 with a page": (Reply(status=502, raw="<html>\n<h1>Bad gateway</h1>"), "server", "HTTP 502", 0.0),
    "409": (Reply(status=409), "server", "HTTP 409", 0.0),
    "408": (Reply(status=408), "timeout", "HTTP 408", 0.0),
    "429": (Reply(status=429), "rate_limit", "HTTP 429", 0.0),
    "400": (Reply(status=400), "bad_request", "HTTP 400: scripted 400", 0.0),
    "413": (Reply(status=413), "bad_request", "HTTP 413", 0.0),
    "400 of a content filter": (Reply(status=400, raw=error_body("no", code="content_filter")), "refused", "HTTP 400: no", 0.0),
    "content null": (Reply(text=""), "malformed", "empty answer", COST),
    "only blanks": (Reply(text=" \n\t"), "malformed", "empty answer", COST),
    "finish_reason length": (Reply(finish_reason="length"), "truncated", "max_tokens (50)", COST),
    "a refusal": (Reply(refusal="I can't\nhelp"), "refused", "I can't", COST),
    "a content filter": (Reply(finish_reason="content_filter"), "refused", "content filter", COST),
}
TRIED_AGAIN = {"server", "connection", "timeout", "rate_limit"}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_fails_its_item_alone_with_its_class_and_its_cost(server: ScriptedLlm, cache: CallCache, name: str):
    reply, kind, said, cost = BAD_REPLIES[name]
    server.script = about("item 1", reply)
    with quick(cache, attempts=2) as gate:
        outcomes = gate.complete(items(server, 3))
    assert [answered(outcomes[n]).text for n in (0, 2)] == ["answer to item 0", "answer to item 2"]
    failure = failed(outcomes[1])
    assert (failure.kind, failure.attempts) == (kind, 2 if kind in TRIED_AGAIN else 1)
    assert said in failure.message
    assert "\n" not in failure.message
    assert dict(gate.spending.failed) == {kind: 1}
    assert dict(gate.spending.retried) == ({kind: 1} if kind in TRIED_AGAIN else {})
    assert (gate.spending.completions, gate.spending.attempts) == (2, len(server.requests))
    assert gate.spending.cost_usd == pytest.approx(2 * COST + cost)
    assert {entry.completion.text for entry in cache.entries()} == {"answer to item 0", "answer to item 2"}


@pytest.mark.parametrize("name", [name for name, (_, kind, _, _) in BAD_REPLIES.items() if kind in TRIED_AGAIN])
def test_what_is_transient_is_tried_again_and_the_answer_counts_once(server: ScriptedLlm, cache: CallCache, name: str):
    server.script = first(2, BAD_REPLIES[name][0], Reply(text="at last"))
    with quick(cache) as gate:
        completion = answered(one(gate, ask(server)))
    assert (completion.text, completion.attempts, completion.from_cache) == ("at last", 3, False)
    assert (gate.spending.completions, gate.spending.attempts, gate.spending.failed) == (1, 3, {})
    assert gate.spending.retried == {BAD_REPLIES[name][1]: 2}
    assert len(list(cache.entries())) == 1


@pytest.mark.parametrize("reply", [Reply(delay_s=30), Reply(trickle_s=0.05)], ids=["hang", "trickle"])
def test_a_hang_and_a_trickle_end_with_the_timeout(server: ScriptedLlm, reply: Reply):
    server.script = about("item 1", reply)
    with quick(timeout_s=1.0, attempts=2) as gate:
        outcomes = gate.complete(items(server, 3))
        assert (failed(outcomes[1]).kind, failed(outcomes[1]).message) == ("timeout", "no answer within 1 s")
        assert gate.spending.completions == 2
        assert gate.spending.unpriced == 2  # the provider may bill what nobody waited for
        assert "2 of unknown cost" in gate.spending.money()


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [
        (401, None, "refused the key"),
        (403, None, "may not use the model"),
        (404, None, "base_url"),
        (405, None, "base_url"),
        (402, error_body("Insufficient balance"), "no quota left: HTTP 402: Insufficient balance"),
        (429, error_body("You exceeded your current quota", code="insufficient_quota"), "no quota left"),
    ],
)
def test_what_every_call_would_meet_stops_the_run_and_says_what_to_mend(
    server: ScriptedLlm, cache: CallCache, status: int, raw: str, said: str
):
    server.script = about("item 5", Reply(status=status, raw=raw))
    with quick(cache, concurrency=1) as gate, pytest.raises(StoppedError, match="Mend it and resume") as stop:
        gate.complete(items(server, 100))
    assert said in str(stop.value)
    assert server.url in str(stop.value)
    assert (len(server.requests), gate.spending.completions, len(list(cache.entries()))) == (6, 5, 5)


def test_the_key_is_sent_and_never_told(server: ScriptedLlm, cache: CallCache, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    server.script = lambda asked, _n: (
        Reply(status={"item 1": 400, "item 2": 401}[user_text(asked)], raw=error_body(f"Incorrect API key provided: {KEY}."))
        if user_text(asked) != "item 0"
        else Reply(text="fine")
    )
    with quick(cache, said.append) as gate:
        outcomes = gate.complete(items(server, 2))
        with pytest.raises(StoppedError) as stop:
            gate.complete(items(server, 3))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "provided: ***" in failed(outcomes[1]).message
    kept = [repr(entry) for entry in cache.entries()]
    told = [*kept, repr(ask(server)), repr(ask(server).content), repr(outcomes), str(stop.value), *said, caplog.text, repr(gate.spending)]
    assert len(kept) == 1
    assert KEY not in "".join([*told, *traceback.format_exception(stop.value)])


def test_a_key_with_a_line_break_from_a_file_is_sent_without_it(server: ScriptedLlm):
    with quick() as gate:
        answered(one(gate, ask(server, endpoint={"api_key": f"{KEY}\n"})))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_equal_endpoints_with_other_keys_are_asked_with_their_own(server: ScriptedLlm):
    with quick() as gate:
        gate.complete([ask(server, "a"), ask(server, "b", endpoint={"api_key": "sk-the-other-key"})])
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}", "Bearer sk-the-other-key"}


def refusing(*formats: str) -> Any:
    """A server that knows no such response format."""

    def script(asked: dict[str, Any], _number: int) -> Reply:
        wanted = asked.get("response_format", {"type": "text"})["type"]
        if wanted in formats:
            return Reply(status=400, raw=error_body(f"This model does not support response_format {wanted!r}"), delay_s=0.05)
        return Reply(text=wanted, delay_s=0.05)

    return script


@pytest.mark.parametrize(
    ("refused", "settled"), [(("json_schema",), "json_object"), (("json_schema", "json_object"), "text"), ((), "json_schema")]
)
def test_a_refused_response_format_steps_down_once_for_all_calls(server: ScriptedLlm, refused: tuple[str, ...], settled: str):
    server.script = refusing(*refused)
    said: list[str] = []
    with quick(notify=said.append) as gate:
        outcomes = gate.complete(items(server, 40, schema=SCHEMA))
    assert {answered(outcome).text for outcome in outcomes} == {settled}
    assert len(said) == len(refused)
    wanted = [asked.get("response_format", {"type": "text"})["type"] for asked in server.requests]
    for each in refused:
        assert 1 <= wanted.count(each) <= 8, "only those that were in flight together are refused"
    assert gate.spending.attempts == len(server.requests)
    assert (gate.spending.completions, gate.spending.failed) == (40, {})


def test_a_format_that_the_user_fixed_is_not_changed(server: ScriptedLlm):
    server.script = refusing("json_schema")
    with quick() as gate:
        assert failed(one(gate, ask(server, schema=SCHEMA, endpoint={"response_format": "json_schema"}))).kind == "bad_request"
    assert len(server.requests) == 1


def test_max_tokens_becomes_max_completion_tokens_where_the_model_wants_that(server: ScriptedLlm):
    refusal = error_body("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    server.script = lambda asked, _n: Reply(status=400, raw=refusal, delay_s=0.05) if "max_tokens" in asked else Reply(delay_s=0.05)
    with quick() as gate:
        assert all(isinstance(outcome, Completion) for outcome in gate.complete(items(server, 40)))
    assert sum("max_tokens" in asked for asked in server.requests) <= 8
    assert {asked["max_completion_tokens"] for asked in server.requests if "max_tokens" not in asked} == {50}


def test_what_shapes_the_answer_is_sent_as_it_was_given(server: ScriptedLlm):
    with quick() as gate:
        gate.complete([ask(server, sampling={"temperature": 0.3, "seed": 7, "max_tokens": 9, "stop": ("END",)}, repetition=2)])
        gate.complete([ask(server, sampling={"temperature": None}, schema=SCHEMA)])
    full, bare = server.requests
    assert (full["temperature"], full["seed"], full["max_tokens"], full["stop"]) == (0.3, 9, 9, ["END"])
    assert [message["role"] for message in full["messages"]] == ["system", "user"]
    assert {"temperature", "seed", "stop"}.isdisjoint(bare)
    assert bare["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": -1, "completion_tokens": "x"}])
def test_tokens_that_the_server_does_not_tell_are_unknown_and_not_0(server: ScriptedLlm, usage: Any):
    server.script = lambda _asked, _number: Reply(usage=usage)
    with quick() as gate:
        completion = answered(one(gate, ask(server)))
    assert (completion.prompt_tokens, completion.completion_tokens, completion.cost_usd) == (None, None, None)
    assert (gate.spending.unpriced, gate.spending.cost_usd) == (1, 0.0)
    assert "cost unknown" in gate.spending.money()


def test_a_model_without_a_price_has_tokens_and_no_cost(server: ScriptedLlm):
    with quick() as gate:
        completion = answered(one(gate, ask(server, endpoint={"model": "of-my-own"})))
    assert (completion.prompt_tokens, completion.cost_usd, gate.spending.unpriced) == (100, None, 1)


def test_tokens_from_the_providers_cache_cost_less(server: ScriptedLlm):
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
    server.script = lambda _asked, _number: Reply(usage=usage)
    with quick() as gate:
        completion = answered(one(gate, ask(server)))
    assert completion.cached_tokens == 60
    assert completion.cost_usd == pytest.approx((40 * 1.0 + 60 * 0.25 + 10 * 2.0) / 1e6)


def test_half_an_emoji_in_an_answer_is_replaced_and_kept(server: ScriptedLlm, cache: CallCache):
    server.script = lambda _asked, _number: Reply(text="cut \ud83d here \U0001f642")
    with quick(cache) as gate:
        assert answered(one(gate, ask(server))).text == "cut \ufffd here \U0001f642"
    assert [entry.completion.text for entry in cache.entries()] == ["cut \ufffd here \U0001f642"]


def test_half_an_emoji_in_a_request_fails_it_alone(server: ScriptedLlm):
    with quick() as gate:
        outcomes = gate.complete([ask(server, "cut \ud83d"), ask(server)])
    assert failed(outcomes[0]).kind == "bad_request"
    answered(outcomes[1])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_is_the_time_until_then():
    moment = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < (retry_after({"retry-after": format_datetime(moment, usegmt=True)}) or 0) <= 30


@pytest.mark.parametrize(
    ("remaining", "reset", "seconds"),
    [
        ("0", "20ms", 0.02),
        ("0", "6m12s", 372.0),
        ("0", "1h", 3600.0),
        ("0", "1.5", 1.5),
        ("0", "1s", 1.0),
        ("0", "??", 0.0),
        ("1", "6m", 0.0),
    ],
)
def test_a_used_up_quota_holds_until_its_reset(remaining: str, reset: str, seconds: float):
    headers = {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset, "x-ratelimit-remaining-tokens": "5"}
    assert hold(headers) == pytest.approx(seconds)
