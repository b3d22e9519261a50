"""Scores on disk by content: a pair of query and passage is read once by each reranker, in whatever arm or experiment it stands."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ragtrial.contracts import Reranker, Scores
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.cache import VectorCache
from ragtrial.reranking.reordering import checked

_QUERIES_AT_A_TIME = 16
"""So many queries' scores are written together: what a kill loses is soon made again."""


class CachedReranker:
    """A reranker that asks the cache first, and writes what is new as it goes.

    Queries are taken in groups that don't depend on what is in the cache, so a run that was killed goes on with the groups that it would
    have had, and comes to the same scores.

    Args:
        inner: What scores.
        cache: That of the vectors: a score is a vector of one number.
    """

    def __init__(self, inner: Reranker, cache: VectorCache) -> None:
        self._inner, self._cache = inner, cache
        self.scored = 0
        """Pairs that were not in the cache so far."""

    @property
    def identity(self) -> ModelIdentity:
        """The inner reranker's."""
        return self._inner.identity

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        """See `contracts.Reranker`."""
        rows: list[Scores] = []
        for start in range(0, len(asked), _QUERIES_AT_A_TIME):
            rows += self._group(asked[start : start + _QUERIES_AT_A_TIME])
        return tuple(rows)

    def _group(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Scores]:
        keys = [[self._key(query, passage) for passage in passages] for query, passages in asked]
        flat = [key for row in keys for key in row]
        known = {key: found[0] for key, found in zip(flat, self._cache.get(flat), strict=True) if found is not None and found.size == 1}
        todo: list[tuple[str, list[str]]] = []
        new: list[list[bytes]] = []
        for (query, passages), row in zip(asked, keys, strict=True):
            missing = {key: passage for key, passage in zip(row, passages, strict=True) if key not in known}
            if missing:
                todo.append((query, list(missing.values())))
                new.append(list(missing))
        if todo:
            fresh = checked(self._inner.score(todo), todo, name=str(self.identity))
            items = [(key, scores[[i]]) for row, scores in zip(new, fresh, strict=True) for i, key in enumerate(row)]
            self.scored += len(items)
            self._cache.put(items)
            known.update((key, value[0]) for key, value in items)
        return [np.array([known[key] for key in row], dtype=np.float32) for row in keys]

    def _key(self, query: str, passage: str) -> bytes:
        return hashlib.sha256(f"{self.identity.key}\0rerank\0{len(query)}\0{query}\0{passage}".encode()).digest()
