"""What front ends call: ask, vote, tell what the user did."""

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from starlette.exceptions import HTTPException

from ragtrial.api.access import Needs
from ragtrial.api.errors import responses
from ragtrial.api.parts import Parts, parts_of
from ragtrial.api.wire import NO_NUL, AskIn, AskOut, EventIn, FeedbackIn, OutcomeOut, SourceOut, UsageOut
from ragtrial.domain.access import ApiKey
from ragtrial.domain.live_trial import SignalEvent, Vote
from ragtrial.serving.asking import Source
from ragtrial.serving.service import Question, Served

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern=NO_NUL, description="The same key gets the first answer again."),
]
TrustedUser = Annotated[
    str | None,
    Header(alias="X-User-Id", min_length=1, max_length=256, pattern=NO_NUL, description="The unit, from keys that may assert a user."),
]
Given = Annotated[Parts, Depends(parts_of)]

router = APIRouter(tags=["asking"])


def asserted(request: Request, user: str | None, key: ApiKey) -> str | None:
    """The unit of a trusted header; only some keys are believed, and then it counts for more than the body, which a user can write.

    Raises:
        HTTPException: 400 where the header came twice: one of the two may be what the user sent to the proxy.
    """
    if not key.may_assert_user:
        return None
    if len(request.headers.getlist("x-user-id")) > 1:
        raise HTTPException(400, "the header X-User-Id came more than once: let the proxy replace what its client sends")
    return user


def source_out(source: Source) -> SourceOut:
    """A passage that an answer was made from."""
    return SourceOut(passage_id=source.passage_id, title=source.title, text=source.text, cited=source.cited)


async def ask_service(request: Request, parts: Parts, question: Question) -> Served:
    """Ask, and let the log line name the trial."""
    served = await parts.service.ask(question)
    request.state.trial_id = served.trial_id
    return served


@router.post("/v1/ask", summary="Ask a question", responses=responses(404, 502))
async def ask(
    request: Request,
    body: AskIn,
    parts: Given,
    key: Annotated[ApiKey, Depends(Needs("ask"))],
    idempotency_key: IdempotencyKey = None,
    user: TrustedUser = None,
) -> AskOut:
    """Answer with the arm that the unit is assigned to. The trial is in the database before the answer leaves."""
    if body.arm is not None:
        _check_arm(body.arm, parts, key)
    unit = asserted(request, user, key) or body.unit or (body.metadata or {}).get("user_id")
    question = Question(
        text=body.query,
        unit=unit,
        caller=key.name,
        idempotency_key=idempotency_key,
        override=body.arm,
        query_at=time.time(),
    )
    served = await ask_service(request, parts, question)
    return AskOut(
        trial_id=served.trial_id,
        answer=served.answer,
        abstained=served.abstained,
        sources=[source_out(source) for source in served.sources],
        solicit_rating=served.solicited,
        has_unit=bool(unit),
        latency_ms=served.waited_ms,
        usage=UsageOut.model_validate(served.usage, from_attributes=True),
        logged=served.logged,
        replayed=served.replayed,
        arm=served.arm if key.sees_arms else None,
        assignment_reason=served.reason if key.sees_arms else None,
    )


def _check_arm(arm: str, parts: Parts, key: ApiKey) -> None:
    if not key.sees_arms:
        raise HTTPException(403, f"a key of role {key.role!r} may not choose the arm")
    arms = [found.name for found in parts.service.experiment.arms]
    if arm not in arms:
        raise HTTPException(404, f"there is no arm {arm!r}: give one of {', '.join(arms)}")


@router.post("/v1/feedback", summary="Vote on an answer or a source", responses=responses(404))
async def feedback(
    request: Request,
    body: FeedbackIn,
    parts: Given,
    _key: Annotated[ApiKey, Depends(Needs("feedback"))],
    idempotency_key: IdempotencyKey = None,
) -> OutcomeOut:
    """Record a vote. It is in the database when this answers; the last vote on the same target counts."""
    request.state.trial_id = body.trial_id
    vote = Vote(
        trial_id=body.trial_id,
        key=body.key or idempotency_key or uuid.uuid4().hex,
        thumb=body.thumb,
        passage_id=body.passage_id,
        tags=tuple(body.tags),
        comment=body.comment,
        at=time.time(),
    )
    return OutcomeOut(outcome=await parts.service.vote(vote))


@router.post("/v1/events", summary="Tell what the user did with an answer", responses=responses(404))
async def events(
    request: Request,
    body: EventIn,
    parts: Given,
    _key: Annotated[ApiKey, Depends(Needs("feedback"))],
    idempotency_key: IdempotencyKey = None,
) -> OutcomeOut:
    """Record that an answer was copied, that its question was asked again in other words, or that a source was opened."""
    request.state.trial_id = body.trial_id
    event = SignalEvent(
        trial_id=body.trial_id,
        key=body.key or idempotency_key or uuid.uuid4().hex,
        signal=body.signal,
        passage_id=body.passage_id,
        at=time.time(),
    )
    return OutcomeOut(outcome=await parts.service.signal(event))
