"""Scores that other programs gave, one for each question and system: promptfoo's results, Langfuse's scores of dataset runs.

A file of ours holds them as JSON lines (`query_id`, `system`, `metric`, and `value` or the reason `unscored`), so that `ragtrial compare --scores`
puts two of the systems under the same statistics as everything else.

promptfoo (`promptfoo eval -o results.json`): `results.results[]` of its summaries 2 and 3, each with `testIdx`, `promptIdx`, `provider`, `score`,
`success`, `namedScores`, `latencyMs`, `error`, `failureReason` (2: an error). Langfuse: `data[]` of `GET /api/public/v2/scores` (`traceId`, `name`,
`value`), and of `GET /api/public/dataset-run-items` (`datasetItemId`, `datasetRunName`, `traceId`).
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragtrial.formats.files import read_objects
from ragtrial.formats.foreign_rows import half_pair, read_json, read_rows, within
from ragtrial.formats.validation import Findings, found

MISSING = "not in the report"
_EXAMPLE = '{"query_id": "q1", "system": "a", "metric": "score", "value": 1.0}'
_AN_ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignScore:
    """What one system got on one question, or why it got nothing."""

    query_id: str
    system: str
    metric: str
    value: float | None = None
    unscored: str | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignScores:
    """All scores of a report.

    Attributes:
        scores: In the report's order.
        n_questions: Questions that it should hold for each system.
        missing: By system, how many of them it does not hold.
        errors: By system, how many ended in an error.
        notes: What else is odd.
    """

    scores: tuple[ForeignScore, ...]
    n_questions: int
    missing: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, in order."""
        return tuple(dict.fromkeys(score.system for score in self.scores))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in order."""
        return tuple(dict.fromkeys(score.metric for score in self.scores))


def number_of(value: object) -> float | None:
    """A finite number; truth values are 1 and 0, anything else is None."""
    try:
        number = float(value) if isinstance(value, bool | int | float) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def promptfoo_summary(path: Path, findings: Findings) -> Mapping[str, object] | None:
    """The summary of a promptfoo results file; None where the file is something else (a list of tests), or is faulty, which is noted."""
    whole = read_json(path, findings) if path.suffix.lower() == ".json" else None
    if (fault := half_pair(whole)) is not None:
        findings.problem(fault, path=str(path))
        return None
    for candidate in (within(whole, "results"), whole):
        if isinstance(candidate, Mapping) and isinstance(candidate.get("results"), list):
            return {**candidate, "config": within(whole, "config")}
    return None


def promptfoo_tests(summary: Mapping[str, object]) -> list[dict[str, object]]:
    """The test cases behind the results, each once, with `id` as the scores name them."""
    tests: dict[str, dict[str, object]] = {}
    for number, result in _objects(summary["results"]):
        case = result.get("testCase")
        values = result.get("vars") if isinstance(result.get("vars"), Mapping) else within(case, "vars")
        known = dict(case) if isinstance(case, Mapping) else {}
        tests.setdefault(_test_id(result, number), {**known, "vars": values or {}, "id": _test_id(result, number)})
    return list(tests.values())


def read_promptfoo(summary: Mapping[str, object], path: Path, findings: Findings) -> ForeignScores:
    """The scores of a results file, with what it does not hold counted; faults are noted."""
    results = list(_objects(summary["results"]))
    if len(results) < len(summary["results"]):  # type: ignore[arg-type]  # a list, as `promptfoo_summary` saw
        findings.problem("holds what are no objects: expected one object for each result", path=str(path), field="results.results")
    prompts = {_prompt_id(result) for _, result in results}
    scores: list[ForeignScore] = []
    errors: Counter[str] = Counter()
    held: dict[str, set[str]] = {}
    for number, result in results:
        system, query_id = _system(result, several=len(prompts) > 1), _test_id(result, number)
        held.setdefault(system, set()).add(query_id)
        failed = result.get("failureReason") == _AN_ERROR or (bool(result.get("error")) and within(result, "response.output") is None)
        errors[system] += failed
        scores += _of_result(result, system, query_id, failed=failed, field=f"results.results[{number}]", path=path, findings=findings)
    questions = list(dict.fromkeys(_test_id(result, number) for number, result in results))
    given = within(summary, "config.tests")
    n = max(len(questions), len(given) if isinstance(given, list) and all(isinstance(each, Mapping) for each in given) else 0)
    decide = "score"
    for system, have in held.items():
        scores += [ForeignScore(query_id=each, system=system, metric=decide, unscored=MISSING) for each in questions if each not in have]
    stats = within(summary, "stats")
    told = sum(int(number_of(within(stats, name)) or 0) for name in ("successes", "failures", "errors"))
    notes = [f"its statistics count {told} results, and it holds {len(results)}"] if told and told != len(results) else []
    return ForeignScores(
        scores=tuple(scores),
        n_questions=n,
        missing={system: n - len(have) for system, have in held.items() if len(have) < n},
        errors={system: count for system, count in errors.items() if count},
        notes=tuple(notes),
    )


def _of_result(
    result: Mapping[str, object], system: str, query_id: str, *, failed: bool, field: str, path: Path, findings: Findings
) -> Iterator[ForeignScore]:
    graded = result.get("gradingResult")
    values: dict[str, object] = {
        "score": result.get("score", within(graded, "score")),
        "pass": result.get("success", within(graded, "pass")),
    }
    named = result.get("namedScores")
    values |= named if isinstance(named, Mapping) else {}
    for metric, value in values.items():
        number = number_of(value)
        if number is None and value is not None and not failed:
            findings.problem(f"is {found(value)}: expected a number", path=str(path), field=f"{field}.{metric}")
        reason = "error" if failed else None if number is not None else "no score"
        yield ForeignScore(query_id=query_id, system=system, metric=metric, value=None if reason else number, unscored=reason)
    for metric, name in (("latency_ms", "latencyMs"), ("cost", "cost")):
        number = None if failed else number_of(result.get(name))
        if number is not None:
            yield ForeignScore(query_id=query_id, system=system, metric=metric, value=number)


def _objects(items: object) -> Iterator[tuple[int, Mapping[str, object]]]:
    yield from ((number, item) for number, item in enumerate(items if isinstance(items, list) else []) if isinstance(item, Mapping))


def _test_id(result: Mapping[str, object], number: int) -> str:
    """The test's number; older summaries have none, and there equal variables are one test."""
    index = result.get("testIdx")
    if isinstance(index, int) and not isinstance(index, bool):
        return f"test-{index + 1}"
    values = result.get("vars")
    return (
        f"test {json.dumps(values, sort_keys=True, ensure_ascii=False)}"
        if isinstance(values, Mapping) and values
        else f"result-{number + 1}"
    )


