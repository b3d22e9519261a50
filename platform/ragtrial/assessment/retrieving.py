"""What the baseline and the cheap alternatives retrieve for every gold query, deep enough to see what lies below the cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Hit
from ragtrial.embedding.none import NoEmbedder
from ragtrial.index.exact import ExactIndex, exact_search
from ragtrial.index.hybrid import Blend, fused

DEPTH = 100
"""Ranks looked at: what a reranker would be given."""

Ids = tuple[str, ...]
Method = Literal["dense", "hybrid", "bm25"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rankings of the same queries by exact search, each at most `DEPTH` deep, best first.

    Attributes:
        dense: The baseline's model, exact search.
        bm25: Words alone.
        hybrid: Both, fused as the control does it.
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


def retrieve_all(
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    query_vectors: Vectors,
    passage_vectors: Vectors,
    method: Method = "dense",
    blend: Blend | None = None,
) -> Found:
    """Search with vectors, with BM25 and with both, by what an arm of that method searches with.

    Args:
        corpus: The passages.
        queries: What is asked.
        query_vectors: Unit rows, one a query.
        passage_vectors: Unit rows, one a passage, in the corpus's order.
        method: The control's.
        blend: How the control fuses; None: as an arm does that says no more than `method: hybrid`.
    """
    how = blend or Blend()
    most = max(DEPTH, how.candidates)
    ids = [passage.passage_id for passage in corpus.passages]
    near = exact_search(passage_vectors, ids, query_vectors, most, metric=how.metric)
    worded = _worded(corpus, queries, most)
    both = [fused(a[: how.candidates], b[: how.candidates], blend=how, top_k=DEPTH) for a, b in zip(near, worded, strict=True)]
    return Found(dense=_ids(near), bm25=_ids(worded), hybrid=_ids(both), method=method)


def _worded(corpus: Corpus, queries: Sequence[Query], most: int) -> tuple[tuple[Hit, ...], ...]:
    """BM25 as an arm has it, which is not the reference line's (k1 1.2)."""
    index, words = ExactIndex(), NoEmbedder()
    parameters = IndexParameters(build={}, search={}, words=True)
    index.create("corpus", model=words.identity, corpus=corpus.fingerprint, parameters=parameters)
    index.insert("corpus", corpus.passages, words.embed([passage.passage_id for passage in corpus.passages], kind="passage"))
    return index.search_words("corpus", [query.text for query in queries], top_k=most)


def _ids(found: Sequence[Sequence[Hit]]) -> tuple[Ids, ...]:
    return tuple(tuple(hit.passage_id for hit in hits[:DEPTH]) for hits in found)
