"""What goes over the wire where answers are shown again, or two of them beside each other; as `wire`."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ragtrial.api.wire import NO_NUL, SAYS_SOMETHING, TRIAL, Id, Key, Request, SourceOut, Unit
from ragtrial.domain.live_preference import Choice
from ragtrial.domain.live_trial import LONGEST_QUERY, Thumb

COMPARISON = "comparison_7b1e4c0d92f84a6ab3d5c8e1f0a29764"

_PASSAGE: dict[str, Any] = {
    "passage_id": "gate-12",
    "title": "Gate",
    "text": "A truck may pass the gate fifteen minutes ...",
    "cited": True,
}
_OTHER: dict[str, Any] = {"passage_id": "slot-3", "title": "Slots", "text": "A slot is booked the day before ...", "cited": True}
_SIDES: dict[str, Any] = {
    "left": {"answer": "A truck may pass the gate fifteen minutes before its slot.", "abstained": False, "sources": [_PASSAGE]},
    "right": {"answer": "A slot is booked the day before.", "abstained": False, "sources": [_OTHER]},
}


class StandingVote(BaseModel):
    """The vote on an answer, or on one of its sources, that holds now."""

    thumb: Thumb
    tags: list[str]
    comment: Annotated[str, Field(description="Empty where there was none, or it was erased.")]


class VotedSource(SourceOut):
    """A passage that was shown, with the vote on it."""

    vote: Annotated[StandingVote | None, Field(description="Null: none, or it was withdrawn.")] = None


class AnswerOut(BaseModel):
    """An answer that was given before, with the votes that hold now. It does not say whose answer it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trial_id": TRIAL,
                    "query": "When may a truck pass the gate?",
                    "answer": "A truck may pass the gate fifteen minutes before its slot.",
                    "abstained": False,
                    "sources": [{**_PASSAGE, "vote": {"thumb": "up", "tags": [], "comment": ""}}],
                    "solicit_rating": False,
                    "vote": {"thumb": "down", "tags": ["incomplete"], "comment": "Lorries without a slot?"},
                }
            ]
        }
    )

    trial_id: str
    query: Annotated[str | None, Field(description="As the log keeps it; null where it keeps the hash alone, or the text was erased.")]
    answer: Annotated[str | None, Field(description="Empty where `abstained`; null where the text was erased.")]
    abstained: bool
    sources: list[VotedSource]
    solicit_rating: bool
    vote: Annotated[StandingVote | None, Field(description="On the answer; null: none, or it was withdrawn.")] = None


class CompareIn(Request):
    """A question that both arms shall answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "When may a truck pass the gate?", "unit": "user-1729"}]})

    query: Annotated[
        str, Field(min_length=1, max_length=LONGEST_QUERY, pattern=SAYS_SOMETHING, description="The question, as the user typed it.")
    ]
    unit: Annotated[Unit | None, Field(description="User or session id, so that it can be erased; it decides nothing here.")] = None


class SideOut(BaseModel):
    """One of two answers. It does not say whose answer it is."""

    answer: Annotated[str | None, Field(description="Empty where `abstained`; null where the text was erased.")]
    abstained: Annotated[bool, Field(description="The documents hold no answer.")]
    sources: list[SourceOut]


class ComparisonOut(BaseModel):
    """Two answers to one question, one of each arm, in an order that was drawn at random."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "comparison_id": COMPARISON,
                    "query": "When may a truck pass the gate?",
                    **_SIDES,
                    "choice": "left",
                    "comment": "",
                    "replayed": False,
                }
            ]
        }
    )

    comparison_id: Annotated[str, Field(description="What preferences refer to.")]
    query: Annotated[str | None, Field(description="As the log keeps it; null where it keeps the hash alone, or the text was erased.")]
    left: SideOut
    right: SideOut
    choice: Annotated[Choice | None, Field(description="The one that holds now; null: none, or it was withdrawn.")] = None
    comment: Annotated[str, Field(description="That came with the choice.")] = ""
    replayed: Annotated[bool, Field(description="The first two answers to this idempotency key, again.")] = False


class PreferenceIn(Request):
    """Which of two answers is preferred; the last one counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comparison_id": COMPARISON, "choice": "left"}]})

    comparison_id: Id
    choice: Annotated[Choice, Field(description="`both` are good, `neither` is; `withdrawn` takes an earlier choice back.")]
    comment: Annotated[str, Field(max_length=4000, pattern=NO_NUL)] = ""
    key: Annotated[Key | None, Field(description="Idempotency key; without one every request counts.")] = None
