"""How many calls may be in flight at once: additive increase, multiplicative decrease, with waiting times honoured.

Chiu and Jain 1989, "Analysis of the increase and decrease algorithms for congestion avoidance", section 3: of the linear controls only
this one converges to a fair share. Written here because the rate limiters on PyPI hold a fixed rate, and a fixed rate is what the user
of a shared endpoint doesn't know.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

_DECREASE = 0.5


class AdaptiveLimiter:
    """A semaphore whose size follows what the endpoint can take. For one event loop.

    It begins at half of the most, grows by one for each success until the first refusal (so it doubles with each round), and from then
    on by one for each round; a refusal halves it, once for all the calls that were in flight together.

    Args:
        most: Never more in flight than this.
        clock: Seconds, for tests.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._size = float(max(1, most // 2))
        self._probing = True
        self._held = 0
        self._closed_until = -float("inf")
        self._last_cut = -float("inf")
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """How many may be in flight now."""
        return max(1, int(self._size))

    @property
    def held(self) -> int:
        """How many are in flight now."""
        return self._held

    def now(self) -> float:
        """The clock's seconds, for `refused`."""
        return self._clock()

    def take(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        self._forget_cancelled()
        free = not self._waiters and self._open()
        self._held += free
        return free

    async def acquire(self) -> None:
        """Wait for a free place."""
        if self.take():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()  # the place was given in the same moment
            raise

    def release(self) -> None:
        """Give the place back."""
        self._held -= 1
        self._wake()

    def succeeded(self) -> None:
        """A call came back well: a little more may be tried."""
        self._size = min(float(self._most), self._size + (1.0 if self._probing else 1.0 / self._size))

    def refused(self, sent_at: float) -> bool:
        """A call that was sent then was too much; whether the size was cut (and not already for the crowd that it was sent with)."""
        self._probing = False
        if sent_at < self._last_cut:
            return False
        self._last_cut = self._clock()
        self._size = max(1.0, self._size * _DECREASE)
        return True

    def pause(self, seconds: float) -> None:
        """Start nothing for so long: the endpoint said when to come back."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def _open(self) -> bool:
        return self._held < self.size and self._clock() >= self._closed_until

    def _forget_cancelled(self) -> None:
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()

    def _wake(self) -> None:
        self._forget_cancelled()
        while self._waiters and self._open():
            self._held += 1
            self._waiters.popleft().set_result(None)
            self._forget_cancelled()
        wait = self._closed_until - self._clock()
        if self._waiters and wait > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._pause_over)

    def _pause_over(self) -> None:
        self._timer = None
        self._wake()
