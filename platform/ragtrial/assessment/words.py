"""Words of queries and passages: how rare they are, and how the model's tokenizer cuts them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bm25s.stopwords import STOPWORDS_EN_PLUS

from ragtrial.contracts import Embedder
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import Query

_WORD = re.compile(r"\w\w+")
_STOP = frozenset(STOPWORDS_EN_PLUS)

RARE = 3
"""A word in at most so many passages is rare."""

NO_TOKENIZER = "the embedding endpoint does not tell how it cuts words"


def words_of(text: str) -> list[str]:
    """Lower-cased words of two characters or more that say what a text is about: no stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Words of the corpus and the queries.

    Attributes:
        by_passage: Distinct words of each passage, by its id.
        by_query: Words of each query, in order, by its id.
        pieces: Tokens that the model makes of each word of the queries; None where the model doesn't tell.
    """

    by_passage: Mapping[str, frozenset[str]]
    by_query: Mapping[str, tuple[str, ...]]
    pieces: Mapping[str, int] | None

    @cached_property
    def passages_with(self) -> Counter[str]:
        """Number of passages with each word."""
        return Counter(word for words in self.by_passage.values() for word in words)


def vocabulary(corpus: Corpus, queries: Sequence[Query], embedder: Embedder) -> Vocabulary:
    """Read all words, and cut those of the queries with the model's tokenizer."""
    by_query = {query.query_id: tuple(words_of(query.text)) for query in queries}
    return Vocabulary(
        by_passage={passage.passage_id: frozenset(words_of(passage.content)) for passage in corpus.passages},
        by_query=by_query,
        pieces=pieces_of(sorted({word for words in by_query.values() for word in words}), embedder),
    )


def pieces_of(words: Sequence[str], embedder: Embedder) -> dict[str, int] | None:
    """Tokens of each word alone, special tokens not counted; None where the model can't tell.

    A word piece tokenizer cuts a word the same alone and in a sentence; one that treats the leading space as part of a token may cut it
    differently there.
    """
    frame = embedder.count_tokens([""])
    if frame is None:
        return None
    found = {}
    for word in words:
        counted = embedder.count_tokens([word])
        if counted is None:
            return None
        found[word] = max(1, counted - frame)
    return found
