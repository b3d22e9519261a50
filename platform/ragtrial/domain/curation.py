"""What people chose from pages of results for the gold set or for training, with where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

CurationKind = Literal["judgment", "pair", "hard negative"]

CURATION_KINDS: tuple[CurationKind, ...] = get_args(CurationKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """A query with a passage that somebody chose.

    `judgment`: for the gold set. `pair`: the passage answers the query, for training. `hard negative`: it looks as if it did, and does not.

    Attributes:
        curation_id: Its number in the log; None before it is written.
        experiment: Name of the experiment.
        kind: What it is chosen for.
        query_text: As it was asked, or as the live log keeps it.
        query_id: The gold query's id; None for a live query that is not in the gold set.
        passage_id: Of the experiment's corpus.
        passage_text: Its content; empty where the log does not keep it (the corpus does).
        grade: Of a judgment: 0 is judged and not relevant, more is better; None for anything else.
        evaluation_id: The evaluation that it was found in, or None.
        trial_id: The live trial that it was found in, or None; one of both is given.
        actor: Who chose it.
        note: Why; may be empty.
        takes_back: The number of the curation that this one takes back, or None.
        created_at: ISO 8601, UTC.

    Raises:
        ValueError: No such kind, a judgment without a grade or a grade of anything else, no or two places where it was found, or a blank
            query or actor.
    """

    curation_id: int | None = None
    experiment: str
    kind: CurationKind
    query_text: str
    query_id: str | None = None
    passage_id: str
    passage_text: str = ""
    grade: int | None = None
    evaluation_id: str | None = None
    trial_id: str | None = None
    actor: str
    note: str = ""
    takes_back: int | None = None
    created_at: str

    def __post_init__(self) -> None:
        what = f"curation of {self.passage_id!r}"
        if self.kind not in CURATION_KINDS:
            raise ValueError(f"{what}: kind {self.kind!r} is none of {', '.join(CURATION_KINDS)}")
        if (self.kind == "judgment") != (self.grade is not None):
            raise ValueError(f"{what}: a judgment has a grade, and nothing else has; this is a {self.kind} with grade {self.grade}")
        if self.grade is not None and self.grade < 0:
            raise ValueError(f"{what}: grade {self.grade} is below 0")
        if (self.evaluation_id is None) == (self.trial_id is None):
            raise ValueError(f"{what}: say in which evaluation or in which live trial it was found, one of both")
        if not self.query_text.strip() or not self.passage_id.strip() or not self.actor.strip():
            raise ValueError(f"{what}: query, passage and actor must be given")

    @property
    def chosen_as(self) -> str:
        """`judgment with grade 2`, `training pair` or `hard negative`."""
        if self.kind == "judgment":
            return f"judgment with grade {self.grade}"
        return "training pair" if self.kind == "pair" else "hard negative"

    @property
    def source(self) -> str:
        """Where it was found, in words."""
        return f"live trial {self.trial_id}" if self.evaluation_id is None else f"evaluation {self.evaluation_id}"


def standing(curations: Sequence[Curation]) -> tuple[Curation, ...]:
    """Those that hold, in order: neither taken back nor takers-back."""
    gone = {each.takes_back for each in curations}
    return tuple(each for each in curations if each.takes_back is None and each.curation_id not in gone)
