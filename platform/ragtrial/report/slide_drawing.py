"""The slide as one SVG: texts are broken into lines here, for SVG has no lines."""

import dataclasses
import unicodedata
from collections.abc import Callable
from xml.sax.saxutils import escape

from ragtrial.report.drawing import LIGHT, Look, Spec
from ragtrial.report.slide_words import Slide
from ragtrial.report.svg import svg_of
from ragtrial.report.verdict_words import Card

WIDE = 660
"""Width of the drawing of the effect, in pixels."""

_WIDTH, _HEIGHT, _MARGIN, _GAP = 1280, 720, 60, 28
_FONT = "'Liberation Sans', Arial, Helvetica, sans-serif"
_TONES = {"good": "#0b6b43", "calm": "#2f5675", "open": "#7d5200", "bad": "#a3221a"}
_GROUNDS = {"good": "#e6f4ec", "calm": "#e8eff5", "open": "#fcf1d9", "bad": "#fcebe9"}
_SIDE_END = 618  # where the list beside the drawing ends at the latest
_LINE = "#dfe4ea"
_BOLD = 1.08  # bold letters of Helvetica are about so much wider

# Advance widths of Helvetica from the space on, in thousandths of the font's size (Adobe Core 14 AFM files).
_ADVANCES = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278,
    584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944,
    667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is in Helvetica, or in a font of its measures, in pixels; other letters than Latin ones are estimated."""
    units = sum(map(_advance, text))
    return units / 1000 * size * (_BOLD if bold else 1.0)


def _advance(letter: str) -> int:
    place = ord(letter) - 32
    if 0 <= place < len(_ADVANCES):
        return _ADVANCES[place]
    if unicodedata.combining(letter):
        return 0
    return 1000 if unicodedata.east_asian_width(letter) in "WF" else 600


def broken(text: str, size: float, width: float, *, most: int, bold: bool = False) -> list[str]:
    """A text in lines that fit; what is beyond the last one is cut off, and shown to be."""
    lines: list[str] = []
    line = ""
    for word in _pieces(text, size, width, bold=bold):
        longer = f"{line} {word}" if line else word
        if text_width(longer, size, bold=bold) <= width:
            line = longer
            continue
        lines.append(line)
        line = word
    lines = [*lines, line] if line else lines
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while " " in last and text_width(f"{last} …", size, bold=bold) > width:
        last = last.rpartition(" ")[0]
    return [*lines[: most - 1], f"{last.rstrip()} …"]


def _pieces(text: str, size: float, width: float, *, bold: bool) -> list[str]:
    """Words; those that are wider than a line in parts."""
    found = []
    for word in text.split():
        part = ""
        for letter in word:
            if part and text_width(part + letter, size, bold=bold) > width:
                found.append(part)
                part = ""
            part += letter
        found.append(part)
    return found


def effect_svg(effect: Callable[[Look], Spec], width: int) -> str:
    """The drawing of the effect, in the slide's font."""
    spec = effect(dataclasses.replace(LIGHT, width=width))
    return svg_of({**spec, "config": {**spec.get("config", {}), "font": _FONT}}, prefix="effect")


class _Page:
    """Collects what is drawn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        said: str,
        *,
        size: float,
        colour: str,
        bold: bool = False,
        width: float = 1160,
        most: int = 1,
        leading: float = 1.4,
    ) -> float:
        """Write a text from its first base line on; the base line that follows its last one."""
        weight = ' font-weight="700"' if bold else ""
        for line in broken(said, size, width, most=most, bold=bold):
            self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{weight}>{escape(line)}</text>')
            y += size * leading
        return y

    def box(self, x: float, y: float, width: float, height: float, *, fill: str, stroke: str = "none", radius: float = 0) -> None:
        """Draw a box."""
        shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"'
        self.parts.append(f'<rect {shape} fill="{fill}" stroke="{stroke}"/>')

    def sign(self, x: float, y: float, radius: float, sign: str, tone: str) -> None:
        """Draw a sign in a circle."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{_GROUNDS[tone]}"/>')
        attributes = f'x="{x:g}" y="{y + radius * 0.4:g}" font-size="{radius * 1.15:g}" font-weight="700" fill="{_TONES[tone]}"'
        self.parts.append(f'<text {attributes} text-anchor="middle">{escape(sign)}</text>')


