"""What every embedder's output must pass before anyone sees it."""

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.contracts import Vectors
from ragtrial.errors import ModelError


def unit_rows(raw: ArrayLike, *, n: int, dimension: int | None, model: str) -> Vectors:
    """`raw` as float32 rows of length 1, shape (n, dimension).

    Raises:
        ModelError: Another shape, a value that is not finite, or a row of zeros, which has no direction.
    """
    rows = np.asarray(raw, dtype=np.float32)
    width = dimension if dimension is not None else (rows.shape[1] if rows.ndim == 2 else -1)
    if rows.shape != (n, width):
        raise ModelError(f"model {model!r} returned vectors of shape {rows.shape} for {n} texts, expected ({n}, {width})")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if bad.size:
        raise ModelError(f"model {model!r} returned a vector of length {norms[bad[0], 0]} for text {bad[0]} of {n}: it can't be compared")
    return np.ascontiguousarray(rows / norms, dtype=np.float32)
