"""Times in which the log can't be written: noticed, counted, and logged once it can be written again."""

import time
from collections.abc import Callable

from ragtrial.domain.live_trial import Outage

PROBE_EVERY_S = 1.0
"""While the database is lost, one request in so many seconds tries the log; the others need not wait for a time-out each."""


class Outages:
    """What became of requests while the log could not be written. For one event loop.

    An outage begins with the first request that was refused or served unlogged and ends with the last one; one that no database ever
    took (the process was killed) is lost, and shows only as a gap between trials.

    Args:
        clock: Seconds since 1970, for the record.
        monotonic: Seconds, for pauses; unlike the clock it is never set back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._start: float | None = None
        self._end = 0.0
        self._refused = self._unlogged = 0
        self._reason = ""
        self._failed_at = 0.0
        self._probe_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether there is an outage that is not in the log yet."""
        return self._start is not None

    @property
    def lost(self) -> bool:
        """Whether the database did not take what it was last given."""
        return self._probe_at is not None

    @property
    def reason(self) -> str:
        """What the database or the queue said last."""
        return self._reason

    def blocked(self) -> bool:
        """Whether to spare this request the attempt to log; False as well for the one that shall probe."""
        now = self._monotonic()
        if self._probe_at is None or now >= self._probe_at:
            if self._probe_at is not None:
                self._probe_at = now + PROBE_EVERY_S
            return False
        return True

    def failed(self, reason: str, *, lost: bool) -> None:
        """The log refused a request's trial.

        Args:
            reason: In words.
            lost: The database did not take it, and will not take the next one; False where only the queue is full.
        """
        self._reason = reason
        self._failed_at = self._monotonic()
        if lost:
            self._probe_at = self._failed_at + PROBE_EVERY_S

    def succeeded(self) -> None:
        """The log took something: no request need be spared the attempt."""
        self._probe_at = None

    def refused(self) -> None:
        """A request got 503 for it."""
        self._seen()
        self._refused += 1

    def unlogged(self) -> None:
        """A request got the baseline without a record for it."""
        self._seen()
        self._unlogged += 1

    def due(self) -> Outage | None:
        """The outage to be logged: nothing failed for a moment, so that it may be over; None where there is none."""
        if self._start is None or self._monotonic() - self._failed_at < PROBE_EVERY_S:
            return None
        return self.now()

    def now(self) -> Outage | None:
        """The outage so far, or None."""
        if self._start is None:
            return None
        return Outage(
            start=self._start,
            end=max(self._start, self._end),
            refused=self._refused,
            unlogged=self._unlogged,
            reason=self._reason,
        )

    def written(self, outage: Outage) -> None:
        """It is in the log; what came to it while it was being written begins another one."""
        self._refused -= outage.refused
        self._unlogged -= outage.unlogged
        self._start = self._end if self._refused or self._unlogged else None
        self.succeeded()

    def _seen(self) -> None:
        self._end = self._clock()
        if self._start is None:
            self._start = self._end
