"""Exact search with numpy: the oracle that other stores are measured against, and a store for tests."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import CollectionInfo, CollectionRef, IndexParameters, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import MissingCollectionError, StoreError
from ragtrial.index.codes import in_metric, passage_codes, query_codes, ranges_from
from ragtrial.index.index_types import check_parameters
from ragtrial.index.rules import (
    TIE,
    Origin,
    calibrated,
    check_drop,
    check_groups,
    check_model,
    check_origin,
    check_vectors,
    check_words,
    in_groups,
    ranked,
    reference_to,
    similarities,
)
from ragtrial.index.words import WORD_TIE, WordScores

_CHUNK_CELLS = 1 << 23
"""Similarities held at once (32 MiB of float32)."""


def exact_search(
    matrix: Vectors,
    ids: Sequence[str],
    vectors: Vectors,
    top_k: int,
    *,
    metric: str = "COSINE",
    similar: Callable[[Vectors], NDArray[np.float32]] | None = None,
) -> tuple[tuple[Hit, ...], ...]:
    """The `top_k` nearest rows of each vector, best first, ties by id.

    Args:
        matrix: Unit rows, shape (n, dimension); none is allowed.
        ids: Their names, one each, unique.
        vectors: Unit rows to search with, shape (n_queries, dimension).
        top_k: At least 1; fewer hits where there are fewer rows.
        metric: `COSINE`, `IP` or `L2`; see `rules.similarities`.
        similar: Similarities of some of the vectors to every row, in the place of the metric's.

    Raises:
        ValueError: `top_k` is below 1, or rows and ids don't match.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}: ask for at least 1")
    if len(ids) != len(matrix):
        raise ValueError(f"{len(matrix)} rows have {len(ids)} ids")
    if not len(ids):
        return ((),) * len(vectors)
    step = max(1, _CHUNK_CELLS // len(ids))
    found: list[tuple[Hit, ...]] = []
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        for row in similarities(part, matrix, metric) if similar is None else similar(part):
            near = [(ids[i], float(row[i])) for i in _candidates(row, top_k)]
            found.append(ranked("in memory", near, top_k=top_k))
    return tuple(found)


def _candidates(row: NDArray[np.float32], top_k: int, tie: float = TIE) -> list[int]:
    """Positions of the `top_k` largest values, and of all that tie with the last of them."""
    least = np.partition(row, len(row) - top_k)[len(row) - top_k] if top_k < len(row) else row.min()
    while True:
        candidates = np.flatnonzero(row >= least - tie)
        lower = row[candidates].min()
        if lower == least:
            return [int(position) for position in candidates]
        least = lower


@dataclass(slots=True, kw_only=True)
class _Collection:
    origin: Origin
    complete: bool = False
    recalls: dict[str, float] = field(default_factory=dict)
    rows: dict[str, Vectors] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)
    searched_at: float | None = None
    matrix: Vectors | None = None
    words: WordScores | None = None


