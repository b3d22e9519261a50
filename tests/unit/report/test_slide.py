"""The verdict on one page: says what the report says, fits on its page whatever the texts are, and holds everything it shows."""

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from ragtrial.domain.verdict import Check
from ragtrial.report import verdict_words, words
from ragtrial.report.content import ReportContent
from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.slide import as_html, as_pdf, as_svg
from ragtrial.report.slide_drawing import broken, text_width
from ragtrial.report.slide_words import slide_of
from unit.report import live_samples, samples

SVG = "{http://www.w3.org/2000/svg}"


def live_summary(**changes: object) -> LiveSummary:
    made = live_samples.build(**changes)  # type: ignore[arg-type]
    return LiveSummary(**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)})


class Texts(HTMLParser):
    """The texts of a page, without its style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self._within != "style":
            self.texts.append(data)

    @property
    def all(self) -> str:
        return " ".join(" ".join(self.texts).split())


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def texts_of(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in parsed(svg).iter(f"{SVG}text")]


def test_the_page_says_verdict_effect_sureness_cost_and_next_step(content: ReportContent) -> None:
    slide = slide_of(content)
    primary = content.primary
    assert primary.effect is not None
    assert slide.decision == words.DECISIONS[content.analysis.verdict.decision]
    said = Texts(as_html(content)).all
    for part in (
        slide.decision,
        verdict_words.plain(content),
        words.signed(primary.effect.estimate, primary.metric),
        words.difference(primary.effect, primary.metric),
        "How sure is it?",
        "What does it cost?",
        slide.next_step,
        content.experiment.name,
        f"n = {primary.n_scored}",
        slide.measured[1],
    ):
        assert part in said
    assert re.search(rf"<title>{re.escape(slide.decision)}: ", as_html(content))


def test_the_page_holds_everything_it_shows(content: ReportContent) -> None:
    page = as_html(content)
    assert "script" not in Texts(page).tags
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "url(http" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("decision", ["adopted", "refused"])
def test_a_drawn_text_stays_on_its_page(decision: str) -> None:
    content = samples.build(parity=decision == "adopted")
    root = parsed(as_svg(content))
    assert (root.get("width"), root.get("height")) == ("1280", "720")
    own = [element for element in root if element.tag == f"{SVG}text"]
    assert len(own) > 15
    for element in own:
        size, x, y = (float(element.get(name, "0")) for name in ("font-size", "x", "y"))
        middle = element.get("text-anchor") == "middle"
        width = text_width(element.text or "", size, bold=element.get("font-weight") == "700")
        assert y <= 720 - 4, element.text
        assert (x + width / 2 if middle else x + width) <= 1280 - 40, element.text


def test_a_refused_verdict_warns_and_names_what_fails_first() -> None:
    content = samples.build(parity=False)
    slide = slide_of(content)
    assert slide.caution is not None
    assert slide.lines[0].state == "fail"
    drawn = " ".join(texts_of(as_svg(content)))
    assert slide.caution in drawn
    assert "Only the embedding differs" in drawn
    assert slide.caution in Texts(as_html(content)).all


def test_what_does_not_fit_beside_the_drawing_is_counted(content: ReportContent) -> None:
    checks = tuple(Check(name=f"check {i}", state="warn", detail="something that takes a while to say " * 6) for i in range(12))
    analysis = dataclasses.replace(content.analysis, checks=checks)
    crowded = dataclasses.replace(content, analysis=analysis)
    slide = slide_of(crowded)
    drawn = texts_of(as_svg(crowded))
    shown = sum(line.name in drawn for line in slide.lines)
    assert 0 < shown < len(slide.lines)
    assert f"and {len(slide.lines) - shown} more" in drawn
    assert f"and {len(slide.lines) - 5} more" in Texts(as_html(crowded)).all


def test_a_metric_without_an_effect_has_a_page_without_a_drawing(content: ReportContent) -> None:
    comparisons = tuple(
        dataclasses.replace(c, effect=None, no_effect="no query was scored in both arms") if c is content.primary else c
        for c in content.analysis.comparisons
    )
    bare = dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=comparisons))
    assert slide_of(bare).effect is None
    assert "Not known" in Texts(as_html(bare)).all
    assert "no query was scored in both arms" in " ".join(texts_of(as_svg(bare)))


def test_texts_that_try_to_break_out_are_texts(content: ReportContent) -> None:
    for text in (samples.SCRIPT, samples.IMAGE, '"></svg><script>', samples.ARABIC, "x" * 400):
        named = dataclasses.replace(content, gold_name=text)
        page = Texts(as_html(named))
        assert "script" not in page.tags
        assert "img" not in page.tags
        assert "".join(text.split())[:20] in "".join("".join(texts_of(as_svg(named))).split())
        assert as_pdf(named).startswith(b"%PDF-")


def test_the_pdf_is_one_page_in_sixteen_to_nine_with_its_fonts(content: ReportContent) -> None:
    made = as_pdf(content)
    assert made.startswith(b"%PDF-")
    assert re.search(rb"/MediaBox\s*\[\s*0 0 1280 720\s*\]", made)
    assert b"/FontFile" in made
    assert made.count(b"/Type /Page\n") + made.count(b"/Type /Page ") <= 1


@pytest.mark.parametrize("changes", [{}, {"reached": False}, {"lost": 300}])
def test_a_live_experiment_has_the_same_page_at_any_time(changes: dict[str, object]) -> None:
    content = live_summary(**changes)
    slide = slide_of(content)
    said = Texts(as_html(content)).all
    assert slide.decision in said
    assert "as of" in said
    assert slide.next_step in said
    assert slide.finding in said
    assert as_pdf(content).startswith(b"%PDF-")


def test_text_is_as_wide_as_the_font_says() -> None:
    """Helvetica: H 722, a 556, m 833, b 556, u 556, r 333, g 556 and so on, in thousandths (Adobe Core 14 AFM)."""
    assert text_width("Hamburg", 10) == pytest.approx((722 + 556 + 833 + 556 + 556 + 333 + 556) / 100)
    assert text_width("", 10) == 0


def test_lines_are_as_long_as_they_may_be_and_what_is_cut_off_is_shown_to_be() -> None:
    text = "one two three four five six seven eight nine ten"
    lines = broken(text, 10, 60, most=20)
    assert " ".join(lines) == text
    assert all(text_width(line, 10) <= 60 for line in lines)
    cut = broken(text, 10, 60, most=2)
    assert len(cut) == 2
    assert cut[1].endswith("…")
    assert text_width(cut[1], 10) <= 60
    assert "".join(broken("x" * 100, 10, 60, most=20)) == "x" * 100
    assert broken("", 10, 60, most=2) == []
