"""Live trials, votes and scores as rows of their tables, and back."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter
from sqlalchemy import Row as SqlRow

from ragtrial.db.rows import failure_of, timings_of, usage_of
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import Assignment, TrafficState
from ragtrial.domain.live_trial import LiveTrial, SignalEvent, StoredQuery, Team, Vote
from ragtrial.domain.score import Opinion, Score
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.llm.structured import encodable
from ragtrial.splitting import pseudonym

Row = dict[str, Any]

ERASED = "[erased]"
"""Stands for the text of an answer that was erased."""

_OPINIONS = TypeAdapter(tuple[Opinion, ...])
_CREDIT: Mapping[Team, int] = {"treatment": 1, "control": -1, "both": 0}


def storable(text: str) -> str:
    """The text as both databases take it: NUL characters, which PostgreSQL refuses, and lone surrogates become U+FFFD."""
    return encodable(text).replace("\0", "\ufffd")


def _maybe(text: str | None) -> str | None:
    return None if text is None else storable(text)


def json_text(value: object) -> str | None:
    """As JSON for a statement that SQLAlchemy does not convert; None stays NULL."""
    if value is None:
        return None
    return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def trial_row(live_id: int, trial: LiveTrial) -> Row:
    """The row of a trial, without its id."""
    query, assignment = trial.query, trial.assignment
    return {
        "live_id": live_id,
        "trial_id": storable(trial.trial_id),
        "request_id": storable(trial.request_id),
        "served": trial.served,
        "unit": trial.unit,
        "arm": trial.trial.arm,
        "assigned_arm": assignment.arm,
        "reason": assignment.reason,
        "bucket": assignment.bucket,
        "propensity": assignment.propensity,
        "version": assignment.version,
        "at": trial.at,
        "waited_ms": trial.waited_ms,
        "answer_shared": trial.trial.answer_shared,
        "solicited": trial.solicited,
        "texts_erased_at": None,
        "caller": storable(trial.caller),
        "idempotency_key": _maybe(trial.idempotency_key),
        "query_digest": query.digest,
        "query_stored": query.stored,
        "gold_query_id": query.gold_query_id,
        "query_text": _maybe(query.text),
        "teams": json_text(None if trial.teams is None else dict(trial.teams)),
        "citation_credit": _citation_credit(trial),
        **_made_columns(trial.trial),
        **_answer_columns(trial.trial.answer),
    }


def _citation_credit(trial: LiveTrial) -> int | None:
    if trial.teams is None:
        return None
    cited = () if trial.trial.answer is None else trial.trial.answer.cited
    return sum(_CREDIT[trial.teams[passage_id]] for passage_id in cited if passage_id in trial.teams)


def _made_columns(trial: Trial) -> Row:
    timings, failure, ranking = trial.timings, trial.failure, trial.ranking
    return {
        "n_hits": None if ranking is None else len(ranking.hits),
        "hits": None if ranking is None else json_text([[hit.passage_id, hit.similarity] for hit in ranking.hits]),
        "embed_ms": None if timings is None else timings.embed_ms,
        "search_ms": None if timings is None else timings.search_ms,
        "generate_ms": None if timings is None else timings.generate_ms,
        "rerank_ms": None if timings is None else timings.rerank_ms,
        "failure_stage": None if failure is None else failure.stage,
        "failure_kind": None if failure is None else storable(failure.kind),
        "failure_message": None if failure is None else storable(failure.message),
    }


_NO_ANSWER: Row = dict.fromkeys(
    (
        *("answer_text", "finish_reason", "generator", "cited", "answer_ms", "answer_made_at"),
        *("prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd"),
    )
)


def _answer_columns(answer: Answer | None) -> Row:
    if answer is None:
        return _NO_ANSWER
    return {
        "answer_text": storable(answer.text),
        "finish_reason": answer.finish_reason,
        "generator": answer.generator,
        "cited": json_text(list(answer.cited)),
        "answer_ms": answer.generate_ms,
        "answer_made_at": answer.made_at,
        "prompt_tokens": answer.usage.prompt_tokens,
        "cached_tokens": answer.usage.cached_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "cost_usd": answer.usage.cost_usd,
    }


def score_rows(scores: "tuple[Score, ...]", at: float) -> list[Row]:
    """Rows of one trial's scores, without the trial's number and experiment."""
    rows: list[Row] = []
    for score in scores:
        costs = [opinion.cost_usd for opinion in score.opinions if opinion.cost_usd is not None]
        rows.append(
            {
                "metric": score.metric,
                "value": score.value,
                "unscored": _maybe(score.unscored) or None,
                "scorer": storable(score.scorer),
                "n_calls": sum(opinion.n_calls for opinion in score.opinions),
                "cost_usd": sum(costs) if costs else None,
                "at": at,
                "opinions": json_text([_clean(opinion) for opinion in score.opinions] or None),
            }
        )
    return rows


def _clean(opinion: Opinion) -> Row:
    return {name: storable(value) if isinstance(value, str) else value for name, value in dataclasses.asdict(opinion).items()}


def vote_row(vote: Vote) -> Row:
    """The row of a vote, without what its trial decides."""
    return {
        "key": storable(vote.key),
        "thumb": vote.thumb,
        "passage_id": _maybe(vote.passage_id),
        "at": vote.at,
        "tags": json_text([storable(tag) for tag in vote.tags]),
        "comment": storable(vote.comment),
    }


def signal_row(event: SignalEvent) -> Row:
    """The row of a signal, without what its trial decides."""
    return {"key": storable(event.key), "signal": event.signal, "passage_id": _maybe(event.passage_id), "at": event.at}


def plan_of(experiment: Experiment, *, sql: str) -> Row:
    """The whole plan as `Experiment` reads it: units named in it are pseudonyms, and the database's URL is without its password."""
    plan = cast("Row", json.loads(json.dumps(dataclasses.asdict(experiment))))
    plan["stores"]["sql"] = sql
    live = plan["live"]
    for name in ("allow", "deny"):
        live[name] = [pseudonym(unit) for unit in live[name]]
    live["overrides"] = {pseudonym(unit): arm for unit, arm in live["overrides"].items()}
    return plan


