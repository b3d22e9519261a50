"""Whether Milvus still holds what the arms search."""

import asyncio
import logging
import time
from collections.abc import Callable

from ragtrial.errors import OverloadedError, RagtrialError
from ragtrial.serving.batching import MicroBatcher
from ragtrial.serving.search_arm import SearchArm

logger = logging.getLogger("ragtrial.serving")

EVERY_S = 5.0
_KEPT_EVERY_S = 60.0


class MilvusHealth:
    """Looks at both arms' collections now and then, on the thread that searches them.

    An arm follows its alias to another collection of the same model and passages, and else goes on with the one that it has. Where its
    alias points to another one than it searches, a warning is logged, once for each move, and every minute the collection is told that it is
    still searched, so that it is not dropped.

    Args:
        batcher: Of the two arms.
        control: Without it nothing can be answered.
        treatment: Without it the baseline stands in.
        every_s: Between two looks.
    """

    def __init__(self, batcher: MicroBatcher, control: SearchArm, treatment: SearchArm, *, every_s: float = EVERY_S) -> None:
        self._targets = {arm.name: arm.collection for arm in (control, treatment)}
        self._batcher, self._control, self._treatment, self._every_s = batcher, control, treatment, every_s
        self._kept = _Kept()
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
            self._error = await self._seen(self._control)
            self._degraded = await self._seen(self._treatment)
        except OverloadedError:
            return

    @property
    def moved(self) -> tuple[str, ...]:
        """Arms whose alias points to another collection than the one that they search."""
        return tuple(arm.name for arm in (self._control, self._treatment) if self._targets[arm.name] != arm.searched)

    async def _seen(self, arm: SearchArm) -> str | None:
        error, target = await self._batcher.call(_looking(arm, self._kept))
        if target is not None and target != self._targets[arm.name]:
            self._targets[arm.name] = target
            if target != arm.searched and arm.follower is None:
                what = "alias %r of arm %r points to collection %r now, but the service goes on with %r: start it anew to serve the new one"
                logger.warning(what, arm.alias, arm.name, target, arm.searched)
        return error


class _Kept:
    """Tells collections that no alias of ours points to that they are searched, now and then."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._refused = False

    def tell(self, arm: SearchArm, collection: str) -> None:
        """Where the store does not take it, the service goes on, and a warning says once what that means."""
        now = time.monotonic()
        if now - self._last.get(collection, -_KEPT_EVERY_S) < _KEPT_EVERY_S:
            return
        self._last[collection] = now
        try:
            arm.index.keep_searched(collection, time.time())
        except RagtrialError as error:
            if not self._refused:
                logger.warning("collection %r is searched, but can't be told so, and could be dropped: %s", collection, error)
            self._refused = True


def _looking(arm: SearchArm, kept: _Kept) -> Callable[[], tuple[str | None, str | None]]:
    def look() -> tuple[str | None, str | None]:
        """What is wrong with the arm's collection, and what its alias points to, where that is known."""
        try:
            name = arm.look_where()  # an arm that nobody asks would go on with a collection that was left long ago
            found = arm.index.describe(name)
            target = arm.index.resolve(arm.alias) if arm.alias else None
        except RagtrialError as error:
            return str(error), None
        if found is not None and arm.alias and target != name:
            kept.tell(arm, name)
        if found is None:
            gone = f"collection {name!r} of arm {arm.name!r} is gone: start the service anew, which indexes what is missing"
            return gone, target
        if not found.complete:
            return f"collection {name!r} of arm {arm.name!r} is not complete", target
        if not found.loaded:  # asking has loaded it, so that the next look finds it ready
            return f"collection {name!r} of arm {arm.name!r} was not loaded", target
        return None, target

    return look
