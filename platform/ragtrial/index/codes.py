"""Vectors as they are stored: float32, eight bits a dimension, or the signs alone.

Each kind compares by one inner product of what it makes of queries and passages, so that a store in memory, Milvus Lite and a server
rank alike: similarity = scale x (query code . passage code) + offset, with one scale and offset a query.
"""

import base64
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import VectorKind, Vectors
from ragtrial.errors import StoreError

_LEVELS = 255
_MIDDLE = 128
_LARGEST = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Where the values of each dimension lie; what int8 codes are made and read with.

    Attributes:
        low: Smallest value of each dimension, shape (dimension,).
        high: Largest value, above `low`.
    """

    low: Vectors
    high: Vectors

    @property
    def step(self) -> Vectors:
        """What one level of a code is worth, shape (dimension,)."""
        return (self.high - self.low) / np.float32(_LEVELS)


class QueryCodes(NamedTuple):
    """Queries as they are compared.

    Attributes:
        codes: Whole numbers for int8 and binary, shape (n, dimension), float32.
        scale: What an inner product is multiplied with, shape (n,).
        offset: What is added then, shape (n,).
    """

    codes: Vectors
    scale: Vectors
    offset: Vectors


def ranges_of(sample: Vectors) -> Ranges:
    """Smallest and largest value of each dimension among these vectors.

    Args:
        sample: Of the passages, shape (n, dimension).

    Raises:
        StoreError: There are none.
    """
    if not len(sample):
        raise StoreError("int8 vectors need passages to calibrate their ranges on, and there are none: index.vectors: fp32")
    low, high = sample.min(axis=0).astype(np.float32), sample.max(axis=0).astype(np.float32)
    return Ranges(low=low, high=np.where(high > low, high, low + np.float32(1e-6)))


def written(ranges: Ranges) -> str:
    """Ranges as text; `ranges_from` is the inverse."""
    return base64.b64encode(np.stack([ranges.low, ranges.high]).astype("<f4").tobytes()).decode()


def ranges_from(text: str) -> Ranges:
    """What `written` wrote.

    Raises:
        ValueError: It is something else.
    """
    low, high = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32).reshape(2, -1)
    return Ranges(low=low, high=high)


def vector_bytes(kind: VectorKind, dimension: int) -> int:
    """What one vector takes."""
    return {"fp32": 4 * dimension, "int8": dimension, "binary": -(-dimension // 8)}[kind]


def passage_codes(kind: VectorKind, vectors: Vectors, ranges: Ranges | None) -> Vectors:
    """What is stored of passages, as float32, shape (n, dimension).

    int8 and binary are those of `sentence_transformers.util.quantize_embeddings`, up to rounding: 255 levels between the calibrated ranges, and 1 where a
    value is above 0; here -1 stands for the bit 0, and what lies outside of the ranges becomes the nearest level (there it wraps around).
    """
    if kind == "binary":
        return np.where(vectors > 0, np.float32(1), np.float32(-1))
    if kind == "int8":
        given = _required(ranges)
        levels = np.floor((vectors - given.low) / given.step) - _MIDDLE
        clipped: Vectors = np.clip(levels, -_MIDDLE, _LARGEST).astype(np.float32)
        return clipped
    return vectors


def query_codes(kind: VectorKind, vectors: Vectors, ranges: Ranges | None) -> QueryCodes:
    """What passages' codes are compared with.

    A code c stands for low + step (c + 128.5), so q . x = sum(q step c) + sum(q (low + 128.5 step)): the query is multiplied with the steps
    and rounded to whole numbers from -127 to 127. Codes made like the passages' own would weigh each dimension by 1 / step^2 instead, and
    lose more. Binary: the cosine of the signs, 1 - 2 x Hamming distance / dimension.
    """
    n, dimension = vectors.shape
    zeros = np.zeros(n, dtype=np.float32)
    if kind == "binary":
        return QueryCodes(passage_codes("binary", vectors, None), np.full(n, 1 / dimension, dtype=np.float32), zeros)
    if kind == "int8":
        given = _required(ranges)
        weighed = vectors * given.step
        scale = np.maximum(np.abs(weighed).max(axis=1), np.finfo(np.float32).tiny) / _LARGEST
        offset = vectors @ (given.low + (_MIDDLE + 0.5) * given.step)
        return QueryCodes(np.rint(weighed / scale[:, None]).astype(np.float32), scale.astype(np.float32), offset.astype(np.float32))
    return QueryCodes(vectors, np.ones(n, dtype=np.float32), zeros)


def packed(signs: Vectors) -> NDArray[np.uint8]:
    """Signs as bits, eight a byte, shape (n, dimension / 8)."""
    return np.packbits(signs > 0, axis=1)


def in_metric(cosines: NDArray[np.floating], metric: str) -> NDArray[np.floating]:
    """Similarities of unit vectors in the metric that the index was asked for: L2 is the negative squared distance."""
    return 2 * cosines - 2 if metric == "L2" else cosines


def _required(ranges: Ranges | None) -> Ranges:
    if ranges is None:
        raise StoreError("int8 vectors have no calibrated ranges: index the corpus again (ragtrial index EXPERIMENT.yaml)")
    return ranges
