"""Charts of where a difference comes from: what they draw, and what they do where there is hardly anything to draw."""

import dataclasses
import itertools
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from ragtrial.analysis.anatomy import LiftCell, OverlapAt, RecallAt
from ragtrial.domain.metric import metric_named
from ragtrial.report import anatomy_charts as drawn
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.svg import svg_of

Draw = Callable[[ReportContent, Look], Spec]
NARROW = dataclasses.replace(LIGHT, width=340)
F1 = metric_named("answer_f1")


def _against(content: ReportContent, look: Look) -> Spec:
    baseline = drawn.Price(arm="baseline", price=8.1, mean=content.primary.baseline.mean or 0.0)
    custom = drawn.Price(arm="custom", price=8.4, mean=content.primary.custom.mean or 0.0)
    return drawn.quality_against(
        baseline, custom, content.primary, title="milliseconds a query", form=".1f", free={"bm25": 0.41}, look=look
    )


DRAWN: dict[str, Draw] = {
    "recall": lambda c, look: drawn.recall_curves(c.anatomy.recall_curves, baseline="baseline", custom="custom", look=look),
    "overlap": lambda c, look: drawn.overlap(c.anatomy.overlaps, look=look),
    "lift": lambda c, look: drawn.lift(c.anatomy.lift, F1, level="95%", look=look),
    "gains": lambda c, look: drawn.gains(c.anatomy, c.primary, look=look),
    "against": _against,
}


def texts(spec: Spec) -> list[str]:
    return [text for text in ET.fromstring(svg_of(spec, prefix="x")).itertext() if text.strip()]  # noqa: S314 - our own SVG


def marks(spec: Spec, kind: str) -> list[ET.Element]:
    drawn_ = ET.fromstring(svg_of({**spec, "usermeta": {}}, prefix="x"))  # noqa: S314 - our own SVG
    return [each for group in drawn_.iter() if f"mark-{kind}" in (group.get("class") or "").split() for each in group]


