"""A fake that behaves: texts that share words are near, with no model at all. For tests and benchmarks of the rest."""

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.vectors import unit_rows

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Signed feature hashing of lower-cased words (Weinberger et al. 2009, section 3), normalised.

    Args:
        model: A name; another name hashes differently, so two of them behave like two models.
        dimension: Length of the vectors.
    """

    def __init__(self, *, model: str = "hashing", dimension: int = 256) -> None:
        self._model = model
        self._dimension = dimension
        self._places: dict[str, tuple[int, float]] = {}

    @property
    def identity(self) -> ModelIdentity:
        """The name and dimension are all there is."""
        return ModelIdentity(name=f"hashing-{self._model}", revision="1", dimension=self._dimension)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`; a text without words gets a vector of its own."""
        del kind
        rows = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(text.lower()) or [text]:
                place, sign = self._place(word)
                row[place] += sign
            if not row.any():
                row[self._place(text)[0]] = 1.0
        if progress is not None:
            progress(len(texts))
        return unit_rows(rows, n=len(texts), dimension=self._dimension, model=self._model)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Words."""
        return sum(len(_WORD.findall(text)) for text in texts)

    def _place(self, word: str) -> tuple[int, float]:
        if word not in self._places:
            number = int.from_bytes(hashlib.blake2b(f"{self._model}\0{word}".encode(), digest_size=8).digest(), "big")
            self._places[word] = (number // 2 % self._dimension, 1.0 if number % 2 else -1.0)
        return self._places[word]
