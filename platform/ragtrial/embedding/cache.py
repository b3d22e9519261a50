"""Vectors on disk by content: a text is embedded once for each model, in whatever experiment it stands."""

import hashlib
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ragtrial.contracts import Embedder, Kind, Vectors
from ragtrial.disk_store import FIRST_MAP_BYTES, DiskStore
from ragtrial.domain.model import ModelIdentity

_WRITE_EVERY = 1024
_CHECKED = b"\x01"
"""Ends a value that has a CRC-32 after its numbers; what earlier versions wrote has neither."""
_ROUNDING = 1e-3
_log = logging.getLogger(__name__)


class VectorCache:
    """An LMDB store of vectors: transactional, safe for several processes, never corrupted by a kill.

    Keys are SHA-256 over the model's identity, query or passage, and the text; values are float32 rows with a checksum, which LMDB has none
    of: a vector that the disk has changed counts as missing, and is made and written anew.

    Args:
        folder: Made where it doesn't exist.
        first_map_bytes: Size that the store may have at first; it doubles when it is full.

    Raises:
        StoreError: The folder can't be made or written, or holds something else.
    """

    def __init__(self, folder: Path, *, first_map_bytes: int = FIRST_MAP_BYTES) -> None:
        self._folder = folder
        self._store = DiskStore(
            folder,
            name="vector cache",
            setting="stores.vectors",
            if_damaged="remove the folder, it is only a cache",
            first_map_bytes=first_map_bytes,
            spare=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    def get(self, keys: Sequence[bytes]) -> list[Vectors | None]:
        """The stored vector of each key, or None where there is none, or it is damaged."""
        found = self._store.read(lambda transaction: [transaction.get(key) for key in keys])
        rows = [None if value is None else _row(value) for value in found]
        damaged = sum(row is None and value is not None for row, value in zip(rows, found, strict=True))
        if damaged:
            _log.warning("%d of %d vectors in the vector cache %r are damaged: they are made again", damaged, len(keys), str(self._folder))
        return rows

    def put(self, items: Sequence[tuple[bytes, Vectors]]) -> None:
        """Store all or none of the vectors."""

        def put_all(transaction: Any) -> None:
            for key, vector in items:
                transaction.put(key, _value(vector))

        self._store.write(put_all)


def _value(vector: Vectors) -> bytes:
    numbers = vector.tobytes()
    return numbers + zlib.crc32(numbers).to_bytes(4, "little") + _CHECKED


def _row(value: bytes) -> Vectors | None:
    """The numbers of a value; None where they are not those that were written."""
    if len(value) % 4 == 0:  # of an earlier version
        row = np.frombuffer(value, dtype=np.float32)
        return row if row.size == 1 or abs(float(np.linalg.norm(row)) - 1) < _ROUNDING else None
    numbers = value[:-5]
    if value[-1:] != _CHECKED or zlib.crc32(numbers).to_bytes(4, "little") != value[-5:-1]:
        return None
    return np.frombuffer(numbers, dtype=np.float32)


class CachedEmbedder:
    """An embedder that asks the cache first, and writes what is new as it goes.

    Args:
        inner: What embeds.
        cache: Shared by all embedders of a process.
    """

    def __init__(self, inner: Embedder, cache: VectorCache) -> None:
        self._inner = inner
        self._cache = cache
        self.embedded = 0
        """Texts that were not in the cache so far."""

    @property
    def bare(self) -> Embedder:
        """What embeds, without the cache."""
        return self._inner

    @property
    def identity(self) -> ModelIdentity:
        """The inner embedder's."""
        return self._inner.identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`."""
        rows = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        keys = self._keys(texts, kind)
        missing: dict[bytes, list[int]] = {}
        for position, vector in enumerate(self._cache.get(keys)):
            if vector is not None and vector.size == rows.shape[1]:
                rows[position] = vector
            else:
                missing.setdefault(keys[position], []).append(position)
        if progress is not None:
            progress(len(texts) - sum(map(len, missing.values())))
        todo = list(missing.items())
        for start in range(0, len(todo), _WRITE_EVERY):
            part = todo[start : start + _WRITE_EVERY]
            vectors = self._inner.embed([texts[places[0]] for _, places in part], kind=kind, progress=progress)
            self.embedded += len(part)
            if progress is not None:
                progress(sum(len(places) - 1 for _, places in part))  # texts that stand more than once
            self._cache.put([(key, vector) for (key, _), vector in zip(part, vectors, strict=True)])
            for (_, places), vector in zip(part, vectors, strict=True):
                rows[places] = vector
        return rows

    def remember(self, texts: Sequence[str], vectors: Vectors, *, kind: Kind) -> None:
        """Put vectors into the cache that are known to be the model's, as those of a model that shares a part of another one."""
        keys = self._keys(texts, kind)
        for start in range(0, len(keys), _WRITE_EVERY):
            self._cache.put(list(zip(keys[start : start + _WRITE_EVERY], vectors[start : start + _WRITE_EVERY], strict=True)))

    def _keys(self, texts: Sequence[str], kind: Kind) -> list[bytes]:
        model = self.identity.key
        return [hashlib.sha256(f"{model}\0{kind}\0{text}".encode()).digest() for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """The inner embedder's count."""
        return self._inner.count_tokens(texts)
