"""A model and its base, and the one way in which every property of both is said: a mean with its t interval, or a reason."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, Vectors
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.intrinsic import Measured
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.paired import paired_t

Floats = NDArray[np.float64]
Clusters = Sequence[str] | None

ANY = (-math.inf, math.inf)
"""A mean without bounds."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The model, and its base where there is one.

    Attributes:
        model: To be judged.
        base: To compare with; None where there is none.
        alpha: 1 minus the coverage.
        resamples: Of bootstraps.
        seed: Of bootstraps and samples.
    """

    model: Embedder
    base: Embedder | None
    alpha: float
    resamples: int
    seed: int

    def rng(self) -> np.random.Generator:
        """The same draws for every property."""
        return np.random.default_rng(self.seed)

    def passages(self, texts: Sequence[str]) -> tuple[Vectors, Vectors | None]:
        """Vectors of passages in both."""
        return self.model.embed(texts, kind="passage"), None if self.base is None else self.base.embed(texts, kind="passage")

    def queries(self, texts: Sequence[str]) -> tuple[Vectors, Vectors | None]:
        """Vectors of queries in both."""
        return self.model.embed(texts, kind="query"), None if self.base is None else self.base.embed(texts, kind="query")


def estimate(name: str, values: Floats | str, sides: Sides, clusters: Clusters, *, ends: tuple[float, float] = ANY) -> Estimate:
    """The mean of the values with its t interval, cluster-robust where units share a label; a text is the reason why there are none.

    The interval is cut at what the mean can be at all (`ends`), which costs no coverage.
    """
    if isinstance(values, str):
        return Estimate(name=name, n=0, reason=values)
    shared = clusters is not None and len(set(clusters)) < len(clusters)
    try:
        found = paired_t(values, alpha=sides.alpha, clusters=np.array(clusters) if shared else None)
    except NotEnoughDataError as error:
        value = float(values.mean()) if values.size else None
        return Estimate(name=name, n=values.size, value=value, reason=str(error))
    return Estimate(
        name=name, n=found.n, value=found.estimate, low=max(found.low, ends[0]), high=min(found.high, ends[1]), n_clusters=found.n_clusters
    )


def compared(
    name: str,
    model: Floats | str,
    base: Floats | str | None,
    sides: Sides,
    *,
    clusters: Clusters,
    better: str,
    note: str,
    share: bool = False,
) -> Measured:
    """A property in the model, in the base, and the change within units; a `share` lies between 0 and 1."""
    ends, apart = ((0.0, 1.0), (-1.0, 1.0)) if share else (ANY, ANY)
    change = None
    if base is not None:
        gap = model - base if not isinstance(model, str) and not isinstance(base, str) else "one of the models has no value"
        change = estimate(name, gap, sides, clusters, ends=apart)
    return Measured(
        name=name,
        value=estimate(name, model, sides, clusters, ends=ends),
        before=None if base is None else estimate(name, base, sides, clusters, ends=ends),
        change=change,
        better=better,
        note=note,
    )
