"""Who may do what: the key of a request, its scopes, and how often it may ask.

`limits` and its kin bring storage back ends that one process per key bucket has no use for; the token bucket here is a dozen lines.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from ragtrial.api.errors import retry_after
from ragtrial.domain.access import ApiKey, Scope
from ragtrial.errors import StoreError

REMEMBER_S = 0.5
"""How long a key that was looked up is believed; so a revocation takes effect within a second."""

_MOST_REMEMBERED = 4096
_LONGEST_TOKEN = 200
_BURST_S = 10.0
_LOOKING_AT_ONCE = 4
_PATIENCE_S = 2.0
_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer rt_<prefix>_<secret>`")
_UNKNOWN = "this needs a valid API key: Authorization: Bearer rt_<prefix>_<secret>"


class Gatekeeper(Protocol):
    """Finds out who asks."""

    async def admit(self, token: str | None) -> ApiKey:
        """The key behind a token.

        Raises:
            HTTPException: 401 where there is none or it is not valid, 429 where it asks too often.
            StoreError: The keys can't be looked up.
        """


class TokenBucket:
    """So many requests a minute, of which ten seconds' worth may come at once.

    Args:
        per_minute: At least 1.
        now: Of a clock that never goes back.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._most = max(1.0, per_minute * _BURST_S / 60)
        self._left, self._at = self._most, now

    def take(self, now: float) -> float:
        """Take one; 0 where there was one, else the seconds until there is."""
        a_second = self.per_minute / 60
        self._left = min(self._most, self._left + (now - self._at) * a_second)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / a_second


@dataclass(slots=True, kw_only=True)
class _Remembered:
    until: float
    looking: "asyncio.Future[ApiKey | None]"


class KeyGate:
    """Keys of the database, each looked up at most every half second, however many requests carry it.

    Where the database is out of reach, keys that it knew are believed: what they may do then is the plan's `availability` to say, and what
    they were refused is counted with the outage.

    Args:
        find: Looks a token up; blocks.
        per_minute: Rate of keys that have none of their own; None: no limit.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        find: Callable[[str], ApiKey | None],
        *,
        per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find, self._per_minute, self._clock = find, per_minute, clock
        self._remembered: dict[str, _Remembered] = {}
        self._known: dict[str, ApiKey] = {}
        self._buckets: dict[str, TokenBucket] = {}
        # threads of its own: those that read for analysts must not be missing where somebody asks, votes, or stops the treatment
        self._threads = ThreadPoolExecutor(_LOOKING_AT_ONCE, thread_name_prefix="ragtrial-keys")

    async def admit(self, token: str | None) -> ApiKey:
        """As `Gatekeeper.admit`."""
        if token is None or not token.startswith("rt_") or len(token) > _LONGEST_TOKEN:
            key = None  # not worth a look at the database
        else:
            key = await self._look_up(token)
        if key is None or key.revoked_at is not None:
            raise HTTPException(401, _UNKNOWN, headers={"WWW-Authenticate": "Bearer"})
        rate = key.rate_per_minute or self._per_minute
        if rate is not None:
            self._spend(key, rate)
        return key

    def _spend(self, key: ApiKey, rate: int) -> None:
        now = self._clock()
        bucket = self._buckets.get(key.prefix)
        if bucket is None or bucket.per_minute != rate:
            bucket = self._buckets[key.prefix] = TokenBucket(rate, now)
        wait = bucket.take(now)
        if wait:
            raise HTTPException(429, f"key {key.name!r} may make {rate} requests a minute", headers=retry_after(wait))

    async def _look_up(self, token: str) -> ApiKey | None:
        name = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        entry = self._remembered.get(name)
        if entry is None or (self._clock() >= entry.until and entry.looking.done()):  # a database that hangs is asked once
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            looking = asyncio.get_running_loop().run_in_executor(self._threads, self._find, token)
            entry = _Remembered(until=self._clock() + REMEMBER_S, looking=looking)
            self._remembered[name] = entry
        try:
            async with asyncio.timeout(_PATIENCE_S):
                key = await asyncio.shield(entry.looking)  # others wait for the same answer
        except (StoreError, TimeoutError) as error:
            if name in self._known:
                return self._known[name]
            if isinstance(error, TimeoutError):
                raise StoreError(f"the database of the keys has not answered for {_PATIENCE_S:g} s") from error
            raise
        if key is None or key.revoked_at is not None:
            self._known.pop(name, None)
        else:
            self._known[name] = key
        return key


class OpenGate:
    """Everyone is an admin: for a service on loopback that was told so."""

    async def admit(self, token: str | None) -> ApiKey:  # noqa: ARG002 - a gate's signature
        """As `Gatekeeper.admit`; never refuses."""
        return ApiKey(prefix="none", name="no-auth", role="admin", may_assert_user=True, created_at=0.0)


class Needs:
    """The dependency that every route but health and readiness has.

    Args:
        scope: What the key must allow; None: any valid key will do.
    """

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None
    ) -> ApiKey:
        """The request's key.

        Raises:
            HTTPException: 401, 403 or 429.
        """
        gate: Gatekeeper = request.app.state.gate
        key = await gate.admit(None if credentials is None else credentials.credentials)
        request.state.caller = key.name
        if self.scope is not None and self.scope not in key.scopes:
            raise HTTPException(403, f"a key of role {key.role!r} does not allow {self.scope!r}")
        return key
