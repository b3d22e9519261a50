"""Trials, hits, scores and opinions as rows of their tables."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row as SqlRow

from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Failure, Timings, Trial, Usage

Scored = tuple[Trial, tuple[Score, ...]]
Row = dict[str, Any]
_HitValues = tuple[int, int, str, float]
_ScoreValues = tuple[int, str, float | None, str | None, str]

_NO_ANSWER: Row = dict.fromkeys(
    (
        "answer_text",
        "finish_reason",
        "generator",
        "cited",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "cost_usd",
        "answer_ms",
    )
)
_NO_FAILURE: Row = dict.fromkeys(("failure_stage", "failure_kind", "failure_message"))
_NO_TIMINGS: Row = dict.fromkeys(("embed_ms", "search_ms", "generate_ms", "rerank_ms"))


def rows_of(
    evaluation_id: str, batch: Sequence[Scored], first: int, now: datetime
) -> tuple[list[Row], list[_HitValues], list[_ScoreValues]]:
    """Rows of trials, and values of hits and scores in the order of their tables' columns; trials are numbered from `first`."""
    trials: list[Row] = []
    hits: list[_HitValues] = []
    scores: list[_ScoreValues] = []
    for number, (trial, trial_scores) in enumerate(batch, first):
        trials.append(_trial_row(evaluation_id, trial, number, now))
        if trial.ranking is not None:
            hits += [(number, rank, hit.passage_id, hit.similarity) for rank, hit in enumerate(trial.ranking.hits, 1)]
        scores += [(number, s.metric, s.value, s.unscored or None, s.scorer) for s in trial_scores]
    return trials, hits, scores


def _trial_row(evaluation_id: str, trial: Trial, number: int, now: datetime) -> Row:
    timings, failure = trial.timings, trial.failure
    return {
        "id": number,
        "evaluation_id": evaluation_id,
        "arm": trial.arm,
        "query_id": trial.query_id,
        "repetition": trial.repetition,
        "n_hits": None if trial.ranking is None else len(trial.ranking.hits),
        "answer_shared": trial.answer_shared,
        "created_at": now,
        **(_NO_ANSWER if trial.answer is None else _answer_columns(trial.answer)),
        **(
            _NO_FAILURE
            if failure is None
            else {"failure_stage": failure.stage, "failure_kind": failure.kind, "failure_message": failure.message}
        ),
        **(_NO_TIMINGS if timings is None else {name: getattr(timings, name) for name in _NO_TIMINGS}),
    }


def _answer_columns(answer: Answer) -> Row:
    return {
        "answer_text": answer.text,
        "finish_reason": answer.finish_reason,
        "generator": answer.generator,
        "cited": list(answer.cited),
        "prompt_tokens": answer.usage.prompt_tokens,
        "cached_tokens": answer.usage.cached_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "cost_usd": answer.usage.cost_usd,
        "answer_ms": answer.generate_ms,
    }


def opinion_rows(batch: Sequence[Scored], first: int) -> list[Row]:
    """Rows of what LLM judges said; trials are numbered from `first`."""
    return [
        {"trial_id": number, "metric": score.metric, **dataclasses.asdict(opinion)}
        for number, (_trial, scores) in enumerate(batch, first)
        for score in scores
        for opinion in score.opinions
    ]


def failure_of(row: SqlRow[Any]) -> Failure | None:
    """The failure in a trial's columns, or None."""
    if row.failure_stage is None:
        return None
    return Failure(stage=row.failure_stage, kind=row.failure_kind, message=row.failure_message)


def timings_of(row: SqlRow[Any]) -> Timings | None:
    """The timings in a trial's columns, or None."""
    if row.embed_ms is None:
        return None
    return Timings(embed_ms=row.embed_ms, search_ms=row.search_ms, generate_ms=row.generate_ms, rerank_ms=row.rerank_ms)


def usage_of(row: SqlRow[Any]) -> Usage:
    """What an answer took, from a trial's columns."""
    return Usage(
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        cost_usd=row.cost_usd,
    )
