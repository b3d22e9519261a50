"""What a model is trained on: a query with a passage that answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

PairOrigin = Literal["judgment", "question", "synthetic", "title", "heading", "definition", "augmented", "vote", "curated"]
"""`judgment`: a relevant judgment of a gold set. `question`: existing questions with answers. `synthetic`: an LLM wrote the query.
`title`, `heading`, `definition`: taken from the document's own structure. `augmented`: another pair with a rare term said otherwise.
`vote`: users of the live service. `curated`: somebody chose it on the dashboard."""

PAIR_ORIGINS: tuple[PairOrigin, ...] = get_args(PairOrigin)

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query and a passage that answers it.

    Attributes:
        query: Its text.
        passage: Its content: title and text; empty where only its id is known.
        passage_id: Where it comes from.
        document_id: The passage's document.
        source: What the query was made from (its cluster), or None.
        negatives: Contents of passages that don't answer it, hardest first; empty where none are known.
        score: How well the passage answers, from 0 to 1, for losses that learn from scores; None: it answers, which counts as 1.
        origin: Where the query comes from.
        split: What it is for.
        provenance: How it was made: model and prompt, trial ids, votes, propensity, filters passed.

    Raises:
        ValueError: A blank query, or a score outside of 0 to 1.
    """

    query: str
    passage: str
    passage_id: str
    document_id: str
    source: str | None = None
    negatives: tuple[str, ...] = ()
    score: float | None = None
    origin: PairOrigin = "judgment"
    split: Split = "train"
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise ValueError(f"pair of passage {self.passage_id!r}: its query is blank")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"pair of passage {self.passage_id!r}: score is {self.score}, give a number from 0 to 1")
