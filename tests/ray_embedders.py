"""Embedders for Ray's workers, which import them by name: one that is slow or dies, one that returns NaN."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.vectors import unit_rows


class _Hashing(HashingEmbedder):
    """The fake, named by the specification; `model` is a folder for marks where one is needed."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        super().__init__(model="of-tests", dimension=32)
        self.folder = Path(spec.model)


class Slow(_Hashing):
    """A quarter of a second a batch, so that there is a middle to be killed in; where there is a file `die` it takes that and its process with it."""

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        if kind == "passage" and not (self.folder / "hurry").exists():
            time.sleep(0.25)
        if kind == "passage" and (self.folder / "die").exists():
            (self.folder / "die").unlink()
            os._exit(1)
        return super().embed(texts, kind=kind, progress=progress)


class Poisoned(_Hashing):
    """A text with `poison` in it gets a vector that is no number."""

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        rows = super().embed(texts, kind=kind, progress=progress)
        rows[[place for place, text in enumerate(texts) if "poison" in text]] = np.nan
        return unit_rows(rows, n=len(texts), dimension=32, model="poisoned")
