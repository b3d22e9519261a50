"""What operators and analysts call: experiments, their traffic, their analysis, single trials."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ragtrial.api.access import Needs
from ragtrial.api.errors import responses
from ragtrial.api.parts import Parts, parts_of
from ragtrial.api.wire import (
    NO_NUL,
    AuditEntryOut,
    AuditOut,
    ExperimentOut,
    ExperimentsOut,
    ExperimentSummary,
    ExposureOut,
    FailureOut,
    HitOut,
    TrafficIn,
    TrafficOut,
    TrialOut,
    UsageOut,
    VoteOut,
    VotesOut,
)
from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.access import ApiKey, reads_texts
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_scores import Exposure
from ragtrial.domain.live_trial import LiveTrial, offered_tags
from ragtrial.formats.experiment import parse_experiment

Given = Annotated[Parts, Depends(parts_of)]
Name = Annotated[str, Path(min_length=1, max_length=200, pattern=NO_NUL, description="Name of the experiment.")]
Reading = Annotated[ApiKey, Depends(Needs("read"))]

router = APIRouter(tags=["experiments"])


@router.get("/v1/experiments", summary="The live experiments in the log", responses=responses())
def experiments(parts: Given, _key: Reading) -> ExperimentsOut:
    """Newest first; the one that this service serves is marked."""
    found = sorted(parts.reader.experiments(), key=lambda live: live.created_at, reverse=True)
    return ExperimentsOut(experiments=[_summary(parts, live) for live in found])


@router.get("/v1/experiments/{name}", summary="One experiment: plan, traffic, counts", responses=responses(404))
def experiment(name: Name, parts: Given, _key: Reading) -> ExperimentOut:
    """The plan in short, the traffic and its history, who saw what, and the thumbs. No texts."""
    live = _live(parts, name)
    plan = _plan(parts, live)
    history = parts.reader.traffic_history(live.live_id)
    served = _is_served(parts, live)
    spec = plan.live
    if spec is None:
        raise HTTPException(404, f"experiment {name!r} has no live plan")
    return ExperimentOut(
        **_summary(parts, live).model_dump(),
        hypothesis=plan.hypothesis,
        mode=spec.mode,
        primary=spec.metrics.primary.name,
        units_planned=spec.units_planned,
        traffic=_traffic(parts.service.state() if served else history[-1]),
        history=[_traffic(state) for state in history],
        exposure=_exposure(parts.reader.exposure(live.live_id, experiment=plan)),
        votes=[
            VotesOut(arm=v.arm, solicited=v.solicited, trials=v.trials, up=v.up, down=v.down, withdrawn=v.withdrawn, late=v.late)
            for v in parts.reader.votes(live.live_id)
        ],
    )


@router.get("/v1/experiments/{name}/analysis", summary="The analysis as of now", responses=responses(404, 409))
async def analysis(name: Name, parts: Given, _key: Reading) -> dict[str, Any]:
    """Health checks, effects with always-valid intervals, guardrails and the verdict; looking often is safe. 409 until there is data."""
    await _served_only(parts, name)
    return dict(await parts.analysis.latest(lambda: parts.reader))


@router.post("/v1/experiments/{name}/traffic", summary="Change the traffic, or stop it", responses=responses(404, 409))
async def change_traffic(name: Name, body: TrafficIn, parts: Given, key: Annotated[ApiKey, Depends(Needs("operate"))]) -> TrafficOut:
    """A new version of the traffic, in force within a second in every worker; the change is in the audit log."""
    await _served_only(parts, name)
    state = await parts.service.change_traffic(
        share=body.share,
        treatment=body.treatment,
        stopped=body.stopped,
        actor=key.name,
        reason=body.reason,
        expected_version=body.expected_version,
    )
    return _traffic(state)


@router.get("/v1/experiments/{name}/audit", summary="What operators did", responses=responses(404))
def audit(
    name: Name,
    parts: Given,
    _key: Annotated[ApiKey, Depends(Needs("admin"))],
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 100,
) -> AuditOut:
    """Changes of this experiment's traffic and of keys, newest first."""
    live = _live(parts, name)
    found = [*parts.reader.audit_log(live.live_id, limit=limit), *parts.reader.audit_log(None, limit=limit)]
    unique = {(entry.at, entry.actor, entry.action, entry.subject): entry for entry in found if entry.live_id in (live.live_id, None)}
    newest = sorted(unique.values(), key=lambda entry: entry.at, reverse=True)[:limit]
    return AuditOut(
        entries=[AuditEntryOut(at=e.at, actor=e.actor, action=e.action, subject=e.subject, detail=dict(e.detail)) for e in newest]
    )


