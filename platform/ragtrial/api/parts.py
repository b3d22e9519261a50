"""What the routes work with, made once for each process and found through the request."""

import threading
import time
from collections.abc import Callable, Mapping
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
    """The latest analysis; one is made at a time, however many ask.

    Args:
        analyse: Makes one; None where this service makes none.
    """

    def __init__(self, analyse: Analyse | None) -> None:
        self._analyse = analyse
        self._lock = threading.Lock()
        self._made_at = self._fresh_s = 0.0
        self._latest: dict[str, Any] = {}

    def latest(self, reader: LiveReader) -> Mapping[str, Any]:
        """An analysis that is at most ten seconds old; blocks.

        Raises:
            NotEnoughDataError: There is not enough data yet, or nobody here analyses.
        """
        if self._analyse is None:
            raise NotEnoughDataError("this service makes no analysis: run `ragtrial analyse EXPERIMENT.yaml --live` beside it")
        with self._lock:
            began = time.monotonic()
            if not self._latest or began - self._made_at > self._fresh_s:
                self._latest = dict(self._analyse(reader))
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
