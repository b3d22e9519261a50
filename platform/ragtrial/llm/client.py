"""One attempt at one call over the `openai` SDK, with every way it can fail given its class.

The SDK's own retries are off: a retry that nobody sees is a rate limit that nobody sees. Its faster transport (aiohttp) is used, and its
`post` instead of `chat.completions.create`, whose walk through every argument and field takes longer than all the rest of a call.
"""

import asyncio
import importlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai

from ragtrial.llm.chat import ChatRequest, Completion, Endpoint, FailureKind
from ragtrial.llm.headers import hold, retry_after
from ragtrial.llm.prices import PriceTable
from ragtrial.llm.structured import encodable

_TRANSIENT: frozenset[FailureKind] = frozenset(("rate_limit", "timeout", "connection", "server"))
_STEPS = {
    "auto": ("json_schema", "json_object", "text"),
    "json_schema": ("json_schema",),
    "json_object": ("json_object",),
    "text": ("text",),
}
_FATAL = {
    401: "{} refused the key (401): set it in the environment variable that api_key_env names (default OPENAI_API_KEY)",
    403: "{} refused the key, or this key may not use the model (403)",
    404: "there is no {} (404): look at base_url (with its /v1) and model",
    405: "{} is no chat endpoint (405): look at base_url (with its /v1)",
}
_CONNECT_S = 10.0
_WARM_S = 3.0
_RESPONSE: Any = importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]).Response
"""Of the HTTP library that the SDK sits on: httpx2 since its version 3, httpx before."""
_SHORTEST_KEY = 8


class AttemptError(Exception):
    """An attempt that failed.

    Args:
        kind: Its class.
        message: One line.
        retry_after_s: What the server asked to wait, where it did.
        fatal: Every further call would fail alike (no such model, no valid key, no money): stop, and say what to mend.
        unreachable: There was no connection to be had, so that it can't be the request's fault.
        cost_usd: What the failed attempt cost all the same (a refusal is paid for): 0 where the server did no work, None where it may
            have, and nobody says what that cost.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        fatal: bool = False,
        unreachable: bool = False,
        cost_usd: float | None = 0.0,
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry_after_s = kind, message, retry_after_s
        self.fatal, self.unreachable, self.cost_usd = fatal, unreachable, cost_usd

    @property
    def transient(self) -> bool:
        """Whether trying again may help."""
        return self.kind in _TRANSIENT and not self.fatal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A completion, and how long the server asks to hold back before the next call (0 where it doesn't)."""

    completion: Completion
    hold_s: float


