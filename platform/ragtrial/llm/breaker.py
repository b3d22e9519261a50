"""The circuit breaker of an endpoint: where it seems dead, wait and probe instead of failing every call (Nygard 2007, section 5.2).

Calls are held back, not refused: an evaluation that records ten thousand failures because a server restarted is worth nothing. And what
is tried meanwhile is a probe of our own, not the calls themselves: a handful of items that a healthy server can't digest must not pass
for a dead server, or a run that is resumed with just those would never end. Written here because the breakers on PyPI refuse.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

_THRESHOLD = 10
_UNREACHABLE_COUNTS = 4
_FIRST_COOLDOWN_S = 1.0
_LONGEST_COOLDOWN_S = 30.0
_FIRST_PATIENCE_S = 10.0


class Breaker:
    """Open after ten failures in a row (three, where there was no connection to be had); then one probe at a time. For one event loop.

    Args:
        patience_s: How long without any success until the endpoint counts as dead; at most 10 s where it never answered.
        clock: Seconds, for tests.
    """

    def __init__(self, *, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._failures = 0
        self._since = 0.0
        self._ever = False
        self._cooldown = _FIRST_COOLDOWN_S
        self._opens_at = 0.0
        self._probing = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._failures >= _THRESHOLD

    @property
    def is_dead(self) -> bool:
        """Whether it is of no use to go on waiting."""
        return self.is_open and self._clock() >= self._dead_at

    async def admit(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Wait until calls may be tried.

        Args:
            probe: Asks the endpoint something small, and says by `succeeded` or `probe_failed` what came of it.
        """
        while self.is_open:
            async with self._probing:
                if self._failures < _THRESHOLD:  # the probe before this one succeeded
                    return
                await asyncio.sleep(max(0.0, self._opens_at - self._clock()))
                await probe()

    def succeeded(self) -> None:
        """The endpoint answered, be it with a refusal."""
        self._failures, self._ever, self._cooldown = 0, True, _FIRST_COOLDOWN_S

    def failed(self, *, unreachable: bool = False) -> bool:
        """A call was not answered, or there was no connection at all; whether this opened the circuit."""
        if self.is_open:  # it was in flight with those that opened it, and says nothing new
            return False
        if not self._failures:
            self._since = self._clock()
        self._failures += _UNREACHABLE_COUNTS if unreachable else 1
        self._opens_at = self._clock() + self._cooldown
        return self.is_open

    def probe_failed(self) -> None:
        """The probe was not answered: the next one comes later, and at the latest when patience ends."""
        now = self._clock()
        self._cooldown = min(_LONGEST_COOLDOWN_S, self._cooldown * 2)
        self._opens_at = min(now + self._cooldown, self._dead_at)

    @property
    def _dead_at(self) -> float:
        return self._since + (self._patience_s if self._ever else min(self._patience_s, _FIRST_PATIENCE_S))
