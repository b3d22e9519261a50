"""Words that nobody has used before: neither the corpus nor the queries of the reference."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def words_of(text: str) -> frozenset[str]:
    """The words of a text, normalised (Unicode NFKC, case folded); numbers are none."""
    return frozenset(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class Vocabulary:
    """Which words are known, and from whom.

    A query of the reference must not be compared with itself, or nothing in the reference would ever be new and everything later a little.
    So a word is known where it is in the corpus, or where another user asked with it in the reference.

    Args:
        corpus: Texts whose words are known to everyone.
        queries: Of the reference.
        units: Whose each query is.
    """

    def __init__(self, corpus: Iterable[str], queries: Sequence[str], units: Sequence[str]) -> None:
        self._corpus: set[str] = set()
        for text in corpus:
            self._corpus |= words_of(text)
        self._asked: dict[str, str | None] = {}  # by whom; None: by several
        for text, unit in zip(queries, units, strict=True):
            for word in words_of(text):
                if self._asked.setdefault(word, unit) != unit:
                    self._asked[word] = None

    def new_in(self, text: str, unit: str) -> tuple[bool, ...]:
        """Of each different word of a query, whether nobody but its user has used it; empty where it has no words."""
        return tuple(word not in self._corpus and self._asked.get(word, unit) == unit for word in sorted(words_of(text)))
