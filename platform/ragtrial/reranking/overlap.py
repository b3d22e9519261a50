"""A fake reranker that behaves: shared words, no model."""

import math
import re
from collections.abc import Sequence

import numpy as np

from ragtrial.contracts import Scores
from ragtrial.domain.model import ModelIdentity

_WORD = re.compile(r"\w+")


class OverlapReranker:
    """Scores a pair by the cosine of its sets of words: between 0 and 1, with ties. For tests.

    Args:
        model: Its name.
    """

    def __init__(self, model: str) -> None:
        self._identity = ModelIdentity(name=model, revision="overlap-1", dimension=1)

    @property
    def identity(self) -> ModelIdentity:
        """By its name."""
        return self._identity

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        """See `contracts.Reranker`."""
        return tuple(np.array([_cosine(_words(query), _words(text)) for text in texts], dtype=np.float32) for query, texts in asked)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _cosine(left: set[str], right: set[str]) -> float:
    return len(left & right) / math.sqrt(len(left) * len(right)) if left and right else 0.0
