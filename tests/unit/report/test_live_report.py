"""Live reports: every form says the same, the page needs nothing from outside, and what is unknown never looks like a number."""

import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from ragtrial.analysis.live_guardrails import guardrail_change
from ragtrial.analysis.live_planning import plan_live, split_spread
from ragtrial.domain.live import LayerSpec, LiveMetrics, LiveSpec, OnlineScoring, TrafficSpec
from ragtrial.domain.live_verdict import LiveGuardrail
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import GuardrailState
from ragtrial.report import live_charts, live_words, words
from ragtrial.report.drawing import LIGHT
from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_html import as_live_html
from ragtrial.report.live_json import SCHEMA, as_live_json, live_dict, plan_dict
from ragtrial.report.live_markdown import as_live_markdown
from ragtrial.report.live_terminal import render_live, render_plan
from ragtrial.report.svg import svg_of
from unit.live_parts import experiment
from unit.report.live_samples import build, interleaved

SAMPLES: dict[str, Callable[[], LiveContent]] = {
    "adopt": build,
    "broken": lambda: build(down=0.12),
    "running": lambda: build(reached=False, n=400, effect=0.02),
    "too few": lambda: build(reached=False, n=60),
    "refused": lambda: build(lost=200),
    "no plan": lambda: build(units_planned=None, reached=False, n=600, effect=0.02),
    "interleaved": interleaved,
    "always-valid": lambda: build(effect=0.09, slow=0.06),
}
DECISIONS = {
    "adopt": "adopt custom",
    "broken": "keep baseline",
    "running": "undecided",
    "too few": "too few",
    "refused": "refused",
    "no plan": "undecided",
    "interleaved": "adopt custom",
    "always-valid": "adopt custom",
}


@pytest.fixture(scope="module", params=SAMPLES)
def named(request: pytest.FixtureRequest) -> tuple[str, LiveContent]:
    return request.param, SAMPLES[request.param]()


@pytest.fixture(scope="module")
def adopt() -> LiveContent:
    return build()