@router.get("/v1/trials/{trial_id}", summary="One trial", responses=responses(404))
def trial(trial_id: Annotated[str, Path(min_length=1, max_length=200, pattern=NO_NUL)], parts: Given, key: Reading) -> TrialOut:
    """What was retrieved and answered, scored and voted. Texts are for operators."""
    found = parts.reader.trial(trial_id)
    if found is None:
        raise HTTPException(404, f"there is no trial {trial_id!r}")
    return _trial(found, parts, key)


def _live(parts: Parts, name: str) -> LiveExperiment:
    """The experiment of this name that is served, or else the newest one."""
    found = [live for live in parts.reader.experiments() if live.name == name]
    if not found:
        raise HTTPException(404, f"the log holds no live experiment {name!r}")
    return max(found, key=lambda live: (_is_served(parts, live), live.created_at))


def _is_served(parts: Parts, live: LiveExperiment) -> bool:
    served = parts.service.experiment
    return live.name == served.name and live.live_digest == served.live_digest()


async def _served_only(parts: Parts, name: str) -> None:
    served = parts.service.experiment.name
    if name == served:
        return
    await run_in_threadpool(_live, parts, name)
    raise HTTPException(409, f"experiment {name!r} is not served here, {served!r} is")


def _plan(parts: Parts, live: LiveExperiment) -> Experiment:
    if _is_served(parts, live):
        return parts.service.experiment
    return parse_experiment(json.dumps(live.plan), f"the plan of {live.name!r} in the log")


def _summary(parts: Parts, live: LiveExperiment) -> ExperimentSummary:
    return ExperimentSummary(name=live.name, live_digest=live.live_digest, created_at=live.created_at, served=_is_served(parts, live))


def _traffic(state: TrafficState) -> TrafficOut:
    return TrafficOut(
        version=state.version,
        share=state.share,
        treatment=state.treatment,
        stopped=state.stopped,
        actor=state.actor,
        reason=state.reason,
        at=state.at,
    )


def _exposure(exposure: Exposure) -> ExposureOut:
    return ExposureOut(
        versions=list(exposure.state_versions),
        units=exposure.units.tolist(),
        trials=exposure.trials.tolist(),
        units_in_both=exposure.in_both,
        excluded=dict(exposure.excluded),
        failed=dict(exposure.failed),
        erased=dict(exposure.erased),
    )


def _trial(found: LiveTrial, parts: Parts, key: ApiKey) -> TrialOut:
    texts, arms = reads_texts(key.scopes), key.sees_arms
    made, answer, failure = found.trial, found.trial.answer, found.trial.failure
    scores = {
        score.metric: score.unscored or "" if score.value is None else score.value for score in parts.reader.scores_of(found.trial_id)
    }
    return TrialOut(
        trial_id=found.trial_id,
        request_id=found.request_id,
        experiment=found.experiment,
        arm=made.arm if arms else None,
        assignment_reason=found.assignment.reason if arms else None,
        propensity=found.assignment.propensity if arms else None,
        served=found.served,
        solicited=found.solicited,
        waited_ms=found.waited_ms,
        at=found.at,
        query=found.query.text if texts else None,
        answer=answer.text if texts and answer is not None else None,
        abstained=None if answer is None else answer.finish_reason == "abstained",
        hits=[HitOut(passage_id=hit.passage_id, similarity=hit.similarity) for hit in (made.ranking.hits if made.ranking else ())],
        cited=list(answer.cited) if answer is not None else [],
        failure=FailureOut(stage=failure.stage, kind=failure.kind, message=failure.message if texts else None) if failure else None,
        usage=UsageOut.model_validate(answer.usage, from_attributes=True) if answer is not None else None,
        scores=scores,
        votes=[
            VoteOut(
                thumb=v.thumb,
                passage_id=v.passage_id,
                tags=list(v.tags if texts else offered_tags(v.tags)),
                comment=v.comment if texts else None,
                at=v.at,
            )
            for v in parts.reader.votes_of(found.trial_id)
        ],
    )
