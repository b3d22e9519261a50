"""HTML: the main text of pages, and the plain text of fragments."""

import logging
import re

from ragtrial.errors import MissingExtraError
from ragtrial.preparation.dates import day_of

_LOOKS_LIKE = re.compile(r"<(?:p|br|div|span|a|html|body|table|ul|ol|li|b|i|strong|em|h[1-6]|pre|blockquote)\b[^>]*/?>", re.IGNORECASE)
_BLOCKS = frozenset(
    ("p", "div", "br", "li", "tr", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "section", "article")
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARK = "\x01"
"""Before the headings that are some: no XML can hold it."""

_LIKE_A_HEADING = re.compile(r"^([ \t]*)(?=#{1,6}(?:\s|$))", re.MULTILINE)
_NOT_SHOWN = ("script", "style", "head", "noscript", "template")

WHOLE_PAGE = "HTML pages in which no main text was found: all of their text was taken"


def read_page(html: str) -> tuple[str, str, str | None, dict[str, int]]:
    """Title, main text as Markdown, day and notes of a page; navigation, banners and footers are left out by trafilatura.

    Raises:
        MissingExtraError: trafilatura is not installed.
    """
    try:
        import trafilatura
        from trafilatura.settings import Document
    except ImportError as error:
        raise MissingExtraError(package="trafilatura", extra="prepare", purpose="reading HTML") from error
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # its warnings quote the page
    logging.getLogger("htmldate").setLevel(logging.CRITICAL)
    try:
        page = trafilatura.bare_extraction(
            html,
            output_format="python",
            include_comments=False,
            include_formatting=True,
            with_metadata=True,
            date_extraction_params={"extensive_search": False, "original_date": True},  # or a footer's year would be a day
        )
    except Exception:  # noqa: BLE001  pages come from anywhere, and one that it trips over can still be read whole
        page = None
    text = page.text if isinstance(page, Document) else None
    title = (page.title if isinstance(page, Document) else None) or ""
    day = day_of(page.date) if isinstance(page, Document) else None
    if text and text.strip():
        return title, _without_title(text, title), day, {}
    return title, fragment_text(html), day, {WHOLE_PAGE: 1}


def _without_title(text: str, title: str) -> str:
    """The text without a first heading that says the title again."""
    first, _, rest = text.strip().partition("\n")
    return rest.strip() or text if title and first.lstrip("# ").strip() == title.strip() else text


def looks_like_html(text: str) -> bool:
    """Whether the text has tags that a reader would not want to see."""
    return _LOOKS_LIKE.search(text) is not None


def fragment_text(html: str, *, headings: bool = False) -> str:
    """All that is shown of a piece of HTML, such as the body of a ticket, a line for each block.

    trafilatura's own function for this runs blocks together on one line.

    Args:
        html: The piece.
        headings: Write headings as Markdown does; a line that Markdown would take for one, and is none, begins with a backslash.
    """
    try:
        from lxml import etree
        from lxml import html as parser
    except ImportError as error:
        raise MissingExtraError(package="lxml", extra="prepare", purpose="reading HTML") from error
    html = _NOT_IN_XML.sub("", html)
    try:
        tree = parser.fromstring(f"<div>{html}</div>" if "<body" not in html.lower() else html)
    except (etree.ParserError, ValueError):  # nothing in it, or an encoding declared in a text
        return ""
    etree.strip_elements(tree, *_NOT_SHOWN, etree.Comment, with_tail=False)
    pieces: list[str] = []
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if element.tag in _BLOCKS and (event, element.tag) != ("end", "br"):
            pieces.append("\n")
        if headings and event == "start" and element.tag in _HEADINGS:
            pieces.append(f"\n{_MARK}{'#' * _HEADINGS[element.tag]} ")
        if event == "start":
            pieces.append(element.text or "" if isinstance(element.tag, str) else "")
        elif element is not tree:
            pieces.append(element.tail or "")
    if headings:
        pieces = [_LIKE_A_HEADING.sub(r"\1\\", "".join(pieces)).replace(_MARK, "")]
    return re.sub(r"\n\s*\n+", "\n\n", "".join(pieces)).strip()
