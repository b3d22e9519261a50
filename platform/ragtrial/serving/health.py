"""Whether Milvus still holds what the arms search."""

import asyncio
from collections.abc import Callable

from ragtrial.errors import OverloadedError, RagtrialError
from ragtrial.serving.batching import MicroBatcher, SearchArm

EVERY_S = 5.0


class MilvusHealth:
    """Looks at both arms' collections now and then, on the thread that searches them.

    Args:
        batcher: Of the two arms.
        control: Without it nothing can be answered.
        treatment: Without it the baseline stands in.
        every_s: Between two looks.
    """

    def __init__(self, batcher: MicroBatcher, control: SearchArm, treatment: SearchArm, *, every_s: float = EVERY_S) -> None:
        self._batcher, self._control, self._treatment, self._every_s = batcher, control, treatment, every_s
        self._error: str | None = None
        self._degraded: str | None = None

    @property
    def error(self) -> str | None:
        """Why the baseline can't be searched; None where it can."""
        stuck_s = self._batcher.stuck_s
        return f"no answer for {stuck_s:.0f} s" if stuck_s > self._every_s else self._error

    @property
    def degraded(self) -> str | None:
        """Why only the baseline can be searched; None where both can."""
        return self._degraded

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Look once; where users keep the thread busy, their own searches tell."""
        try:
            self._error = await self._batcher.call(_looking(self._control))
            self._degraded = await self._batcher.call(_looking(self._treatment))
        except OverloadedError:
            return


def _looking(arm: SearchArm) -> Callable[[], str | None]:
    def look() -> str | None:
        try:
            found = arm.index.describe(arm.collection)
        except RagtrialError as error:
            return str(error)
        if found is None:
            return f"collection {arm.collection!r} of arm {arm.name!r} is gone: start the service anew, which indexes what is missing"
        return None if found.complete else f"collection {arm.collection!r} of arm {arm.name!r} is not complete"

    return look
