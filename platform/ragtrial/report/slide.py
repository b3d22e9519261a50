"""The verdict on one page for a slide: as HTML that holds everything it shows, and as PDF."""

from markupsafe import Markup

from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.page import rendered
from ragtrial.report.slide_drawing import WIDE, drawn_slide, effect_svg
from ragtrial.report.slide_words import slide_of
from ragtrial.report.summary import Summary


def as_html(content: Summary | LiveSummary) -> str:
    """One page in 16:9 that needs no script and asks nothing of any network."""
    slide = slide_of(content)
    drawn = "" if slide.effect is None else effect_svg(slide.effect, WIDE)
    return rendered("slide.html.j2", slide=slide, effect=Markup(drawn))  # noqa: S704 - vega escapes the texts that it draws


def as_svg(content: Summary | LiveSummary) -> str:
    """The page as one drawing of 1280 by 720."""
    return drawn_slide(slide_of(content))


def as_pdf(content: Summary | LiveSummary) -> bytes:
    """The page as PDF, its texts as text."""
    import vl_convert

    made: bytes = vl_convert.svg_to_pdf(as_svg(content))
    return made