class ExactIndex:
    """A `contracts.VectorIndex` in memory that searches exactly, whatever index type is asked for."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] | None = {}
        self._aliases: dict[str, str] = {}

    @property
    def counts_words_by_opening(self) -> bool:
        """See `contracts.VectorIndex`."""
        return False

    def indexed_from(self, parameters: IndexParameters) -> int:
        """See `contracts.VectorIndex`."""
        del parameters
        return 0

    def check(self, parameters: IndexParameters) -> None:
        """See `contracts.VectorIndex`."""
        check_parameters(parameters)

    def create(self, name: str, *, model: ModelIdentity, corpus: str, parameters: IndexParameters, sample: Vectors | None = None) -> None:
        """See `contracts.VectorIndex`."""
        check_parameters(parameters)
        asked = Origin(model=model, corpus=corpus, parameters=parameters)
        collections = self._open()
        if name in self._aliases:
            raise StoreError(f"{name!r} is an alias of collection {self._aliases[name]!r}: choose another name")
        if name in collections:
            check_origin(name, found=collections[name].origin, asked=asked)
            return
        collections[name] = _Collection(origin=calibrated(asked, sample))

    def insert(self, name: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `contracts.VectorIndex`."""
        collection = self._get(name)
        ids = [passage.passage_id for passage in passages]
        rows = check_vectors(name, vectors, dimension=collection.origin.model.dimension, ids=ids)
        collection.complete, collection.matrix, collection.words = False, None, None
        collection.recalls.clear()
        collection.rows.update(zip(ids, rows.copy(), strict=True))
        collection.texts.update((passage.passage_id, passage.content) for passage in passages)
        collection.groups.update((passage.passage_id, passage.group) for passage in passages)

    def stored_ids(self, name: str) -> set[str]:
        """See `contracts.VectorIndex`."""
        return set(self._get(name).rows)

    def finish(self, name: str) -> None:
        """See `contracts.VectorIndex`."""
        self._get(name).complete = True

    def keep_recall(self, name: str, key: str, recall: float) -> None:
        """See `contracts.VectorIndex`."""
        self._get(self._aliases.get(name, name)).recalls[key] = recall

    def describe(self, name: str) -> CollectionInfo | None:
        """See `contracts.VectorIndex`."""
        target = self._aliases.get(name, name)
        collection = self._open().get(target)
        if collection is None:
            return None
        return CollectionInfo(
            name=target,
            model=collection.origin.model,
            corpus=collection.origin.corpus,
            parameters=collection.origin.parameters,
            index_type="FLAT",
            n_passages=len(collection.rows),
            complete=collection.complete,
            recalls=dict(collection.recalls),
        )

    def referred(self, name: str) -> CollectionRef | None:
        """See `contracts.VectorIndex`."""
        target = self._aliases.get(name, name)
        collection = self._open().get(target)
        if collection is None:
            return None
        return reference_to(target, collection.origin, complete=collection.complete)

    def search(
        self, name: str, vectors: Vectors, *, top_k: int, model: ModelIdentity, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """See `contracts.VectorIndex`."""
        target = self._aliases.get(name, name)
        collection = self._get(target)
        check_model(target, found=collection.origin.model, asked=model)
        queries = check_vectors(target, vectors, dimension=model.dimension)
        asked = check_groups(target, collection.origin.parameters, groups, queries=len(queries))
        origin = collection.origin
        if collection.matrix is None:
            rows = np.array(list(collection.rows.values()), dtype=np.float32).reshape(-1, model.dimension)
            collection.matrix = passage_codes(
                origin.parameters.vectors, rows, None if origin.ranges is None else ranges_from(origin.ranges)
            )
        matrix, ids = collection.matrix, tuple(collection.rows)

        belongs = [collection.groups.get(each) for each in ids]

        def found(group: str | None, places: list[int]) -> tuple[tuple[Hit, ...], ...]:
            rows = _rows_of(belongs, group)
            if len(rows) == len(ids):
                return _vector_hits(origin, matrix, ids, queries[places], top_k)
            return _vector_hits(origin, matrix[rows], [ids[row] for row in rows], queries[places], top_k)

        return in_groups(asked, found)

    def search_words(
        self, name: str, texts: Sequence[str], *, top_k: int, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """See `contracts.VectorIndex`."""
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1")
        target = self._aliases.get(name, name)
        collection = self._get(target)
        check_words(target, collection.origin.parameters)
        asked = check_groups(target, collection.origin.parameters, groups, queries=len(texts))
        if collection.words is None:
            collection.words = WordScores(tuple(collection.texts.values()))
        words, ids = collection.words, tuple(collection.texts)

        belongs = [collection.groups.get(each) for each in ids]

        def found(group: str | None, places: list[int]) -> tuple[tuple[Hit, ...], ...]:
            rows = _rows_of(belongs, group)
            return tuple(_word_hits(target, words.scores(texts[place])[rows], [ids[row] for row in rows], top_k) for place in places)

        return in_groups(asked, found)

    def keep_searched(self, name: str, at: float) -> None:
        """See `contracts.VectorIndex`."""
        self._get(self._aliases.get(name, name)).searched_at = at

    def drop(self, name: str, *, force: bool = False) -> None:
        """See `contracts.VectorIndex`."""
        aliases = [alias for alias, target in self._aliases.items() if name in (alias, target)]
        found = self._open().get(name)
        check_drop(name, aliases, searched_at=None if force or found is None else found.searched_at)
        self._open().pop(name, None)

    def collections(self) -> tuple[str, ...]:
        """See `contracts.VectorIndex`."""
        return tuple(sorted(self._open()))

    def point(self, alias: str, name: str) -> str | None:
        """See `contracts.VectorIndex`."""
        if alias in self._open():
            raise StoreError(f"alias {alias!r} can't be set: a collection has that name")
        if not self._get(name).complete:
            raise StoreError(f"alias {alias!r} can't point to collection {name!r}: it is not complete; index the corpus to the end first")
        before = self._aliases.get(alias)
        if before is not None and before != name:
            self.keep_searched(before, time.time())
        self._aliases[alias] = name
        return before

    def resolve(self, alias: str) -> str | None:
        """See `contracts.VectorIndex`."""
        self._open()
        return self._aliases.get(alias)

    def close(self) -> None:
        """See `contracts.VectorIndex`; what was stored is gone."""
        self._collections = None

    def _open(self) -> dict[str, _Collection]:
        if self._collections is None:
            raise StoreError("the store in memory is closed: make another one")
        return self._collections

    def _get(self, name: str) -> _Collection:
        try:
            return self._open()[name]
        except KeyError:
            raise MissingCollectionError(
                f"there is no collection {name!r}: index the corpus first (ragtrial index EXPERIMENT.yaml)"
            ) from None


def _vector_hits(origin: Origin, matrix: Vectors, ids: Sequence[str], queries: Vectors, top_k: int) -> tuple[tuple[Hit, ...], ...]:
    kind, metric = origin.parameters.vectors, origin.parameters.metric
    if kind == "fp32":
        return exact_search(matrix, ids, queries, top_k, metric=metric)
    ranges = None if origin.ranges is None else ranges_from(origin.ranges)

    def similar(part: Vectors) -> NDArray[np.float32]:
        asked = query_codes(kind, part, ranges)
        return np.asarray(in_metric((asked.codes @ matrix.T) * asked.scale[:, None] + asked.offset[:, None], metric), dtype=np.float32)

    return exact_search(matrix, ids, queries, top_k, similar=similar)


def _word_hits(name: str, scores: NDArray[np.float32], ids: Sequence[str], top_k: int) -> tuple[Hit, ...]:
    if not ids:
        return ()
    near = [(ids[i], float(scores[i])) for i in _candidates(scores, top_k, WORD_TIE) if scores[i] > 0]
    return ranked(name, near, top_k=top_k, tie=WORD_TIE)


def _rows_of(belongs: Sequence[str | None], group: str | None) -> list[int]:
    """Places of the passages that a query of the group is answered from."""
    return [row for row, each in enumerate(belongs) if group is None or (each or "") == group]
