"""What the baseline and the cheap alternatives retrieve for every gold query, deep enough to see what lies below the cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.contracts import Vectors
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import Query
from ragtrial.index.bm25 import Bm25Retriever
from ragtrial.index.exact import exact_search

DEPTH = 100
"""Ranks looked at: what a reranker would be given."""

RRF_K = 60
"""Cormack et al. 2009 found 60 near the best for all collections they tried."""

Ids = tuple[str, ...]
Method = Literal["dense", "hybrid", "bm25"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rankings of the same queries by exact search, each at most `DEPTH` deep, best first.

    Attributes:
        dense: The baseline's model, exact search.
        bm25: Words alone.
        hybrid: Both, fused by reciprocal rank.
        method: Which of them the control uses: that one is the baseline.
    """

    dense: tuple[Ids, ...]
    bm25: tuple[Ids, ...]
    hybrid: tuple[Ids, ...]
    method: Method = "dense"

    @property
    def base(self) -> tuple[Ids, ...]:
        """The baseline's rankings."""
        return {"dense": self.dense, "bm25": self.bm25, "hybrid": self.hybrid}[self.method]


def retrieve_all(corpus: Corpus, queries: Sequence[Query], *, query_vectors: Vectors, passage_vectors: Vectors, method: Method) -> Found:
    """Search with vectors, with BM25, and with both.

    Args:
        corpus: The passages.
        queries: What is asked.
        query_vectors: Unit rows, one a query.
        passage_vectors: Unit rows, one a passage, in the corpus's order.
        method: The control's.
    """
    ids = [passage.passage_id for passage in corpus.passages]
    near = exact_search(passage_vectors, ids, query_vectors, DEPTH)
    worded = Bm25Retriever(corpus.passages).retrieve(queries, top_k=DEPTH).hits
    dense, bm25 = (tuple(tuple(hit.passage_id for hit in hits) for hits in each) for each in (near, worded))
    return Found(dense=dense, bm25=bm25, hybrid=tuple(fused(pair) for pair in zip(dense, bm25, strict=True)), method=method)


def fused(rankings: Sequence[Sequence[str]], *, k: int = RRF_K, depth: int = DEPTH) -> Ids:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the sum of 1 / (k + rank) over the rankings, ties by id.

    Three lines, so no library; Milvus fuses by the same formula where hybrid is an arm.
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, passage_id in enumerate(ranking, start=1):
            scores[passage_id] = scores.get(passage_id, 0.0) + 1.0 / (k + rank)
    return tuple(sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))[:depth])
