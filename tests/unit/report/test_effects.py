"""Effects on all metrics as rows, panels and a forest plot: how they are adjusted, and that forty of them can be read."""

import dataclasses
from xml.etree import ElementTree as ET

import pytest

from ragtrial.domain.metric import metric_named
from ragtrial.report import effects
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import LIGHT, Spec
from ragtrial.report.effects import EffectRow
from ragtrial.report.svg import svg_of
from ragtrial.stats.simultaneous import SimultaneousInterval
from unit.report import live_samples

NARROW = dataclasses.replace(LIGHT, width=340)
MANY = (
    *(f"{measure}@{k}" for measure in ("nDCG", "R", "P", "RR", "AP", "Success") for k in (1, 3, 5, 10, 20)),
    *("answer_f1", "answer_containment", "answer_token_recall", "answer_exact_match", "answer_rouge_l", "abstained", "citation_support"),
    *("latency_ms", "embed_ms", "search_ms", "cost_usd", "prompt_tokens"),
)


def row(name: str, role: str = "exploratory", **changes: object) -> EffectRow:
    given = {"estimate": 0.03, "low": 0.01, "high": 0.05, "level": "95%", "together": None, "shown": 1, "n": 150, "of": 150}
    return EffectRow(metric=metric_named(name), role=role, **{**given, **changes})  # type: ignore[arg-type]


def texts(spec: Spec) -> list[str]:
    return [text for text in ET.fromstring(svg_of(spec, prefix="x")).itertext() if text.strip()]  # noqa: S314 - our own SVG


def test_rows_hold_what_is_shown_beyond_chance_and_who_is_widened(content: ReportContent) -> None:
    rows = {found.metric.name: found for found in effects.effect_rows(content)}
    assert rows["nDCG@10"].shown == 1
    assert rows["nDCG@10"].together is not None
    assert rows["nDCG@10"].together.low < rows["nDCG@10"].low
    assert rows["R@10"].shown == 0
    assert rows["answer_rouge_l"].together is None  # exploratory
    assert rows["latency_ms"].level == "95%"
    assert "answer_exact_match" not in rows  # the same in both arms


def test_a_live_row_says_which_interval_it_holds() -> None:
    rows = {found.metric.name: found for found in effects.live_effect_rows(live_samples.build())}
    assert rows["nDCG@10"].level == "96% planned-size"
    assert rows["copied"].level == "99% always-valid"
    assert rows["nDCG@10"].of is None
    later = {found.metric.name: found for found in effects.live_effect_rows(live_samples.build(effect=0.09, slow=0.06))}
    assert (later["nDCG@10"].level, later["nDCG@10"].shown) == ("99% always-valid", 1)
    table = {found["metric"]: found for found in effects.live_metric_table(live_samples.build(effect=0.09, slow=0.06))}
    assert (table["nDCG@10"]["low"], table["nDCG@10"]["interval"]) == (later["nDCG@10"].low, "99% always-valid")


def test_forty_metrics_fall_into_panels_of_one_unit_and_one_kind() -> None:
    panels = effects.panels([row(name) for name in MANY])
    assert [panel.title for panel in panels] == [
        "Retrieval, shares of 0 to 1",
        "Answers, shares of 0 to 1",
        "Milliseconds",
        "USD",
        "Tokens",
    ]
    assert sum(len(panel.rows) for panel in panels) == len(MANY) == 42
    assert all(len({found.metric.unit for found in panel.rows}) == 1 for panel in panels)


def test_a_few_metrics_of_one_unit_stay_together() -> None:
    panels = effects.panels([row("nDCG@10"), row("answer_f1"), row("latency_ms")])
    assert [(panel.title, len(panel.rows)) for panel in panels] == [("Shares of 0 to 1", 2), ("Milliseconds", 1)]


@pytest.mark.parametrize("look", [LIGHT, NARROW], ids=["wide", "narrow"])
def test_each_of_forty_names_can_be_read(look) -> None:
    for panel in effects.panels([row(name) for name in MANY]):
        said = texts(effects.forest(panel.rows, look=look))
        for found in panel.rows:
            assert any(text.startswith(found.metric.name) for text in said), found.metric.name


