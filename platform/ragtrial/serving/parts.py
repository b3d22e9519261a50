"""What a service is made of, and what it takes on."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.serving.answering import Patience, ServingArm
from ragtrial.serving.batching import BatchLimits

if TYPE_CHECKING:
    from ragtrial.serving.service import LiveService


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What the service takes on.

    Attributes:
        in_flight: Most requests that are answered at a time; beyond it they are refused.
        twins: Most silent twins under way; beyond it they are shed.
        generators: Threads on which answers are generated, most of which wait for a server.
        silent_generators: Of these, the most that silent twins use at a time.
        batches: Of the batcher.
        patience: With each part of an answer.
    """

    in_flight: int = 512
    twins: int = 64
    generators: int = 64
    silent_generators: int = 4
    batches: BatchLimits = field(default_factory=BatchLimits)
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, kw_only=True)
class ServiceParts:
    """What a service is made of.

    Attributes:
        experiment: With its `live` section.
        control: The baseline.
        treatment: The custom arm.
        recorder: The way into the log.
        reader: The way out of it.
        digest: Of a query, as the log names it.
        store_query: The query as the log keeps it.
        slow_to_store: That takes long enough to be done on a thread.
        capture_content: Write texts into the spans.
        limits: See `ServiceLimits`.
        beside: What runs beside the answers, by name: begun by `start`, begun again where it fails.
        resources: Closed at the end.
    """

    experiment: Experiment
    control: ServingArm
    treatment: ServingArm
    recorder: LiveRecorder
    reader: LiveReader
    digest: Callable[[str], str]
    store_query: Callable[[str], StoredQuery]
    slow_to_store: bool = False
    capture_content: bool = False
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    beside: Mapping[str, Callable[["LiveService"], Awaitable[None]]] = field(default_factory=dict)
    resources: ExitStack = field(default_factory=ExitStack)
