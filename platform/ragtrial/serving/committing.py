"""Trials on their way into the log: an answer leaves when its trial is committed."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.live import QueryText
from ragtrial.domain.trial import Trial
from ragtrial.errors import DuplicateRequestError, QueueFullError, RecordRefusedError, StoreError
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.outages import Outages

NOT_KEPT = "(not kept: it may quote the query)"
"""In place of what an embedding model or an LLM said of its failure, where the log does not hold queries in full."""

_LOG_PATIENCE_S = 15.0


class Committing:
    """Waits for commits. For one event loop.

    Args:
        recorder: The way into the log.
        outages: Where the log can't be written.
        counts: What is counted.
    """

    def __init__(self, recorder: LiveRecorder, *, outages: Outages, counts: ServingCounts) -> None:
        self._recorder, self._outages, self._counts = recorder, outages, counts

    async def logged(self, write: "Callable[[], Future[None]]") -> None:
        """Commit what a user waits for, or say why not.

        Args:
            write: Hands it to the recorder.

        Raises:
            DuplicateRequestError: Another request with this idempotency key is logged.
            StoreError: It is not in the log; the outage has been told.
        """
        try:
            await self.committed(write)
        except DuplicateRequestError:
            raise
        except StoreError as error:
            self._outages.failed(str(error), lost=not isinstance(error, (QueueFullError, RecordRefusedError)))
            raise
        self._outages.succeeded()

    async def committed(self, write: "Callable[[], Future[None]]") -> None:
        """Commit.

        Raises:
            StoreError: As `logged`; nothing is told of an outage.
        """
        future = asyncio.wrap_future(write())
        self._counts.log_pending.set(self._recorder.pending)
        try:
            await asyncio.wait_for(asyncio.shield(future), _LOG_PATIENCE_S)
        except TimeoutError as error:
            raise StoreError(f"no commit after {_LOG_PATIENCE_S:g} s") from error


def kept(trial: Trial, query_text: QueryText) -> Trial:
    """The trial as the log may have it."""
    failure = trial.failure
    if failure is None or query_text == "full" or failure.stage == "search":
        return trial
    return replace(trial, failure=replace(failure, message=NOT_KEPT))
