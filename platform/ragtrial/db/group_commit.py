"""Many small writes in few transactions: one thread commits whatever has come together meanwhile."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, TypeVar

from ragtrial.errors import QueueFullError, StoreError

Item = TypeVar("Item")
_Waiting = tuple[Item, "Future[Any]"]

_PATIENCE_SECONDS = 3.0
_LOOK_EVERY_SECONDS = 0.25
_CLOSE_SECONDS = 30.0


class GroupCommit(Generic[Item]):
    """A bounded queue, and the one thread that writes from it.

    A future is resolved only when its item's transaction is committed. Where the database fails, the futures of everything that waits
    fail at once, nothing is tried again on its own, and what is submitted afterwards is tried afresh. A database that does not answer at
    all fails the futures after 3 s; whether those items were written is then unknown.

    Args:
        write: Writes items in one transaction and returns the outcome of each, in order: a value, or an exception for an item that alone
            could not be written. Raises where nothing was written.
        name: Of the database, for messages.
        max_pending: Items that may wait or be written at a time.
        max_batch: Most items of one transaction.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[object]], *, name: str, max_pending: int, max_batch: int) -> None:
        self._write, self._name = write, name
        self._max_pending, self._max_batch = max_pending, max_batch
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting[Item]] = deque()
        self._in_flight: list[_Waiting[Item]] = []
        self._since: float | None = None  # when the batch in flight was begun
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ragtrial-log", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="ragtrial-log-watch", daemon=True).start()

    @property
    def pending(self) -> int:
        """Items that wait or are being written."""
        return len(self._waiting) + len(self._in_flight)

    def submit(self, item: Item) -> "Future[Any]":
        """Have an item written.

        Raises:
            QueueFullError: Too many wait.
            StoreError: The queue is closed, or the database does not answer.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise StoreError(f"the log in database {self._name!r} is closed")
            if self._stuck():
                raise self._silent()
            if self.pending >= self._max_pending:
                raise QueueFullError(f"{self.pending} records wait for database {self._name!r}, which is as many as may: try again later")
            self._waiting.append((item, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write what waits, and end the thread; later submissions are refused. What a silent database keeps in flight fails."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            _fail(self._take_all(), self._silent())

    def _run(self) -> None:
        while batch := self._next():
            try:
                outcomes = self._write([item for item, _future in batch])
            except Exception as error:  # noqa: BLE001  # whatever it is belongs to those who wait; the thread lives on
                _fail(self._take_all(), error)
            else:
                for (_item, future), outcome in zip(batch, outcomes, strict=True):
                    _settle(future, outcome)
            with self._changed:
                self._in_flight, self._since = [], None

    def _next(self) -> list[_Waiting[Item]]:
        """The next batch, when there is one; empty at the end. An item whose future was cancelled before is left out."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                taken = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
                self._in_flight = [(item, future) for item, future in taken if future.set_running_or_notify_cancel()]
                if self._in_flight:
                    self._since = time.monotonic()
                    return self._in_flight

    def _take_all(self) -> list[_Waiting[Item]]:
        with self._changed:
            taken = [*self._in_flight, *self._waiting]
            self._waiting.clear()
        return taken

    def _watch(self) -> None:
        while self._thread.is_alive():
            with self._changed:
                late = self._take_all() if self._stuck() else []
            _fail(late, self._silent())
            self._thread.join(_LOOK_EVERY_SECONDS)

    def _stuck(self) -> bool:
        since = self._since
        return since is not None and time.monotonic() - since > _PATIENCE_SECONDS

    def _silent(self) -> StoreError:
        return StoreError(f"database {self._name!r} has not answered for {_PATIENCE_SECONDS:g} s: check that it runs")


def _fail(waiting: Sequence[tuple[object, "Future[Any]"]], error: Exception) -> None:
    message = str(error) if isinstance(error, StoreError) else f"the log could not be written: {type(error).__name__}: {error}"
    for _item, future in waiting:
        _settle(future, StoreError(message))  # one for each: an exception that is raised in several threads gathers all their tracebacks


def _settle(future: "Future[Any]", outcome: object) -> None:
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:  # it failed already, when the database did not answer, or its waiter went away
        return
