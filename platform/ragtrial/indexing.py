"""A corpus embedded by an arm's model, into a collection that the arm's alias points to once it is complete.

One collection for each (corpus, chunking, model, index parameters), named after them: what exists is reused, what a kill left
behind is gone on with, and the alias moves at once from one complete collection to the next (blue/green).
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ragtrial.contracts import CollectionInfo, Embedder, IndexParameters, Progress, VectorIndex, Vectors, no_progress
from ragtrial.domain.corpus import Corpus, CorpusIdentity, Passage
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.cache import CachedEmbedder
from ragtrial.errors import StoreError
from ragtrial.index.codes import vector_bytes
from ragtrial.index.recall import RecallBarrier
from ragtrial.index.rules import plain_parameters

_SLUG_CHARACTERS = 40
_CALIBRATION_PASSAGES, _CALIBRATION_SEED = 2_000, 7
"""Passages that the ranges of int8 codes come from, drawn at random; what lies outside is cut to them."""


def collection_name(corpus: CorpusIdentity, model: ModelIdentity, parameters: IndexParameters) -> str:
    """`rt_<model>_<12 hexadecimal digits>`: the same for the same passages, chunking, model and index, and for nothing else."""
    content = digest([corpus.fingerprint, corpus.chunking, model.key, plain_parameters(parameters)], length=12)
    return f"rt_{_slug(model.name).lower()[:_SLUG_CHARACTERS]}_{content}"


def of_groups(parameters: IndexParameters, corpus: CorpusIdentity) -> IndexParameters:
    """The parameters with the digest of the corpus's groups, where the store keeps those apart."""
    return replace(parameters, partition=corpus.groups) if parameters.partition else parameters


def alias_of(experiment_name: str, arm_name: str) -> str:
    """`rt_<experiment>_<arm>_<6 hexadecimal digits>`, in letters, digits and `_`.

    The digits keep apart what would read the same: arms `a-b` and `a_b`, or arm `b_c` of experiment `a` and arm `c` of `a_b`.
    """
    readable = f"rt_{_slug(experiment_name)[: _SLUG_CHARACTERS * 2]}_{_slug(arm_name)[: _SLUG_CHARACTERS * 2]}"
    return f"{readable}_{digest([experiment_name, arm_name], length=6)}"


def index_arm(
    *,
    corpus: Corpus,
    embedder: Embedder,
    index: VectorIndex,
    parameters: IndexParameters,
    alias: str,
    batch_size: int = 256,
    barrier: RecallBarrier | None = None,
    progress: Progress = no_progress,
) -> IndexFacts:
    """Embed and store what is not stored yet, complete the collection, see it pass the barrier, and point the alias to it.

    Passages are embedded longest first: texts of like length share a batch, so next to nothing is padded, memory peaks at the
    start, and a bar's estimate errs on the careful side. A kill loses at most `batch_size` vectors.

    Args:
        corpus: What to index.
        embedder: With which model.
        index: The store.
        parameters: Which index, and how to search it.
        alias: The arm's (`alias_of`); it goes on pointing to what it pointed to until all is done.
        batch_size: Passages embedded and stored at a time.
        barrier: What the index must find of exact search before the alias moves; None measures nothing.
        progress: Told how many passages are embedded.

    Returns:
        What is known of the collection. `embed_seconds` and `tokens` are there only where this call embedded every passage itself:
        a part of them (the rest came from a cache, or from before a kill) is not comparable with another arm's whole.

    Raises:
        StoreError: The store failed, its collection of that name holds something else, or the index finds too little: then no alias moved.
        ModelError: The model failed.
    """
    parameters = of_groups(parameters, corpus)
    name = collection_name(corpus, embedder.identity, parameters)
    info = open_collection(
        name,
        corpus=corpus,
        model=embedder.identity,
        index=index,
        parameters=parameters,
        n_passages=len(corpus.passages),
        embedded=lambda places: embedder.embed([corpus.passages[place].content for place in places], kind="passage"),
    )
    seconds, tokens = None, None
    if not info.complete or info.n_passages != len(corpus.passages):
        seconds, tokens = _fill(name, corpus=corpus, embedder=embedder, index=index, batch_size=batch_size, progress=progress)
        index.finish(name)
        info = _described(index, name)
        if info.n_passages != len(corpus.passages):
            raise StoreError(
                f"collection {name!r} holds {info.n_passages} passages after indexing, expected {len(corpus.passages)}: "
                "something else writes to it; drop it and index the corpus again"
            )
    recall = move_behind_barrier(index, alias, name, barrier=barrier)
    return IndexFacts(
        collection=name,
        alias=alias,
        index_type=info.index_type,
        metric=parameters.metric,
        n_passages=info.n_passages,
        bytes=info.n_passages * vector_bytes(parameters.vectors, embedder.identity.dimension),
        ann_recall=recall,
        embed_seconds=seconds,
        tokens=tokens,
    )


