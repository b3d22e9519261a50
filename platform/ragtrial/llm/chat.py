"""What is asked of a chat model and what came back, in the form that the cache keeps."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

FailureKind = Literal["rate_limit", "timeout", "connection", "server", "malformed", "refused", "truncated", "bad_request"]
FormatMode = Literal["auto", "json_schema", "json_object", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Who is asked.

    Attributes:
        base_url: Of any OpenAI-compatible server, with its `/v1`.
        model: The server's name of the model.
        api_key: Never part of a key, a log or a repr.
        response_format: How structured answers are asked for; `auto` begins with a JSON schema and steps down where the server refuses it.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False, compare=False)
    response_format: FormatMode = "auto"

    @property
    def name(self) -> str:
        """For people: the model and where it is."""
        return f"{self.model} at {self.base_url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What shapes the answer beside the prompt; None leaves the server's own default, and is recorded as that.

    Attributes:
        temperature: 0 is the most repeatable that a server offers, which is not the same as deterministic.
        seed: Honoured by some servers.
        max_tokens: Longest answer.
        stop: Texts at which the answer ends.
    """

    temperature: float | None = 0.0
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One question to a model.

    Attributes:
        endpoint: Who is asked.
        system: The instructions.
        user: The material.
        prompt: Name and version of the prompt's text, e.g. `answer/1`.
        sampling: Temperature, seed, length.
        schema: JSON schema that the answer should keep; None for plain text.
        repetition: From 0; a further one is asked anew, and cached apart.
        purpose: What it is for, to group calls in the cache and in the costs: `answer`, or a metric's name.
    """

    endpoint: Endpoint
    system: str
    user: str
    prompt: str
    sampling: Sampling
    schema: Mapping[str, Any] | None = None
    repetition: int = 0
    purpose: str = "answer"

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """Everything that may change the answer."""
        return {
            "base_url": self.endpoint.base_url.rstrip("/"),
            "model": self.endpoint.model,
            "response_format": self.endpoint.response_format if self.schema is not None else "text",
            "prompt": self.prompt,
            "system": self.system,
            "user": self.user,
            "temperature": self.sampling.temperature,
            "seed": self.sampling.seed,
            "max_tokens": self.sampling.max_tokens,
            "stop": list(self.sampling.stop),
            "schema": self.schema,
            "repetition": self.repetition,
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 over `content`, in hexadecimal: equal keys are the same question, to the letter."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def n_bytes(self) -> int:
        """Length of the prompt in UTF-8."""
        return len(self.system.encode("utf-8", "surrogatepass")) + len(self.user.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model said, and what it took.

    Attributes:
        key: The request's.
        text: The answer, not empty.
        model: As the server named it.
        prompt_tokens: None where the server did not say.
        cached_tokens: Of the prompt tokens, those that the provider had in its own cache; None where it did not say.
        completion_tokens: None where the server did not say.
        cost_usd: By the price table at the time of the call; None where the model or its tokens have no price.
        elapsed_ms: Wall-clock milliseconds of the attempt that succeeded.
        attempts: 1 where the first attempt succeeded.
        from_cache: It was not paid for now.
        made_at: When it was kept, in seconds since 1970; None where it came just now.
    """

    key: str
    text: str
    model: str
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    elapsed_ms: float
    attempts: int = 1
    from_cache: bool = False
    made_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """Why there is no completion.

    Attributes:
        key: The request's.
        kind: The class of failure, for counting.
        message: What was said, in one line.
        attempts: How often it was tried.
        cost_usd: What the last attempt cost all the same; 0 where the server did no work, None where that is not known.
    """

    key: str
    kind: FailureKind
    message: str
    attempts: int = 1
    cost_usd: float | None = None


Outcome = Completion | CallFailure
Accept = Callable[[str], object]
"""Looks at a text and raises ValueError where it is unusable: such an answer is `malformed`, and never cached."""
