"""Two rankings as one chart: what is joined, what is marked, and what the text alternative says."""

import dataclasses
from xml.etree import ElementTree as ET

import pytest

from ragtrial.report.drawing import DARK, LIGHT, Look
from ragtrial.report.query_charts import MOST_RANKS, two_rankings
from ragtrial.report.svg import svg_of

BASELINE, CUSTOM = ["a", "b", "c", "d"], ["c", "x", "a", "y"]
NAMES = ("baseline", "custom")
TITLES = {"a": "Berths", "c": "<script>alert(1)</script> & more", "y": "أرصفة"}


def drawn(look: Look = LIGHT) -> ET.Element:
    spec = two_rankings(BASELINE, CUSTOM, names=NAMES, titles=TITLES, grades={"c": 2, "a": 0, "y": 1}, look=look)
    return ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG


@pytest.mark.parametrize("look", [LIGHT, DARK, dataclasses.replace(LIGHT, width=340)])
def test_relevant_passages_have_a_star_and_titles_stay_texts(look: Look) -> None:
    texts = [text for text in drawn(look).itertext() if text.strip()]
    assert sum(text.startswith("★") for text in texts) == 3  # c in both rankings, y in one
    assert {"baseline", "custom", "Berths"} <= set(texts)
    assert any(text.startswith("★ <script>") for text in texts)


def test_a_line_joins_what_both_hold_and_nothing_else() -> None:
    spec = two_rankings(BASELINE, CUSTOM, names=NAMES, titles={}, grades={"c": 2}, look=LIGHT)
    (links,) = [layer["data"]["values"] for layer in spec["layer"] if layer["mark"].get("type") == "rule"]
    assert links == [{"from": 1, "to": 3, "relevant": False}, {"from": 3, "to": 1, "relevant": True}]


def test_the_text_alternative_says_where_the_relevant_ones_stand() -> None:
    assert drawn().get("aria-label") == (
        "Rankings: baseline 4 passages, relevant at rank 3; custom 4 passages, relevant at ranks 1, 4; 2 in both."
    )


def test_only_the_first_ranks_are_drawn_of_a_deep_ranking() -> None:
    deep = [f"p{n}" for n in range(100)]
    spec = two_rankings(deep, deep[::-1], names=NAMES, titles={}, grades={}, look=LIGHT)
    assert f"baseline {MOST_RANKS} passages, none relevant" in spec["description"]
    assert spec["height"] < 600


def test_an_empty_ranking_beside_another_is_drawn() -> None:
    spec = two_rankings([], ["a"], names=NAMES, titles={}, grades={}, look=LIGHT)
    assert "baseline 0 passages, none relevant; custom 1 passage, none relevant; 0 in both" in spec["description"]
    ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG
