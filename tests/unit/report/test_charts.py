"""Charts: what they draw, in words and in units."""

import dataclasses
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from ragtrial.report import charts
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.svg import svg_of

Draw = Callable[[ReportContent, Look], Spec]


def _effect(content: ReportContent, look: Look) -> Spec:
    assert content.primary.effect is not None
    return charts.primary_effect(content.primary.metric, content.primary.effect, min_effect=0.01, level="95%", look=look)


DRAWN: dict[str, Draw] = {
    "effect": _effect,
    "forest": lambda c, look: charts.forest(c.analysis.comparisons, alpha=0.05, level="95%", look=look),
    "win_loss": lambda c, look: charts.win_loss(c.differences, c.primary.metric, look=look),
    "slices": lambda c, look: charts.slice_effects(c.analysis.slices, c.primary.metric, alpha=0.05, level="95%", look=look),
    "means": lambda c, look: charts.means(c.primary, baseline="baseline", custom="custom", look=look),
    "latency": lambda c, look: charts.latency(c.latency, baseline="baseline", custom="custom", look=look),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_drawn_with_a_text_alternative_and_a_unit(name: str, content: ReportContent) -> None:
    spec = DRAWN[name](content, LIGHT)
    assert len(spec["description"]) > 30
    drawn = ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG
    assert drawn.get("aria-label") == spec["description"]
    words = " ".join(drawn.itertext())
    assert "share" in words or "milliseconds" in words


@pytest.mark.parametrize("name", DRAWN)
def test_every_id_is_the_charts_own(name: str, content: ReportContent) -> None:
    drawn = ET.fromstring(svg_of(DRAWN[name](content, LIGHT), prefix="mine"))  # noqa: S314 - our own SVG
    ids = [element.get("id") for element in drawn.iter() if element.get("id")]
    assert all(found is not None and found.startswith("mine-") for found in ids)


@pytest.mark.parametrize("name", DRAWN)
def test_looks_change_colours_and_nothing_else(name: str, content: ReportContent) -> None:
    light, dark = (svg_of(DRAWN[name](content, look), prefix="x") for look in (LIGHT, DARK))
    for field in dataclasses.fields(Look):
        if field.name != "width":
            dark = dark.replace(f'"{getattr(DARK, field.name)}"', f'"{getattr(LIGHT, field.name)}"')
    assert light == dark


def test_the_forest_leaves_out_what_has_no_effect_and_says_what_it_holds(content: ReportContent) -> None:
    said = charts.forest(content.analysis.comparisons, alpha=0.05, level="95%", look=LIGHT)["description"]
    assert "nDCG@10, decides +0.1452 [" in said
    assert "answer_exact_match" not in said
    assert "latency_ms" not in said


def test_a_tag_that_looks_like_markup_stays_text(content: ReportContent) -> None:
    svg = svg_of(DRAWN["slices"](content, LIGHT), prefix="x")
    assert "<b>" not in svg
    assert 'customs <b>&</b> "excise"' in "".join(ET.fromstring(svg).itertext())  # noqa: S314 - our own SVG


def test_a_slice_is_filled_only_where_its_adjusted_p_shows_it(content: ReportContent) -> None:
    part = next(part for part in content.analysis.slices if part.effect is not None)
    two = [dataclasses.replace(part, value="sure", p_adjusted=0.01), dataclasses.replace(part, value="unsure", p_adjusted=0.2)]
    spec = str(charts.slice_effects(two, content.primary.metric, alpha=0.05, level="95%", look=LIGHT))
    assert spec.count("'shown': True") == spec.count("'shown': False") > 0
    assert "datum.low > 0" not in spec


def test_of_many_slices_the_largest_are_drawn(content: ReportContent) -> None:
    part = next(part for part in content.analysis.slices if part.effect is not None)
    many = [dataclasses.replace(part, value=f"v{i:02d}", n_scored=10 + i) for i in range(50)]
    said = charts.slice_effects(many, content.primary.metric, alpha=0.05, level="95%", look=LIGHT)["description"]
    assert "v49" in said
    assert "v20" in said
    assert "v19" not in said
