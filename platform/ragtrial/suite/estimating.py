"""`ragtrial index --estimate`: what both arms' collections will take, before anything is embedded or built."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from ragtrial.build import index_parameters, reading_of
from ragtrial.contracts import Embedder, IndexParameters, IndexType, Progress, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import Arm
from ragtrial.errors import RagtrialError
from ragtrial.formats.experiment import milvus_uri
from ragtrial.index.codes import vector_bytes
from ragtrial.index.estimates import IndexSize, index_size, node_memory
from ragtrial.index.index_types import TYPES
from ragtrial.indexing import collection_name, of_groups
from ragtrial.suite.arm_models import missing_models
from ragtrial.suite.foreign_arms import refuse_own
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.retrieving import build_arm_embedder

SAMPLE = 64
LITE_EASY, LITE_MOST = 20_000, 50_000
"""Passages up to which Milvus Lite is quick, and bearable: it takes 0.38 ms a search for each 1,000 vectors of HNSW (384 dimensions), 1.8 ms of FLAT."""
_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEstimate:
    """What one arm's collection will take, bytes throughout.

    Attributes:
        arm: Its name.
        same_as: The arm whose collection it searches too, which is then counted once; None where it has its own.
        model: Its model; the base of one that is still to be trained.
        dimension: Of its vectors; 0 where it searches by words alone.
        index_type: As asked.
        metric: As asked.
        vectors: How they are stored.
        raw_bytes: Of its vectors as they are stored.
        memory_bytes: Of one replica: index, and texts; little of it where it is mapped from disk.
        disk_bytes: Of the store: vectors, texts and index.
        types: What each type of index would take; the one that was asked for among them.
        embed_seconds: To embed the corpus here, from a timed sample; None where that is not known.
        embed_reason: Why not, or how it was found.
    """

    arm: str
    model: str
    dimension: int
    index_type: str
    metric: str
    vectors: str
    raw_bytes: int
    memory_bytes: int
    disk_bytes: int
    types: tuple[IndexSize, ...]
    same_as: str | None = None
    embed_seconds: float | None = None
    embed_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What an experiment's collections will take, bytes throughout.

    Attributes:
        n_passages: Of the corpus, in each of the collections.
        text_bytes: Of the passages' texts, titles and ids, in each of them.
        replicas: Of each collection.
        mapped: They are mapped from disk.
        arms: Control first.
        loaded_bytes: All collections, all replicas.
        node_bytes: What query nodes need together, with head room.
        swap_bytes: The same while a new collection is loaded beside the old ones, before an alias moves.
        store: `lite` or `server`, as the experiment has it.
        advice: Which it should be, and why.
    """

    n_passages: int
    text_bytes: int
    replicas: int
    mapped: bool
    arms: tuple[ArmEstimate, ...]
    loaded_bytes: int
    node_bytes: int
    swap_bytes: int
    store: str
    advice: str


def estimate(prepared: Prepared, *, timed: bool = True, progress: Progress = no_progress) -> Estimate:
    """What indexing the experiment will take; nothing is embedded but a sample, nothing is written.

    Args:
        prepared: The experiment with its data.
        timed: Embed a sample of 64 passages, for the time.
        progress: Told which models are loaded.

    Raises:
        RagtrialError: A model can't be had.
    """
    refuse_own(prepared.experiment, "what its index takes is not known here")
    embedders = _embedders(prepared, progress)
    passages = prepared.corpus.passages
    texts = sum(_text_bytes(passage) for passage in passages)
    specs = {arm.name: prepared.experiment.retrieval_of(arm) for arm in prepared.experiment.arms}
    reading = reading_of([spec.index for spec in specs.values()])
    lite = "://" not in milvus_uri(prepared.file)
    arms: list[ArmEstimate] = []
    made: dict[str, str] = {}
    for arm in (prepared.experiment.control, prepared.experiment.treatment):
        embedder, parameters = embedders[arm.name], index_parameters(specs[arm.name])
        seconds, reason = _embedding(embedder, passages, provider=arm.embedding.provider if timed else None)
        found = _of_arm(arm.name, embedder, parameters, n=len(passages), texts=texts, mapped=reading.mmap)
        # Milvus Lite holds float32 rows beside whatever index
        beside = 4 * found.dimension * len(passages) if lite and found.index_type != "FLAT" else 0
        owner = made.setdefault(_collection(prepared, arm, embedder, parameters), arm.name)
        found = replace(found, memory_bytes=found.memory_bytes + beside, same_as=None if owner == arm.name else owner)
        arms.append(replace(found, embed_seconds=seconds, embed_reason=reason))
    loaded = reading.replicas * sum(arm.memory_bytes for arm in arms if arm.same_as is None)
    largest = reading.replicas * max(arm.memory_bytes for arm in arms)
    return Estimate(
        n_passages=len(passages),
        text_bytes=texts,
        replicas=reading.replicas,
        mapped=reading.mmap,
        arms=tuple(arms),
        loaded_bytes=loaded,
        node_bytes=node_memory(loaded),
        swap_bytes=node_memory(loaded + largest),
        store="lite" if lite else "server",
        advice=_advice(len(passages), tuple(arms), lite=lite),
    )


