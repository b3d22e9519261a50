"""BM25: the free method that stands as a reference line beside the arms."""

import logging
import time
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Retrieved
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query, groups_of
from ragtrial.domain.trial import Hit

logging.getLogger("bm25s").setLevel(logging.WARNING)  # its import sets DEBUG, and it tells of every index that it builds


class Bm25Retriever:
    """Lexical retrieval over the passages' contents: a `contracts.Retriever` without a model.

    Lucene's variant of BM25 (Kamphuis et al. 2020, "Which BM25 do you mean?", ECIR), k1 1.2, b 0.75; words of two letters or more,
    lower-cased, without English stop words, not stemmed.

    Args:
        passages: At least one.
        group_tag: The tag that names the group a query is searched in, as arms have it; None searches everywhere.
    """

    def __init__(self, passages: Sequence[Passage], *, group_tag: str | None = None) -> None:
        self._group_tag = group_tag
        self._belongs = np.array([passage.group or "" for passage in passages])
        self._ids = tuple(passage.passage_id for passage in passages)
        words = _words([passage.content for passage in passages])
        self._index: bm25s.BM25 | None = None
        if any(words):  # bm25s can't index a corpus without a single word; such a corpus is never hit
            self._index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numpy")
            self._index.index(words, show_progress=False)

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """See `contracts.Retriever`. Ties stand in corpus order; a passage that shares no word with the query is no hit.

        Words count by how many passages of the whole corpus hold them, also where a query is confined to a group, as in Milvus.
        `embed_ms` is 0: there is no such stage, so nothing was left unmeasured.
        """
        start = time.perf_counter()
        groups = groups_of(queries, self._group_tag) or (None,) * len(queries)
        found = zip(_words([query.text for query in queries]), groups, strict=True)
        hits = tuple(self._hits(words, group, top_k) for words, group in found)
        return Retrieved(hits=hits, embed_ms=0.0, search_ms=(time.perf_counter() - start) * 1000)

    def _hits(self, words: list[str], group: str | None, top_k: int) -> tuple[Hit, ...]:
        if self._index is None or not words:
            return ()
        known = self._index.get_tokens_ids(words)
        if not len(known):
            return ()
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        if group is not None:
            scores = np.where(self._belongs == group, scores, np.float32(0))
        least = np.partition(scores, len(scores) - top_k)[len(scores) - top_k] if top_k < len(scores) else 0.0
        candidates = np.flatnonzero((scores >= least) & (scores > 0))
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
        return tuple(Hit(passage_id=self._ids[position], similarity=float(scores[position])) for position in best)


def _words(texts: list[str]) -> list[list[str]]:
    if not texts:
        return []
    words: list[list[str]] = bm25s.tokenize(texts, stopwords="en", stemmer=None, return_ids=False, show_progress=False)
    return words