def drawn_slide(slide: Slide) -> str:
    """The slide as an SVG document of 1280 by 720, which holds everything that it shows."""
    page = _Page()
    page.box(0, 0, _WIDTH, _HEIGHT, fill=LIGHT.surface)
    page.box(0, 0, _WIDTH, 8, fill=_TONES[slide.tone])
    _head(page, slide)
    _cards(page, slide.cards, top=200)
    _drawing(page, slide, top=416)
    _side(page, slide, top=416)
    y, left = 676.0, 3
    for line in slide.measured:
        count = len(broken(line, 12, 1160, most=left)) if left else 0
        y = page.text(_MARGIN, y, line, size=12, colour=LIGHT.muted, most=left, leading=1.35) if count else y
        left -= count
    said = escape(f"{slide.title}. {slide.plain}", {'"': "&quot;"})
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'{begin} font-family="{_FONT}" role="img" aria-label="{said}">{"".join(page.parts)}</svg>'


def _head(page: _Page, slide: Slide) -> None:
    tone = _TONES[slide.tone]
    page.text(_MARGIN, 52, f"{slide.experiment} · {slide.when}", size=15, colour=LIGHT.muted, bold=True)
    page.sign(_MARGIN + 26, 104, 26, slide.sign, slide.tone)
    page.text(_MARGIN + 70, 122, slide.decision, size=52, colour=tone, bold=True)
    page.text(_MARGIN, 168, slide.caution or slide.plain, size=21, colour=tone if slide.caution else LIGHT.ink, bold=bool(slide.caution))


def _cards(page: _Page, cards: tuple[Card, ...], *, top: float) -> None:
    width = (_WIDTH - 2 * _MARGIN - _GAP * (len(cards) - 1)) / len(cards)
    for place, card in enumerate(cards):
        x = _MARGIN + place * (width + _GAP)
        page.box(x, top, width, 178, fill=LIGHT.surface, stroke=_LINE, radius=14)
        page.text(x + 20, top + 30, card.ask, size=14, colour=LIGHT.muted, width=width - 40)
        page.text(x + 20, top + 66, card.big, size=30, colour=LIGHT.ink, bold=True, width=width - 40)
        y, left = top + 92.0, 5
        for line in card.lines:
            count = len(broken(line, 13, width - 40, most=left))
            if count:
                y = page.text(x + 20, y, line, size=13, colour=LIGHT.muted, width=width - 40, most=left, leading=1.3)
            left -= count


def _drawing(page: _Page, slide: Slide, *, top: float) -> None:
    y = page.text(_MARGIN, top + 14, slide.finding, size=17, colour=LIGHT.ink, bold=True, width=WIDE, most=2, leading=1.3)
    if slide.effect is None:
        return
    page.parts.append(f'<g transform="translate({_MARGIN} {y - 4:g})">{effect_svg(slide.effect, WIDE)}</g>')
    page.text(_MARGIN, y + 152, slide.caption, size=12, colour=LIGHT.muted, width=WIDE, most=2, leading=1.3)


def _side(page: _Page, slide: Slide, *, top: float) -> None:
    x = _MARGIN + WIDE + 48
    width = _WIDTH - _MARGIN - x
    y = page.text(x, top + 14, slide.health, size=17, colour=LIGHT.ink, bold=True, width=width, most=2, leading=1.3) + 8
    for place, line in enumerate(slide.lines):
        rows = broken(line.said, 12, width - 26, most=3)
        last = place == len(slide.lines) - 1
        if y + 16 + 15.6 * len(rows) > (_SIDE_END if last else _SIDE_END - 16):
            page.text(x + 26, y, f"and {len(slide.lines) - place} more", size=12, colour=LIGHT.muted)
            break
        page.sign(x + 8, y - 4, 8, line.sign, line.tone)
        y = page.text(x + 26, y, line.name, size=13, colour=LIGHT.ink, bold=True, width=width - 26, leading=1.25)
        y = page.text(x + 26, y, line.said, size=12, colour=LIGHT.muted, width=width - 26, most=3, leading=1.3) + 6
    page.text(x, 626, "Next", size=13, colour=LIGHT.muted, bold=True)
    page.text(x + 44, 626, slide.next_step, size=14, colour=LIGHT.ink, width=width - 44, most=2, leading=1.3)
