"""Queries that a baseline fails, and what they share."""

from dataclasses import dataclass

from ragtrial.domain.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedQuery:
    """A query that the baseline fails: no relevant passage in its first ten.

    Attributes:
        query_id: The query.
        text: Its text.
        rank: Rank of its first relevant passage in the baseline's first hundred; None beyond.
        bm25_rank: The same for BM25.
        group: Number of its cluster of failed queries, from 0; None where none were made.
    """

    query_id: str
    text: str
    rank: int | None
    bm25_rank: int | None
    group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed queries that lie near each other.

    Attributes:
        number: From 0.
        terms: Words that mark it against all other queries, most telling first.
        n_failed: Failed queries in it.
        n_near: Queries of the gold set, failed or not, that lie nearest to this group's centre.
        failing: Share of them that fail, with its interval.
        example: The failed query nearest to the centre.
    """

    number: int
    terms: tuple[str, ...]
    n_failed: int
    n_near: int
    failing: Estimate
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFailure:
    """How often queries with one value of a tag fail.

    Attributes:
        tag: Name of the tag.
        value: Its value.
        failing: Share of its queries that fail, with its interval.
    """

    tag: str
    value: str
    failing: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A property of queries, where the baseline fails and where it succeeds.

    Attributes:
        name: In words, with its unit.
        failed: Mean over failed queries; None where there are none.
        succeeded: Mean over the others; None where there are none.
        difference: Failed minus succeeded; its interval holds for all traits together.
    """

    name: str
    failed: float | None
    succeeded: float | None
    difference: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerm:
    """A term that the model has no token for.

    Attributes:
        term: The word.
        pieces: Tokens that the model makes of it.
        n_queries: Gold queries with it.
        n_failed: Of these, how many fail.
        n_passages: Passages with it.
    """

    term: str
    pieces: int
    n_queries: int
    n_failed: int
    n_passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlike:
    """Two terms that the model puts near each other although the corpus uses them in different places.

    Attributes:
        left: One term.
        right: The other.
        similarity: Cosine of their vectors in the model.
        context: Cosine of the words around them in the corpus (tf-idf), 0 to 1.
        shared: Passages with both, as a share of those with either.
        n_confused: Failed queries with one of the terms for which more of the first ten passages hold the other.
    """

    left: str
    right: str
    similarity: float
    context: float
    shared: float
    n_confused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The queries that the baseline fails, and what they share.

    Attributes:
        n: Scored queries.
        n_unjudged: Queries without a relevant passage: no ranking can succeed or fail on them.
        failing: Share that fails.
        nowhere: Failed queries whose relevant passages neither the baseline nor BM25 has in its first hundred.
        queries: The failed ones, in the gold set's order.
        groups: Largest first; empty where there is a reason.
        no_groups: Why there are none.
        slices: By value of each tag, most failing first.
        traits: Of queries.
        no_traits: Why some traits are missing.
        split_terms: Terms of the queries that the model cuts into pieces, most failing first.
        look_alikes: Terms that it may take for each other.
        no_look_alikes: Why there are none.
    """

    n: int
    n_unjudged: int
    failing: Estimate
    nowhere: int
    queries: tuple[FailedQuery, ...]
    groups: tuple[FailureGroup, ...]
    no_groups: str | None
    slices: tuple[SliceFailure, ...]
    traits: tuple[Trait, ...]
    no_traits: str | None
    split_terms: tuple[SplitTerm, ...]
    look_alikes: tuple[LookAlike, ...]
    no_look_alikes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedQuery:
    """A query on the map of failures.

    Attributes:
        query_id: The query.
        text: Its text.
        x: On the plane.
        y: On the plane.
        failed: Whether the baseline fails it.
        group: Number of its cluster of failed queries; None where it has none.
    """

    query_id: str
    text: str
    x: float
    y: float
    failed: bool
    group: int | None
