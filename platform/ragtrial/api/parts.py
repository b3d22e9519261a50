"""What the routes work with, made once for each process and found through the request."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from ragtrial.db.live_reader import LiveReader
from ragtrial.errors import NotEnoughDataError
from ragtrial.serving.service import LiveService

Analyse = Callable[[LiveReader], Mapping[str, Any]]
"""Analyses the served experiment from the log: JSON; raises `NotEnoughDataError` where there is nothing to go by. It may block."""

FRESH_S = 10.0
"""How long an analysis is shown at most before another is made."""

FRESH_TIMES = 4.0
"""Where it is quick to make it is made sooner: after so many times what it took. So at most a fifth of one core goes into it."""


class FreshAnalysis:
    """The latest analysis; one is made at a time, on a thread of its own, however many ask. For one event loop.

    Args:
        analyse: Makes one; None where this service makes none.
    """

    def __init__(self, analyse: Analyse | None) -> None:
        self._analyse = analyse
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ragtrial-analysis")
        self._made_at = self._fresh_s = 0.0
        self._latest: dict[str, Any] = {}

    async def latest(self, reader: Callable[[], LiveReader]) -> Mapping[str, Any]:
        """An analysis that is at most ten seconds old. Those who wait for it take no thread from others.

        Raises:
            NotEnoughDataError: There is not enough data yet, or nobody here analyses.
        """
        if self._analyse is None:
            raise NotEnoughDataError("this service makes no analysis: run `ragtrial analyse EXPERIMENT.yaml --live` beside it")
        analyse = self._analyse
        async with self._lock:
            began = time.monotonic()
            if not self._latest or began - self._made_at > self._fresh_s:
                self._latest = dict(await asyncio.get_running_loop().run_in_executor(self._thread, lambda: analyse(reader())))
                self._made_at = time.monotonic()
                self._fresh_s = min(FRESH_S, FRESH_TIMES * (self._made_at - began))
            return self._latest


@dataclass(kw_only=True)
class Parts:
    """What a request needs.

    Attributes:
        service: Answers and logs.
        sql_url: The log that `reader` reads.
        analysis: Of the served experiment.
        started_at: Of this process, seconds since 1970.
    """

    service: LiveService
    sql_url: str
    analysis: FreshAnalysis
    started_at: float = field(default_factory=time.time)
    _reader: LiveReader | None = None

    @property
    def reader(self) -> LiveReader:
        """The log; opened when it is first read, which is after the service has made its tables.

        Raises:
            StoreError: It is out of reach.
        """
        if self._reader is None:
            self._reader = LiveReader(self.sql_url)
        return self._reader

    def close(self) -> None:
        """Let go of the log."""
        if self._reader is not None:
            self._reader.close()


async def parts_of(request: Request) -> Parts:
    """The parts of the app that this request came to; a coroutine, as FastAPI runs functions on a thread."""
    parts: Parts = request.app.state.parts
    return parts