def state_of(row: SqlRow[Any]) -> TrafficState:
    """The state of a row of `traffic_states`."""
    return TrafficState(
        version=row.version,
        share=row.share,
        treatment=row.treatment,
        stopped=row.stopped,
        actor=row.actor,
        reason=row.reason,
        at=row.at,
    )


def live_trial_of(row: SqlRow[Any], experiment: str) -> LiveTrial:
    """The trial of a row, with `ERASED` for an answer's erased text."""
    return LiveTrial(
        trial_id=row.trial_id,
        request_id=row.request_id,
        experiment=experiment,
        unit=row.unit,
        assignment=Assignment(
            unit=None, arm=row.assigned_arm, reason=row.reason, bucket=row.bucket, propensity=row.propensity, version=row.version
        ),
        served=row.served,
        query=StoredQuery(text=row.query_text, digest=row.query_digest, stored=row.query_stored, gold_query_id=row.gold_query_id),
        trial=_trial_of(row),
        teams=row.teams,
        solicited=row.solicited,
        waited_ms=row.waited_ms,
        idempotency_key=row.idempotency_key,
        caller=row.caller,
        at=row.at,
    )


def _trial_of(row: SqlRow[Any]) -> Trial:
    hits = tuple(Hit(passage_id=passage_id, similarity=similarity) for passage_id, similarity in row.hits or ())
    return Trial(
        arm=row.arm,
        query_id=row.query_digest,
        ranking=None if row.n_hits is None else Ranking(query_id=row.query_digest, hits=hits),
        answer=None if row.finish_reason is None else _answer_of(row),
        failure=failure_of(row),
        timings=timings_of(row),
        answer_shared=row.answer_shared,
    )


def _answer_of(row: SqlRow[Any]) -> Answer:
    return Answer(
        text=ERASED if row.answer_text is None else row.answer_text,
        cited=tuple(row.cited),
        finish_reason=row.finish_reason,
        generator=row.generator,
        usage=usage_of(row),
        generate_ms=row.answer_ms,
        made_at=row.answer_made_at,
    )


def score_of(row: SqlRow[Any]) -> Score:
    """The score of a row."""
    opinions = _OPINIONS.validate_python(row.opinions or ())
    return Score(metric=row.metric, value=row.value, unscored=row.unscored, scorer=row.scorer, opinions=opinions)


def vote_of(row: SqlRow[Any], trial_id: str) -> Vote:
    """The vote of a row."""
    return Vote(
        trial_id=trial_id,
        key=row.key,
        thumb=row.thumb,
        passage_id=row.passage_id,
        tags=tuple(row.tags),
        comment=row.comment,
        at=row.at,
    )


def signal_of(row: SqlRow[Any], trial_id: str) -> SignalEvent:
    """The signal of a row."""
    return SignalEvent(trial_id=trial_id, key=row.key, signal=row.signal, passage_id=row.passage_id, at=row.at)
