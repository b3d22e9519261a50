"""`trials.parquet`: a row for each trial, a column for each metric and one for why it has no value."""

from pathlib import Path
from typing import Any

import numpy as np

from ragtrial.domain.score import ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.report.content import ReportContent

NOT_SCORED = "not scored for this line"
_USAGE = ("prompt_tokens", "completion_tokens", "cost_usd")
_STAGES = ("embed_ms", "search_ms", "rerank_ms", "generate_ms")


def write_parquet(path: Path, content: ReportContent) -> None:
    """Write all trials in their order; the score of metric M is in column M, the reason why it is NULL in column `M unscored`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {**_about(content, pa), **_outcome(content.trials, pa)}
    for name, table in sorted(content.tables.items()):
        values, reasons = _scores(table, content.trials)
        columns[name] = pa.array(values, pa.float64())
        columns[f"{name} unscored"] = pa.array(reasons, pa.string())
    pq.write_table(pa.table(columns), path, compression="zstd")


def _about(content: ReportContent, pa: Any) -> dict[str, Any]:
    trials = content.trials
    roles = {facts.arm: facts.role for facts in content.evaluation.arms}
    return {
        "evaluation_id": pa.array([content.evaluation.evaluation_id] * len(trials), pa.string()),
        "arm": pa.array([t.arm for t in trials], pa.string()),
        "role": pa.array([roles.get(t.arm) for t in trials], pa.string()),
        "query_id": pa.array([t.query_id for t in trials], pa.string()),
        "repetition": pa.array([t.repetition for t in trials], pa.int32()),
    }


def _outcome(trials: tuple[Trial, ...], pa: Any) -> dict[str, Any]:
    hits = [None if t.ranking is None else t.ranking.hits for t in trials]
    answers = [t.answer for t in trials]
    columns = {
        "failure_stage": pa.array([None if t.failure is None else t.failure.stage for t in trials], pa.string()),
        "failure_kind": pa.array([None if t.failure is None else t.failure.kind for t in trials], pa.string()),
        "failure_message": pa.array([None if t.failure is None else t.failure.message for t in trials], pa.string()),
        "passage_ids": pa.array([None if h is None else [hit.passage_id for hit in h] for h in hits], pa.list_(pa.string())),
        "similarities": pa.array([None if h is None else [hit.similarity for hit in h] for h in hits], pa.list_(pa.float64())),
        "answer": pa.array([None if a is None else a.text for a in answers], pa.string()),
        "finish_reason": pa.array([None if a is None else a.finish_reason for a in answers], pa.string()),
        "cited": pa.array([None if a is None else list(a.cited) for a in answers], pa.list_(pa.string())),
        "generator": pa.array([None if a is None else a.generator for a in answers], pa.string()),
        "answer_shared": pa.array([t.answer_shared for t in trials], pa.bool_()),
    }
    for name in _USAGE:
        kind = pa.float64() if name == "cost_usd" else pa.int64()
        columns[f"usage.{name}"] = pa.array([None if a is None else getattr(a.usage, name) for a in answers], kind)
    for name in _STAGES:
        columns[f"timing.{name}"] = pa.array([None if t.timings is None else getattr(t.timings, name) for t in trials], pa.float64())
    return columns


def _scores(table: ScoreTable, trials: tuple[Trial, ...]) -> tuple[list[float | None], list[str | None]]:
    """The metric's value and reason of each trial.

    Rows of a table are ordered as trials are, repetitions included, but name no repetition: where a query has fewer rows than trials
    of a line, none can be told to belong to one.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (query, arm) in enumerate(zip(table.query.tolist(), table.arm.tolist(), strict=True)):
        rows.setdefault((arm, table.query_ids[query]), []).append(row)
    n_trials: dict[tuple[str, str], int] = {}
    for trial in trials:
        n_trials[trial.arm, trial.query_id] = n_trials.get((trial.arm, trial.query_id), 0) + 1
    values: list[float | None] = []
    reasons: list[str | None] = []
    seen: dict[tuple[str, str], int] = {}
    for trial in trials:
        key = (trial.arm, trial.query_id)
        mine = rows.get(key, [])
        turn = seen[key] = seen.get(key, -1) + 1
        if len(mine) != n_trials[key]:
            values.append(None)
            reasons.append(NOT_SCORED if not mine else "scores of some repetitions are missing")
            continue
        value = float(table.value[mine[turn]])
        values.append(None if np.isnan(value) else value)
        reasons.append(table.unscored[mine[turn]])
    return values, reasons
