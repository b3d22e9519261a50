"""Where a model puts passages and queries, drawn on a plane."""

from dataclasses import dataclass
from typing import Literal

PlottedKind = Literal["query", "passage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plotted:
    """One text on the map.

    Attributes:
        kind: What it is.
        key: The query's or passage's id.
        x: To the right; only distances mean anything.
        y: Up.
        topic: Value of the tag that the map is coloured by; a passage has that of a query that it is relevant for. None where it has none.
        missed: Whether the baseline retrieved no relevant passage of this query though there is one; None for a passage, and while the
            evaluation is not concluded.
    """

    kind: PlottedKind
    key: str
    x: float
    y: float
    topic: str | None
    missed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMap:
    """Texts as one arm's model sees them.

    Attributes:
        arm: Its name.
        made_at: Seconds since 1970.
        method: How the plane was made, in words.
        trustworthiness: Share of neighbourhoods that the plane did not invent, 0 to 1 (Venna and Kaski 2001).
        tag: The tag that `topic` is a value of; None where queries have none.
        n_queries: Queries of the gold set.
        n_passages: Passages of the corpus; the map may hold a sample of both.
        points: Those on the map.
    """

    arm: str
    made_at: float
    method: str
    trustworthiness: float
    tag: str | None
    n_queries: int
    n_passages: int
    points: tuple[Plotted, ...]
