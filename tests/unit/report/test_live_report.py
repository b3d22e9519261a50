"""Live reports: every form says the same, the page needs nothing from outside, and what is unknown never looks like a number."""

import io
import json
import re
from collections.abc import Callable

import jsonschema
import pytest
from rich.console import Console

from ragtrial.analysis.live_planning import plan_live, split_spread
from ragtrial.report import live_charts, live_words
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
}
DECISIONS = {
    "adopt": "adopt custom",
    "broken": "keep baseline",
    "running": "undecided",
    "too few": "too few",
    "refused": "refused",
    "no plan": "undecided",
    "interleaved": "adopt custom",
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
        assert f"{heading}: " in terminal(content, width)


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
