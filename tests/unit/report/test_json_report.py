"""`report.json` against its schema, and what two runs may differ in."""

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from ragtrial.domain.trial import Timings
from ragtrial.report.content import ReportContent
from ragtrial.report.json_report import SCHEMA, as_json, lineage_summary, metrics_json
from unit.report import samples


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(_schema())


@pytest.mark.parametrize(
    ("options", "decision"),
    [
        ({}, "adopt custom"),
        ({"same": True}, "undecided"),
        ({"parity": False}, "refused"),
        ({"n": 60}, "too few"),
        ({"repetitions": 2}, "adopt custom"),
        ({"lift": 0.0, "guardrail": 0.005}, "keep baseline"),
    ],
)
def test_every_decision_gives_a_report_that_keeps_to_the_schema(options: dict[str, Any], decision: str) -> None:
    report = json.loads(as_json(samples.build(**options)))
    jsonschema.validate(report, _schema())
    assert report["verdict"]["decision"] == decision


def test_it_holds_what_the_analysis_says(content: ReportContent) -> None:
    report = json.loads(as_json(content))
    primary, first = content.primary, report["metrics"][0]
    assert primary.effect is not None
    assert report["verdict"]["sentence"] == content.analysis.verdict.sentence
    assert report["parity"]["ok"] is True
    assert (first["name"], first["role"]) == ("nDCG@10", "primary")
    assert first["baseline"]["mean"] == primary.baseline.mean
    assert [first["difference"][name] for name in ("estimate", "low", "high")] == [
        primary.effect.estimate,
        primary.effect.low,
        primary.effect.high,
    ]
    assert (first["p_value"], first["p_adjusted"]) == (primary.effect.p_value, primary.p_adjusted)
    assert [first[name] for name in ("wins", "ties", "losses", "n", "n_scored")] == [
        primary.wins,
        primary.ties,
        primary.losses,
        150,
        146,
    ]


def test_what_has_no_value_is_null_and_says_why(content: ReportContent) -> None:
    rows = {row["name"]: row for row in json.loads(as_json(content))["metrics"]}
    exact, cost = rows["answer_exact_match"], rows["cost_usd"]
    assert exact["baseline"]["mean"] == 0.0
    assert set(exact["difference"].values()) == {None}
    assert "without variance" in exact["reason"]
    assert cost["custom"]["mean"] is None
    assert cost["p_value"] is None
    assert cost["reason"]


def test_two_runs_differ_in_timing_and_latency_alone() -> None:
    first = samples.Sample(n=150, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    second = samples.Sample(n=150, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    second.trials = tuple(
        t if t.timings is None else dataclasses.replace(t, timings=Timings(embed_ms=9.0 + i % 7, search_ms=3.0 + i % 3, generate_ms=1.0))
        for i, t in enumerate(second.trials)
    )
    second.tables = second._tables()
    index = [None if facts.index is None else dataclasses.replace(facts.index, embed_seconds=99.0) for facts in second.evaluation.arms]
    arms = tuple(dataclasses.replace(facts, index=found) for facts, found in zip(second.evaluation.arms, index, strict=True))
    second.evaluation = dataclasses.replace(
        second.evaluation, evaluation_id="later-2", started_at="2027-01-01T00:00:00+00:00", finished_at=None, arms=arms
    )
    reports = [json.loads(as_json(made.content())) for made in (first, second)]
    assert reports[0]["latency"] != reports[1]["latency"]
    for report in reports:
        del report["timing"], report["latency"]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_a_metric_in_ms_is_listed_with_its_role_and_points_to_its_values(content: ReportContent) -> None:
    report = json.loads(as_json(content))
    row = next(row for row in report["metrics"] if row["name"] == "latency_ms")
    assert (row["role"], row["baseline"]["mean"], row["n_scored"]) == ("guardrail", None, 98)
    assert "latency.metrics" in row["reason"]
    assert report["latency"]["metrics"][0]["guardrail"]["state"] == "holds"


def test_metrics_of_a_comparison_without_an_evaluation_are_the_same_rows(content: ReportContent) -> None:
    rows = metrics_json(content.analysis)
    assert [row["name"] for row in rows] == [comparison.metric.name for comparison in content.analysis.comparisons]


def test_the_lineage_keeps_no_clock_and_no_curve(content: ReportContent) -> None:
    facts = content.facts("custom")
    assert facts is not None
    assert facts.lineage is not None
    summary = lineage_summary(facts.lineage)
    assert summary["pairs"] == {"refused": {"query is in the gold set": 3}, "used": 612}
    assert not {"created_at", "train_seconds", "curve"} & set(summary)


def test_no_secret_of_a_store_gets_into_it(content: ReportContent) -> None:
    assert "secret" not in as_json(content)
