"""What every vector store keeps, whichever it is: which vectors and parameters it takes, and how it orders hits."""

import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import CollectionRef, IndexParameters, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import StoreError
from ragtrial.index.codes import ranges_of, written

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1: above the rounding of bfloat16 models, far below a vector that nobody normalised."""

TIE = 1e-6
"""Similarities this near to each other are equal: the difference is float32 rounding, which another store, build or number of threads
rounds otherwise. Without it, the order of passages that are equally near would depend on the machine."""


SEARCHED_SECONDS = 600.0
"""How long after it was last known to be searched a collection can't be dropped: services look every 5 s where their alias points to, and
one that goes on elsewhere says so every minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a collection was made for; written into it at creation.

    Attributes:
        model: The model that its vectors were made with.
        corpus: Fingerprint of the passages.
        parameters: The index asked for.
        ranges: What int8 codes are made with, as `codes.written` writes them; None for other vectors.
    """

    model: ModelIdentity
    corpus: str
    parameters: IndexParameters
    ranges: str | None = None


def check_drop(name: str, aliases: Collection[str], *, searched_at: float | None) -> None:
    """Make sure that nobody searches a collection.

    Args:
        name: The collection.
        aliases: That point to it.
        searched_at: When it was last known to be searched, in seconds since 1970; None: never, or it does not matter.

    Raises:
        StoreError: Somebody does, or may.
    """
    if aliases:
        raise StoreError(f"collection {name!r} can't be dropped: alias {min(aliases)!r} points to it; point it elsewhere first")
    ago = math.inf if searched_at is None else time.time() - searched_at
    if ago < SEARCHED_SECONDS:
        raise StoreError(
            f"collection {name!r} can't be dropped yet: {max(0.0, ago):.0f} s ago an alias pointed to it, or a service searched it; start "
            f"services anew that go on with it (their log says so), and try again {SEARCHED_SECONDS / 60:.0f} minutes later, or force it"
        )


def reference_to(name: str, origin: Origin, *, complete: bool) -> CollectionRef:
    """What is told of a collection that a name or an alias means."""
    parameters = origin.parameters
    return CollectionRef(
        name=name,
        model=origin.model,
        metric=parameters.metric,
        corpus=origin.corpus,
        complete=complete,
        words=parameters.words,
        index=json.dumps(plain_parameters(parameters), sort_keys=True),
    )


def calibrated(asked: Origin, sample: Vectors | None) -> Origin:
    """With the ranges of the sample, where int8 codes need them."""
    if asked.parameters.vectors != "int8":
        return asked
    return replace(asked, ranges=written(ranges_of(np.empty((0, 0), dtype=np.float32) if sample is None else sample)))


def check_origin(name: str, *, found: Origin, asked: Origin) -> None:
    """Refuse to go on with a collection that was made for something else.

    Raises:
        StoreError: Another model, corpus or index.
    """
    check_model(name, found=found.model, asked=asked.model)
    if found.corpus != asked.corpus:
        raise StoreError(
            f"collection {name!r} holds the passages of corpus {found.corpus!r}, but this corpus is {asked.corpus!r}: "
            "index it into a collection of its own, or drop the old one"
        )
    if plain_parameters(found.parameters) != plain_parameters(asked.parameters):
        raise StoreError(
            f"collection {name!r} was made with the index {plain_parameters(found.parameters)}, but {plain_parameters(asked.parameters)} is asked for: "
            "index the corpus again into a collection of its own, or drop the old one"
        )


def plain_parameters(parameters: IndexParameters) -> dict[str, object]:
    """As JSON; what came later stands there only where it is used, so that older collections keep their names and stay equal."""
    plain: dict[str, object] = {
        "type": parameters.type,
        "metric": parameters.metric,
        "build": dict(parameters.build),
        "search": dict(parameters.search),
    }
    if parameters.vectors != "fp32":
        plain["vectors"] = parameters.vectors
    if parameters.words:
        plain["words"] = True
    if parameters.shards != 1:
        plain["shards"] = parameters.shards
    if parameters.partition:
        plain["partition"] = parameters.partition
    return plain


def check_model(name: str, *, found: ModelIdentity, asked: ModelIdentity) -> None:
    """Refuse to compare vectors of one model with those of another.

    Raises:
        StoreError: The identities differ in name, revision, settings or dimension.
    """
    if found == asked:
        return
    if str(found) == str(asked):  # then what people read is the same, and the difference lies deeper
        holds, asks = (f"{model} ({model.dimension} dimensions; {', '.join(model.settings) or 'no settings'})" for model in (found, asked))
    elif found.dimension != asked.dimension:
        holds, asks = (f"{model} ({model.dimension} dimensions)" for model in (found, asked))
    else:
        holds, asks = str(found), str(asked)
    raise StoreError(
        f"collection {name!r} holds vectors of {holds!r}, but these come from {asks!r}: "
        "index the corpus again (ragtrial index EXPERIMENT.yaml), or give the model a collection of its own"
    )


def check_vectors(name: str, vectors: Vectors, *, dimension: int, ids: Sequence[str] | None = None) -> Vectors:
    """`vectors` as float32, shape (n, dimension), once they are finite and of length 1.

    Args:
        name: The collection, for messages.
        vectors: What to check.
        dimension: The collection's.
        ids: The passages that they belong to, or None for queries.

    Raises:
        StoreError: They aren't; a store would take them and return nonsense.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise StoreError(
            f"collection {name!r} takes vectors of {dimension} dimensions, but these have shape {rows.shape}: embed with its model"
        )
    if ids is not None and len(ids) != len(rows):
        raise StoreError(f"collection {name!r} was given {len(rows)} vectors for {len(ids)} passages: give one each")
    if not dimension:  # searched by words alone
        return rows
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # catches NaN and infinity too
    if bad.size:
        whose = f"query {bad[0]}" if ids is None else f"passage {ids[bad[0]]!r}"
        what = f"has length {lengths[bad[0]]:.6g}" if np.isfinite(lengths[bad[0]]) else "is not finite"
        raise StoreError(f"the vector of {whose} for collection {name!r} {what}, expected length 1: normalise it, or mend the embedder")
    return rows


