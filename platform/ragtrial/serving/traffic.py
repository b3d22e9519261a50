"""The traffic's state, read again and again, so that a kill switch takes effect within a second in every worker."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ragtrial.domain.live import TrafficState
from ragtrial.errors import StoreError
from ragtrial.serving.counting import ServingCounts

EVERY_S = 0.5
STALE_AFTER_S = 10.0
"""Without contact for so long, everyone gets the baseline: a kill switch that can't be read must not stay open."""


class TrafficWatch:
    """What holds of the traffic, as last read. For one event loop.

    Args:
        read: Reads it from the database.
        initial: As read at the start.
        counts: What is counted.
        every_s: Between two readings.
        stale_after_s: See `STALE_AFTER_S`.
        monotonic: Seconds, never set back.
    """

    def __init__(
        self,
        read: Callable[[], TrafficState],
        initial: TrafficState,
        *,
        counts: ServingCounts,
        every_s: float = EVERY_S,
        stale_after_s: float = STALE_AFTER_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._state, self._counts = read, initial, counts
        self._every_s, self._stale_after_s, self._monotonic = every_s, stale_after_s, monotonic
        self._read_at = monotonic()
        self._error: str | None = None
        counts.state_version.set(initial.version)

    @property
    def state(self) -> TrafficState:
        """As last read or changed."""
        return self._state

    @property
    def error(self) -> str | None:
        """What the database said when it was last asked in vain; None where it answers."""
        return self._error

    @property
    def in_force(self) -> TrafficState:
        """What new requests are assigned by: stopped for all where the database was not heard of for too long."""
        if self._monotonic() - self._read_at > self._stale_after_s and not self._state.stopped:
            return replace(self._state, stopped=True, actor="service", reason="the traffic's state can't be read")
        return self._state

    def changed(self, state: TrafficState) -> None:
        """A newer state is known; an older one is left where it is."""
        if state.version >= self._state.version:
            self._state = state
            self._counts.state_version.set(state.version)

    async def run(self) -> None:
        """Read for ever. A database that hangs is asked once, not again and again."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="ragtrial-traffic")
        try:
            while True:
                reading = loop.run_in_executor(thread, self._read)
                while not (await asyncio.wait({reading}, timeout=max(1.0, self._every_s)))[0]:
                    self._error = "the database does not answer"
                try:
                    self.changed(reading.result())
                except StoreError as error:
                    self._error = str(error)
                else:
                    self._error, self._read_at = None, self._monotonic()
                await asyncio.sleep(self._every_s)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