def open_collection(
    name: str,
    *,
    corpus: CorpusIdentity,
    model: ModelIdentity,
    index: VectorIndex,
    parameters: IndexParameters,
    n_passages: int,
    embedded: Callable[[Sequence[int]], Vectors],
) -> CollectionInfo:
    """The collection, made where it is not there.

    Args:
        name: From `collection_name`.
        corpus: What it holds.
        model: What its vectors are made with.
        index: The store.
        parameters: Of the index.
        n_passages: Of the corpus.
        embedded: Vectors of the passages at these places of the corpus, in order, where codes are calibrated on them.
    """
    found = index.describe(name)
    if found is not None and parameters.words and not found.complete and found.n_passages and index.counts_words_by_opening:
        # half a collection would score by other word statistics than the rest; the vectors come from the cache
        index.drop(name, force=True)  # such a store has one process, this one
        found = None
    sample = None
    if parameters.vectors == "int8" and found is None and n_passages:
        rng = np.random.default_rng(_CALIBRATION_SEED)
        sample = embedded(
            sorted(int(place) for place in rng.choice(n_passages, size=min(_CALIBRATION_PASSAGES, n_passages), replace=False))
        )
    index.create(name, model=model, corpus=corpus.fingerprint, parameters=parameters, sample=sample)
    return _described(index, name)


def rollback(index: VectorIndex, alias: str) -> str:
    """Point the alias back to the collection that it pointed to before the last change; a second time undoes the first.

    The previous collection is kept under the alias `<alias>_previous`, so the store that holds the collections also knows the way
    back, and refuses to drop them.

    Returns:
        The collection that the alias points to now.

    Raises:
        StoreError: There is no previous collection.
    """
    current, previous = index.resolve(alias), index.resolve(_previous(alias))
    if current is None or previous is None or previous == current:
        raise StoreError(f"alias {alias!r} has no previous collection to go back to: it points to {current!r} since it was made")
    index.point(alias, previous)
    index.point(_previous(alias), current)
    return previous


def _fill(
    name: str, *, corpus: Corpus, embedder: Embedder, index: VectorIndex, batch_size: int, progress: Progress
) -> tuple[float | None, int | None]:
    """Embed and store the missing passages; seconds and tokens, or None where that was not all of them."""
    stored = index.stored_ids(name)
    missing = sorted((p for p in corpus.passages if p.passage_id not in stored), key=lambda p: len(p.content), reverse=True)
    before = _cached_count(embedder)
    seconds = 0.0
    advance = progress(f"index {embedder.identity}", len(missing))
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        begin = time.perf_counter()
        vectors = embedder.embed([passage.content for passage in batch], kind="passage", progress=advance)
        seconds += time.perf_counter() - begin
        index.insert(name, batch, vectors)
    if stored or (before is not None and _cached_count(embedder) != before + _distinct(missing)):
        return None, None
    return seconds, embedder.count_tokens([passage.content for passage in missing])


def _cached_count(embedder: Embedder) -> int | None:
    """How many texts a cached embedder has embedded itself so far; None for one that has no cache."""
    return embedder.embedded if isinstance(embedder, CachedEmbedder) else None


def _distinct(passages: Sequence[Passage]) -> int:
    return len({passage.content for passage in passages})


def move_alias(index: VectorIndex, alias: str, name: str) -> None:
    """Point an alias to a complete collection, and `<alias>_previous` to the one that it leaves; nothing happens where it is there already.

    Raises:
        StoreError: The collection is missing or not complete.
    """
    current = index.resolve(alias)
    if current == name:
        return
    if current is not None:  # first the way back: a kill in between leaves an alias that points to the complete old collection
        index.point(_previous(alias), current)
    index.point(alias, name)


def move_behind_barrier(index: VectorIndex, alias: str, name: str, *, barrier: RecallBarrier | None) -> float | None:
    """Point an alias to a complete collection once that has passed the barrier; its recall, None where it was not measured.

    What is measured is kept with the collection, for others that start after this one.

    Raises:
        StoreError: The collection is missing or not complete, finds too little, or holds other vectors: the alias is where it was.
    """
    if barrier is None:
        move_alias(index, alias, name)
        return None
    kept = _described(index, name).recalls.get(barrier.key)
    if barrier.is_due(kept, moving=index.resolve(alias) != name):
        recall = barrier.check(index, name)
        if recall != kept:
            index.keep_recall(name, barrier.key, recall)
        kept = recall
    else:
        barrier.spot_check(index, name)
    move_alias(index, alias, name)
    return kept


def is_ready(index: VectorIndex, alias: str, name: str, *, n_passages: int, barrier: RecallBarrier | None) -> bool:
    """Whether the alias points to a complete collection of so many passages that need not be measured: then `index_arm` changes nothing."""
    if (
        index.resolve(alias) != name
    ):  # asked first: to describe a collection loads it, which nobody may who doesn't hold the lock of its maker
        return False
    info = index.describe(name)
    if info is None or not info.complete or info.n_passages != n_passages:
        return False
    return barrier is None or not barrier.is_due(info.recalls.get(barrier.key), moving=False)


def _previous(alias: str) -> str:
    return f"{alias}_previous"


def _described(index: VectorIndex, name: str) -> CollectionInfo:
    info = index.describe(name)
    if info is None:
        raise StoreError(f"there is no collection {name!r}: index the corpus first (ragtrial index EXPERIMENT.yaml)")
    return info


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "x"