def test_a_forest_has_estimate_interval_state_and_n_beside_each_row() -> None:
    rows = [row("nDCG@10", "primary", together=SimultaneousInterval(low=-0.01, high=0.07)), row("abstained", shown=-1, n=99)]
    spec = effects.forest(rows, look=LIGHT)
    assert {"nDCG@10, decides", "+0.0300 [+0.0100, +0.0500]", "better", "150", "abstained (lower is better)", "worse", "99"} <= set(
        texts(spec)
    )
    assert "nDCG@10, decides +0.0300 [+0.0100, +0.0500] (better, n = 150)" in spec["description"]


def test_a_guardrail_is_said_to_hold_or_not_and_not_to_be_open() -> None:
    live = {found.metric.name: found for found in effects.live_effect_rows(live_samples.build())}
    assert effects.state(live["latency_ms"]) == "holds"
    assert effects.state(live["nDCG@10"]) == "better"
    said = texts(effects.forest([row("latency_ms", "guardrail", shown=0, guard="not shown")], look=LIGHT))
    assert {"guardrail", "not shown to hold"} <= set(said)


def test_on_a_phone_the_difference_and_its_n_stand_above_the_bar() -> None:
    assert "+0.0300, n = 150" in texts(effects.forest([row("nDCG@10")], look=NARROW))


def test_on_a_phone_an_arrow_stands_for_lower_is_better() -> None:
    said = texts(effects.forest([row("abstained"), row("nDCG@10")], look=NARROW))
    assert "abstained ↓" in said
    assert any("↓ lower is better" in text for text in [" ".join(said)])


def test_units_are_on_the_axis() -> None:
    spec = effects.forest([row("latency_ms", estimate=1.5, low=-0.5, high=3.5, shown=0)], look=LIGHT)
    said = texts(spec)
    assert "difference, custom minus baseline (milliseconds)" in said
    assert "+1.5 ms [-0.5, +3.5]" in said


def test_a_caption_says_how_intervals_are_adjusted() -> None:
    wide = SimultaneousInterval(low=0.0, high=0.06)
    assert "by itself. Nothing is adjusted" in effects.family_words([row("nDCG@10", "primary")])
    assert "nothing to adjust for" in effects.family_words([row("nDCG@10", "primary", together=wide)])
    said = effects.family_words([row("nDCG@10", "primary", together=wide), row("R@5", "secondary", together=wide)])
    assert "all 2 planned metrics hold together (Bonferroni" in said


def test_a_table_has_every_metric_and_says_why_one_has_no_difference(content: ReportContent) -> None:
    rows = {found["metric"]: found for found in effects.metric_table(content)}
    assert len(rows) == len(content.analysis.comparisons)
    assert rows["answer_exact_match"]["difference"] is None
    assert "same difference" in rows["answer_exact_match"]["why no difference"]
    assert rows["nDCG@10"]["low, together"] < rows["nDCG@10"]["low"]
    assert rows["nDCG@10"]["scored"] == 146
    assert rows["nDCG@10"]["of"] == 150


def test_a_live_table_holds_the_means_that_its_difference_is_of() -> None:
    content = live_samples.build()
    live = {found["metric"]: found for found in effects.live_metric_table(content)}
    planned = content.primary.effect.planned
    assert live["nDCG@10"]["interval"] == "96% planned-size"
    assert planned.means is not None
    assert (live["nDCG@10"]["baseline"], live["nDCG@10"]["custom"]) == planned.means
    assert planned.means != content.primary.effect.running.means, "those so far are others"
    assert live["failed"]["why no difference"] == ""


def test_guardrails_leave_as_numbers(content: ReportContent) -> None:
    (offline,) = effects.guardrail_table([c for c in content.analysis.comparisons if c.role == "guardrail"])
    assert (offline["guardrail"], offline["unit"]) == ("latency_ms", "ratio minus 1")
    assert offline["worse by"] < offline["bound"]
    live = effects.guardrail_table([c for _, c in live_samples.build(reached=True).guardrails])
    assert all(set(each) == set(offline) for each in live)
    assert all(each["bound"] is None or each["worse by"] <= each["bound"] for each in live)
    assert any(each["tolerated"] is not None for each in live)