class ChatClient:
    """Chat completions of one endpoint; for one event loop, to be closed on it.

    Args:
        endpoint: Who is asked.
        prices: For `cost_usd`.
        timeout_s: For a whole attempt, trickling answers included.
        connections: Most connections kept.
        sending: Called before each request that goes out.
        notify: Told in a line what the server does not take, and what it is asked instead.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prices: PriceTable,
        *,
        timeout_s: float,
        connections: int,
        sending: Callable[[], None],
        notify: Callable[[str], None],
    ) -> None:
        self._endpoint, self._prices, self._timeout_s = endpoint, prices, timeout_s
        self._sending, self._notify = sending, notify
        self._key = endpoint.api_key.strip()
        timeout = openai.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        limits = openai.DEFAULT_CONNECTION_LIMITS.__class__(max_connections=connections, max_keepalive_connections=connections)
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=timeout,
            # a redirection would carry the passages to wherever it says, with a base_url that was looked at
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=limits, follow_redirects=False),
        )
        self._formats = list(_STEPS[endpoint.response_format])
        self._limit_name = "max_tokens"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def warm(self) -> None:
        """Open a connection with a question that costs nothing, so that no call's time holds what only the first one takes."""
        with suppress(Exception):  # whether the endpoint is well is for the calls to find out
            async with asyncio.timeout(min(self._timeout_s, _WARM_S)):
                await self._client.get("/models", cast_to=_RESPONSE)

    async def attempt(self, request: ChatRequest) -> Reply:
        """Ask once, or once more where the server does not take a parameter that can be put in another way.

        Raises:
            AttemptError: Anything but a usable answer.
        """
        while True:
            arguments = self._arguments(request)
            start = time.perf_counter()
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._sending()
                    response = await self._client.post("/chat/completions", cast_to=_RESPONSE, body=arguments)
                    answer = response.json()
            except openai.APIStatusError as error:
                if not self._stepped_down(arguments, error):
                    raise self._status_error(error) from error
            except (TimeoutError, openai.APIConnectionError) as error:
                raise self._no_answer(error) from error
            except UnicodeEncodeError as error:
                raise AttemptError("bad_request", f"the request can't be sent: {error.reason} at {error.start}") from error
            except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
                raise self._no_completion(error) from error
            else:
                completion = self._completion(request, answer, (time.perf_counter() - start) * 1000)
                return Reply(completion=completion, hold_s=hold(response.headers))

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        sampling = request.sampling
        arguments: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}],
            self._limit_name: sampling.max_tokens,
        }
        if sampling.temperature is not None:
            arguments["temperature"] = sampling.temperature
        if sampling.seed is not None:
            arguments["seed"] = sampling.seed + request.repetition
        if sampling.stop:
            arguments["stop"] = list(sampling.stop)
        if request.schema is not None and self._formats[0] == "json_schema":
            named = {"name": "answer", "schema": request.schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": named}
        elif request.schema is not None and self._formats[0] == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments

    def _stepped_down(self, arguments: Mapping[str, Any], error: openai.APIStatusError) -> bool:
        """Whether the server refused a parameter that is put in another way by now; remembered for all further calls.

        Calls that were in flight together are refused together: they take one step, not one each.
        """
        if error.status_code not in (400, 422, 500, 501):
            return False
        said = str(error).lower()
        if "max_tokens" in arguments and "max_completion_tokens" in said:
            self._limit_name = "max_completion_tokens"
            return True
        sent = arguments.get("response_format", {}).get("type")
        if sent is None or not ("response_format" in said or "json_schema" in said):
            return False
        if self._formats[0] == sent:
            if len(self._formats) == 1:
                return False
            self._formats.pop(0)
            self._notify(f"{self._endpoint.name} does not take response_format {sent}: asking for {self._formats[0]} instead")
        return True

    def _status_error(self, error: openai.APIStatusError) -> AttemptError:
        """The class of an HTTP error; those that every call would meet are fatal."""
        status, said, code = error.status_code, self._line(error), getattr(error, "code", None)
        wait = retry_after(error.response.headers)
        if code == "insufficient_quota" or status == 402:
            return AttemptError("rate_limit", f"the account at {self._endpoint.name} has no quota left: {said}", fatal=True)
        if status in _FATAL:
            return AttemptError("bad_request", _FATAL[status].format(self._endpoint.name) + f": {said}", fatal=True)
        if status == 429:
            return AttemptError("rate_limit", said, retry_after_s=wait if wait is not None else hold(error.response.headers) or None)
        if status == 408 or status == 504:
            return AttemptError("timeout", said, retry_after_s=wait, cost_usd=None)
        if status == 409 or status >= 500:
            return AttemptError("server", said, retry_after_s=wait)
        return AttemptError("refused" if code == "content_filter" else "bad_request", said)

    def _no_answer(self, error: BaseException) -> AttemptError:
        """A timeout, or a connection that was not to be had or was cut; the SDK's transport calls all of them timeouts."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                return AttemptError("connection", self._line(cause), unreachable=True)
            if isinstance(cause, TimeoutError):
                break
            if isinstance(cause, aiohttp.ClientError):
                return AttemptError("connection", f"the connection was cut: {self._line(cause)}", cost_usd=None)
            cause = cause.__cause__
        if cause is None and not isinstance(error, openai.APITimeoutError):
            return AttemptError("connection", self._line(error.__cause__ or error), cost_usd=None)
        return AttemptError("timeout", f"no answer within {self._timeout_s:g} s", cost_usd=None)

    def _no_completion(self, error: object) -> AttemptError:
        return AttemptError("server", f"a response that is no chat completion: {self._line(error)}", cost_usd=None)

    def _line(self, error: object) -> str:
        """What went wrong, without the page that a proxy may have sent, and never the key."""
        if isinstance(error, openai.APIStatusError):
            body = error.body if isinstance(error.body, dict) else {}
            text = f"HTTP {error.status_code}: {body.get('message') or (json.dumps(body) if body else error.response.reason_phrase)}"
        else:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return (text.replace(self._key, "***") if len(self._key) >= _SHORTEST_KEY else text)[:300]

    def _completion(self, request: ChatRequest, answer: Any, elapsed_ms: float) -> Completion:
        try:
            choice = answer["choices"][0]
            message, finish_reason = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content"), message.get("refusal")
            usage = self._usage(answer.get("usage"))
            model = str(answer.get("model") or self._endpoint.model)
        except (AttributeError, LookupError, TypeError) as error:
            raise self._no_completion(error) from error
        cost = usage["cost_usd"]
        if refusal or finish_reason == "content_filter":
            raise AttemptError("refused", self._line(refusal or "stopped by the content filter"), cost_usd=cost)
        if finish_reason == "length":
            limit = request.sampling.max_tokens
            raise AttemptError("truncated", f"the answer is longer than max_tokens ({limit})", cost_usd=cost)
        if not isinstance(text, str) or not text.strip():
            raise AttemptError("malformed", f"an empty answer (finish_reason {finish_reason!r})", cost_usd=cost)
        return Completion(key=request.key, text=encodable(text), model=encodable(model), elapsed_ms=elapsed_ms, **usage)

    def _usage(self, usage: Any) -> dict[str, Any]:
        """Tokens and cost as far as the server says; what it doesn't say is None."""
        prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        cached = _count(usage.get("prompt_tokens_details") if isinstance(usage, dict) else None, "cached_tokens")
        cost = self._prices.cost(self._endpoint.model, prompt, completion, cached)
        return {"prompt_tokens": prompt, "cached_tokens": cached, "completion_tokens": completion, "cost_usd": cost}


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else None
