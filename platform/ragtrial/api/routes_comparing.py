"""What a tester's page calls besides asking and voting: an answer once more, and two answers beside each other.

Each is shown to the key that asked for it, and to no other; none says which arm answered.
"""

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from ragtrial.api.access import Needs
from ragtrial.api.errors import responses
from ragtrial.api.routes_asking import Given, IdempotencyKey, TrustedUser, asserted, source_out
from ragtrial.api.wire import NO_NUL, OutcomeOut
from ragtrial.api.wire_comparing import AnswerOut, CompareIn, ComparisonOut, PreferenceIn, SideOut, StandingVote, VotedSource
from ragtrial.domain.access import ApiKey
from ragtrial.domain.live_preference import Preference
from ragtrial.domain.live_trial import Vote
from ragtrial.serving.asking import Question
from ragtrial.serving.comparing import SideBySide
from ragtrial.serving.recalling import ShownAnswer

Name = Annotated[str, Path(min_length=1, max_length=200, pattern=NO_NUL)]

router = APIRouter(tags=["comparing"])


@router.get("/v1/answers/{trial_id}", summary="An answer once more", responses=responses(404, 502))
async def answer(request: Request, trial_id: Name, parts: Given, key: Annotated[ApiKey, Depends(Needs("feedback"))]) -> AnswerOut:
    """What this key was answered before, with the votes that hold now. Other keys' answers are 404, as those that never were."""
    found = await parts.service.recall(trial_id, caller=key.name)
    request.state.trial_id = found.trial_id
    return AnswerOut(
        trial_id=found.trial_id,
        query=found.query,
        answer=found.shown.text,
        abstained=found.shown.abstained,
        sources=[VotedSource(**source_out(s).model_dump(), vote=_vote(found.votes.get(s.passage_id))) for s in found.shown.sources],
        solicit_rating=found.solicited,
        vote=_vote(found.votes.get(None)),
    )


@router.post("/v1/comparisons", summary="Ask both arms", responses=responses(409, 502))
async def compare(
    request: Request,
    body: CompareIn,
    parts: Given,
    key: Annotated[ApiKey, Depends(Needs("ask"))],
    idempotency_key: IdempotencyKey = None,
    user: TrustedUser = None,
) -> ComparisonOut:
    """Both arms answer; which of the two stands left is drawn. Both trials are outside the experiment's analysis.

    409 where the experiment is stopped: nobody is shown the custom arm then.
    """
    question = Question(
        text=body.query,
        unit=asserted(request, user, key) or body.unit,
        caller=key.name,
        idempotency_key=idempotency_key,
        query_at=time.time(),
    )
    return _comparison(await parts.service.compare(question))


@router.get("/v1/comparisons/{comparison_id}", summary="Two answers once more", responses=responses(404))
async def comparison(comparison_id: Name, parts: Given, key: Annotated[ApiKey, Depends(Needs("feedback"))]) -> ComparisonOut:
    """The two answers in the order in which this key was shown them, with the choice that holds now."""
    return _comparison(await parts.service.comparison(comparison_id, caller=key.name))


@router.post("/v1/preferences", summary="Say which answer is better", responses=responses(404))
async def prefer(
    body: PreferenceIn,
    parts: Given,
    key: Annotated[ApiKey, Depends(Needs("feedback"))],
    idempotency_key: IdempotencyKey = None,
) -> OutcomeOut:
    """Record a preference. It is in the database when this answers; the last one counts."""
    said = Preference(
        comparison_id=body.comparison_id,
        caller=key.name,
        key=body.key or idempotency_key or uuid.uuid4().hex,
        choice=body.choice,
        comment=body.comment,
        at=time.time(),
    )
    return OutcomeOut(outcome=await parts.service.prefer(said))


def _comparison(found: SideBySide) -> ComparisonOut:
    said = found.preference
    return ComparisonOut(
        comparison_id=found.comparison_id,
        query=found.query,
        left=_side(found.left),
        right=_side(found.right),
        choice=None if said is None else said.choice,
        comment="" if said is None else said.comment,
        replayed=found.replayed,
    )


def _side(shown: ShownAnswer) -> SideOut:
    return SideOut(answer=shown.text, abstained=shown.abstained, sources=[source_out(source) for source in shown.sources])


def _vote(vote: Vote | None) -> StandingVote | None:
    return None if vote is None else StandingVote(thumb=vote.thumb, tags=list(vote.tags), comment=vote.comment)
