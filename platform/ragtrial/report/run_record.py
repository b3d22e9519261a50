"""An evaluation as experiment trackers know runs: settings, numbers, and files, for both arms together and for each line alone.

Everything is taken from `report.json`, so a tracker shows what the report shows. A value that does not exist is left out, never 0.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ragtrial.report.content import ReportContent
from ragtrial.report.json_report import report_dict

_ENDS = ("estimate", "low", "high", "bootstrap_low", "bootstrap_high", "relative", "mde")
_OF_TEXTS = ("answer", "failure_message")
_WITHOUT_TEXTS = ("report.json", "report.md", "junit.xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """One arm or reference line by itself.

    Attributes:
        name: The line's name.
        params: What it was made of, as text.
        metrics: Its means, latencies and sums.
    """

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """An evaluation as a run.

    Attributes:
        experiment: The experiment's name.
        evaluation_id: Of the evaluation.
        result: Digest of all that was concluded: the same evaluation concluded otherwise (new labels, another plan) has another one.
        started_ms: Milliseconds since 1970.
        finished_ms: Likewise.
        params: What was fixed before: models, plan, data.
        metrics: What was measured, by `METRIC/difference`, `METRIC/low`, ...; intervals stand beside every difference.
        tags: What was concluded, in words.
        lines: Both arms, then the reference lines.
        report: All of it, as `report.json` has it.
    """

    experiment: str
    evaluation_id: str
    result: str
    started_ms: int
    finished_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    lines: tuple[LineRecord, ...]
    report: Mapping[str, Any]


def record_of(content: ReportContent, *, started_ms: int, finished_ms: int) -> RunRecord:
    """The run of an evaluation.

    Args:
        content: What the reports say.
        started_ms: When it began, milliseconds since 1970.
        finished_ms: When it ended.
    """
    report = report_dict(content)
    rows = _rows(report)
    return RunRecord(
        experiment=content.experiment.name,
        evaluation_id=content.evaluation.evaluation_id,
        result=sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:16],
        started_ms=started_ms,
        finished_ms=finished_ms,
        params=dict(_params(report)),
        metrics={name: value for row in rows for name, value in _compared(row)},
        tags=dict(_tags(report)),
        lines=tuple(_line(report, rows, arm) for arm in report["arms"]),
        report=report,
    )


def files_to_send(folder: Path, into: Path, *, with_texts: bool) -> tuple[Path, ...]:
    """The reports that may leave: without texts of queries, passages and answers unless they are asked for.

    Args:
        folder: Where all reports are.
        into: An empty folder for what has to be made anew.
        with_texts: Send everything.
    """
    if with_texts:
        return tuple(sorted(folder.iterdir()))
    import pyarrow.parquet as pq

    trials = pq.read_table(folder / "trials.parquet")
    bare = into / "trials.parquet"
    pq.write_table(trials.drop_columns([name for name in _OF_TEXTS if name in trials.column_names]), bare, compression="zstd")
    rankings = sorted(path for path in folder.iterdir() if path.suffix == ".run" or path.name == "qrels.txt")
    return (*(folder / name for name in _WITHOUT_TEXTS), bare, *rankings)


def _rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    times = {row["name"]: row for row in report["latency"]["metrics"]}
    return [times.get(row["name"], row) for row in report["metrics"]]


def _params(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "experiment", report["experiment"]["name"]
    yield "plan_digest", report["experiment"]["plan_digest"]
    yield "config_digest", report["experiment"]["config_digest"]
    yield "parity", report["parity"]["digest"]
    yield "parity_ok", str(report["parity"]["ok"]).lower()
    yield "gate", report["verdict"]["gate"]
    for name, value in report["plan"].items():
        if value is not None:
            yield f"plan.{name}", str(value)
    for name, value in report["data"].items():
        yield f"data.{name}", str(value)
    for arm in report["arms"]:
        for name, value in _made_of(arm):
            yield f"{arm['role']}.{arm['arm']}.{name}", value
    for name, value in report["environment"].items():
        yield f"environment.{name}", str(value)


def _made_of(arm: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, index = arm["model"], arm["index"]
    yield "role", arm["role"]
    if model is not None:
        yield "model", f"{model['name']}@{model['revision']}"
        yield "dimension", str(model["dimension"])
    if index is not None:
        yield "index", f"{index['type']} {index['metric']}"
        yield "n_passages", str(index["n_passages"])


def _compared(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    name = row["name"]
    found = {f"{name}/{'difference' if end == 'estimate' else end}": row["difference"][end] for end in _ENDS}
    found |= {f"{name}/baseline": row["baseline"]["mean"], f"{name}/custom": row["custom"]["mean"], f"{name}/n_scored": row["n_scored"]}
    found |= {f"{name}/p_value": row["p_value"], f"{name}/p_adjusted": row["p_adjusted"]}
    if row["guardrail"] is not None:
        found |= {f"{name}/guardrail_bound": row["guardrail"]["bound"], f"{name}/guardrail_margin": row["guardrail"]["margin"]}
    yield from ((key, float(value)) for key, value in found.items() if value is not None)


def _tags(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    verdict = report["verdict"]
    yield "decision", verdict["decision"]
    yield "sentence", verdict["sentence"]
    yield "gate_passed", str(verdict["gate_passed"]).lower()
    for check in report["checks"]:
        if check["state"] != "pass":
            yield f"check.{check['name']}", f"{check['state']}: {check['detail']}"
    for row in _rows(report):
        if row["reason"] is not None:
            yield f"not_compared.{row['name']}", row["reason"]
        if row["guardrail"] is not None:
            yield f"guardrail.{row['name']}", row["guardrail"]["state"]


def _line(report: Mapping[str, Any], rows: list[dict[str, Any]], arm: Mapping[str, Any]) -> LineRecord:
    name, role = arm["arm"], arm["role"]
    metrics: dict[str, float | None] = {}
    for row in rows:
        side = {"control": "baseline", "treatment": "custom"}.get(role)
        metrics[row["name"]] = row[side]["mean"] if side is not None else row["references"].get(name)
    for stage in report["latency"]["stages"]:
        if stage["arm"] == name:
            metrics |= {f"{stage['stage']}_ms/{at}": stage[at] for at in ("p50", "p95", "p99")}
    for usage in report["usage"]:
        if usage["arm"] == name:
            metrics |= {key: value for key, value in usage.items() if key != "arm"}
    if arm["index"] is not None:
        metrics |= {"index_bytes": arm["index"]["bytes"], "ann_recall": arm["index"]["ann_recall"]}
    known = {key: float(value) for key, value in metrics.items() if value is not None}
    return LineRecord(name=name, params=dict(_made_of(arm)), metrics=known)
