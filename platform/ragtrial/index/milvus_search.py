"""Searches of Milvus by vector and by words, with ties ordered before the cut."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from ragtrial.contracts import Vectors
from ragtrial.domain.trial import Hit
from ragtrial.errors import StoreError
from ragtrial.index.index_types import search_parameters
from ragtrial.index.milvus_rows import GROUP_FIELD, asked_vectors, escaped, similarity_of, stored_metric
from ragtrial.index.rules import TIE, Origin, cuts_a_tie, ranked
from ragtrial.index.words import WORD_TIE

_ALL_IDS = 10_000_000
MAX_HITS = 16_384
"""Rows that a server returns at most, for searches and for pages of a query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What Milvus keeps of a collection; `name` is its own, even where it was asked for by an alias; `mapped`: from disk.

    `recalls` is what it was found to find, by what that was measured on; `searched_at` when an alias left it, or a service that goes on with
    it said so, in seconds since 1970.
    """

    name: str
    origin: Origin
    complete: bool
    mapped: bool = False
    recalls: Mapping[str, float] = field(default_factory=dict)
    searched_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """How a store is searched.

    Attributes:
        lite: It is Milvus Lite.
        timeout_s: For each call.
        consistency: See `milvus_loading.Reading`.
        within: Milvus's expression for the passages that are searched; all where it is empty.
    """

    lite: bool
    timeout_s: float
    consistency: str = "Bounded"
    within: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """For every search."""
        found: dict[str, Any] = {"consistency_level": self.consistency, "timeout": self.timeout_s}
        return found | {"filter": self.within} if self.within else found


def within(limits: SearchLimits, group: str | None) -> SearchLimits:
    """The same, confined to a group; None is no group."""
    return limits if group is None else replace(limits, within=f'{GROUP_FIELD} == "{escaped(group)}"')


FoundRows = list[list[tuple[str, float]]]
"""Passage ids with their similarity, for each query."""
Search = Callable[[MilvusClient, Record, Any, int, int, SearchLimits], FoundRows]


def check_top_k(top_k: int) -> None:
    """Refuse more hits than a server returns.

    Raises:
        StoreError: Fewer than 1, or too many.
    """
    if not 1 <= top_k <= MAX_HITS:
        raise StoreError(f"top_k is {top_k}: Milvus returns 1 to {MAX_HITS} passages a query")


def vector_search(client: MilvusClient, record: Record, queries: Any, top_k: int, limit: int, limits: SearchLimits) -> FoundRows:
    """Passages near to each vector, as similarities; `limit` of them, at least `top_k` of which are looked for."""
    origin = record.origin
    data, asked = asked_vectors(origin, np.asarray(queries), lite=limits.lite)
    chosen = search_parameters(origin.parameters, top_k=top_k)
    results = client.search(
        record.name,
        data=data,
        anns_field="vector",
        limit=limit,
        output_fields=["passage_id"],  # with none, Milvus Lite returns the vectors
        search_params={"metric_type": stored_metric(origin.parameters, lite=limits.lite), "params": chosen},
        **limits.options,
    )
    return [
        list(zip(hits.ids, similarity_of(origin, asked, place, hits.distances, lite=limits.lite), strict=True))
        for place, hits in enumerate(results)
    ]


def word_search(client: MilvusClient, record: Record, queries: Any, top_k: int, limit: int, limits: SearchLimits) -> FoundRows:
    """Passages with the highest BM25 of each text; scores are above 0."""
    del top_k
    results = client.search(
        record.name,
        data=list(queries),
        anns_field="words",
        limit=limit,
        output_fields=["passage_id"],
        search_params={"metric_type": "BM25"},
        **limits.options,
    )
    # Milvus Lite's scores are negative
    return [[(key, abs(score)) for key, score in zip(hits.ids, hits.distances, strict=True) if score] for hits in results]


def nearest(
    client: MilvusClient, record: Record, queries: Vectors | Sequence[str], search: Search, top_k: int, *, limits: SearchLimits
) -> list[tuple[Hit, ...]]:
    """The hits of a batch; where the search is exact, ties at the cut are ordered by passage id before the cut."""
    words = isinstance(queries, Sequence)
    tie = WORD_TIE if words else TIE
    # only FLAT and BM25 are exact: there, one more hit shows whether a tie crosses the cut
    limit = min(top_k + 1, MAX_HITS) if words or record.origin.parameters.type == "FLAT" else top_k
    found = search(client, record, queries, top_k, limit, limits)
    for position, hits in enumerate(found):
        wider = limit
        while len(hits) == wider > top_k and cuts_a_tie([value for _, value in hits], top_k=top_k, tie=tie) and wider < MAX_HITS:
            wider = min(4 * wider, MAX_HITS)
            hits = search(client, record, queries[position : position + 1], top_k, wider, limits)[0]  # noqa: PLW2901 - widened
            found[position] = hits
    return [ranked(record.name, hits, top_k=top_k, tie=tie) for hits in found]


def indexed(origin: Origin) -> tuple[str, ...]:
    """The fields that have an index."""
    return (*(("vector",) if origin.model.dimension else ()), *(("words",) if origin.parameters.words else ()))


def read_ids(client: MilvusClient, name: str, *, limits: SearchLimits) -> set[str]:
    """Ids of all rows of a loaded collection, as of its last write."""
    # Not pymilvus' iterator: it doesn't escape the id that it goes on from, drops the consistency level, and lets a server
    # end a page where its first segment ends.
    ids: set[str] = set()
    last = ""
    while True:
        page = client.query(
            name,
            filter=f'passage_id > "{escaped(last)}"',
            output_fields=["passage_id"],
            limit=_ALL_IDS if limits.lite else MAX_HITS,
            consistency_level="Strong",
            timeout=limits.timeout_s,
        )
        ids.update(row["passage_id"] for row in page)
        if limits.lite or not page:
            return ids
        last = max(row["passage_id"] for row in page)
