"""How much of exact search an index finds, and the barrier that an arm must pass before it is used.

Milvus answers before an index is whole (a server from the growing segment's interim index, Milvus Lite while it builds in the background),
and an approximate index may be built or searched too coarsely. Either would be blamed on the arm's model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, IndexParameters, VectorIndex, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
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
_SPOTS, _SPOT_SEED = 16, 7
"""Passages that are embedded anew and looked for, where the recall that was kept is taken."""
MOST_PASSAGES = 200_000
"""Up to here every evaluation measures recall anew; in a larger corpus it is measured once, before an alias moves to what was built."""
_OTHER_VECTORS = (
    "it holds other vectors than the model makes now, be it that the store is damaged or that the model behind the same name has changed. Move "
    "the store away (Milvus Lite: its folder; a server: name another one or another database) and run ragtrial index, which makes it anew from "
    "the corpus; remove the old one when all is well. No alias was moved to it"
)


class RecallBarrier:
    """Measures an arm's collection against exact search, and refuses it below a minimum.

    Recall is the share of the exact `top_k` that the index returns, averaged over queries: its own loss, apart from the embedding's quality.
    A hit counts where its passage is as near as the last of the exact `top_k`, within rounding, so ties at the cut don't count against the
    index. How near it is comes from the float32 vectors, not from what the store says: int8 and binary codes have similarities of their own,
    and what they lose is the index's loss as well (Aumüller, Bernhardsson and Faithfull 2020, "ANN-Benchmarks", Information Systems 87,
    section 2). The exact neighbours are found once, part by part, so that no more than 16,384 vectors are held.

    Args:
        embedder: The arm's, with its cache: the corpus was embedded before.
        passages: Of the corpus, by id.
        queries: The sample, as texts.
        groups: The group that each of them is searched in, None for everywhere; empty where none is confined.
        top_k: The cut-off: as many as the arm's search of the vectors returns, at least 1; where there are fewer passages, all of them.
        least: What the recall must be, from 0 to 1.
        parameters: Of the index, for the advice.
        optional: A corpus above `MOST_PASSAGES` may go unmeasured.
        anew: Measure also what was measured before, where the corpus is small. A service takes what was kept: it would embed the corpus.
        uncached: The model without its cache, which can't tell whether the model is still the one that it was; None: `embedder` has none.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        passages: Mapping[str, Passage],
        queries: Sequence[str],
        groups: Sequence[str | None] = (),
        top_k: int,
        least: float,
        parameters: IndexParameters,
        optional: bool = False,
        anew: bool = True,
        uncached: Embedder | None = None,
    ) -> None:
        self._bare = uncached or embedder
        self._embedder, self._passages, self._texts = embedder, passages, queries
        self._groups = tuple(groups) if any(group is not None for group in groups) else None
        self._top_k, self._least, self._parameters = min(top_k, len(passages)), least, parameters
        self._optional, self._anew = optional, anew
        self._asked: tuple[Vectors, NDArray[np.float32], list[int]] | None = None

    @property
    def key(self) -> str:
        """Names what recall is measured on: the queries, where they are searched, and how many passages each is to find."""
        return digest([list(self._texts), self._groups, self._top_k], length=12)

    def is_due(self, kept: float | None, *, moving: bool) -> bool:
        """Whether a complete collection has to be measured.

        Args:
            kept: What was measured before on the same, None where nothing was.
            moving: An alias is about to move to it.
        """
        if not self._texts:
            return False
        if kept is not None and (self._exact or kept >= self._least):  # what exact search must show is another number than what is kept
            return self._anew and len(self._passages) <= MOST_PASSAGES
        return len(self._passages) <= MOST_PASSAGES or kept is not None or (not self._optional and (moving or self._anew))

    @property
    def _exact(self) -> bool:
        return self._parameters.type == "FLAT" and self._parameters.vectors == "fp32"

    def check(self, index: VectorIndex, collection: str) -> float:
        """The recall of a finished collection; where it is too low, the index is waited for anew, until the recall stands still.

        Raises:
            StoreError: It stays below the minimum; or the store failed.
            ModelError: The model failed.
        """
        wanted, near_enough = (max(self._least, _EXACT), _NOISE) if self._exact else (self._least, _TIE)
        margins = self._margins(index, collection)
        for _ in range(_TRIES):
            if self._share(margins, near_enough) >= wanted:
                return self._share(margins, _TIE)
            index.finish(collection)  # flushes, waits for the index: what was answered meanwhile came from unfinished parts
            before, margins = margins, self._margins(index, collection)
            if self._share(margins, _TIE) == self._share(before, _TIE):
                break
        recall = self._share(margins, near_enough)
        if recall >= wanted:
            return self._share(margins, _TIE)
        if self._exact:
            raise StoreError(f"collection {collection!r} (FLAT, an exact search) finds {self._said(recall)}: {_OTHER_VECTORS}")
        raise StoreError(
            f"collection {collection!r} ({self._parameters.type}) finds {self._said(recall)}, "
            f"below index.min_recall {self._least:.1%}: {self._advice(index)}. No alias was moved to it"
        )

    def spot_check(self, index: VectorIndex, collection: str) -> None:
        """Whether the collection holds vectors of this model at all: a few passages are embedded, and must be found by themselves.

        Raises:
            StoreError: Not even half of them are.
            ModelError: The model failed.
        """
        passages = list(self._passages.values())
        rng = np.random.default_rng(_SPOT_SEED)
        chosen = [passages[int(place)] for place in rng.choice(len(passages), size=min(_SPOTS, len(passages)), replace=False)]
        if not chosen:
            return
        vectors = self._bare.embed([passage.content for passage in chosen], kind="passage")  # a cache would answer for the model
        found = index.search(collection, vectors, top_k=self._top_k, model=self._embedder.identity)
        equal = (0.0 if self._parameters.metric == "L2" else 1.0) - _NOISE  # another passage of the same vector is as good a sign
        missed = sum(
            not any(hit.similarity >= equal or self._content(hit.passage_id) == passage.content for hit in hits)
            for passage, hits in zip(chosen, found, strict=True)
        )
        if 2 * missed > len(chosen):
            raise StoreError(f"collection {collection!r} does not find {missed} of {len(chosen)} passages by themselves: {_OTHER_VECTORS}")

    def measure(self, index: VectorIndex, collection: str) -> float:
        """Share of the exact `top_k` that the index returns now, averaged over the queries.

        Raises:
            StoreError: The store failed, or holds other passages.
            ModelError: The model failed.
        """
        return self._share(self._margins(index, collection), _TIE)

    def _said(self, recall: float) -> str:
        return f"{recall:.1%} of the {self._top_k} nearest passages of {len(self._texts)} queries"

    def _content(self, passage_id: str) -> str | None:
        passage = self._passages.get(passage_id)
        return None if passage is None else passage.content

    def _advice(self, index: VectorIndex) -> str:
        least = index.indexed_from(self._parameters)
        if len(self._passages) < least:
            return (
                f"the store builds no {self._parameters.type} index on so few passages ({len(self._passages):,}; from about {least:,} on it does) and "
                "searches by an interim one, so build and search parameters change nothing: use index.type FLAT, which is exact, or lower index.min_recall"
            )
        return f"{TYPES[self._parameters.type].raises_recall or 'use index.vectors fp32'}, or lower index.min_recall"

    def _share(self, margins: Sequence[tuple[NDArray[np.float32], int]], near_enough: float) -> float:
        shares = [float(np.count_nonzero(each >= -near_enough)) / there for each, there in margins if there]
        return float(np.mean(shares)) if shares else 1.0

    def _margins(self, index: VectorIndex, collection: str) -> list[tuple[NDArray[np.float32], int]]:
        """By how much each hit of each query is nearer than the last of its exact `top_k`, and how many those are.

        Below 0 a hit is not one of them. A group may hold fewer passages than `top_k`, or none.
        """
        if self._asked is None:
            queries = self._embedder.embed(list(self._texts), kind="query")
            self._asked = queries, *self._last_similarities(queries)
        queries, last, there = self._asked
        found = index.search(collection, queries, top_k=self._top_k, model=self._embedder.identity, groups=self._groups)
        ids = list(dict.fromkeys(hit.passage_id for hits in found for hit in hits))
        if any(passage_id not in self._passages for passage_id in ids):
            raise StoreError(f"collection {collection!r} returns passages that the corpus doesn't have: drop it and index the corpus again")
        vectors = self._embedder.embed([self._passages[passage_id].content for passage_id in ids], kind="passage")
        row = {passage_id: place for place, passage_id in enumerate(ids)}
        return [
            (vectors[[row[hit.passage_id] for hit in hits[:n]]] @ query - least, n)
            for query, hits, least, n in zip(queries, found, last, there, strict=True)
        ]

    def _last_similarities(self, queries: Vectors) -> tuple[NDArray[np.float32], list[int]]:
        """Of each query to the last of its exact `top_k`, shape (n_queries,), and how many those are."""
        best = np.full((len(queries), self._top_k), -np.inf, dtype=np.float32)
        for passages, vectors in self._parts():
            similar = queries @ vectors.T
            if self._groups is not None:
                belongs = np.array([passage.group or "" for passage in passages])
                for place, group in enumerate(self._groups):
                    if group is not None:
                        similar[place, belongs != group] = -np.inf
            both = np.concatenate([best, similar], axis=1)
            best = np.partition(both, both.shape[1] - self._top_k, axis=1)[:, -self._top_k :]
        there = [int(n) for n in np.isfinite(best).sum(axis=1)]
        lowest = np.where(np.isfinite(best), best, np.inf).min(axis=1, initial=math.inf)
        return lowest.astype(np.float32), there

    def _parts(self) -> Iterator[tuple[Sequence[Passage], Vectors]]:
        passages = list(self._passages.values())
        for start in range(0, len(passages), _PART):
            part = passages[start : start + _PART]
            yield part, self._embedder.embed([passage.content for passage in part], kind="passage")
