"""One attempt at one call over the `openai` SDK, with every way it can fail given its class.

The SDK's own retries are off: a retry that nobody sees is a rate limit that nobody sees. Its faster transport (aiohttp) is used.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import openai

from ragtrial.llm.chat import ChatRequest, Completion, Endpoint, FailureKind
from ragtrial.llm.prices import PriceTable

_TRANSIENT: frozenset[FailureKind] = frozenset(("rate_limit", "timeout", "connection", "server"))
_STEPS = {
    "auto": ("json_schema", "json_object", "text"),
    "json_schema": ("json_schema",),
    "json_object": ("json_object",),
    "text": ("text",),
}
_FATAL = {
    401: "{} refused the key (401)",
    403: "{} refused the key, or this key may not use the model (403)",
    404: "there is no {} (404): look at base_url (with its /v1) and model",
    405: "{} is no chat endpoint (405): look at base_url (with its /v1)",
}
_CONNECT_S = 10.0
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
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=limits),
        )
        self._formats = list(_STEPS[endpoint.response_format])
        self._limit_name = "max_tokens"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

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
                    raw = await self._client.chat.completions.with_raw_response.create(**arguments)
                    answer = raw.parse()
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
                return Reply(completion=completion, hold_s=_hold(raw.headers))

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

    def _whole(text: str) -> str:
    """The text with half surrogate pairs (a cut emoji) replaced, which no file and no database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3)."""
    precise = _number(headers.get("retry-after-ms"))
    if precise is not None:
        return precise / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _hold(headers: Mapping[str, str]) -> float:
    """Seconds until the quota is there again, where the headers say that none is left; 0 where there is some."""
    used_up = [what for what in ("requests", "tokens") if _number(headers.get(f"x-ratelimit-remaining-{what}")) == 0]
    return max((_duration(headers.get(f"x-ratelimit-reset-{what}")) or 0.0 for what in used_up), default=0.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _duration(text: str | None) -> float | None:
    """Seconds of `1.5`, `20ms`, `1s` or `6m12s`, as providers write the time until a reset."""
    if text is None or _number(text) is not None:
        return _number(text)
    total, number, units = 0.0, "", {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest = text.strip()
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((unit for unit in units if rest.startswith(unit)), None)
        value = _number(number)
        if value is None or unit is None:
            return None
        total, rest = total + value * units[unit], rest[len(unit) :]
    return total
