"""Milvus, as a server or embedded (Milvus Lite): where the vectors of the arms are kept and searched.

What a collection was made for (model, corpus, index) is written into its properties and checked whenever it is used, and so is
whether it is complete. Reads are bounded-stale, which answers from what a query node has instead of asking for a fresh timestamp
(about 200 ms a read on a server): `finish` ends with a strongly consistent count, after which bounded reads see every row. Reads
that must see the last write (`stored_ids`, counts) are strong. Milvus Lite has one process and is always up to date.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from ragtrial.contracts import CollectionInfo, CollectionRef, IndexParameters, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import MissingCollectionError, StoreError
from ragtrial.index.milvus_building import check_built, ensure_index, wait_for_index
from ragtrial.index.milvus_connection import MISSING, Connection
from ragtrial.index.milvus_loading import load, logger, other_replicas, unserved
from ragtrial.index.milvus_properties import COMPLETE, ORIGIN, RECALL, SEARCHED_AT, record_of
from ragtrial.index.milvus_rows import (
    PARTITIONS,
    batches,
    index_name,
    plain,
    row_of,
    schema,
    store,
    stored_metric,
    stored_vectors,
)
from ragtrial.index.milvus_search import (
    Record,
    Search,
    SearchLimits,
    check_top_k,
    nearest,
    read_ids,
    vector_search,
    within,
    word_search,
)
from ragtrial.index.milvus_support import check_supported, check_version, least_rows, needs_version
from ragtrial.index.reading import Reading
from ragtrial.index.rules import (
    Origin,
    calibrated,
    check_drop,
    check_groups,
    check_model,
    check_origin,
    check_vectors,
    check_words,
    in_groups,
    reference_to,
)

SEARCH_BATCH = 64
"""Queries a call; a larger batch saves nothing more and a server may refuse it."""

_NOT_LOADED = 101
_RECHECK_SECONDS = 5.0
_LITE_L2_BYTES = 64 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Searchable:
    """A collection that was checked and loaded at a monotonic time, and how many queries to send it at once."""

    record: Record
    batch: int
    checked_at: float


class MilvusIndex:
    """A `contracts.VectorIndex` on Milvus. One writer; close it, for Milvus Lite is locked while it is open.

    Milvus Lite builds with fixed parameters (M 16, efConstruction 200, nlist 128), so others are refused there.
    FLAT is exact, and ties at the cut are ordered by passage id before the cut.

    Args:
        uri: `http://host:port` of a server, or a path ending in `.db`: the folder that Milvus Lite keeps, made where it is missing.
        token: `user:password` or an API key, or None.
        timeout_s: For each call, but not for building an index.
        build_timeout_s: For flushing, building and loading.
        reading: How collections are loaded and searched; default: one replica, bounded.

    Raises:
        StoreError: See `Connection`.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        build_timeout_s: float = 3600.0,
        reading: Reading | None = None,
    ) -> None:
        self._reading = Reading() if reading is None else reading
        self._connection = Connection(uri, token=token, timeout_s=timeout_s)
        self._lite = self._connection.lite
        self._timeout_s, self._build_s = timeout_s, build_timeout_s
        self._limits = SearchLimits(lite=self._lite, timeout_s=timeout_s, consistency=self._reading.consistency)
        self._fresh: set[str] = set()  # made here and still empty
        self._open_for_writing: dict[str, Record] = {}
        self._open_for_search: dict[str, _Searchable] = {}
        self._said: set[str] = set()

    @property
    def lite(self) -> bool:
        """Whether it is Milvus Lite, inside of this process."""
        return self._lite

    @property
    def counts_words_by_opening(self) -> bool:
        """See `contracts.VectorIndex`: Milvus Lite does."""
        return self._lite

    def indexed_from(self, parameters: IndexParameters) -> int:
        """See `contracts.VectorIndex`."""
        return 0 if self._lite else least_rows(parameters)

    def check(self, parameters: IndexParameters) -> None:
        """See `contracts.VectorIndex`; looks at the server's version where that decides."""
        check_supported(parameters, lite=self._lite)
        if not self._lite and needs_version(parameters, self._reading):
            with self._connection.calls("asking for the version") as client:
                check_version(client.get_server_version(timeout=self._timeout_s), parameters, self._reading)

    def create(self, name: str, *, model: ModelIdentity, corpus: str, parameters: IndexParameters, sample: Vectors | None = None) -> None:
        """See `contracts.VectorIndex`."""
        if not _NAME.fullmatch(name):
            raise StoreError(f"{name!r} can't name a collection: use letters, digits and '_', not a digit first, at most 255")
        self.check(parameters)
        asked = Origin(model=model, corpus=corpus, parameters=parameters)
        record = self._record(name)
        if record is not None:
            if record.name != name:
                raise StoreError(f"{name!r} is an alias of collection {record.name!r}: choose another name")
            check_origin(name, found=record.origin, asked=asked)
            return
        if parameters.vectors == "binary" and model.dimension % 8 and not self._lite:
            raise StoreError(f"binary vectors of {model.dimension} dimensions can't be stored: Milvus takes multiples of 8")
        asked = calibrated(asked, sample)
        properties = {ORIGIN: json.dumps(plain(asked), sort_keys=True), COMPLETE: "false"}
        with self._connection.calls(f"creating collection {name!r}") as client:
            fields = schema(client, asked, lite=self._lite)
            more = {"num_partitions": PARTITIONS} if parameters.partition else {}
            client.create_collection(
                name,
                schema=fields,
                properties=properties,
                num_shards=parameters.shards,
                consistency_level="Bounded",
                timeout=self._timeout_s,
                **more,
            )
        self._fresh.add(name)

    def insert(self, name: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `contracts.VectorIndex`; also refuses a text of more than 65,535 bytes, naming the passage."""
        record = self._open_for_writing.get(name) or self._existing(name)
        rows = check_vectors(name, vectors, dimension=record.origin.model.dimension, ids=[passage.passage_id for passage in passages])
        ready = stored_vectors(record.origin, rows, lite=self._lite)
        last = {passage.passage_id: (passage, row) for passage, row in zip(passages, ready, strict=True)}
        made = [row_of(name, passage, row, record.origin) for passage, row in last.values()]
        requests = list(batches(made, record.origin.model.dimension))
        if record.name not in self._open_for_writing:
            if record.complete:
                self._mark(record.name, {COMPLETE: "false", **{f"{RECALL}{key}": "" for key in record.recalls}})
            self._open_for_writing[record.name] = record
        self._fresh.discard(record.name)
        for batch in requests:
            with self._connection.calls(f"storing {len(batch)} passages in collection {name!r}") as client:
                store(client, record.name, batch, partitioned=bool(record.origin.parameters.partition), timeout_s=self._timeout_s)

    def stored_ids(self, name: str) -> set[str]:
        """See `contracts.VectorIndex`."""
        record = self._existing(name)
        if record.name in self._fresh:  # a server would need an index and seconds of loading to say the same
            return set()
        self._load(record)
        with self._connection.calls(f"reading the passage ids of collection {name!r}") as client:
            return read_ids(client, record.name, limits=self._limits)

    def finish(self, name: str) -> None:
        """See `contracts.VectorIndex`.

        Milvus answers from unfinished parts while an index is built, and recall moves between two runs; so this flushes, waits for
        the index, and loads the collection anew before it is called complete. On a server a collection that an alias points to stays
        loaded, and takes the new parts in while it is searched.

        Raises:
            StoreError: The store failed, built another index than it was asked for, or holds a passage more than once.
        """
        record = self._existing(name)
        self._open_for_search.clear()
        with self._connection.calls(f"building the index of collection {name!r}") as client:
            client.flush(record.name, timeout=self._build_s)
            ensure_index(client, record, lite=self._lite, timeout_s=self._timeout_s, build_s=self._build_s)
            again = self._lite or unserved(client, record.name, timeout_s=self._timeout_s)
            if again:
                client.release_collection(record.name, timeout=self._build_s)
            wait_for_index(client, record, timeout_s=self._timeout_s, build_s=self._build_s)
            check_built(client, record, lite=self._lite, timeout_s=self._timeout_s)
            self._load(record)
            if not again:
                client.refresh_load(record.name, timeout=self._build_s)
        self._fresh.discard(record.name)
        rows, ids = self._count(record), len(self.stored_ids(record.name))
        if rows != ids:
            raise StoreError(f"collection {name!r} holds {rows} rows for {ids} passages: drop it and index the corpus again")
        self._mark(record.name, {COMPLETE: "true"})
        self._open_for_writing.pop(record.name, None)

    def keep_recall(self, name: str, key: str, recall: float) -> None:
        """See `contracts.VectorIndex`."""
        record = self._existing(name)
        if not record.complete:
            raise StoreError(f"collection {name!r} is not complete, so its recall is not kept: index the corpus to the end first")
        self._mark(record.name, {f"{RECALL}{key}": repr(recall)})

    def keep_searched(self, name: str, at: float) -> None:
        """See `contracts.VectorIndex`."""
        self._mark(self._existing(name).name, {SEARCHED_AT: repr(at)})

    def describe(self, name: str) -> CollectionInfo | None:
        """See `contracts.VectorIndex`."""
        record = self._record(name)
        if record is None:
            return None
        with self._connection.calls(f"describing collection {name!r}") as client:
            index = client.describe_index(record.name, index_name(record.origin), timeout=self._timeout_s)
            loaded = client.get_load_state(record.name, timeout=self._timeout_s)["state"] == LoadState.Loaded
        return CollectionInfo(
            name=record.name,
            model=record.origin.model,
            corpus=record.origin.corpus,
            parameters=record.origin.parameters,
            index_type=(index["index_type"] if index else "FLAT").removeprefix("BIN_"),
            n_passages=0 if record.name in self._fresh else self._count(record),
            complete=record.complete,
            loaded=loaded,
            recalls=record.recalls,
        )

    def referred(self, name: str) -> CollectionRef | None:
        """See `contracts.VectorIndex`."""
        record = self._record(name)
        if record is None:
            return None
        return reference_to(record.name, record.origin, complete=record.complete)

    def search(
        self, name: str, vectors: Vectors, *, top_k: int, model: ModelIdentity, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """See `contracts.VectorIndex`. Which collection an alias points to is asked again after a few seconds."""
        check_top_k(top_k)
        record = self._searchable(name, model).record
        queries = check_vectors(record.name, vectors, dimension=model.dimension)
        return self._found_in(groups, name, queries, vector_search, model=model, top_k=top_k)

    def search_words(
        self, name: str, texts: Sequence[str], *, top_k: int, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """See `contracts.VectorIndex`."""
        check_top_k(top_k)
        record = self._searchable(name, None).record
        check_words(record.name, record.origin.parameters)
        return self._found_in(groups, name, texts, word_search, model=None, top_k=top_k)

    def _found_in(
        self,
        groups: Sequence[str | None] | None,
        name: str,
        queries: Vectors | Sequence[str],
        search: Search,
        *,
        model: ModelIdentity | None,
        top_k: int,
    ) -> tuple[tuple[Hit, ...], ...]:
        """The hits of each query in its group: one search for each of the groups."""
        record = self._searchable(name, model).record
        asked = check_groups(record.name, record.origin.parameters, groups, queries=len(queries))

        def found(group: str | None, places: list[int]) -> tuple[tuple[Hit, ...], ...]:
            part: Any = queries[places] if isinstance(queries, np.ndarray) else [queries[place] for place in places]
            return self._found(name, part, search, model=model, top_k=top_k, limits=within(self._limits, group))

        return in_groups(asked, found)

    def _found(
        self, name: str, queries: Vectors | Sequence[str], search: Search, *, model: ModelIdentity | None, top_k: int, limits: SearchLimits
    ) -> tuple[tuple[Hit, ...], ...]:
        opened = self._searchable(name, model)
        found: list[tuple[Hit, ...]] = []
        while len(found) < len(queries):
            batch = queries[len(found) : len(found) + opened.batch]
            with self._connection.calls(f"searching collection {name!r}") as client:
                try:
                    found.extend(nearest(client, opened.record, batch, search, top_k, limits=limits))
                except MilvusException as error:
                    if error.code not in (MISSING, _NOT_LOADED):
                        raise
                    # dropped after the alias went elsewhere, or released, by another process
                    self._open_for_search.pop(name, None)
                    opened = self._searchable(name, model)
                    found.extend(nearest(client, opened.record, batch, search, top_k, limits=limits))
        return tuple(found)

    def drop(self, name: str, *, force: bool = False) -> None:
        """See `contracts.VectorIndex`."""
        record = self._record(name)
        if record is None:
            return
        with self._connection.calls(f"dropping collection {name!r}") as client:
            aliases = [name] if record.name != name else client.list_aliases(name, timeout=self._timeout_s)["aliases"]
            check_drop(record.name, aliases, searched_at=None if force else record.searched_at)
            client.drop_collection(name, timeout=self._timeout_s)
        self._fresh.discard(name)
        self._open_for_writing.pop(name, None)
        self._open_for_search.clear()

    def collections(self) -> tuple[str, ...]:
        """See `contracts.VectorIndex`."""
        with self._connection.calls("listing the collections") as client:
            names = client.list_collections(timeout=self._timeout_s)
            described = [client.describe_collection(name, timeout=self._timeout_s) for name in names]
        return tuple(sorted(name for name, found in zip(names, described, strict=True) if ORIGIN in (found.get("properties") or {})))

    def point(self, alias: str, name: str) -> str | None:
        """See `contracts.VectorIndex`."""
        record = self._existing(name)
        if not record.complete:
            raise StoreError(f"alias {alias!r} can't point to collection {name!r}: it is not complete; index the corpus to the end first")
        before = self._record(alias)
        self._load(record)
        if before is not None and before.name == alias:
            raise StoreError(f"alias {alias!r} can't be set: a collection has that name")
        if before is not None and before.name != record.name:
            self.keep_searched(before.name, time.time())  # whoever follows the alias goes on for a moment
        with self._connection.calls(f"pointing alias {alias!r} to collection {name!r}") as client:
            if before is None:
                client.create_alias(record.name, alias, timeout=self._timeout_s)
            elif before.name != record.name:
                client.alter_alias(record.name, alias, timeout=self._timeout_s)
        self._open_for_search.pop(alias, None)
        return None if before is None else before.name

    def resolve(self, alias: str) -> str | None:
        """See `contracts.VectorIndex`."""
        record = self._record(alias)
        return None if record is None or record.name == alias else record.name

    def close(self) -> None:
        """See `contracts.VectorIndex`."""
        self._connection.close()

    def _record(self, name: str) -> Record | None:
        with self._connection.calls(f"looking for collection {name!r}") as client:
            try:
                found = client.describe_collection(name, timeout=self._timeout_s)
            except MilvusException as error:
                if error.code == MISSING:
                    return None
                raise
        return record_of(name, found)

    def _existing(self, name: str) -> Record:
        record = self._record(name)
        if record is None:
            raise MissingCollectionError(f"there is no collection {name!r}: index the corpus first (ragtrial index EXPERIMENT.yaml)")
        return record

    def _searchable(self, name: str, model: ModelIdentity | None) -> _Searchable:
        """The collection, checked and loaded; the check is kept for a few seconds, and until an alias is moved here.

        No model is asked for where words are searched.
        """
        kept = self._open_for_search.get(name)
        if kept is None or time.monotonic() - kept.checked_at > _RECHECK_SECONDS:
            record = self._existing(name)
            check_model(record.name, found=record.origin.model, asked=model or record.origin.model)
            self._load(record)
            kept = _Searchable(record=record, batch=self._batch(record), checked_at=time.monotonic())
            self._open_for_search[name] = kept
        check_model(kept.record.name, found=kept.record.origin.model, asked=model or kept.record.origin.model)
        return kept

    def _batch(self, record: Record) -> int:
        """Queries a call: 64, but for exact L2 on Milvus Lite, which holds every difference (queries x rows x dimension) at once."""
        parameters = record.origin.parameters
        if not self._lite or (parameters.type, stored_metric(parameters, lite=True)) != ("FLAT", "L2"):
            return SEARCH_BATCH
        row_bytes = 4 * record.origin.model.dimension * max(1, self._count(record))
        return max(1, min(SEARCH_BATCH, _LITE_L2_BYTES // row_bytes))

    def _load(self, record: Record) -> None:
        with self._connection.calls(f"loading collection {record.name!r}") as client:
            if client.get_load_state(record.name, timeout=self._timeout_s)["state"] == LoadState.Loaded:
                said = other_replicas(client, record.name, self._reading, lite=self._lite, timeout_s=self._timeout_s)
                if said is not None and record.name not in self._said:
                    self._said.add(record.name)
                    logger.warning("%s", said)
                return
            # a server loads nothing without an index
            ensure_index(client, record, lite=self._lite, timeout_s=self._timeout_s, build_s=self._build_s)
            self._load_into(client, record)

    def _load_into(self, client: MilvusClient, record: Record) -> None:
        n = self._reading.replicas
        what = "" if n == 1 else f" in {n} replicas (index.replicas; that many query nodes are needed)"
        with self._connection.calls(f"loading collection {record.name!r}{what}"):
            load(client, record.name, self._reading, lite=self._lite, mapped=record.mapped, timeout_s=self._build_s)

    def _count(self, record: Record) -> int:
        self._load(record)
        with self._connection.calls(f"counting the passages of collection {record.name!r}") as client:
            rows = client.query(record.name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=self._timeout_s)
        return int(rows[0]["count(*)"])

    def _mark(self, name: str, properties: dict[str, str]) -> None:
        with self._connection.calls(f"marking collection {name!r}") as client:
            client.alter_collection_properties(name, properties, timeout=self._timeout_s)
