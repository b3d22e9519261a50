"""Word files (.docx): their text with its headings. Who wrote or changed them is not read, nor are comments, pictures, heads and feet."""

import io
import logging
import re
import zipfile

from ragtrial.errors import MissingExtraError
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.titles import title_of_metadata
from ragtrial.preparation.web_pages import fragment_text

BROKEN = "a broken Word file, or one behind a password: open it in Word and save it anew"
NO_TEXT = "a Word file without text (only pictures?): run a text recognition over it first"
TOO_LARGE = "a Word file that unpacks to more than 500 MB"

_MOST_BYTES = 500_000_000
_ABOUT = "docProps/core.xml"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_CREATED = "{http://purl.org/dc/terms/}created"
_STYLES = "p[style-name='Title'] => h1.document-title:fresh\np.Title => h1.document-title:fresh"
"""What mammoth takes for a paragraph beside the headings that it knows."""

_TITLE_FIRST = re.compile(r'\s*<h1 class="document-title"')
_CHAPTER = re.compile(r"<h1\b")
_NOTE_MARK = re.compile(r'(?:<sup>)?<a href="#(?:foot|end)note-[^"]*"[^>]*>[^<]*</a>(?:</sup>)?')
"""The number of a note in the text, and the arrow behind the note: mammoth writes no other link that begins so."""


def read_word(data: bytes, place: str) -> Loaded:
    """The text of a file, insertions included and deletions left out; headings as in Markdown.

    The title is a first paragraph in the style of titles, or else a first heading of the first level where it is the only one of that: one of
    several is a chapter's.

    Raises:
        MissingExtraError: mammoth or lxml is not installed.
        ImportError, MemoryError: Something else is wrong with the installation or the machine, and not with the file.
    """
    try:
        import mammoth
    except ImportError as error:
        raise MissingExtraError(package="mammoth", extra="prepare", purpose="reading Word files") from error
    logging.getLogger("mammoth").setLevel(logging.CRITICAL)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(each.file_size for each in packed.infolist()) > _MOST_BYTES:
                return Unread(place=place, reason=TOO_LARGE)
            title, day = _described(packed, place)
        html = mammoth.convert_to_html(io.BytesIO(data), style_map=_STYLES, convert_image=lambda _image: []).value
        html = _NOTE_MARK.sub("", html)
        text = fragment_text(html, headings=True) if html.strip() else ""
    except (MissingExtraError, ImportError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  a file that is no Word file, or half of one, fails in any of Python's ways
        return Unread(place=place, reason=BROKEN)
    first, _, rest = text.partition("\n")
    may_be_title = first.startswith("# ") and (_TITLE_FIRST.match(html) is not None or len(_CHAPTER.findall(html)) == 1)
    if may_be_title and rest.strip() and title in ("", first[2:].strip()):
        title, text = first[2:].strip(), rest
    if not text.strip():
        return Unread(place=place, reason=NO_TEXT)
    return RawDocument(place=place, title=title, text=text, format="word", date=day, encoding="word")


def _described(packed: zipfile.ZipFile, place: str) -> tuple[str, str | None]:
    """Title and day, where the file says them."""
    from lxml import etree

    if _ABOUT not in packed.namelist():
        return "", None
    try:
        tree = etree.fromstring(packed.read(_ABOUT), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return "", None
    return title_of_metadata(tree.findtext(_TITLE) or "", place), day_of(tree.findtext(_CREATED) or "")
