"""The machinery of a service that has its models and stores: put together once, taken apart once."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from ragtrial.domain.live import TrafficState
from ragtrial.errors import ConflictError, InputError, StoreError
from ragtrial.serving.answering import Answering
from ragtrial.serving.batching import MicroBatcher
from ragtrial.serving.committing import Committing
from ragtrial.serving.comparing import Comparing
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.handling import Handling
from ragtrial.serving.health import MilvusHealth
from ragtrial.serving.outages import Outages
from ragtrial.serving.parts import ServiceParts
from ragtrial.serving.recalling import Recalling
from ragtrial.serving.tracing import Tracing
from ragtrial.serving.traffic import TrafficWatch
from ragtrial.splitting import Split

Spawn = Callable[[Coroutine[Any, Any, None]], bool]


class Running:
    """What answers, logs and watches.

    Args:
        parts: Models, stores, limits.
        counts: What is counted.
        spawn: Begins a silent twin; False where there are too many.

    Attributes:
        parts: As given.
        batcher: Embeds and searches.
        answering: Makes trials.
        handling: Handles requests.
        comparing: Shows both arms' answers beside each other.
        recalling: Shows answers again.
        outages: Where the log can't be written.
        traffic: The state that requests are assigned by.
        health: Whether Milvus holds what is searched.
        tracing: Makes spans.

    Raises:
        InputError: The experiment has no `live` section.
        StoreError: The traffic's state can't be read.
    """

    def __init__(self, parts: ServiceParts, *, counts: ServingCounts, spawn: Spawn) -> None:
        experiment, limits = parts.experiment, parts.limits
        if experiment.live is None:
            raise InputError(f"experiment {experiment.name!r} has no section 'live': say how its traffic is split")
        self.parts = parts
        split = Split.of(experiment)
        self.traffic = TrafficWatch(self.read_traffic, self.read_traffic(), counts=counts)
        self.outages = Outages()
        arms = {arm.pipeline.arm: arm for arm in (parts.control, parts.treatment)}
        self.tracing = Tracing(
            experiment=experiment.name,
            models={name: arm.search.embedder.identity.name for name, arm in arms.items()},
            capture_content=parts.capture_content,
        )
        self.batcher = MicroBatcher({name: arm.search for name, arm in arms.items()}, counts=counts, limits=limits.batches)
        self.health = MilvusHealth(self.batcher, parts.control.search, parts.treatment.search)
        self._threads = ThreadPoolExecutor(limits.generators, thread_name_prefix="ragtrial-generate")
        # a thread of its own: the switch must not wait for one that reads, redacts or analyses
        self._switching = ThreadPoolExecutor(1, thread_name_prefix="ragtrial-switch")
        self.answering = Answering(
            control=parts.control,
            treatment=parts.treatment,
            batcher=self.batcher,
            threads=self._threads,
            tracing=self.tracing,
            salt=split.salt,
            patience=limits.patience,
            silent_generators=limits.silent_generators,
        )
        committing = Committing(parts.recorder, outages=self.outages, counts=counts)
        self.recalling = Recalling(parts, self.answering)
        self.comparing = Comparing(
            parts=parts,
            live=experiment.live,
            split=split,
            traffic=self.traffic,
            answering=self.answering,
            outages=self.outages,
            committing=committing,
            counts=counts,
        )
        self.handling = Handling(
            parts=parts,
            live=experiment.live,
            split=split,
            traffic=self.traffic,
            answering=self.answering,
            outages=self.outages,
            committing=committing,
            counts=counts,
            tracing=self.tracing,
            spawn=spawn,
        )

    def read_traffic(self) -> TrafficState:
        """From the database.

        Raises:
            StoreError: It can't be read.
        """
        return self.parts.reader.traffic(self.parts.recorder.live_id)

    async def change_traffic(
        self,
        *,
        share: float | None,
        treatment: float | None,
        stopped: bool | None,
        actor: str,
        reason: str,
        expected_version: int | None,
    ) -> TrafficState:
        """See `LiveService.change_traffic`."""
        loop = asyncio.get_running_loop()
        for last in (False, False, True):
            version = expected_version
            if version is None:
                version = (await loop.run_in_executor(self._switching, self.read_traffic)).version
            change = partial(
                self.parts.recorder.change_traffic,
                expected_version=version,
                share=share,
                treatment=treatment,
                stopped=stopped,
                actor=actor,
                reason=reason,
            )
            try:
                state = await loop.run_in_executor(self._switching, change)
            except ConflictError:
                if last or expected_version is not None:
                    raise
            else:
                break
        self.traffic.changed(state)
        return state

    async def close(self) -> None:
        """Log the outage that is open, end the threads, close the stores."""
        if (outage := self.outages.now()) is not None:
            with suppress(StoreError):
                await asyncio.to_thread(self.parts.recorder.outage, outage)
        await asyncio.to_thread(self.batcher.close)
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._switching.shutdown)
        await asyncio.to_thread(self.parts.resources.close)
