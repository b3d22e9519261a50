"""How much of exact search an index finds, and the barrier that an arm must pass before it is used.

Milvus answers before an index is whole (a server from the growing segment's interim index, Milvus Lite while it builds in the background),
and an approximate index may be built or searched too coarsely. Either would be blamed on the arm's model.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, IndexParameters, VectorIndex, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.errors import StoreError
from ragtrial.index.index_types import TYPES

_TIE = 1e-5
_PART = 16_384
"""Vectors held at once: 25 MiB at 384 dimensions."""
_TRIES = 3
_EXACT = 0.999
"""What FLAT finds of whole vectors; where it finds less, it searches other vectors than the model's."""
_NOISE = 0.01
"""How far a similarity may move when a passage is embedded anew: bfloat16 and endpoints repeat to about 1e-3, UNIT_TOLERANCE is as much."""
MOST_PASSAGES = 200_000
"""Up to here recall is measured at every start; in a larger corpus only before an alias moves to what was built."""


class RecallBarrier:
    """Measures an arm's collection against exact search, and refuses it below a minimum.

    A hit counts where its passage is as near as the last of the exact `top_k`, within rounding, by the float32 vectors (see
    `indexing.measured_recall`). The exact neighbours are found once, part by part, so that no more than 16,384 vectors are held.

    Args:
        embedder: The arm's, with its cache: the corpus was embedded before.
        passages: Of the corpus, by id.
        queries: The sample, as texts.
        top_k: The cut-off, at least 1.
        least: What the recall must be, from 0 to 1.
        parameters: Of the index, for the advice.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        passages: Mapping[str, Passage],
        queries: Sequence[str],
        top_k: int,
        least: float,
        parameters: IndexParameters,
    ) -> None:
        self._embedder, self._passages, self._texts = embedder, passages, queries
        self._top_k, self._least, self._parameters = min(top_k, len(passages)), least, parameters
        self._asked: tuple[Vectors, NDArray[np.float32]] | None = None

    @property
    def due(self) -> bool:
        """Whether it is measured also where nothing was built: the corpus is small enough."""
        return bool(self._texts) and len(self._passages) <= MOST_PASSAGES

    @property
    def strict(self) -> bool:
        """Whether a minimum is demanded."""
        return bool(self._texts) and self._least > 0

    def check(self, index: VectorIndex, collection: str) -> float:
        """The recall of a finished collection; where it is too low, the index is waited for anew, until the recall stands still.

        Raises:
            StoreError: It stays below the minimum; or the store failed.
            ModelError: The model failed.
        """
        exact = self._parameters.type == "FLAT" and self._parameters.vectors == "fp32"
        wanted, near_enough = (max(self._least, _EXACT), _NOISE) if exact else (self._least, _TIE)
        margins = self._margins(index, collection)
        for _ in range(_TRIES):
            if self._share(margins, near_enough) >= wanted:
                return self._share(margins, _TIE)
            index.finish(collection)  # flushes, waits for the index and loads it: what was answered meanwhile came from unfinished parts
            before, margins = margins, self._margins(index, collection)
            if self._share(margins, _TIE) == self._share(before, _TIE):
                break
        recall = self._share(margins, near_enough)
        if recall >= wanted:
            return self._share(margins, _TIE)
        if exact:
            raise StoreError(
                f"collection {collection!r} (FLAT, an exact search) finds {recall:.1%} of the {self._top_k} nearest passages of "
                f"{len(self._texts)} queries: it holds other vectors than the model makes now, be it that the store is damaged or that the model "
                "behind the same name has changed. Move the store away (Milvus Lite: its folder; a server: name another one or another database) and "
                "run ragtrial index, which makes it anew from the corpus; remove the old one when all is well. "
                "No alias was moved to it"
            )
        kind = TYPES[self._parameters.type]
        raise StoreError(
            f"collection {collection!r} ({self._parameters.type}) finds {recall:.1%} of the {self._top_k} nearest passages of {len(self._texts)} queries, "
            f"below index.min_recall {self._least:.1%}: {kind.raises_recall or 'use index.vectors fp32'}, or lower index.min_recall. "
            "No alias was moved to it"
        )

    def measure(self, index: VectorIndex, collection: str) -> float:
        """Share of the exact `top_k` that the index returns now, averaged over the queries.

        Raises:
            StoreError: The store failed, or holds other passages.
            ModelError: The model failed.
        """
        return self._share(self._margins(index, collection), _TIE)

    def _share(self, margins: Sequence[NDArray[np.float32]], near_enough: float) -> float:
        return float(np.mean([np.count_nonzero(each >= -near_enough) / self._top_k for each in margins]))

    def _margins(self, index: VectorIndex, collection: str) -> list[NDArray[np.float32]]:
        """By how much each hit of each query is nearer than the last of its exact `top_k`; below 0 it is not one of them."""
        if self._asked is None:
            queries = self._embedder.embed(list(self._texts), kind="query")
            self._asked = queries, self._last_similarities(queries)
        queries, last = self._asked
        found = index.search(collection, queries, top_k=self._top_k, model=self._embedder.identity)
        ids = list(dict.fromkeys(hit.passage_id for hits in found for hit in hits))
        if any(passage_id not in self._passages for passage_id in ids):
            raise StoreError(f"collection {collection!r} returns passages that the corpus doesn't have: drop it and index the corpus again")
        vectors = self._embedder.embed([self._passages[passage_id].content for passage_id in ids], kind="passage")
        row = {passage_id: place for place, passage_id in enumerate(ids)}
        return [
            vectors[[row[hit.passage_id] for hit in hits]] @ query - least for query, hits, least in zip(queries, found, last, strict=True)
        ]

    def _last_similarities(self, queries: Vectors) -> NDArray[np.float32]:
        """Of each query to the last of its exact `top_k`, shape (n_queries,)."""
        best = np.full((len(queries), self._top_k), -np.inf, dtype=np.float32)
        for vectors in self._parts():
            both = np.concatenate([best, queries @ vectors.T], axis=1)
            best = np.partition(both, both.shape[1] - self._top_k, axis=1)[:, -self._top_k :]
        lowest: NDArray[np.float32] = best.min(axis=1)
        return lowest

    def _parts(self) -> Iterator[Vectors]:
        passages = list(self._passages.values())
        for start in range(0, len(passages), _PART):
            yield self._embedder.embed([passage.content for passage in passages[start : start + _PART]], kind="passage")
