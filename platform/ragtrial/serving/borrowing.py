"""Models for work beside the answers, without a second thread in torch."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ragtrial.contracts import Embedder, Kind, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.serving.batching import MicroBatcher

_AT_ONCE = 8


class BorrowedEmbedder:
    """An embedder that is used on the batcher's thread, in its silent lane, by callers on threads of their own.

    Args:
        embedder: The model.
        batcher: On whose thread it runs.
        loop: The batcher's event loop; not the caller's.
    """

    def __init__(self, embedder: Embedder, batcher: MicroBatcher, loop: asyncio.AbstractEventLoop) -> None:
        self._embedder, self._batcher, self._loop = embedder, batcher, loop

    @property
    def identity(self) -> ModelIdentity:
        """The model's."""
        return self._embedder.identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`; a few texts at a time, so that no user waits for many.

        Raises:
            OverloadedError: Too much silent work waits.
        """
        parts = []
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            work = self._batcher.call(partial(self._embedder.embed, some, kind=kind))
            parts.append(asyncio.run_coroutine_threadsafe(work, self._loop).result())
            if progress is not None:
                progress(len(some))
        return np.concatenate(parts) if parts else self._embedder.embed([], kind=kind)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """See `contracts.Embedder`."""
        return self._embedder.count_tokens(texts)
