"""What stands in the embedder's place where an arm searches by words alone."""

from collections.abc import Callable, Sequence

import numpy as np

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.model import ModelIdentity


class NoEmbedder:
    """Rows without a single dimension: an arm that has no model keeps no vectors.

    Args:
        identity: Of what searches in its place, with dimension 0; default: BM25.
    """

    def __init__(self, identity: ModelIdentity | None = None) -> None:
        self._identity = identity or ModelIdentity(name="bm25", revision="1", dimension=0)

    @property
    def identity(self) -> ModelIdentity:
        """Of what searches."""
        return self._identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """Shape (len(texts), 0)."""
        del kind
        if progress is not None:
            progress(len(texts))
        return np.empty((len(texts), 0), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Nothing is embedded, so there is nothing to count."""
        del texts
        return None
