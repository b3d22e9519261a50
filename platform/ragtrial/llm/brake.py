"""Stopping a run: who waits is woken at once, who is in flight comes to its end, and nobody starts."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Brake:
    """Pulled once, for good. For one event loop."""

    def __init__(self) -> None:
        self.reason: Exception | None = None
        self._waiting: set[asyncio.Task[Any]] = set()

    def pull(self, reason: Exception) -> None:
        """Stop everything that waits, for this reason; the first one counts."""
        if self.reason is not None:
            return
        self.reason = reason
        for task in self._waiting:
            task.cancel()

    def check(self) -> None:
        """Raise the reason where there is one."""
        if self.reason is not None:
            raise self.reason.with_traceback(None)  # or it would grow by each task that raises it

    async def wait_for(self, waiting: Awaitable[T]) -> T:
        """What is awaited, or the reason to stop; `waiting` gives back what it holds where it is cancelled."""
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  # a coroutine always runs in one
            raise RuntimeError("outside of a task")
        self._waiting.add(task)
        try:
            return await waiting
        except asyncio.CancelledError:
            if self.reason is None:
                raise
            task.uncancel()
            raise self.reason.with_traceback(None) from None
        finally:
            self._waiting.discard(task)
