"""What counts as a word for BM25 beside the vectors: the same in Milvus Lite, on a server and in memory."""

import re
from collections.abc import Sequence

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

K1, B = 1.5, 0.75
"""What Milvus Lite always takes; given to a server too."""

ANALYZER = {"tokenizer": "standard", "filter": ["lowercase", {"type": "stop", "stop_words": sorted(STOPWORDS_EN)}]}
"""Milvus's own, with Lucene's English stop words; Milvus Lite has no other tokenizer (but jieba) and no stemming."""

WORD_TIE = 1e-5
"""BM25 scores this near to each other are equal: sums of up to some 50 in float32, added in another order."""

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """As `ANALYZER` cuts it."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOPWORDS_EN]


class WordScores:
    """BM25 as Milvus computes it (Robertson and Zaragoza 2009, with the idf of Lucene), by `bm25s`.

    Args:
        texts: The passages' contents.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        words = [words_of(text) for text in texts]
        self._n = len(texts)
        self._index: bm25s.BM25 | None = None
        if any(words):
            self._index = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numpy")
            self._index.index(words, show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """Of every passage, shape (n,); 0 where no word is shared."""
        known = [] if self._index is None else self._index.get_tokens_ids(words_of(query))
        if self._index is None or not len(known):
            return np.zeros(self._n, dtype=np.float32)
        found: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return found * np.float32(K1 + 1)  # Lucene leaves this constant out
