"""What is asked, and what is known to be right."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragtrial.domain.fingerprint import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question of the gold set.

    Attributes:
        query_id: Unique in the gold set.
        text: Never blank.
        answers: Reference answers; empty where there are none.
        tags: Slices that the query belongs to, e.g. `{"topic": "gate", "difficulty": "hard"}`.
        cluster: What queries share when they are not independent (their source document), or None.

    Raises:
        ValueError: The id or the text is blank.
    """

    query_id: str
    text: str
    answers: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None

    def __post_init__(self) -> None:
        if not self.query_id.strip():
            raise ValueError("a query needs an id")
        if not self.text.strip():
            raise ValueError(f"query {self.query_id!r} has no text")


def groups_of(queries: Sequence[Query], tag: str | None) -> tuple[str | None, ...] | None:
    """The group that each query is searched in, by its tag; None where groups are not asked for."""
    return None if tag is None else tuple(query.tags.get(tag) for query in queries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """A graded relevance label (a qrel) on a passage, a document, or a span of a document.

    Attributes:
        query_id: The query.
        target_id: A passage's or a document's id.
        grade: 0 is judged and not relevant; above 0 is relevant, more is better.
        start: Where the relevant span starts in the document's text, or None for all of it.
        end: Offset after its last character, or None.

    Raises:
        ValueError: A negative grade, or a span that is empty or half given.
    """

    query_id: str
    target_id: str
    grade: int
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if self.grade < 0:
            raise ValueError(f"judgment of {self.target_id!r} for {self.query_id!r}: grade {self.grade} is below 0")
        if (self.start is None) != (self.end is None):
            raise ValueError(f"judgment of {self.target_id!r} for {self.query_id!r}: a span needs both start and end")
        if self.start is not None and self.end is not None and not 0 <= self.start < self.end:
            raise ValueError(f"judgment of {self.target_id!r} for {self.query_id!r}: {self.start}..{self.end} is no span")


@dataclass(frozen=True, kw_only=True)
class GoldSet:
    """Queries with their judgments and reference answers, versioned by content.

    Attributes:
        name: A short name for people.
        queries: In order; ids are unique.
        judgments: On documents or spans as they were given, or on passages once resolved (`chunking.resolve`).
        fingerprint: Content hash (computed).

    Raises:
        ValueError: A query id twice, or a judgment of an unknown query.
    """

    name: str
    queries: tuple[Query, ...]
    judgments: tuple[Judgment, ...]
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        ids = {query.query_id for query in self.queries}
        if len(ids) != len(self.queries):
            raise ValueError(f"gold set {self.name!r} has {len(self.queries) - len(ids)} query ids twice")
        unknown = {j.query_id for j in self.judgments} - ids
        if unknown:
            raise ValueError(f"gold set {self.name!r} judges {len(unknown)} unknown queries, e.g. {min(unknown)!r}")
        plain = [[dataclasses.astuple(q) for q in self.queries], sorted(map(repr, self.judgments))]
        object.__setattr__(self, "fingerprint", digest(plain))

    def qrels(self) -> dict[str, dict[str, int]]:
        """`{query_id: {target_id: grade}}` for every query, in order; the highest grade where a target stands twice."""
        table: dict[str, dict[str, int]] = {query.query_id: {} for query in self.queries}
        for judgment in self.judgments:
            grades = table[judgment.query_id]
            grades[judgment.target_id] = max(judgment.grade, grades.get(judgment.target_id, 0))
        return table
