"""What goes over the wire: the bodies of requests and responses, with the limits and examples that the OpenAPI document shows.

Requests are strict: a field that is not known, or a number written as a string, is refused rather than guessed at. Strings hold no NUL,
which no database takes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragtrial.domain.live import LONGEST_REASON
from ragtrial.domain.live_trial import LONGEST_QUERY, Signal, Thumb, VoteOutcome

NO_NUL = r"^[^\x00]*$"
SAYS_SOMETHING = r"^[^\x00]*[^\s\x00][^\x00]*$"
TRIAL = "trial_5f0c2a9e4b1d4a7f8c3e6d2b1a09f8e7"

Text = Annotated[str, Field(pattern=NO_NUL)]
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Unit = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL, description="User or session id: who is split by.")]
Key = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL, description="Idempotency key: the same key counts once.")]


class Request(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(strict=True, extra="forbid")


class AskIn(Request):
    """A question of a user."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "When may a truck pass the gate?", "unit": "user-1729"}]})

    query: Annotated[
        str, Field(min_length=1, max_length=LONGEST_QUERY, pattern=SAYS_SOMETHING, description="The question, as the user typed it.")
    ]
    unit: Annotated[
        Unit | None,
        Field(description="User or session id. It is stored as a pseudonym. Without one the baseline answers, outside the experiment."),
    ] = None
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64, pattern=NO_NUL)], Annotated[str, Field(max_length=512, pattern=NO_NUL)]] | None,
        Field(description="`user_id` names the unit where `unit` does not; the rest is not kept.", max_length=16),
    ] = None
    arm: Annotated[Id | None, Field(description="Answer with this arm, outside the analysis; not for testers.")] = None


class SourceOut(BaseModel):
    """A passage that was retrieved."""

    passage_id: str
    title: str
    text: str
    cited: Annotated[bool, Field(description="The answer rests on it.")]


class UsageOut(BaseModel):
    """Tokens and cost of the answer; null is unknown."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None


class AskOut(BaseModel):
    """An answer with its sources."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trial_id": TRIAL,
                    "answer": "A truck may pass the gate fifteen minutes before its slot.",
                    "abstained": False,
                    "sources": [
                        {"passage_id": "gate-12", "title": "Gate", "text": "A truck may pass the gate fifteen minutes ...", "cited": True}
                    ],
                    "solicit_rating": False,
                    "has_unit": True,
                    "latency_ms": 38.2,
                    "usage": {"prompt_tokens": None, "cached_tokens": None, "completion_tokens": None, "cost_usd": None},
                    "logged": True,
                    "replayed": False,
                }
            ]
        }
    )

    trial_id: Annotated[str, Field(description="What votes refer to.")]
    answer: Annotated[str, Field(description="Empty where `abstained`.")]
    abstained: Annotated[bool, Field(description="The documents hold no answer.")]
    sources: list[SourceOut]
    solicit_rating: Annotated[bool, Field(description="Ask this user for a rating: the random sample that the analysis trusts.")]
    has_unit: Annotated[
        bool, Field(description="False: no unit came with the request, so the baseline answered and it is outside the experiment.")
    ]
    latency_ms: Annotated[float, Field(description="From the request's arrival to the logged answer.")]
    usage: UsageOut
    logged: Annotated[bool, Field(description="False where the log was out of reach and the plan puts availability first.")]
    replayed: Annotated[bool, Field(description="The first answer to this idempotency key, again.")]
    arm: Annotated[str | None, Field(description="Null for testers.")] = None
    assignment_reason: Annotated[str | None, Field(description="Null for testers.")] = None


class FeedbackIn(Request):
    """What a user says of an answer, or of one of its sources; the last vote on the same target counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"trial_id": TRIAL, "thumb": "down", "tags": ["wrong source"]}]})

    trial_id: Id
    thumb: Annotated[Thumb, Field(description="`withdrawn` takes an earlier vote back.")]
    passage_id: Annotated[Id | None, Field(description="The source that is meant; null: the answer.")] = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]], Field(max_length=16)] = []
    comment: Annotated[str, Field(max_length=4000, pattern=NO_NUL)] = ""
    key: Annotated[Key | None, Field(description="Idempotency key; without one every request counts.")] = None


class EventIn(Request):
    """Something that a user did with an answer without being asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"trial_id": TRIAL, "signal": "copied"}]})

    trial_id: Id
    signal: Signal
    passage_id: Annotated[Id | None, Field(description="The source that was opened.")] = None
    key: Annotated[Key | None, Field(description="Idempotency key; without one every request counts.")] = None


