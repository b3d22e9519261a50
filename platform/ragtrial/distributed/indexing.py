"""A corpus of shards embedded on Ray, into the same collection that `indexing.index_arm` would make.

The collection has the same name, vectors and properties, so that whichever way it was made it is found by the other. It is complete,
and may be pointed to, only when every shard is stored and the store's own count says so.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from ragtrial.chunking import chunker
from ragtrial.contracts import CollectionInfo, Embedder, IndexParameters, Progress, VectorIndex, Vectors, no_progress
from ragtrial.distributed.flow import Flow, stream
from ragtrial.distributed.ledger import Ledger
from ragtrial.distributed.stages import rows_of
from ragtrial.distributed.survey import Survey, SurveyedShard
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.domain.execution import RaySpec
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.shards import read_shard
from ragtrial.formats.validation import Findings
from ragtrial.index.codes import vector_bytes
from ragtrial.indexing import collection_name, move_alias, of_groups, open_collection

_LEARNT_BATCH = 256
Remember = Callable[[Sequence[Passage], Vectors], None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is indexed.

    Attributes:
        survey: The shards, looked at.
        chunking: How documents are cut.
    """

    survey: Survey
    chunking: ChunkingSpec


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where to.

    Attributes:
        index: The store, as this process has it open.
        store: Its address, for the ledger.
        open_index: Opens it in another process; None where only one may have it open (Milvus Lite).
        parameters: Which index.
        alias: The arm's.
        move: Whether the alias moves here, and not after somebody has looked at the collection.
        ledger: Folder of the ledger.
        importer: What imports Parquet files; None where rows are upserted.
    """

    index: VectorIndex
    store: str
    open_index: Callable[[], VectorIndex] | None
    parameters: IndexParameters
    alias: str
    move: bool
    ledger: Path
    importer: "Importer | None" = None


class Importer(Protocol):
    """Files of rows that a store imports at once; a shard is named by its digest."""

    def add(self, name: str, shard: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Rows of a shard, in any order."""
        ...

    def close(self, name: str, shard: str) -> None:
        """The shard has all its rows: its files are whole when this returns, and replace older ones of it."""
        ...

    def has(self, name: str, shard: str) -> bool:
        """Whether the shard's files are there."""
        ...

    def load(self, name: str, shards: Sequence[str]) -> None:
        """Have the store import the files of all shards into the collection, which is empty, and remove them."""
        ...


