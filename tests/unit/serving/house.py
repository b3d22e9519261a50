"""A whole service in memory but for its log: hashing embedders, exact search, a generator that quotes, SQLite in a folder."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ragtrial.contracts import Embedder, Generator, IndexParameters, Kind, Vectors
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.live import LiveMetrics, LiveSpec, Mode
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.trial import Hit
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import ModelError, StoreError
from ragtrial.index.exact import ExactIndex
from ragtrial.pipeline import Pipeline
from ragtrial.redaction import query_digest, stored_query
from ragtrial.reranking.reordering import Reordering
from ragtrial.serving.answering import ServingArm
from ragtrial.serving.parts import ServiceLimits, ServiceParts
from ragtrial.serving.search_arm import SearchArm
from ragtrial.serving.service import LiveService, Question, Served
from ragtrial.splitting import bucket_of, drawn
from unit.parts import Quoting, dense, world

CORPUS, GOLD = world(8)


@dataclass(kw_only=True)
class Watched:
    """An embedder that keeps the batches and threads it was called in, and fails or waits on demand."""

    inner: Embedder
    fails_on: set[str] = field(default_factory=set)
    bugs_on: set[str] = field(default_factory=set)
    batches: list[tuple[str, ...]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def identity(self) -> ModelIdentity:
        return self.inner.identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        self.asked += 1
        self.gate.wait(60)
        self.batches.append(tuple(texts))
        self.threads.add(threading.current_thread().name)
        if self.fails_on & set(texts):
            raise ModelError("can't embed that")
        if self.bugs_on & set(texts):
            raise ZeroDivisionError(texts[0])
        return self.inner.embed(texts, kind=kind)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        return self.inner.count_tokens(texts)


class Losable(ExactIndex):
    """Exact search whose collections can get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    def search(
        self, name: str, vectors: Vectors, *, top_k: int, model: ModelIdentity, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        if name in self.lost:
            raise StoreError(f"collection {name!r} is gone")
        return super().search(name, vectors, top_k=top_k, model=model, groups=groups)

    def describe(self, name: str):  # type: ignore[no-untyped-def]
        return None if name in self.lost else super().describe(name)


def experiment(mode: Mode = "split", **live: object) -> Experiment:
    """Two hashing arms; solicitation off unless given."""
    primary = PrimaryMetric(name="preference" if mode == "interleaved" else "nDCG@3")
    metrics = live.pop("metrics", LiveMetrics(primary=primary))
    spec = LiveSpec(mode=mode, metrics=metrics, **{"solicit": 0.0, **live})  # type: ignore[arg-type]
    return Experiment(
        name="house",
        data=DataSpec(path="nowhere"),
        arms=(
            Arm(name="baseline", role="control", embedding=EmbeddingSpec(provider="hashing", model="a")),
            Arm(name="custom", role="treatment", embedding=EmbeddingSpec(provider="hashing", model="b")),
        ),
        metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@3")),
        live=spec,
    )


@dataclass(kw_only=True)
class House:
    """The parts that tests look at and break."""

    url: str
    experiment: Experiment
    index: Losable = field(default_factory=Losable)
    models: dict[str, Watched] = field(default_factory=dict)
    generators: dict[str, Generator | None] = field(default_factory=dict)
    reorderings: dict[str, Reordering] = field(default_factory=dict)
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    top_k: int = 3
    beside: dict[str, Callable[..., object]] = field(default_factory=dict)
    same_model: bool = False
    recorder: LiveRecorder | None = None
    recording: Callable[[LiveRecorder], LiveRecorder] = field(default=lambda recorder: recorder)
    reader: LiveReader | None = None

    def __post_init__(self) -> None:
        for arm, letter in (("baseline", "a"), ("custom", "a" if self.same_model else "b")):
            self.models.setdefault(arm, Watched(inner=HashingEmbedder(model=letter, dimension=512)))
            self.generators.setdefault(arm, Quoting())

    def arm(self, name: str) -> ServingArm:
        model = self.models[name]
        self.index.create(name, model=model.identity, corpus=CORPUS.fingerprint, parameters=IndexParameters(build={}, search={}))
        self.index.insert(name, CORPUS.passages, model.inner.embed([passage.content for passage in CORPUS.passages], kind="passage"))
        self.index.finish(name)
        search = SearchArm(
            name=name, embedder=model, index=self.index, collection=name, top_k=self.top_k, reordering=self.reorderings.get(name)
        )
        pipeline = Pipeline(
            arm=name,
            retriever=dense(CORPUS),
            generator=self.generators[name],
            passages=CORPUS.by_id,
            top_k=self.top_k,
            context_passages=2,
        )
        return ServingArm(pipeline=pipeline, search=search)

    def parts(self) -> ServiceParts:
        stack = ExitStack()
        self.recorder = self.recording(stack.enter_context(LiveRecorder(self.url, self.experiment, durability="process")))
        self.reader = stack.enter_context(LiveReader(self.url))
        assert self.experiment.live is not None
        gold_ids = {query_digest(query.text): query.query_id for query in GOLD.queries}
        return ServiceParts(
            experiment=self.experiment,
            control=self.arm("baseline"),
            treatment=self.arm("custom"),
            recorder=self.recorder,
            reader=self.reader,
            digest=query_digest,
            store_query=partial(stored_query, how=self.experiment.live.query_text, redactor=None, gold_ids=gold_ids),
            limits=self.limits,
            beside=self.beside,  # type: ignore[arg-type]
            resources=stack,
        )

    def logged(self) -> tuple[LiveTrial, ...]:
        assert self.reader is not None
        assert self.recorder is not None
        return self.reader.recent(self.recorder.live_id, limit=1000)


def house(folder: Path, mode: Mode = "split", **more: object) -> House:
    """A house; `live` are fields of the `live` section."""
    live = more.pop("live", {})
    return House(url=f"sqlite:///{folder / 'live.db'}", experiment=experiment(mode, **live), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(made: House) -> AsyncIterator[LiveService]:
    """The house's service, started, and closed at the end."""
    service = LiveService(made.experiment, made.parts)
    await service.start()
    for model in made.models.values():
        model.batches.clear()
    try:
        yield service
    finally:
        for model in made.models.values():
            model.gate.set()
        await service.close()


def asking(text: str = "where is number1", unit: str | None = "ann", **more: object) -> Question:
    return replace(Question(text=text, unit=unit, caller="tests", query_at=time.time()), **more)  # type: ignore[arg-type]


def unit_in(arm: str, salt: str = "house") -> str:
    """A unit that this arm takes under an even split of all traffic."""
    low = arm == "custom"
    return next(unit for number in range(1000) if ((bucket_of(salt, unit := f"unit{number}") < 5000) == low))


def drawn_id(salt: str, share: float) -> str:
    return next(key for number in range(1000) if drawn(salt, key := f"key{number}", share))


async def ask(service: LiveService, text: str = "where is number1", unit: str | None = "ann", **more: object) -> Served:
    return await service.ask(asking(text, unit, **more))
