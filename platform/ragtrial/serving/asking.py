"""What comes in and what goes out of the service, whatever carries it."""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Literal

from ragtrial.domain.live import AssignmentReason
from ragtrial.domain.trial import Usage

ServedReason = AssignmentReason | Literal["unlogged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query of a user.

    Attributes:
        text: At most `LONGEST_QUERY` characters, and not blank.
        unit: The randomisation unit, e.g. a user's id; None gets the baseline and stays out of the analysis.
        caller: Name of the API key.
        idempotency_key: The same key of the same caller gets the same answer again.
        override: The arm that a tester wants to see; None for everyone else.
        query_at: Arrival, seconds since 1970.
    """

    text: str
    unit: str | None
    caller: str
    idempotency_key: str | None = None
    override: str | None = None
    query_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A passage that the answer was made from, best first.

    Attributes:
        passage_id: What a vote on a source refers to.
        title: Of its document; may be empty.
        text: In full.
        cited: Whether the answer rests on it.
    """

    passage_id: str
    title: str
    text: str
    cited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the user gets.

    Attributes:
        trial_id: What votes refer to; where `logged` is False nothing of this name is known.
        arm: Whose answer it is; not told to those who only ask and vote.
        reason: Why this arm: as assigned; `fallback` where the baseline stepped in for an arm that failed; `unlogged` where the log can't
            be written and the experiment says that availability comes first.
        answer: Empty where it abstained, or where the experiment has no generation.
        abstained: The generator found nothing that fits.
        sources: What the generator read; all that was retrieved where there is no generation.
        solicited: The answer asks for a rating.
        usage: Tokens and cost, where there are any.
        waited_ms: From the arrival to the answer's being ready to log; of the first time where it is a replay.
        logged: The trial is in the database.
        replayed: The answer was given before, to the same idempotency key.
    """

    trial_id: str
    arm: str
    reason: ServedReason
    answer: str
    abstained: bool
    sources: tuple[Source, ...]
    solicited: bool = False
    usage: Usage = field(default_factory=Usage)
    waited_ms: float
    logged: bool = True
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the service can answer.

    Attributes:
        warm: Models are loaded, and each arm has answered once.
        database: What the database said when it was last asked in vain; None where it answers.
        milvus: Why the baseline can't be searched; None where it can.
        degraded: Why the baseline stands in for the custom arm; None where it doesn't. Queries can still be sent here.
    """

    warm: bool
    database: str | None = None
    milvus: str | None = None
    degraded: str | None = None

    @property
    def ok(self) -> bool:
        """Whether queries should be sent here."""
        return self.warm and self.database is None and self.milvus is None


def new_trial_id() -> str:
    """A name that no other trial has."""
    return f"trial_{uuid.uuid4().hex}"


def new_comparison_id() -> str:
    """A name that no other comparison has."""
    return f"comparison_{uuid.uuid4().hex}"


def fallback_id(request_id: str) -> str:
    """The id of the baseline's trial that stood in for the failed trial `request_id`; found again without being stored."""
    return _beside("fallback", request_id)


def twin_id(request_id: str) -> str:
    """The id of the silent twin of the served trial `request_id` (mode shadow); found again likewise."""
    return _beside("twin", request_id)


def _beside(what: str, request_id: str) -> str:
    return f"trial_{hashlib.sha256(f'ragtrial.{what}.{request_id}'.encode()).hexdigest()[:32]}"
