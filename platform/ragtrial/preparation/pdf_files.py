"""PDF files: their text, or why there is none."""

import io
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence

from ragtrial.errors import MissingExtraError
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.titles import is_title, title_of_metadata, without_title

BROKEN = "a broken PDF"
ENCRYPTED = "an encrypted PDF: save it without its password"
NO_TEXT = "a PDF without text (scanned pages?): run a text recognition over it first"
SOME_PAGES = "pages of PDFs that hold no text"
RUNNING = "running heads and feet of PDF pages taken out"

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zß-ÿ])")
_FEWEST_PAGES = 3
_FEWEST_WORDS = 2
_LARGER = 1.15
_SHORTER = 0.6


def read_pdf(data: bytes, place: str) -> Loaded:
    """The text of all pages; the title from the metadata, or else from the largest letters of the first page, or a first line set apart.

    Raises:
        MissingExtraError: pypdf is not installed.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtraError(package="pypdf", extra="prepare", purpose="reading PDF") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    sized: list[tuple[str, float]] = []

    def seen(text: str, cm: Sequence[float], tm: Sequence[float], _font: object, size: float) -> None:
        sized.append((text, round(abs(size) * math.hypot(tm[2], tm[3]) * math.hypot(cm[2], cm[3]), 1)))

    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            return Unread(place=place, reason=ENCRYPTED)
        pages = [page.extract_text(visitor_text=None if number else seen) for number, page in enumerate(reader.pages)]
        title, day = _described(reader, place)
    except pypdf.errors.DependencyError:
        return Unread(place=place, reason=ENCRYPTED)
    except Exception:  # noqa: BLE001  a file that is no PDF, or half of one, makes pypdf fail in any of Python's ways
        return Unread(place=place, reason=BROKEN)
    if not any(page.strip() for page in pages):
        return Unread(place=place, reason=NO_TEXT)
    text, running = _joined(pages)
    title = title or _largest(sized) or _set_apart(pages[0])
    notes = {SOME_PAGES: sum(not page.strip() for page in pages), RUNNING: running}
    return RawDocument(
        place=place,
        title=title,
        text=without_title(text, title) if title else text,
        format="pdf",
        date=day,
        encoding="pdf",
        notes={k: n for k, n in notes.items() if n},
    )


def _described(reader: object, place: str) -> tuple[str, str | None]:
    """Title and day; what a tool wrote there itself is no title."""
    try:
        about = reader.metadata  # type: ignore[attr-defined]
        title = str((about and about.title) or "")
        day = about.creation_date if about else None
    except Exception:  # noqa: BLE001  broken metadata are no reason to lose the text
        return "", None
    return title_of_metadata(title, place), day_of(day)


def _largest(sized: Sequence[tuple[str, float]]) -> str:
    """What stands in the largest letters of the first page, where they are larger than those of the text and it reads like a title."""
    weights: Counter[float] = Counter()
    for text, size in sized:
        weights[size] += sum(map(str.isalpha, text))
    letters = {size: n for size, n in weights.items() if n}
    if len(letters) < 2:
        return ""
    body, largest = max(letters, key=lambda size: letters[size]), max(letters)
    title = " ".join(" ".join(text for text, size in sized if size == largest).split())
    return title if largest >= _LARGER * body and len(title.split()) >= _FEWEST_WORDS and is_title(title) else ""


def _set_apart(page: str) -> str:
    """The first line of a page in letters of one size, where it is much shorter than the lines below it and these begin anew."""
    first, *below = [line.strip() for line in page.splitlines() if line.strip()] or [""]
    if len(first.split()) < _FEWEST_WORDS or not is_title(first):
        return ""
    is_apart = not below or (below[0][:1].isupper() and len(first) <= _SHORTER * max(map(len, below[:5])))
    return first if is_apart else ""


def _joined(pages: Sequence[str]) -> tuple[str, int]:
    """The pages as one text, without running heads and feet; and how many of those there were.

    A first or last line is one where at least half of the pages (and three) have it, whatever the page number in it.
    """
    lines = [[line for line in page.splitlines() if line.strip()] for page in pages]
    ends = Counter(key for page in lines if page for key in {("first", _numberless(page[0])), ("last", _numberless(page[-1]))})
    least = max(_FEWEST_PAGES, sum(bool(page) for page in lines) / 2)
    removed, kept = 0, []
    for page in lines:
        first = bool(page) and ends["first", _numberless(page[0])] >= least
        last = len(page) > 1 and ends["last", _numberless(page[-1])] >= least
        removed += first + last
        kept.append("\n".join(page[first : len(page) - last]))
    return _HYPHEN.sub("", "\n".join(kept)), removed


def _numberless(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split())).casefold()
