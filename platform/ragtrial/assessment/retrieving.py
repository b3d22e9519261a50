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
from ragtrial.index.rules import in_groups

DEPTH = 100
"""Ranks looked at: what a reranker would be given."""

Ids = tuple[str, ...]
Method = Literal["dense", "hybrid", "bm25"]
Metric = Literal["COSINE", "IP", "L2"]


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
    groups: Sequence[str | None] | None = None,
) -> Found:
    """Search with vectors, with BM25 and with both, by what an arm of that method searches with.

    Args:
        corpus: The passages.
        queries: What is asked.
        query_vectors: Unit rows, one a query.
        passage_vectors: Unit rows, one a passage, in the corpus's order.
        method: The control's.
        blend: How the control fuses; None: as an arm does that says no more than `method: hybrid`.
        groups: The group that each query is searched in; None among them, or in their place, is the whole corpus.
    """
    how = blend or Blend()
    most = max(DEPTH, how.candidates)
    near = _near(corpus, query_vectors, passage_vectors, groups, most, how.metric)
    worded = _worded(corpus, queries, groups, most)
    both = [fused(a[: how.candidates], b[: how.candidates], blend=how, top_k=DEPTH) for a, b in zip(near, worded, strict=True)]
    return Found(dense=_ids(near), bm25=_ids(worded), hybrid=_ids(both), method=method)


def _near(
    corpus: Corpus, queries: Vectors, passages: Vectors, groups: Sequence[str | None] | None, most: int, metric: Metric
) -> tuple[tuple[Hit, ...], ...]:
    ids = [passage.passage_id for passage in corpus.passages]
    if groups is None:
        return exact_search(passages, ids, queries, most, metric=metric)
    belongs = [passage.group or "" for passage in corpus.passages]

    def found(group: str | None, places: list[int]) -> tuple[tuple[Hit, ...], ...]:
        rows = [row for row, each in enumerate(belongs) if group is None or each == group]
        return exact_search(passages[rows], [ids[row] for row in rows], queries[places], most, metric=metric)

    return in_groups(groups, found)


def _worded(corpus: Corpus, queries: Sequence[Query], groups: Sequence[str | None] | None, most: int) -> tuple[tuple[Hit, ...], ...]:
    """BM25 as an arm has it, which is not the reference line's (k1 1.2)."""
    index, words = ExactIndex(), NoEmbedder()
    parameters = IndexParameters(build={}, search={}, words=True, partition="" if groups is None else corpus.groups)
    index.create("corpus", model=words.identity, corpus=corpus.fingerprint, parameters=parameters)
    index.insert("corpus", corpus.passages, words.embed([passage.passage_id for passage in corpus.passages], kind="passage"))
    return index.search_words("corpus", [query.text for query in queries], top_k=most, groups=groups)


def _ids(found: Sequence[Sequence[Hit]]) -> tuple[Ids, ...]:
    return tuple(tuple(hit.passage_id for hit in hits[:DEPTH]) for hits in found)
