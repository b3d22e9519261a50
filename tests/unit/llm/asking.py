"""Requests, gates and scripts for the tests of the gate."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import CallFailure, ChatRequest, Completion, Endpoint, Outcome, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import Price, PriceTable
from scripted_llm import Reply, ScriptedLlm, user_text

KEY = "sk-very-secret-0123456789"
MODEL = "priced"
COST = 100 * 1.0 / 1e6 + 10 * 2.0 / 1e6
"""Of the scripted server's 100 prompt tokens and 10 completion tokens, at 1 and 2 US dollars a million."""
PRICES = PriceTable([(MODEL, Price(prompt=1.0, cached=0.25, completion=2.0, as_of=date(2026, 1, 1)))])
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"], "additionalProperties": False}


def ask(server: ScriptedLlm | str, user: str = "item 0", **more: Any) -> ChatRequest:
    """A request that the server can tell from others by its `user`."""
    url = server if isinstance(server, str) else server.url
    endpoint = {"base_url": url, "model": MODEL, "api_key": KEY, **more.pop("endpoint", {})}
    sampling = Sampling(**more.pop("sampling", {"max_tokens": 50}))
    return ChatRequest(endpoint=Endpoint(**endpoint), system="You answer.", user=user, prompt="test/1", sampling=sampling, **more)


def items(server: ScriptedLlm | str, n: int, **more: Any) -> list[ChatRequest]:
    return [ask(server, f"item {number}", **more) for number in range(n)]


def quick(cache: CallCache | None = None, notify: Callable[[str], None] = lambda _: None, **limits: Any) -> Gate:
    """A gate that does not dawdle."""
    quickly = {"concurrency": 8, "timeout_s": 5.0, "attempts": 3, "backoff_s": 0.01, "patience_s": 1.0, **limits}
    return Gate(Limits(**quickly), prices=PRICES, cache=cache, notify=notify)


def one(gate: Gate, request: ChatRequest, **more: Any) -> Outcome:
    (outcome,) = gate.complete([request], **more)
    return outcome


def answered(outcome: Outcome) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


def failed(outcome: Outcome) -> CallFailure:
    assert isinstance(outcome, CallFailure), outcome
    return outcome


def first(n: int, then: Reply, later: Reply | None = None) -> Callable[[dict[str, Any], int], Reply]:
    """A script: this reply to the first n requests, and another to the rest."""
    return lambda _asked, number: then if number < n else later or Reply()


def about(word: str, reply: Reply, other: Reply | None = None) -> Callable[[dict[str, Any], int], Reply]:
    """A script: this reply to requests whose material is the word, and another to the rest."""
    return lambda asked, _number: reply if user_text(asked) == word else other or Reply(text=f"answer to {user_text(asked)}")


def error_body(message: str, **more: Any) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}})


def echo(asked: dict[str, Any], _number: int) -> Reply:
    return Reply(text=f"answer to {user_text(asked)}")


def texts(cache: CallCache) -> set[str]:
    return {entry.completion.text for entry in cache.entries()}


def asked_for(server: ScriptedLlm) -> Counter[str]:
    return Counter(user_text(asked) for asked in server.requests)