def _prompt_id(result: Mapping[str, object]) -> str:
    index = result.get("promptIdx")
    label = within(result, "prompt.label")
    return label if isinstance(label, str) and len(label) <= 60 else str(within(result, "prompt.id") if index is None else index)


def _system(result: Mapping[str, object], *, several: bool) -> str:
    provider = result.get("provider")
    name = provider if isinstance(provider, str) else within(provider, "label") or within(provider, "id") or "unknown"
    return f"{name} / {_prompt_id(result)}" if several else str(name)


def read_langfuse(path: Path, runs: Path, findings: Findings) -> ForeignScores:
    """The scores of Langfuse's dataset runs: each trace's scores, as scores of the run and the dataset item that it belongs to."""
    of_trace: dict[str, tuple[str, str]] = {}
    for row in read_rows(runs, findings, lists=("data", "datasetRunItems")):
        texts = [row.value.get(name) for name in ("traceId", "datasetRunName", "datasetItemId")]
        if not all(isinstance(text, str) and text for text in texts):
            where = "traceId" if row.line is not None else f"[{row.number - 1}].traceId"
            message = "is no item of a dataset run: expected traceId, datasetRunName and datasetItemId"
            findings.problem(message, path=str(runs), line=row.line, field=where)
            continue
        of_trace[str(texts[0])] = (str(texts[1]), str(texts[2]))
    scores, elsewhere = [], 0
    for row in read_rows(path, findings, lists=("data", "scores")):
        trace, name, value = row.value.get("traceId"), row.value.get("name"), row.value.get("value")
        if not isinstance(trace, str) or not isinstance(name, str):
            where = "name" if row.line is not None else f"[{row.number - 1}].name"
            findings.problem("is no score: expected traceId, name and value", path=str(path), line=row.line, field=where)
            continue
        if trace not in of_trace:
            elsewhere += 1
            continue
        number = number_of(_plain(value))
        system, item = of_trace[trace]
        scores.append(
            ForeignScore(query_id=item, system=system, metric=name, value=number, unscored=None if number is not None else "no number")
        )
    items = dict.fromkeys(item for _, item in of_trace.values())
    held: dict[str, set[str]] = {}
    for system, item in of_trace.values():
        held.setdefault(system, set()).add(item)
    rated = {(score.system, score.query_id, score.metric) for score in scores}
    metrics = tuple(dict.fromkeys(score.metric for score in scores))
    for system, have in held.items():
        lacking = [(item, metric) for metric in metrics for item in items if (system, item, metric) not in rated]
        scores += [
            ForeignScore(query_id=item, system=system, metric=metric, unscored="no score" if item in have else MISSING)
            for item, metric in lacking
        ]
    return ForeignScores(
        scores=tuple(scores),
        n_questions=len(items),
        missing={system: len(items) - len(have) for system, have in held.items() if len(have) < len(items)},
        notes=(f"{elsewhere} scores are of traces that belong to no dataset run",) if elsewhere else (),
    )


def _plain(value: object) -> object:
    """A CSV's number, which is a text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return {"true": True, "false": False}.get(value.lower(), value)
    return value


def score_lines(scores: Sequence[ForeignScore]) -> Iterator[str]:
    """The scores as lines of a file that `read_scores` reads."""
    for score in scores:
        outcome = {"unscored": score.unscored} if score.value is None else {"value": score.value}
        yield json.dumps({"query_id": score.query_id, "system": score.system, "metric": score.metric, **outcome}, ensure_ascii=False)


def read_scores(path: Path) -> tuple[ForeignScore, ...]:
    """The scores of a file of ours.

    Raises:
        ValidationError: With every line that is no score.
    """
    findings = Findings()
    scores = []
    for line, row in read_objects(path, findings, example=_EXAMPLE):
        texts = {name: row.get(name) for name in ("query_id", "system", "metric")}
        wrong = next((name for name, text in texts.items() if not isinstance(text, str) or not text), None)
        value, reason = row.get("value"), row.get("unscored")
        number = number_of(value)
        if wrong is not None:
            findings.problem(f"is {found(texts[wrong])}: expected a text, {_EXAMPLE}", path=str(path), line=line, field=wrong)
        elif (number is None) == (reason is None) or (value is not None and number is None) or not isinstance(reason, str | None):
            findings.problem(f"is {found(value)}: give a number, or the reason in 'unscored'", path=str(path), line=line, field="value")
        else:
            scores.append(
                ForeignScore(
                    query_id=str(texts["query_id"]), system=str(texts["system"]), metric=str(texts["metric"]), value=number, unscored=reason
                )
            )
    if not scores and not findings.problems:
        findings.problem(f"holds no score: expected one a line, {_EXAMPLE}", path=str(path))
    return findings.require(tuple(scores))