def index_shards(
    source: Source,
    *,
    embedder: Embedder,
    make: Callable[[], Embedder],
    to: Destination,
    spec: RaySpec,
    remember: Remember | None = None,
    progress: Progress = no_progress,
) -> IndexFacts:
    """Embed the shards that are not stored yet, complete the collection, and point the alias to it where asked to; Ray is running.

    A shard is noted as stored when the store has acknowledged its last row. A kill loses the shards that were under way; their rows are
    upserted again under the same ids. Where the store holds less than the ledger says, the ledger is not believed.

    Args:
        source: What to index.
        embedder: The model in this process: its identity, and the sample that int8 codes are calibrated on.
        make: Loads the same model on a worker.
        to: Where to.
        spec: How many workers.
        remember: Given every passage with its vector, for a cache; None where that would be too much.
        progress: Told how many passages are stored.

    Returns:
        What is known of the collection; seconds and tokens are left out, for actors work side by side.

    Raises:
        StoreError: The store failed, or holds something else.
        ModelError: A passage can't be embedded.
        InputError: A shard was changed meanwhile.
        SetupError: Ray failed.
    """
    survey, identity = source.survey, embedder.identity
    to = replace(to, parameters=of_groups(to.parameters, survey))
    name = collection_name(survey, identity, to.parameters)
    opened = partial(
        open_collection,
        name,
        corpus=survey,
        model=identity,
        index=to.index,
        parameters=to.parameters,
        n_passages=survey.n_passages,
        embedded=lambda places: embedder.embed([passage.content for passage in _at(source, places)], kind="passage"),
    )
    info = opened()
    with Ledger(to.ledger, store=to.store) as ledger:
        for again in (False, True):
            if info.complete and info.n_passages == survey.n_passages:
                break
            run = _Run(
                source=source, embedder=embedder, make=make, to=to, spec=spec, remember=remember, name=name, ledger=ledger, opened=opened
            )
            info = run.fill(info, progress=progress)
            if info.n_passages != survey.n_passages:
                ledger.forget(name)  # the second time all is stored again, over what is there
                if again:
                    raise StoreError(
                        f"collection {name!r} holds {info.n_passages} passages after indexing, expected {survey.n_passages}: "
                        "something else writes to it; drop it and index the corpus again"
                    )
    if to.move:
        move_alias(to.index, to.alias, name)
    return IndexFacts(
        collection=name,
        alias=to.alias,
        index_type=info.index_type,
        metric=to.parameters.metric,
        n_passages=info.n_passages,
        bytes=info.n_passages * vector_bytes(to.parameters.vectors, identity.dimension),
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One attempt to fill a collection."""

    source: Source
    embedder: Embedder
    make: Callable[[], Embedder]
    to: Destination
    spec: RaySpec
    remember: Remember | None
    name: str
    ledger: Ledger
    opened: Callable[[], CollectionInfo]

    def fill(self, info: CollectionInfo, *, progress: Progress) -> CollectionInfo:
        """Store what is missing, and complete the collection; what it says of itself then."""
        survey, importer = self.source.survey, self.to.importer
        stored = self.ledger.stored(self.name, survey.shards)
        claimed = sum(shard.n_passages for shard in survey.shards if shard.number in stored)
        if importer is not None:
            stored = {shard.number for shard in survey.shards if shard.number in stored and importer.has(self.name, shard.digest)}
        elif info.n_passages < claimed:
            self.ledger.forget(self.name)
            stored = set()
        if importer is not None and info.n_passages == survey.n_passages:  # killed between the import and its end
            return self._finished()
        todo = [shard for shard in survey.shards if shard.n_passages and shard.number not in stored]
        advance = progress(f"index {self.embedder.identity} on Ray", sum(shard.n_passages for shard in todo))
        if todo and self.embedder.identity.dimension:
            self._embed(todo, advance)
        elif todo:
            self._without_vectors(todo, advance)
        if importer is not None:
            if info.n_passages:  # an import adds rows and replaces none
                self.to.index.drop(self.name)
                self.opened()
            importer.load(self.name, [shard.digest for shard in survey.shards if shard.n_passages])
        return self._finished()

    def _finished(self) -> CollectionInfo:
        """The collection, complete."""
        self.to.index.finish(self.name)
        found = self.to.index.describe(self.name)
        if found is None:
            raise StoreError(f"collection {self.name!r} was dropped while it was being filled: index the corpus again")
        return found

    def _embed(self, todo: Sequence[SurveyedShard], advance: Callable[[int], None]) -> None:
        """Through Ray; a shard is noted when its last row is stored."""
        shards, left = {shard.number: shard for shard in todo}, {shard.number: shard.n_passages for shard in todo}
        workers_write = self.to.open_index is not None and self.to.importer is None
        flow = Flow(
            survey=self.source.survey,
            chunking=self.source.chunking,
            spec=self.spec,
            identity=self.embedder.identity,
            make=self.make,
            open_index=self.to.open_index if workers_write else None,
            collection=self.name,
            keep=self.remember is not None,
        )
        for batch in stream(flow, todo):
            if not workers_write or self.remember is not None:
                passages, vectors = rows_of(batch)
                if not workers_write:
                    self._store(shards, batch["shard"], passages, vectors)
                if self.remember is not None:
                    self.remember(passages, vectors)
            for number, count in zip(*np.unique(batch["shard"], return_counts=True), strict=True):
                left[int(number)] -= int(count)
                if left[int(number)] == 0:
                    self._done(shards[int(number)])
            advance(len(batch["shard"]))
        lacking = [number for number, count in left.items() if count]
        if lacking:
            raise StoreError(
                f"{len(lacking)} of {len(todo)} shards came back with other rows than they have, e.g. {shards[lacking[0]].shard.uri!r}"
            )

    def _store(self, shards: dict[int, SurveyedShard], numbers: Sequence[int], passages: Sequence[Passage], vectors: Vectors) -> None:
        """Rows from this process: into the store, or into the files that it imports."""
        importer = self.to.importer
        if importer is None:
            self.to.index.insert(self.name, passages, vectors)
            return
        of = np.asarray(numbers)
        for number in np.unique(of):
            places = np.flatnonzero(of == number)
            importer.add(self.name, shards[int(number)].digest, [passages[int(place)] for place in places], vectors[places])

    def _done(self, shard: SurveyedShard) -> None:
        if self.to.importer is not None:
            self.to.importer.close(self.name, shard.digest)
        self.ledger.note(self.name, shard)

    def _without_vectors(self, todo: Sequence[SurveyedShard], advance: Callable[[int], None]) -> None:
        """Words alone: there is nothing to embed, so there is nothing for Ray to do."""
        for shard in todo:
            passages = _passages([shard], self.source.chunking)
            while batch := list(itertools.islice(passages, _LEARNT_BATCH)):
                self.to.index.insert(self.name, batch, np.empty((len(batch), 0), dtype=np.float32))
                advance(len(batch))
            self._done(shard)


def _at(source: Source, places: Sequence[int]) -> list[Passage]:
    """The passages at these places of the corpus, in order, by streaming through it."""
    wanted = set(places)
    return [passage for place, passage in enumerate(_passages(source.survey.shards, source.chunking)) if place in wanted]


def _passages(shards: Sequence[SurveyedShard], chunking: ChunkingSpec) -> Iterator[Passage]:
    """The passages of shards that were surveyed.

    Raises:
        InputError: A shard was changed since.
    """
    split = chunker(chunking).split
    for surveyed in shards:
        findings, n_passages = Findings(), 0
        for _, document in read_shard(surveyed.shard, findings):
            passages = split(document)
            n_passages += len(passages)
            yield from passages
        if findings.problems or n_passages != surveyed.n_passages:
            raise InputError(f"{surveyed.shard.uri}: was changed while it was being indexed: index the corpus again")
