"""Made-up passages, queries and vectors, the same for the same seed.

Vectors: x = (c + 0.7 W g) / |c + 0.7 W g| in 384 dimensions, c one of 512 centres drawn uniformly from the unit sphere, g of 32 independent
standard normals, W a fixed random 384 x 32 matrix of orthonormal columns over sqrt(32). So neighbours are in one cluster, and a cluster is a
32-dimensional cloud, as embeddings of text lie near sets of few dimensions. Queries are drawn in the same way and are in no corpus.

Passages: 60 to 160 words drawn from those of the bundled seeds.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from measuring import REPOSITORY

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.model import ModelIdentity

SEED = 7
DIMENSION, CENTRES, INNER, SPREAD = 384, 512, 32, 0.7
_BLOCK = 1_000
_QUERIES = 1 << 40
"""Blocks from here on are those of queries."""
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[A-Za-z]{2,}")


@lru_cache(maxsize=1)
def _cloud() -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((CENTRES, DIMENSION), dtype=np.float32)
    spread, _ = np.linalg.qr(rng.standard_normal((DIMENSION, INNER)))
    return centres / np.linalg.norm(centres, axis=1, keepdims=True), (SPREAD * spread.T / np.sqrt(INNER)).astype(np.float32)


@lru_cache(maxsize=8)
def _block(number: int) -> Vectors:
    centres, spread = _cloud()
    rng = np.random.default_rng([SEED, number])
    rows = centres[rng.integers(0, CENTRES, _BLOCK)] + rng.standard_normal((_BLOCK, INNER), dtype=np.float32) @ spread
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def vectors(numbers: Sequence[int], kind: Kind = "passage") -> Vectors:
    """Unit rows of the passages or queries with these numbers, shape (n, 384)."""
    first = _QUERIES if kind == "query" else 0
    rows = np.empty((len(numbers), DIMENSION), dtype=np.float32)
    for place, number in enumerate(numbers):
        rows[place] = _block(first + number // _BLOCK)[number % _BLOCK]
    return rows


class NumberedEmbedder:
    """Embeds a text that holds a number: the vector of that number. `seconds` is what making them took."""

    identity = ModelIdentity(name="synthetic-clusters", revision=str(SEED), dimension=DIMENSION)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`."""
        numbers = []
        for text in texts:
            found = _NUMBER.search(text)
            if found is None:
                raise ValueError(f"text {text!r} has no number")
            numbers.append(int(found[0]))
        if progress is not None:
            progress(len(texts))
        return vectors(numbers, kind)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Not known."""
        del texts


def numbered_corpus(n: int) -> Corpus:
    """Passages whose vectors `NumberedEmbedder` makes; all of one length, some 80 bytes."""
    return Corpus(
        name=f"numbered {n}",
        passages=tuple(
            _passage(f"p{number:010}", f"passage {number:010} of a corpus that was made up to be counted") for number in range(n)
        ),
    )


def _passage(name: str, text: str) -> Passage:
    return Passage(passage_id=name, document_id=name, text=text, start=0, end=len(text))


def words() -> list[str]:
    """Those of the bundled seeds, as often as they stand there."""
    lines = (REPOSITORY / "seeds" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [word for line in lines for word in _WORD.findall(json.loads(line)["text"])]


def texts(n: int, *, low: int = 60, high: int = 160, seed: int = SEED) -> list[str]:
    """Texts of `low` to `high` words."""
    rng, known = np.random.default_rng([seed, n]), words()
    lengths = rng.integers(low, high + 1, n)
    drawn = rng.integers(0, len(known), int(lengths.sum()))
    ends = np.cumsum(lengths)
    return [" ".join(known[place] for place in drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def written_corpus(n: int) -> Corpus:
    """Passages for a real model."""
    return Corpus(
        name=f"written {n}",
        passages=tuple(_passage(f"p{number:08}", text) for number, text in enumerate(texts(n))),
    )
