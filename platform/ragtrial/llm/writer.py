"""Completions on their way to the cache: what comes in together is written together.

They are packed on the loop's thread and only written on the other: two threads of Python code would wait for each other's turns.
"""

import asyncio

from ragtrial.llm.brake import Brake
from ragtrial.llm.cache import CallCache, packed
from ragtrial.llm.chat import ChatRequest, Completion


class Writer:
    """Writes on a thread of its own, so that a disk that takes its time holds no call up. For one event loop.

    Args:
        cache: Where to.
        brake: Pulled where the cache can't be written: what can't be kept should not be paid for.
    """

    def __init__(self, cache: CallCache, brake: Brake) -> None:
        self._cache, self._brake = cache, brake
        self._pending: list[tuple[tuple[bytes, bytes], asyncio.Future[None]]] = []
        self.task: asyncio.Task[None] | None = None

    async def store(self, request: ChatRequest, completion: Completion) -> None:
        """On disk when it returns; written all the same where whoever waits is cancelled.

        Raises:
            StoreError: It can't be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._pending.append((packed(request, completion), written))
        if self.task is None:
            self.task = asyncio.create_task(self._write())
        await written

    async def drain(self) -> None:
        """Wait until everything is written."""
        if self.task is not None:
            await self.task

    async def _write(self) -> None:
        await asyncio.sleep(0)  # those that came with the same packet are written with it
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await asyncio.to_thread(self._cache.keep, [record for record, _ in batch])
            except Exception as error:  # noqa: BLE001  # whoever waits for the write must hear of it
                self._brake.pull(error)
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
        self.task = None
