"""Hits in the reranker's order, the same way offline and live."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ragtrial.contracts import Reranker, Retrieved, Retriever, Scores
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Hit
from ragtrial.errors import RerankError
from ragtrial.index.rules import ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class Reordering:
    """How an arm's hits are put in a new order.

    Attributes:
        reranker: Scores query and passage together.
        passages: The corpus by passage id.
        candidates: Hits that the reranker is given, or `top_k` where that is more.
    """

    reranker: Reranker
    passages: Mapping[str, Passage]
    candidates: int

    def depth(self, top_k: int) -> int:
        """Hits that the search has to find."""
        return max(top_k, self.candidates)

    def reordered(self, asked: Sequence[tuple[str, Sequence[Hit]]], *, top_k: int) -> tuple[tuple[Hit, ...], ...]:
        """The first `top_k` of each query's hits by the reranker's scores, which become their similarities.

        Scores within `index.rules.TIE` of each other are equal, and stand by passage id: what a cross-encoder says of a pair differs in the
        last digits with the other pairs in its batch. A query without hits is not asked about.

        Args:
            asked: Each query with what the search found.
            top_k: Passages wanted.

        Raises:
            RerankError: See `contracts.Reranker`.
        """
        readings = [(text, [self.passages[hit.passage_id].content for hit in hits]) for text, hits in asked if hits]
        rows = iter(checked(self.reranker.score(readings), readings, name=str(self.reranker.identity)) if readings else ())
        return tuple(_ordered(hits, next(rows), top_k) if hits else () for _, hits in asked)


def checked(rows: Sequence[Scores], asked: Sequence[tuple[str, Sequence[str]]], *, name: str) -> tuple[Scores, ...]:
    """The scores as float32, once there is a finite one for each passage.

    Args:
        rows: What a reranker returned.
        asked: What it was asked.
        name: The reranker's, for messages.

    Raises:
        RerankError: There isn't.
    """
    if len(rows) != len(asked):
        raise RerankError(f"reranker {name!r} returned scores of {len(rows)} queries for {len(asked)}: mend it")
    found = []
    for row, (_, passages) in zip(rows, asked, strict=True):
        scores = np.asarray(row, dtype=np.float32)
        if scores.shape != (len(passages),):
            raise RerankError(f"reranker {name!r} returned scores of shape {scores.shape} for {len(passages)} passages: mend it")
        if not np.isfinite(scores).all():
            raise RerankError(f"reranker {name!r} returned scores that are not finite: mend it, or use another one")
        found.append(scores)
    return tuple(found)


def _ordered(hits: Sequence[Hit], scores: Scores, top_k: int) -> tuple[Hit, ...]:
    return ranked("reranked", [(hit.passage_id, float(score)) for hit, score in zip(hits, scores, strict=True)], top_k=top_k)


class EmbedsAhead(Retriever, Protocol):
    """A retriever that can embed all queries in one go."""

    def embed_ahead(self, queries: Sequence[Query], *, progress: Callable[[int], None]) -> None:
        """Embed all queries; pays where there is a cache."""
        ...


class RerankedRetriever:
    """A `contracts.Retriever` in front of a reranker.

    Args:
        inner: What finds the candidates.
        reordering: What orders them.
    """

    def __init__(self, inner: EmbedsAhead, reordering: Reordering) -> None:
        self._inner, self._reordering = inner, reordering

    def embed_ahead(self, queries: Sequence[Query], *, progress: Callable[[int], None]) -> None:
        """Embed all queries in one go; pays where the embedder has a cache.

        Args:
            queries: That will be asked.
            progress: Told how many more are embedded.

        Raises:
            ModelError: A query can't be embedded.
        """
        self._inner.embed_ahead(queries, progress=progress)

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """See `contracts.Retriever`."""
        found = self._inner.retrieve(queries, top_k=self._reordering.depth(top_k))
        start = time.perf_counter()
        hits = self._reordering.reordered([(q.text, found_hits) for q, found_hits in zip(queries, found.hits, strict=True)], top_k=top_k)
        rerank_ms = (time.perf_counter() - start) * 1000
        return Retrieved(hits=hits, embed_ms=found.embed_ms, search_ms=found.search_ms + rerank_ms, rerank_ms=rerank_ms)
