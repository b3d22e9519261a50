"""What happened to one live query, and what its user said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.live import Assignment, QueryText
from ragtrial.domain.trial import Trial

Team = Literal["control", "treatment", "both"]
Thumb = Literal["up", "down", "withdrawn"]
Signal = Literal["copied", "rephrased", "citation_clicked"]
VoteOutcome = Literal["recorded", "repeated", "late"]

LONGEST_QUERY = 8_000
"""Characters of a query that is answered."""

VOTE_TAGS = ("wrong", "wrong source", "incomplete", "outdated", "hard to read")
"""What the tester's page offers to say of an answer. Other front ends may send what they like, which then is a text of its user's."""


def offered_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Those that were chosen and not typed: what may be shown to those who may not read what users typed."""
    return tuple(tag for tag in tags if tag in VOTE_TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuery:
    """A query as the log keeps it.

    Attributes:
        text: In full or redacted; None where only the hash is kept.
        digest: SHA-256 of the text, normalised (Unicode NFKC, one space between words, case folded), 32 hexadecimal digits.
        stored: How it is kept; `hash` as well where redaction was asked for and failed.
        gold_query_id: The gold query with the same normalised text, or None.
    """

    text: str | None
    digest: str
    stored: QueryText
    gold_query_id: str | None = None

    def __post_init__(self) -> None:
        if (self.stored == "hash") != (self.text is None):
            raise ValueError(f"a query kept as {self.stored!r} has {'a' if self.text is not None else 'no'} text")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrial:
    """One live query through one arm.

    Attributes:
        trial_id: What votes refer to, e.g. `trial_0f3a...`.
        request_id: The trial that was served for the same request; a silent twin (mode shadow) has another `trial_id`.
        experiment: Name of the experiment.
        unit: Pseudonym of the randomisation unit (`splitting.pseudonym`), or None; the unit itself is never stored.
        assignment: Which arm was served to the unit, and why; its `unit` is not stored.
        served: Whether it is the trial that the request counts as, and that votes refer to. A silent twin has False; so has the
            baseline's trial that stood in for a failed one, whose user saw its answer.
        query: As the log keeps it.
        trial: Ranking, answer, timings or failure. Its `arm` is the arm that made it, its `query_id` the digest of the query.
        teams: Mode interleaved: which arm's ranking each passage of the context came from.
        solicited: The answer asked its user for a rating.
        waited_ms: From the request's arrival to the answer's being ready to log, what a user waits for.
        idempotency_key: The caller's; a replay returns the first answer.
        caller: Name of the API key.
        at: Arrival, seconds since 1970.
    """

    trial_id: str
    request_id: str
    experiment: str
    unit: str | None
    assignment: Assignment
    served: bool
    query: StoredQuery
    trial: Trial
    teams: Mapping[str, Team] | None = None
    solicited: bool = False
    waited_ms: float
    idempotency_key: str | None = None
    caller: str
    at: float

    def __post_init__(self) -> None:
        if self.served != (self.trial_id == self.request_id):
            raise ValueError(f"trial {self.trial_id!r} of request {self.request_id!r}: the served trial has the request's id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What a user said of an answer, or of one of its sources; the last one on the same target counts.

    Attributes:
        trial_id: The served trial.
        key: Idempotency key: the same key is recorded once.
        passage_id: The source that is meant, or None for the answer.
        thumb: `withdrawn` takes an earlier vote back.
        tags: E.g. `wrong source`.
        comment: Free text.
        at: Arrival, seconds since 1970.
    """

    trial_id: str
    key: str
    thumb: Thumb
    passage_id: str | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalEvent:
    """Something that a user did with an answer without being asked: copied it, asked again in other words, opened a source."""

    trial_id: str
    key: str
    signal: Signal
    passage_id: str | None = None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which queries were refused or served unlogged because the log could not be written.

    Attributes:
        start: Seconds since 1970.
        end: Likewise.
        refused: Requests that got 503.
        unlogged: Requests that got the baseline without a record.
        reason: What the database or the queue said.
    """

    start: float
    end: float
    refused: int
    unlogged: int
    reason: str