def check_words(name: str, parameters: IndexParameters) -> None:
    """Refuse to search words where there are none.

    Raises:
        StoreError: The collection was made for vectors alone.
    """
    if not parameters.words:
        raise StoreError(
            f"collection {name!r} was made without words: index the corpus again with retrieval.method 'hybrid' or 'bm25' "
            "(ragtrial index EXPERIMENT.yaml)"
        )


def check_groups(name: str, parameters: IndexParameters, groups: Sequence[str | None] | None, *, queries: int) -> Sequence[str | None]:
    """The group of each query, None where it is searched everywhere.

    Raises:
        StoreError: Groups are given for a collection that knows none, or not one for each query.
    """
    if groups is None:
        return (None,) * queries
    if len(groups) != queries:
        raise StoreError(f"collection {name!r} was given {len(groups)} groups for {queries} queries: give one each")
    if not parameters.partition and any(group is not None for group in groups):
        raise StoreError(
            f"collection {name!r} was made without groups: index the corpus again with index.partition_by 'group' (ragtrial index EXPERIMENT.yaml)"
        )
    return groups


def in_groups(
    asked: Sequence[str | None], found: Callable[[str | None, list[int]], Sequence[tuple[Hit, ...]]]
) -> tuple[tuple[Hit, ...], ...]:
    """The hits of each query, found once for each group with the places of its queries."""
    hits: dict[int, tuple[Hit, ...]] = {}
    for group in dict.fromkeys(asked):
        places = [place for place, each in enumerate(asked) if each == group]
        hits.update(zip(places, found(group, places), strict=True))
    return tuple(hits[place] for place in range(len(asked)))


def ranked(name: str, found: Sequence[tuple[str, float]], *, top_k: int, tie: float | None = None) -> tuple[Hit, ...]:
    """The first `top_k` of (passage id, similarity), best first, ties (`TIE`, if not given) by passage id, with the best similarity among them.

    Raises:
        StoreError: A similarity is not finite.
    """
    if not all(math.isfinite(similarity) for _, similarity in found):
        raise StoreError(f"collection {name!r} returned similarities that are not finite: index the corpus again")
    hits: list[Hit] = []
    for tied in _groups(sorted(found, key=lambda pair: -pair[1]), TIE if tie is None else tie):
        best = tied[0][1]
        hits.extend(Hit(passage_id=passage_id, similarity=best) for passage_id in sorted(passage_id for passage_id, _ in tied))
        if len(hits) >= top_k:
            break
    return tuple(hits[:top_k])


def cuts_a_tie(similarities: Sequence[float], *, top_k: int, tie: float = TIE) -> bool:
    """Whether more hits, descending as these are, could tie with the `top_k`-th: none after it is farther away than a tie."""
    tail = similarities[top_k - 1 :]
    return all(above - below <= tie for above, below in itertools.pairwise(tail))


def _groups(ordered: Sequence[tuple[str, float]], tie: float) -> Iterator[list[tuple[str, float]]]:
    """Runs of hits of which each ties with the one before it."""
    group: list[tuple[str, float]] = []
    for pair in ordered:
        if group and group[-1][1] - pair[1] > tie:
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def similarities(queries: Vectors, matrix: Vectors, metric: str) -> NDArray[np.float32]:
    """Similarity of each query to each row, shape (n_queries, n_rows); higher is nearer.

    Cosine and inner product are the product itself, for vectors have length 1. For L2 it is the negative of what Milvus calls
    the L2 distance, the squared Euclidean distance.
    """
    products: NDArray[np.float32] = queries @ matrix.T
    if metric != "L2":
        return products
    squares = np.square(queries).sum(axis=1)[:, None] + np.square(matrix).sum(axis=1)[None, :]
    distances: NDArray[np.float32] = np.maximum(squares - 2 * products, 0)
    return 0 - distances
