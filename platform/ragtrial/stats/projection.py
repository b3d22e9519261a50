"""Many dimensions on a plane."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragtrial.errors import MissingExtraError, NotEnoughDataError

FEWEST = 10
_PERPLEXITY = 30.0
_NEIGHBOURS = 10


class Plane(NamedTuple):
    """Points on a plane.

    Attributes:
        points: Shape (n, 2), each axis from -1 to 1 at most.
        trustworthiness: Share of neighbourhoods (10 nearest) that the plane did not invent, 0 to 1.
        method: In words.
    """

    points: NDArray[np.float64]
    trustworthiness: float
    method: str


def on_a_plane(vectors: NDArray[np.float32], *, seed: int, like: NDArray[np.float64] | None = None) -> Plane:
    """Unit vectors on a plane by t-SNE (van der Maaten and Hinton 2008), begun from their principal components, cosine distances.

    Neighbours stay neighbours; distances between far groups, and the size of a group, mean nothing. The trustworthiness is that of Venna
    and Kaski 2001, "Neighborhood preservation in nonlinear projection methods", section 2.

    Args:
        vectors: Shape (n, dimension), unit rows.
        seed: The same one gives the same plane.
        like: A plane of the same texts, shape (n, 2), to turn and mirror this one towards (orthogonal Procrustes, Schönemann 1966).

    Raises:
        NotEnoughDataError: There are fewer than 10.
        MissingExtraError: scikit-learn is not installed.
    """
    n = len(vectors)
    if n < FEWEST:
        raise NotEnoughDataError(f"there are {n} texts: a map needs at least {FEWEST}")
    try:
        from sklearn.manifold import TSNE, trustworthiness
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtraError(package="scikit-learn", extra="local", purpose="maps of embeddings") from error
    perplexity = min(_PERPLEXITY, (n - 1) / 3)
    with threadpool_limits(1):  # so few points keep no second thread busy; beside other work the threads would wait for each other
        made = TSNE(n_components=2, metric="cosine", init="pca", perplexity=perplexity, random_state=seed).fit_transform(vectors)
    points = np.asarray(made, dtype=np.float64)
    points -= points.mean(axis=0)
    if like is not None:
        points = _turned(points, like)
    points /= max(float(np.abs(points).max()), 1e-12)
    kept = float(trustworthiness(vectors, points, n_neighbors=min(_NEIGHBOURS, (n - 1) // 2), metric="cosine"))
    return Plane(points=points, trustworthiness=kept, method=f"t-SNE, cosine, perplexity {perplexity:.3g}")


def _turned(points: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(points, like - like.mean(axis=0))
    turned: NDArray[np.float64] = points @ rotation
    return turned