def _collection(prepared: Prepared, arm: Arm, embedder: Embedder, parameters: IndexParameters) -> str:
    """Names the arm's collection; that of a model which is still to be trained is nobody else's."""
    name = collection_name(prepared.corpus, embedder.identity, of_groups(parameters, prepared.corpus))
    return f"{name} of {arm.name}" if _to_train(prepared, arm) else name


def _to_train(prepared: Prepared, arm: Arm) -> bool:
    if prepared.experiment.training is None:
        return False
    return arm.embedding.model.removeprefix("registry:").partition("@")[0] in missing_models(prepared)


def _embedders(prepared: Prepared, progress: Progress) -> dict[str, Embedder]:
    """Each arm's, by arm; that of a model which is still to be trained is its base's, which has the same shape."""
    experiment, advance = prepared.experiment, progress("load the models", len(prepared.experiment.arms))
    found = {}
    for arm in experiment.arms:
        asked = arm
        if experiment.training is not None and _to_train(prepared, arm):
            asked = replace(arm, embedding=replace(arm.embedding, model=experiment.training.base))
        found[arm.name] = build_arm_embedder(asked, experiment.retrieval_of(arm), prepared.around)
        advance(1)
    return found


def _of_arm(name: str, embedder: Embedder, parameters: IndexParameters, *, n: int, texts: int, mapped: bool) -> ArmEstimate:
    dimension = embedder.identity.dimension
    raw = n * vector_bytes(parameters.vectors, dimension) if dimension else 0
    types = tuple(_sizes(parameters, n=n, dimension=dimension)) if dimension else ()
    chosen = next((each for each in types if each.type == parameters.type), IndexSize(type=parameters.type, memory=0, disk=0))
    return ArmEstimate(
        arm=name,
        model=str(embedder.identity),
        dimension=dimension,
        index_type=parameters.type,
        metric=parameters.metric,
        vectors=parameters.vectors,
        raw_bytes=raw,
        memory_bytes=0 if mapped else chosen.memory + texts,
        disk_bytes=raw + texts + chosen.disk,
        types=types,
    )


def _sizes(parameters: IndexParameters, *, n: int, dimension: int) -> list[IndexSize]:
    found = []
    for kind in get_args(IndexType):
        asked = parameters if kind == parameters.type else replace(parameters, type=kind, build={}, search={})
        if asked.vectors == "fp32" or asked.vectors in TYPES[kind].codes:
            found.append(index_size(asked, n=n, dimension=dimension))
    return found


def _text_bytes(passage: Passage) -> int:
    return sum(len(text.encode()) for text in (passage.passage_id, passage.document_id, passage.title, passage.text)) + 16


def _embedding(embedder: Embedder, passages: Sequence[Passage], *, provider: str | None) -> tuple[float | None, str]:
    """Seconds for the whole corpus here, by characters, from a sample; or why that is unknown."""
    if not embedder.identity.dimension:
        return 0.0, "nothing to embed"
    if provider is None:
        return None, "not asked for"
    if provider == "openai-compatible":
        return None, "an endpoint embeds, which is not asked for an estimate: it may cost money"
    rng = np.random.default_rng(_SEED)
    chosen = [passages[int(place)].content for place in rng.choice(len(passages), size=min(SAMPLE, len(passages)), replace=False)]
    try:
        embedder.embed(chosen[:8], kind="passage")  # what is made at the first call is not the corpus's time
        start = time.perf_counter()
        embedder.embed(chosen, kind="passage")
    except RagtrialError as error:
        return None, f"the sample can't be embedded: {error}"
    spent = time.perf_counter() - start
    whole = sum(len(passage.content) for passage in passages)
    return spent * whole / max(
        1, sum(map(len, chosen))
    ), f"from {len(chosen)} passages in {spent:.2f} s, by characters; vectors in the cache cost nothing"


def _advice(n: int, arms: tuple[ArmEstimate, ...], *, lite: bool) -> str:
    """Which store, and why."""
    missing = next((arm.index_type for arm in arms if lite and not TYPES[arm.index_type].lite), None)
    if missing is not None:
        return f"use a Milvus server: Milvus Lite has no {missing} index"
    dimension = max(arm.dimension for arm in arms) or 384
    flat_ms = 1.78 * n / 1000 * dimension / 384
    reason = f"a search of all {n:,} vectors (FLAT) takes Milvus Lite some {flat_ms:,.0f} ms, and it serves one process"
    if n > LITE_MOST:
        return f"use a Milvus server: {reason}" if lite else f"a Milvus server is right: {reason}"
    if n > LITE_EASY:
        return f"a Milvus server is due between {LITE_EASY:,} and {LITE_MOST:,} passages: {reason}"
    return f"Milvus Lite is enough: {reason}"