def terminal(content: LiveContent, width: int) -> str:
    out = io.StringIO()
    render_live(content, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_every_form_says_the_same_verdict(named: tuple[str, LiveContent]) -> None:
    name, content = named
    found = json.loads(as_live_json(content))
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["verdict"]["decision"] == DECISIONS[name]
    heading = live_words.HEADINGS[content.analysis.verdict.decision]
    assert as_live_markdown(content).startswith(f"## {heading}: live")
    page = as_live_html(content)
    assert f"<title>{heading}: live (live)</title>" in page
    assert found["verdict"]["plain"].replace("'", "&#39;") in page
    for width in (80, 150):
        said = [" ".join(part.split()) for part in terminal(content, width).split("\n\n")]
        assert said[-1] == f"{content.analysis.verdict.sentence} {live_words.plain(content)}"


def test_the_page_loads_nothing_and_runs_nothing(named: tuple[str, LiveContent]) -> None:
    page = as_live_html(named[1])
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']+""", page)
    assert not re.findall(r"url\((?!#|['\"]?data:)", page)
    assert "default-src 'none'" in page


def test_text_from_outside_is_shown_as_text(adopt: LiveContent) -> None:
    page, text = as_live_html(adopt), as_live_markdown(adopt)
    assert "the database &lt;b&gt;is gone&lt;/b&gt;" in page
    assert "<b>is gone" not in page + text


def test_charts_tell_in_words_what_they_draw(adopt: LiveContent) -> None:
    page = as_live_html(adopt)
    said = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(said) == 8  # four charts, each for wide and for slim screens
    assert any("over time with its always-valid band: now +0.0" in each for each in said)
    assert any("Guardrails against their stop lines: failed holds (tolerated +2.00 points)" in each for each in said)
    assert any("Treatment&#39;s share" in each or "Treatment's share of the units over time" in each for each in said)


def test_what_has_no_interval_yet_is_told_with_its_reason() -> None:
    content = SAMPLES["too few"]()
    found = live_dict(content)
    assert all(row["effect"] is None and row["reason"] for row in found["metrics"])
    page = as_live_html(content)
    assert "needs at least 100 in each arm" in page
    assert "Not known" in page
    assert "Too early to say anything. Look again in about" in page


def test_a_headline_takes_its_means_from_the_interval_of_its_number(adopt: LiveContent) -> None:
    effect = adopt.primary.effect
    assert effect is not None
    planned = effect.planned
    assert planned is not None
    assert planned.means is not None
    assert planned.means[1] - planned.means[0] == pytest.approx(planned.estimate)
    assert planned.relative == pytest.approx(planned.estimate / planned.means[0])
    assert planned.estimate != pytest.approx(effect.running.estimate, abs=1e-4), "the two sizes differ"
    page = as_live_html(adopt)
    cards = page.partition('<div class="facts">')[2].partition("How far is it?")[0]
    assert f"{planned.means[0]:.4f} → {planned.means[1]:.4f} ({planned.relative:+.1%} relative): first 1,800 units." in cards
    assert cards.count("first 1,800 units") == 2
    assert "so far</span>" in page
    for width in (80, 150):
        line = next(line for line in terminal(adopt, width).splitlines() if "first 1,800" in line)
        assert f"{planned.means[0]:.4f} -> {planned.means[1]:.4f}" in line
    few = dataclasses.replace(planned, n_units=1_750)
    assert live_words.counted(few, adopt.analysis.progress) == "first 1,800 units (1,750 with a score)"


def test_where_only_the_always_valid_interval_decides_every_form_says_so() -> None:
    content = build(effect=0.09, slow=0.06)
    effect = content.primary.effect
    assert effect is not None
    assert effect.planned is not None
    assert effect.planned.low < 0 < effect.running.low
    assert "99% always-valid interval" in content.analysis.verdict.sentence
    assert content.analysis.verdict.decision == "adopt custom"
    running = words.difference(effect.running, content.primary.metric)
    assert live_words.gain_over_time(content.primary, content.analysis.progress) == f"nDCG@10 gets better by {running}"
    page = as_live_html(content)
    assert f"nDCG@10 gets better by {running}" in page
    cards = page.partition('<div class="facts">')[2].partition("How far is it?")[0]
    assert cards.count("2,000 units so far") == 2
    assert "It holds however often one looks." in cards
    row = next(line for line in as_live_markdown(content).splitlines() if line.startswith("| **nDCG@10**"))
    assert row.endswith("| &lt; 0.001 | 2,000 |")
    found = live_dict(content)["metrics"][0]["effect"]
    assert found["counts"] == "running"
    assert live_dict(build())["metrics"][0]["effect"]["counts"] == "planned"


def guard(
    estimate: float, low: float, high: float, *, margin: float = 0.05, relative: bool = False, state: GuardrailState = "holds"
) -> LiveGuardrail:
    return LiveGuardrail(margin=margin, relative=relative, estimate=estimate, low=low, high=high, state=state, method="by hand")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (guard(-0.0152, -0.0504, 0.02), "1.52 points better; at worst 2.00 points worse (tolerated: 5.00)"),
        (guard(-0.0152, -0.0504, -0.001), "1.52 points better; at worst 0.10 points better (tolerated: 5.00)"),
        (guard(0.0103, -0.02, 0.0419), "1.03 points worse, at most 4.19 (tolerated: 5.00)"),
        (guard(0.12, 0.08, 0.16, state="broken"), "12.00 points worse, at least 8.00 (tolerated: 5.00)"),
        (guard(0.0, -0.01, 0.01), "no change; at worst 1.00 points worse (tolerated: 5.00)"),
        (guard(0.06, 0.05, 0.07, margin=0.25, relative=True), "6.0% worse, at most 7.0% (tolerated: 25.0%)"),
    ],
)
def test_a_guardrail_says_better_or_worse_and_the_bound_that_counts(found: LiveGuardrail, said: str) -> None:
    assert guardrail_change(metric_named("failed"), found) == said


def test_beside_the_difference_over_time_stands_what_it_is_so_far() -> None:
    content = build()
    running = content.primary.effect.running
    said = live_words.gain_over_time(content.primary, content.analysis.progress)
    planned = content.analysis.progress.levels.units_planned
    assert f"at the planned {planned:,} units; so far {words.difference(running, content.primary.metric)}" in said
    spec = live_charts.effect_over_time(
        content.analysis.looks, content.primary.metric, min_effect=0.01, planned_at=content.analysis.looks[-1].at, look=LIGHT
    )
    assert "planned size" in str(spec)


def test_a_metric_that_is_tested_as_a_guardrail_is_not_told_as_not_compared() -> None:
    content = SAMPLES["too few"]()  # 60 units in an arm: no interval of anything, but failures are tested from the first trial on
    said = live_words.not_compared_by_reason(content)
    assert len(said) == 1, "the same reason for all"
    assert said[0].startswith("nDCG@10, citation_clicked, latency_ms, abstained, copied: ")
    assert "tested as a guardrail, above" in as_live_html(content)


