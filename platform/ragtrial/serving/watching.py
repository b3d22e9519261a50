"""The guardrails' own hand on the traffic: a broken one stops the treatment, or ramps it down, without waiting for anybody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from ragtrial.domain.live import GUARDRAIL, TrafficState, acted_on
from ragtrial.domain.live_verdict import GuardrailAlarm
from ragtrial.errors import ConflictError, NotEnoughDataError, StoreError
from ragtrial.serving.counting import ServingCounts

logger = logging.getLogger("ragtrial.serving")

EVERY_S = 10.0
_RAMP = 0.1


class ChangeTraffic(Protocol):
    """How the traffic is changed; `LiveService.change_traffic` is one."""

    def __call__(
        self, *, share: float | None = None, stopped: bool | None = None, actor: str, reason: str, expected_version: int | None = None
    ) -> Awaitable[TrafficState]:
        """Change it."""
        ...


class GuardrailWatch:
    """Looks at the guardrails now and then, and acts on a broken one, once.

    What it did stands in the traffic's history, so that neither a restart nor another worker does it again; and where an operator starts
    the treatment anew in spite of a broken guardrail, that is the operator's decision.

    Args:
        alarms: The broken guardrails, from what is logged; it may block.
        history: The traffic's states, oldest first; it may block.
        change: Changes the traffic.
        when_broken: What to do.
        counts: What is counted.
        every_s: Between two looks.
    """

    def __init__(
        self,
        *,
        alarms: Callable[[], Sequence[GuardrailAlarm]],
        history: Callable[[], Sequence[TrafficState]],
        change: ChangeTraffic,
        when_broken: Literal["stop", "ramp-down"],
        counts: ServingCounts,
        every_s: float = EVERY_S,
    ) -> None:
        self._alarms, self._history, self._change = alarms, history, change
        self._when_broken, self._counts, self._every_s = when_broken, counts, every_s

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._counts.failed("guardrails")
                logger.warning("the guardrails can't be looked at: %s", error)
            await asyncio.sleep(self._every_s)

    async def look(self) -> TrafficState | None:
        """Look once; the state that came of it, or None where nothing had to be done.

        Raises:
            StoreError: The log can't be read or written.
        """
        history = await asyncio.to_thread(self._history)
        if not history or history[-1].stopped:
            return None
        try:
            alarms = await asyncio.to_thread(self._alarms)
        except NotEnoughDataError:
            return None
        now = history[-1]
        done = acted_on(history)
        fresh = [alarm for alarm in alarms if alarm.metric not in done]
        if not fresh:
            return None
        metrics = ", ".join(alarm.metric for alarm in fresh)
        reason = f"{metrics}: {' '.join(alarm.sentence for alarm in fresh)}"
        try:
            if self._when_broken == "stop":
                state = await self._change(stopped=True, actor=GUARDRAIL, reason=reason, expected_version=now.version)
            else:
                state = await self._change(share=now.share * _RAMP, actor=GUARDRAIL, reason=reason, expected_version=now.version)
        except ConflictError:  # another worker, or an operator, was faster: look again next time
            return None
        for alarm in fresh:
            self._counts.acted(alarm.metric)
        logger.warning("guardrail broken: %s", reason)
        return state
