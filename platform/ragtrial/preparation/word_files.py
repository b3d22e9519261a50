"""Word files (.docx): their text with its headings. Who wrote or changed them is not read, nor are comments, pictures, heads and feet."""

import io
import logging
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
_STYLES = "p[style-name='Title'] => h1:fresh\np.Title => h1:fresh"
"""What mammoth takes for a paragraph beside the headings that it knows."""


def read_word(data: bytes, place: str) -> Loaded:
    """The text of a file, insertions included and deletions left out; headings as in Markdown, a first one of the first level is the title.

    Raises:
        MissingExtraError: mammoth is not installed.
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
        text = fragment_text(html, headings=True) if html.strip() else ""
    except Exception:  # noqa: BLE001  a file that is no Word file, or half of one, fails in any of Python's ways
        return Unread(place=place, reason=BROKEN)
    first, _, rest = text.partition("\n")
    if first.startswith("# ") and rest.strip() and title in ("", first[2:].strip()):
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
