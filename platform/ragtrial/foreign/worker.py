"""A thread for code that may never come back."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Task(Generic[T]):
    work: Callable[[], T]
    done: threading.Event = field(default_factory=threading.Event)
    result: T | None = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self.error = error
        self.done.set()


class Worker:
    """Runs one call after the other on one thread, and leaves a thread behind whose call takes too long.

    One thread, because many clients (SQLite's, those of an event loop) may only be used on the thread that made them. It is a daemon: a call
    that hangs keeps no process alive, which `concurrent.futures` would let it.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[_Task[Any] | None] | None = None

    def call(self, work: Callable[[], T], *, timeout_s: float | None) -> T:
        """The result of `work`, or what it raised.

        Raises:
            TimeoutError: It takes longer; it is left to itself, and the next call has a new thread.
        """
        if self._tasks is None:
            self._tasks = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._tasks,), name="ragtrial-foreign", daemon=True).start()
        task = _Task(work)
        self._tasks.put(task)
        if not task.done.wait(timeout_s):
            self.close()
            raise TimeoutError(f"no result within {timeout_s:g} s")
        if task.error is not None:
            raise task.error
        return task.result  # type: ignore[return-value]  # set where there is no error

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        if self._tasks is not None:
            self._tasks.put(None)
            self._tasks = None


_HERE = threading.local()


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on this thread's own event loop, which stays open between calls: async clients belong to one loop."""
    runner: asyncio.Runner = _HERE.runner
    return runner.run(work())


def _serve(tasks: "queue.SimpleQueue[_Task[Any] | None]") -> None:
    with asyncio.Runner() as _HERE.runner:
        while (task := tasks.get()) is not None:
            task.run()
