"""Dense vectors and BM25 together: what each finds, fused."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.contracts import Embedder, Retrieved, VectorIndex, Vectors
from ragtrial.domain.gold import Query, groups_of
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.index.rules import ranked

_EQUAL = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """How BM25 comes into a search.

    Attributes:
        method: `bm25` alone, or `hybrid`.
        fusion: `rrf`: the sum of 1 / (k + rank) (Cormack, Clarke and Buettcher 2009, "Reciprocal Rank Fusion"). `weighted`: the weighted
            sum of (1 + cosine) / 2 and 2 arctan(BM25) / pi, which is how Milvus normalises.
        rrf_k: The constant k.
        dense_weight: The dense score's share in `weighted`.
        candidates: Hits of each kind that are fused, or `top_k` where that is more.
        metric: Of the dense similarities.
    """

    method: Literal["hybrid", "bm25"] = "hybrid"
    fusion: Literal["rrf", "weighted"] = "rrf"
    rrf_k: int = 60
    dense_weight: float = 0.5
    candidates: int = 100
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"


def blended(
    index: VectorIndex,
    name: str,
    texts: Sequence[str],
    vectors: Vectors,
    *,
    top_k: int,
    model: ModelIdentity,
    blend: Blend | None,
    groups: Sequence[str | None] | None = None,
) -> tuple[tuple[Hit, ...], ...]:
    """The best passages of each query, as the arm searches.

    The two searches are fused here and not by Milvus's `hybrid_search`: ranks of equally good passages, which are frequent in BM25, stand
    by passage id in every store, and Milvus Lite and servers of all versions fuse alike.

    Args:
        index: The store.
        name: A collection, or an alias.
        texts: The queries.
        vectors: Theirs, shape (n_queries, dimension); not looked at for BM25 alone.
        top_k: Passages wanted.
        model: What the vectors were made with.
        blend: How; None is dense search.
        groups: The group that each query is searched in; see `contracts.VectorIndex.search`.

    Raises:
        StoreError: See `contracts.VectorIndex`.
    """
    if blend is None:
        return index.search(name, vectors, top_k=top_k, model=model, groups=groups)
    if blend.method == "bm25":
        return index.search_words(name, texts, top_k=top_k, groups=groups)
    most = max(top_k, blend.candidates)
    dense = index.search(name, vectors, top_k=most, model=model, groups=groups)
    lexical = index.search_words(name, texts, top_k=most, groups=groups)
    return tuple(fused(a, b, blend=blend, top_k=top_k) for a, b in zip(dense, lexical, strict=True))


def fused(dense: Sequence[Hit], lexical: Sequence[Hit], *, blend: Blend, top_k: int) -> tuple[Hit, ...]:
    """Both rankings as one, best first, ties by passage id; a hit's similarity is its fused score."""
    scores: dict[str, float] = {}
    for hits, weight, normalised in (
        (dense, blend.dense_weight, _cosine_share(blend.metric)),
        (lexical, 1 - blend.dense_weight, _word_share),
    ):
        for rank, hit in enumerate(hits, start=1):
            gain = 1 / (blend.rrf_k + rank) if blend.fusion == "rrf" else weight * normalised(hit.similarity)
            scores[hit.passage_id] = scores.get(hit.passage_id, 0.0) + gain
    return ranked("fused", list(scores.items()), top_k=top_k, tie=_EQUAL if blend.fusion == "rrf" else None)


def _cosine_share(metric: str) -> Callable[[float], float]:
    if metric == "L2":  # -(2 - 2 cosine)
        return lambda similarity: 1 + similarity / 4
    return lambda similarity: (1 + similarity) / 2


def _word_share(score: float) -> float:
    return 2 * math.atan(score) / math.pi


class BlendedRetriever:
    """A `contracts.Retriever` over a collection that has BM25 beside its vectors, or instead of them.

    Args:
        embedder: Embeds the queries; a stand-in without dimensions where BM25 is alone.
        index: The store.
        collection: A collection, or an alias.
        blend: How the two come together.
        group_tag: The tag that names the group a query is searched in; None searches everywhere.
    """

    def __init__(self, *, embedder: Embedder, index: VectorIndex, collection: str, blend: Blend, group_tag: str | None = None) -> None:
        self._embedder, self._index, self._collection, self._blend, self._group_tag = embedder, index, collection, blend, group_tag

    def embed_ahead(self, queries: Sequence[Query], *, progress: Callable[[int], None]) -> None:
        """Embed all queries in one go; pays where the embedder has a cache.

        Args:
            queries: That will be asked.
            progress: Told how many more are embedded.

        Raises:
            ModelError: A query can't be embedded.
        """
        self._embedder.embed([query.text for query in queries], kind="query", progress=progress)

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """See `contracts.Retriever`."""
        start = time.perf_counter()
        texts = [query.text for query in queries]
        vectors = self._embedder.embed(texts, kind="query")
        embedded = time.perf_counter()
        model, groups = self._embedder.identity, groups_of(queries, self._group_tag)
        hits = blended(self._index, self._collection, texts, vectors, top_k=top_k, model=model, blend=self._blend, groups=groups)
        done = time.perf_counter()
        return Retrieved(hits=hits, embed_ms=(embedded - start) * 1000, search_ms=(done - embedded) * 1000)