def test_guardrails_that_can_not_be_tested_yet_are_not_told_as_held() -> None:
    content = SAMPLES["too few"]()
    assert live_words.guardrail_heading(content) == "Nothing is shown to have become worse than is tolerated"
    none = tuple(dataclasses.replace(c, guardrail=None) for c in content.analysis.comparisons)
    untested = dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=none))
    assert "No guardrail can be tested yet" in as_live_html(untested)


def test_what_has_no_score_is_told_where_nothing_is_left_out(adopt: LiveContent) -> None:
    kept = dataclasses.replace(adopt, analysis=dataclasses.replace(adopt.analysis, left_out=()))
    assert live_words.left_out(kept) == "Left out: nothing. Without a score on nDCG@10: 80 of 6,068 trials"
    assert "Left out: nothing. Without a score on nDCG@10: 80 of 6,068 trials</h2>" in as_live_html(kept)


def test_a_plan_that_already_runs_is_left_alone() -> None:
    spread = split_spread(unit_sd=0.25, treatment=0.5, source="live data", said="a unit's nDCG@10 in the log")
    out = io.StringIO()
    plan = plan_live(experiment(min_effect=0.02, units_planned=300), spread, units_per_day=300, n_trials=900)
    render_plan(plan, Console(file=out, width=80, highlight=False))
    text = " ".join(out.getvalue().split())
    assert "This experiment already runs with live.units_planned: 300; leave it" in text
    assert f"For the next experiment (another name): live.units_planned: {plan.units_planned}" in text
    assert "Write into" not in text


def test_every_key_of_the_live_section_is_told_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    specs = {"": LiveSpec, "metrics.": LiveMetrics, "traffic.": TrafficSpec, "scoring.": OnlineScoring, "layer.": LayerSpec}
    for prefix, spec in specs.items():
        for field in dataclasses.fields(spec):
            row = rf"^\| `{re.escape(prefix + field.name)}` \| .+ \| {re.escape(field.metadata['description'])} \|$"
            assert re.search(row, text, re.MULTILINE), f"{prefix}{field.name}: docs/live.md and its description differ"


def test_a_stopped_experiment_says_who_stopped_it() -> None:
    content = build()
    progress = content.analysis.progress
    stopped = type(progress.traffic)(version=3, share=1.0, treatment=0.5, stopped=True, actor="guardrail", reason="failed is worse")
    object.__setattr__(progress, "traffic", stopped)
    assert "stopped by guardrail (failed is worse): everyone gets the baseline" in terminal(content, 200)
    assert "Stopped by guardrail" in as_live_html(content)


def test_votes_of_arms_that_rate_differently_are_struck_out(adopt: LiveContent) -> None:
    assert "must not be read" in terminal(adopt, 200)
    page = as_live_html(adopt)
    assert re.search(r"<s>\+[0-9.]+ points", page)
    assert "asked at random" in page


def test_a_chart_of_nothing_says_so() -> None:
    content = SAMPLES["too few"]()
    metric = content.primary.metric
    spec = live_charts.effect_over_time(content.analysis.looks, metric, min_effect=0.01, planned_at=None, look=LIGHT)
    assert "no interval yet" in spec["description"]
    assert svg_of(spec, prefix="x").startswith("<svg")
    empty = live_charts.guardrails([], look=LIGHT)
    assert svg_of(empty, prefix="y").startswith("<svg")


def test_the_plan_fits_eighty_columns_and_says_what_to_write() -> None:
    spread = split_spread(unit_sd=0.25, treatment=0.5, source="given", said="a unit's nDCG@10 spreads by 0.25 (given)")
    plan = plan_live(experiment(min_effect=0.02), spread, units_per_day=300, paired_sd=0.2)
    out = io.StringIO()
    render_plan(plan, Console(file=out, width=80, highlight=False))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert f"live.units_planned: {plan.units_planned}" in text
    assert "12 weeks" in text
    assert json.loads(json.dumps(plan_dict(plan)))["weeks"][0]["units"] == 2_100


@pytest.mark.parametrize("width", [58, 64, 80, 116, 130])
def test_in_a_terminal_every_metric_stands_whole_with_its_units(width: int) -> None:
    content, out = build(n=300), io.StringIO()
    render_live(content, Console(file=out, width=width))
    for comparison in content.analysis.comparisons:
        row = next(line for line in out.getvalue().splitlines() if line.startswith(f"{comparison.metric.name} "))
        assert f" {comparison.n_units:,}" in row
