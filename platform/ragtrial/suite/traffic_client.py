"""The simulated users' end of the service's HTTP interface: keys, retries, and a count of everything that happened."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from ragtrial.domain.live_trial import Signal
from ragtrial.errors import InputError, SetupError
from ragtrial.suite.traffic_users import Ballot, Reply, SeenSource

_TRIES = 8
_TIMEOUT_S = 30.0
_LONGEST_WAIT_S = 10.0
_FIRST_PAUSE_S = 0.2
_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
_MESSAGES = 200

Body = Mapping[str, Any]


@dataclass(kw_only=True)
class Counts:
    """What happened between the users and the service; every request ends in exactly one of these lines.

    Attributes:
        requests: HTTP requests sent, retries and repetitions included.
        answers: Questions that were answered and logged, each once.
        abstained: Answers that said that there is none.
        unlogged: Answers that the service gave without logging them.
        failed: Questions whose trial failed (502); they are logged as failures.
        refused: 503 and 429, which are tried again after the time that the service asks for.
        dropped: Connections that broke or timed out; tried again with the same key.
        given_up: Requests that got nothing after the last try.
        errors: Every other refusal, by what was said.
        repeated: Requests sent once more with a key that had been used, as a client does that had waited too long.
        contradictions: Repetitions that were not answered as such: another trial, or a vote recorded twice.
        outcomes: Votes and signals acknowledged, by outcome.
        thumbs: Votes acknowledged, by thumb, on answers and sources.
        signals: Signals acknowledged, by kind.
    """

    requests: int = 0
    answers: int = 0
    abstained: int = 0
    unlogged: int = 0
    failed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    given_up: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    contradictions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    thumbs: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Something that the service said it has: it must be in the database, once.

    Attributes:
        kind: `trial`, `failed trial`, `vote` or `signal`.
        trial_id: The trial, or the one that the vote or signal is for.
        key: Idempotency key of the request.
        what: The thumb or the signal; empty for trials.
    """

    kind: str
    trial_id: str
    key: str
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A reply, and whether it is to the first try."""

    content: dict[str, Any]
    first_try: bool


class Client:
    """Sends what users do, and tries again where the service asks for it.

    Args:
        url: Root of the service, e.g. `http://127.0.0.1:8000`.
        key: API key that may ask and vote.
        read_key: API key that may read results; None: the same.
        connections: At most so many at once.
    """

    def __init__(self, url: str, *, key: str, read_key: str | None = None, connections: int) -> None:
        self.counts = Counts()
        self.acknowledged: list[Acknowledged] = []
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}
        self._read_headers = {"Authorization": f"Bearer {read_key or key}"}
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def check(self, experiment: str) -> None:
        """See whether a service is there that serves this experiment, before any traffic.

        Raises:
            SetupError: Nothing answers there, or it isn't ready.
            InputError: It is no ragtrial service, it serves another experiment, or it refuses the key.
        """
        try:
            async with self._open.get(f"{self._url}/readyz") as response:
                status, content = response.status, await _content(response)
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise SetupError(f"the service at {self._url} is not ready yet: {_said(content)}")
            if status != HTTPStatus.OK:
                raise InputError(f"{self._url}/readyz answers with {status}: is this a service that `ragtrial serve` started?")
            async with self._open.get(f"{self._url}/v1/models", headers=self._headers) as response:
                status, content = response.status, await _content(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SetupError(f"no service answers at {self._url} ({str(error) or 'time-out'}): start one with ragtrial serve") from error
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self._key_refused(content)
        if status != HTTPStatus.OK:
            raise SetupError(f"the service at {self._url} does not say what it serves (/v1/models answers with {status}: {_said(content)})")
        served = _experiment_of(content)
        if served != experiment:
            raise InputError(f"the service at {self._url} serves {served!r}, not {experiment!r}: give its file, or another --url")

    async def ask(self, text: str, *, unit: str, key: str) -> Reply | None:
        """Ask; None where there is no answer that one could vote on, which is counted."""
        answered = await self._post("/v1/ask", {"query": text, "unit": unit}, key=key, header=True)
        if answered is None:
            return None
        content = answered.content
        if not content.get("logged", True):
            self.counts.unlogged += 1
            return None
        self.counts.answers += 1
        self.counts.abstained += bool(content["abstained"])
        self.acknowledged.append(Acknowledged(kind="trial", trial_id=content["trial_id"], key=key))
        return _reply(content)

    async def ask_again(self, text: str, *, unit: str, key: str, reply: Reply) -> None:
        """The same question with the same key, as after a time-out; it must get the same trial."""
        self.counts.repeated += 1
        answered = await self._post("/v1/ask", {"query": text, "unit": unit}, key=key, header=True)
        if answered is not None and answered.content["trial_id"] != reply.trial_id:
            self.counts.contradictions += 1
            self.acknowledged.append(Acknowledged(kind="trial", trial_id=answered.content["trial_id"], key=key))

    async def vote(self, reply: Reply, ballot: Ballot, *, key: str, times: int = 1) -> None:
        """Cast a vote, `times` times with the same key; only the first may count."""
        body = {"trial_id": reply.trial_id, "thumb": ballot.thumb, "tags": list(ballot.tags), "comment": ballot.comment, "key": key}
        body |= {} if ballot.passage_id is None else {"passage_id": ballot.passage_id}
        on = "answer" if ballot.passage_id is None else "source"
        if await self._tell("/v1/feedback", body, kind="vote", what=ballot.thumb, times=times):
            self.counts.thumbs[f"{ballot.thumb} on {on}"] += 1

    async def signal(self, reply: Reply, signal: Signal, *, key: str, passage_id: str | None = None, times: int = 1) -> None:
        """Tell what the user did, `times` times with the same key."""
        body = {"trial_id": reply.trial_id, "signal": signal, "key": key}
        body |= {} if passage_id is None else {"passage_id": passage_id}
        if await self._tell("/v1/events", body, kind="signal", what=signal, times=times):
            self.counts.signals[signal] += 1

    async def analysis(self, experiment: str) -> Body | str:
        """What the service makes of the traffic so far, or in words why it can't say."""
        try:
            async with self._open.get(f"{self._url}/v1/experiments/{experiment}/analysis", headers=self._read_headers) as response:
                content = await _content(response)
                if response.status == HTTPStatus.OK:
                    return content
                if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    return "this key may not read results: name one that may with --read-key-env"
                return _said(content)
        except (aiohttp.ClientError, TimeoutError) as error:
            return str(error) or "time-out"

    async def _tell(self, path: str, body: Body, *, kind: str, what: str, times: int) -> bool:
        """Whether it was acknowledged; repetitions that are taken for new are counted."""
        recorded = False
        for number in range(times):
            self.counts.repeated += number > 0
            answered = await self._post(path, body, key=body["key"])
            if answered is None:
                continue
            outcome = str(answered.content["outcome"])
            self.counts.outcomes[outcome] += 1
            if recorded:
                self.counts.contradictions += outcome != "repeated"
                continue
            recorded = True
            self.acknowledged.append(Acknowledged(kind=kind, trial_id=body["trial_id"], key=body["key"], what=what))
            # An earlier try that was not acknowledged may have been recorded all the same.
            self.counts.contradictions += outcome == "repeated" and answered.first_try
        return recorded

    async def _post(self, path: str, body: Body, *, key: str, header: bool = False) -> _Answered | None:
        """The reply, or None where there is none after the last try; what was in the way is counted.

        Raises:
            InputError: The key is refused: then nothing else will be answered either.
        """
        headers = {**self._headers, "Idempotency-Key": key} if header else self._headers
        for number in range(_TRIES):
            self.counts.requests += 1
            try:
                async with self._open.post(f"{self._url}{path}", json=body, headers=headers) as response:
                    status, wait, content = response.status, response.headers.get("Retry-After"), await _content(response)
            except (aiohttp.ClientError, TimeoutError):
                self.counts.dropped += 1
                await asyncio.sleep(min(_LONGEST_WAIT_S, _FIRST_PAUSE_S * 2**number))
                continue
            if status < HTTPStatus.MULTIPLE_CHOICES:
                return _Answered(content=content, first_try=number == 0)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise self._key_refused(content)
            if status not in _AGAIN:
                self._refused(status, content, key)
                return None
            self.counts.refused[str(status)] += 1
            await asyncio.sleep(_pause(wait))
        self.counts.given_up += 1
        return None

    def _key_refused(self, content: Body) -> InputError:
        return InputError(f"the service at {self._url} refuses the key ({_said(content)}): give one that may ask and vote")

    def _refused(self, status: int, content: dict[str, Any], key: str) -> None:
        error = content.get("error")
        trial_id = error.get("trial_id") if isinstance(error, dict) else None
        if status == HTTPStatus.BAD_GATEWAY and trial_id:
            self.counts.failed += 1
            self.acknowledged.append(Acknowledged(kind="failed trial", trial_id=trial_id, key=key))
        else:
            self.counts.errors[f"{status}: {_said(content)}"] += 1

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise SetupError("the client is not open: use it in `async with`")
        return self._session


async def _content(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The JSON object of a reply; anything else as its text."""
    text = await response.text(errors="replace")
    try:
        content = await response.json(content_type=None)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"error": {"message": text}}


def _experiment_of(models: Body) -> str | None:
    """What `/v1/models` says is served; None where it says nothing of it."""
    listed = models.get("data")
    first = listed[0] if isinstance(listed, list) and listed else None
    found = first.get("experiment") if isinstance(first, dict) else None
    return found if isinstance(found, str) else None


def _said(content: Body) -> str:
    error = content.get("error", content)
    message = str(error.get("message", error) if isinstance(error, dict) else error)
    return message[:_MESSAGES] or "nothing was said"


def _pause(retry_after: str | None) -> float:
    """Seconds to wait, as the service asks; a date or nothing is one second."""
    try:
        return min(_LONGEST_WAIT_S, max(0.0, float(retry_after or 1)))
    except ValueError:
        return 1.0


def _reply(content: Body) -> Reply:
    return Reply(
        trial_id=content["trial_id"],
        sources=tuple(SeenSource(passage_id=source["passage_id"], cited=source["cited"]) for source in content["sources"]),
        abstained=content["abstained"],
        solicited=content["solicit_rating"],
    )