class OutcomeOut(BaseModel):
    """What became of a vote or a signal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"outcome": "recorded"}]})

    outcome: Annotated[VoteOutcome, Field(description="`repeated`: the key is known. `late`: kept, but outside the analysis.")]


class TrafficOut(BaseModel):
    """What holds of the traffic."""

    version: int
    share: Annotated[float, Field(description="Share of the units that take part.")]
    treatment: Annotated[float, Field(description="Share of those that get the treatment.")]
    stopped: Annotated[bool, Field(description="Everyone gets the baseline.")]
    actor: str
    reason: str
    at: Annotated[float, Field(description="Seconds since 1970.")]


class TrafficIn(Request):
    """A change of the traffic; what is left out stays."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"stopped": True, "reason": "the custom arm answers in the wrong language", "expected_version": 3}]}
    )

    share: Annotated[float | None, Field(ge=0, le=1, description="Share of the units that take part.")] = None
    treatment: Annotated[float | None, Field(gt=0, lt=1, description="Share of those that get the treatment.")] = None
    stopped: Annotated[bool | None, Field(description="True gives everyone the baseline within a second.")] = None
    reason: Annotated[
        str, Field(min_length=1, max_length=LONGEST_REASON, pattern=SAYS_SOMETHING, description="Why; kept in the audit log.")
    ]
    expected_version: Annotated[
        int | None, Field(ge=1, le=2**31 - 1, description="409 where another version is current; null: change whatever holds.")
    ] = None


class ExperimentSummary(BaseModel):
    """A live experiment in the log."""

    name: str
    live_digest: Annotated[str, Field(description="Of the plan; a changed plan is another experiment.")]
    created_at: Annotated[float, Field(description="Seconds since 1970.")]
    served: Annotated[bool, Field(description="It is the one that this service serves.")]


class ExperimentsOut(BaseModel):
    """The live experiments in the log, newest first."""

    experiments: list[ExperimentSummary]


class ExposureOut(BaseModel):
    """Who saw what, in counts. Pairs are control and treatment, by version of the traffic."""

    versions: list[int]
    units: Annotated[list[list[int]], Field(description="Units first exposed under each version, control and treatment.")]
    trials: Annotated[list[list[int]], Field(description="Trials under each version, control and treatment.")]
    units_in_both: Annotated[int, Field(description="Units that saw both arms; they are left out.")]
    excluded: Annotated[dict[str, int], Field(description="Trials left out of the analysis, by reason.")]
    failed: Annotated[dict[str, int], Field(description="Failed trials by arm.")]
    erased: Annotated[dict[str, int], Field(description="Trials erased on request, by arm.")]


class VotesOut(BaseModel):
    """Thumbs on the answers of one arm, last vote of each."""

    arm: str
    solicited: Annotated[bool, Field(description="These answers asked for a rating.")]
    trials: int
    up: int
    down: int
    withdrawn: int
    late: int


class ExperimentOut(ExperimentSummary):
    """A live experiment: its plan in short, its traffic, its counts; no texts."""

    hypothesis: str
    mode: str
    primary: str
    units_planned: int | None
    traffic: TrafficOut
    history: Annotated[list[TrafficOut], Field(description="Every version of the traffic, oldest first.")]
    exposure: ExposureOut
    votes: list[VotesOut]


class AuditEntryOut(BaseModel):
    """What an operator did."""

    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditOut(BaseModel):
    """Operator actions, newest first."""

    entries: list[AuditEntryOut]


class VoteOut(BaseModel):
    """A vote as it is kept."""

    thumb: Thumb
    passage_id: str | None
    tags: Annotated[list[str], Field(description="Keys that may not operate see those that the tester's page offers.")]
    comment: Annotated[str | None, Field(description="Only for keys that may operate.")]
    at: float


class HitOut(BaseModel):
    """A retrieved passage."""

    passage_id: str
    similarity: float


class FailureOut(BaseModel):
    """Why a trial has no result."""

    stage: str
    kind: str
    message: Annotated[str | None, Field(description="Only for keys that may operate: it may quote the query.")]


class TrialOut(BaseModel):
    """A trial as the log keeps it. Texts are shown to keys that may operate."""

    trial_id: str
    request_id: str
    experiment: str
    arm: Annotated[str | None, Field(description="Whose answer it is; null for testers.")]
    assignment_reason: Annotated[str | None, Field(description="Why this arm; null for testers.")]
    propensity: Annotated[float | None, Field(description="Chance that the unit had of this arm; null for testers, or outside the split.")]
    served: bool
    solicited: bool
    waited_ms: float
    at: float
    query: Annotated[str | None, Field(description="Null for keys that may not operate, and where only the hash is kept.")]
    answer: Annotated[str | None, Field(description="Null for keys that may not operate, and where there is none.")]
    abstained: bool | None
    hits: list[HitOut]
    cited: list[str]
    failure: FailureOut | None
    usage: UsageOut | None
    scores: Annotated[dict[str, float | str], Field(description="By metric: the value, or the reason why there is none.")]
    votes: list[VoteOut]


class HealthOut(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyOut(BaseModel):
    """Whether requests can be answered."""

    ready: bool
    warm: Annotated[bool, Field(description="Models are loaded and tried.")]
    database: Annotated[str | None, Field(description="What is wrong with the log's database; null: nothing.")]
    milvus: Annotated[str | None, Field(description="What is wrong with Milvus; null: nothing.")]
    degraded: Annotated[bool, Field(description="The baseline stands in for the custom arm; requests are still answered.")]


class ErrorDetail(BaseModel):
    """What went wrong; the shape is OpenAI's, so that its clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    trial_id: Annotated[str | None, Field(description="Of a trial that failed and is logged.")] = None


class ErrorOut(BaseModel):
    """An error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": {"message": "query: give at least 1 character", "type": "invalid_request_error", "param": "query"}}]
        }
    )

    error: ErrorDetail