@pytest.mark.parametrize("look", [LIGHT, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_drawn_with_a_text_alternative_and_a_unit(name: str, look: Look, content: ReportContent) -> None:
    spec = DRAWN[name](content, look)
    assert len(spec["description"]) > 30
    said = " ".join(texts(spec))
    assert any(unit in said for unit in ("share", "%", "queries", "milliseconds"))
    assert "NaN" not in said
    assert "undefined" not in said


@pytest.mark.parametrize("name", DRAWN)
def test_looks_change_colours_and_nothing_else(name: str, content: ReportContent) -> None:
    light, dark = (svg_of(DRAWN[name](content, look), prefix="x") for look in (LIGHT, DARK))
    for field in dataclasses.fields(Look):
        if field.name != "width":
            dark = dark.replace(f'"{getattr(DARK, field.name)}"', f'"{getattr(LIGHT, field.name)}"')
    assert light == dark


def test_recall_has_a_band_for_each_arm_and_none_for_a_reference_line(content: ReportContent) -> None:
    spec = DRAWN["recall"](content, LIGHT)
    assert len(marks(spec, "area")) == 2
    assert len(marks(spec, "line")) == 3
    said = texts(spec)
    assert {"custom 0.99", "baseline 0.98", "bm25 0.95", *(str(k) for k in range(1, 11))} <= set(said)
    assert "n = 146 queries" in spec["description"]


def test_names_at_the_end_of_lines_do_not_lie_on_each_other() -> None:
    close = [RecallAt(arm=arm, k=k, mean=0.5 + 0.001 * i, low=None, high=None, n=9) for i, arm in enumerate("abcd") for k in (1, 2)]
    spec = drawn.recall_curves(close, baseline="a", custom="b", look=LIGHT)
    drawn_ = ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG
    places = sorted(
        float(each.get("transform", "").partition(",")[2].partition(")")[0])
        for each in drawn_.iter()
        if each.text is not None and each.text[0] in "abcd" and each.text.endswith("0.50")
    )
    assert len(places) == 4
    assert min(b - a for a, b in itertools.pairwise(places)) > 12


def test_one_depth_without_intervals_is_drawn_as_points() -> None:
    single = [RecallAt(arm=arm, k=1, mean=mean, low=None, high=None, n=1) for arm, mean in (("baseline", 0.0), ("custom", 1.0))]
    spec = drawn.recall_curves(single, baseline="baseline", custom="custom", look=LIGHT)
    assert not marks(spec, "area")
    assert "custom 1.00" in texts(spec)


def test_depth_is_counted_in_whole_numbers() -> None:
    deep = [RecallAt(arm="baseline", k=k, mean=k / 100, low=None, high=None, n=5) for k in range(1, 101)]
    for look in (LIGHT, NARROW):
        shown = texts(drawn.recall_curves(deep, baseline="baseline", custom="custom", look=look))
        assert {"1", "50", "100"} <= set(shown)
        assert "2.5" not in shown


def test_overlap_writes_a_share_on_each_bar_and_on_a_phone_on_the_outer_ones() -> None:
    curve = [OverlapAt(k=k, mean=k / 10, n=40) for k in range(1, 11)]
    assert sum(said.endswith("%") and said != "0%" for said in texts(drawn.overlap(curve, look=LIGHT))) >= 10
    narrow = texts(drawn.overlap(curve, look=NARROW))
    assert "70%" not in narrow
    assert {"10%", "100%"} <= set(narrow)


def test_each_way_of_retrieval_has_its_answers_with_signs_and_counts(content: ReportContent) -> None:
    spec = DRAWN["lift"](content, LIGHT)
    assert {"retrieval better (53)", "+35", "=18", "35 / 18 / 0", "+0.3170 [+0.2598, +0.3742]", "+0.0000, no interval"} <= set(texts(spec))
    assert "others, as good" not in spec["description"]  # no query of them
    assert "same passages (80): 0 better, 80 the same, 0 worse" in spec["description"]


def test_a_segment_without_room_has_no_number_on_it_but_beside_it() -> None:
    cell = LiftCell(retrieval="better", n=1000, n_scored=1000, better=990, equal=0, worse=10, mean=0.1, low=0.05, high=0.15, reason=None)
    said = texts(drawn.lift([cell], F1, level="95%", look=LIGHT))
    assert "−10" not in said  # noqa: RUF001 - a minus sign, as drawn
    assert "990 / 0 / 10" in said


def test_gains_say_how_many_queries_there_are_not_how_many_points(content: ReportContent) -> None:
    thinned = dataclasses.replace(content.anatomy, gains=(content.anatomy.gains[0], content.anatomy.gains[-1]))
    spec = drawn.gains(thinned, content.primary, look=LIGHT)
    assert "each of 146 queries, sorted: 53 gain, 15 lose, 78 are the same" in spec["description"]
    assert {"custom better on 53", "baseline better on 15"} <= set(texts(spec))


def test_quality_is_drawn_from_the_baseline_to_custom_with_the_interval_of_the_difference(content: ReportContent) -> None:
    spec = _against(content, LIGHT)
    assert {"baseline 0.4732", "custom 0.6184", "bm25 0.4100"} <= set(texts(spec))
    assert "milliseconds a query: baseline 0.4732 at 8.1, custom 0.6184 at 8.4" in spec["description"]


def test_quality_is_drawn_where_both_arms_take_the_same_and_nothing_is_known_of_the_difference(content: ReportContent) -> None:
    unknown = dataclasses.replace(content.primary, effect=None)
    same = drawn.Price(arm="baseline", price=0.0, mean=0.5), drawn.Price(arm="custom", price=0.0, mean=0.5)
    spec = drawn.quality_against(*same, unknown, title="USD", form=".2f", free={}, look=LIGHT)
    assert "NaN" not in " ".join(texts(spec))


def test_names_of_two_arms_that_take_nearly_the_same_stand_on_either_side_of_their_marks(content: ReportContent) -> None:
    near = drawn.Price(arm="baseline", price=8.1, mean=0.6), drawn.Price(arm="custom", price=8.11, mean=0.6)
    spec = drawn.quality_against(*near, content.primary, title="milliseconds a query", form=".2f", free={}, look=LIGHT)
    drawn_ = ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG
    sides = {each.text: each.get("text-anchor") for each in drawn_.iter() if each.text in ("baseline 0.6000", "custom 0.6000")}
    assert sides == {"baseline 0.6000": "end", "custom 0.6000": "start"}
