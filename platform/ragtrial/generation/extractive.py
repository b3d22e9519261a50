"""The generator that needs no LLM: the best sentence of the passages, by one BM25 over the whole corpus.

The scorer is fitted on the corpus and never on what an arm retrieved, so a sentence has the same score in both arms, and neither
arm's embedding has a say in which sentence wins. It carries retrieval quality into the answer (a passage that wasn't retrieved can't
be quoted) and says nothing about what an LLM would have answered.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import bm25s
import numpy as np

from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest_lines
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer
from ragtrial.errors import InputError
from ragtrial.generation.sentences import LANGUAGE, MIN_WORDS, sentences_of

logging.getLogger("bm25s").setLevel(logging.WARNING)  # its import sets DEBUG, and it tells of every index that it builds

_K1, _B = 1.2, 0.75
_STOPWORDS = "english"


class ExtractiveGenerator:
    """Quotes the sentence that fits the query best, cites its passage, and abstains where nothing fits.

    A sentence's score is BM25 as Lucene computes it (Robertson and Zaragoza 2009, without the constant factor k1 + 1), each sentence
    of the corpus a document of its own; a query term adds at most its idf, ln(1 + (N - n + 0.5) / (n + 0.5)).

    Args:
        passages: The whole corpus under its chunking.
        min_score: Abstain where the best sentence scores below this. 0 abstains only where no sentence shares a term with the query.

    Raises:
        ValueError: `min_score` is negative or not finite.
    """

    version = "extractive/1"

    def __init__(self, passages: Sequence[Passage], *, min_score: float) -> None:
        if not (np.isfinite(min_score) and min_score >= 0):
            raise ValueError(f"min_score is {min_score}: give a finite number of at least 0")
        self._min_score = min_score
        self._sentences: list[str] = []
        self._rows: dict[str, range] = {}
        for passage in passages:
            start = len(self._sentences)
            self._sentences.extend(sentences_of(passage.text))
            self._rows[passage.passage_id] = range(start, len(self._sentences))
        self._bm25 = _fitted(self._sentences)
        self._settings = {
            "min_score": repr(float(min_score)),
            "corpus": digest_lines(part for passage in passages for part in (passage.passage_id, passage.text)),
            "scorer": f"bm25s {version('bm25s')}, lucene, k1={_K1}, b={_B}, {_STOPWORDS} stop words, no stemmer",
            "sentences": f"sentencex {version('sentencex')}, {LANGUAGE}, at least {MIN_WORDS} words",
        }

    @property
    def settings(self) -> Mapping[str, str]:
        """Everything that changes its answers: threshold, digest of the passages it was fitted on, scorer and sentence splitter."""
        return self._settings

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """See `contracts.Generator`. Of equal scores the earlier passage wins, and in it the earlier sentence.

        Raises:
            InputError: A passage is not of the corpus that it was fitted on.
        """
        rows = [(row, passage.passage_id) for passage in passages for row in self._rows_of(passage)]
        scores = self._scores(query.text)
        if not rows or scores is None:
            return self._abstention()
        own = scores[[row for row, _ in rows]]
        best = int(own.argmax())  # the first of equals
        if own[best] <= 0 or own[best] < self._min_score:
            return self._abstention()
        row, passage_id = rows[best]
        return Answer(text=self._sentences[row], cited=(passage_id,), generator=self.version)

    def _rows_of(self, passage: Passage) -> range:
        try:
            return self._rows[passage.passage_id]
        except KeyError:
            raise InputError(
                f"passage {passage.passage_id!r} is not of the {len(self._rows)} passages that the extractive generator was fitted on: "
                "fit it on the corpus that is searched"
            ) from None

    def _scores(self, text: str) -> np.ndarray | None:
        """The score of every sentence of the corpus, shape (n_sentences,); None where no term of the query stands in any."""
        if self._bm25 is None:
            return None
        terms = self._bm25.get_tokens_ids(_terms([text])[0])
        return self._bm25.get_scores_from_ids(terms) if terms else None

    def _abstention(self) -> Answer:
        return Answer(text="", finish_reason="abstained", generator=self.version)


def _terms(texts: Sequence[str]) -> list[list[str]]:
    """Lower-cased words of at least two letters or digits, without stop words."""
    terms: list[list[str]] = bm25s.tokenize(list(texts), stopwords=_STOPWORDS, return_ids=False, show_progress=False)
    return terms


def _fitted(sentences: Sequence[str]) -> bm25s.BM25 | None:
    """BM25 over the sentences; None where no term stands in any of them."""
    terms = _terms(sentences)
    if not any(terms):
        return None
    index = bm25s.BM25(k1=_K1, b=_B, method="lucene", backend="numpy")
    index.index(terms, show_progress=False)
    return index
