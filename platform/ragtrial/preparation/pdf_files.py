"""PDF files: their text, or why there is none."""

import io
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from ragtrial.errors import MissingExtraError
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.titles import is_title, key_of, title_of_metadata, without_title

BROKEN = "a broken PDF"
ENCRYPTED = "an encrypted PDF: save it without its password"
NO_TEXT = "a PDF without text (scanned pages?): run a text recognition over it first"
SOME_PAGES = "pages of PDFs that hold no text"
RUNNING = "running heads and feet of PDF pages taken out"
LETTERHEAD = "PDFs whose largest letters are those of three or more of their folder, and so no title"

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zß-ÿ])")
_FEWEST_PAGES = 3
_FEWEST_WORDS = 2
_LARGER = 1.15
_SHORTER = 0.6


def read_pdf(data: bytes, place: str, letterheads: Collection[str] = ()) -> Loaded:
    """The text of all pages; the title from the metadata, or else from the largest letters of the first page, or a first line set apart.

    Args:
        data: The file.
        place: Its path.
        letterheads: What is no title though it stands in large letters, as `find_letterheads` has it.

    Raises:
        MissingExtraError: pypdf is not installed.
    """
    pypdf = _pypdf()
    sized = _Sized()
    try:
        reader = _opened(pypdf, data)
        if reader is None:
            return Unread(place=place, reason=ENCRYPTED)
        pages = [page.extract_text(visitor_text=None if number else sized.add) for number, page in enumerate(reader.pages)]
        title, day = _described(reader, place)
    except pypdf.errors.DependencyError:
        return Unread(place=place, reason=ENCRYPTED)
    except Exception:  # noqa: BLE001  a file that is no PDF, or half of one, makes pypdf fail in any of Python's ways
        return Unread(place=place, reason=BROKEN)
    if not any(page.strip() for page in pages):
        return Unread(place=place, reason=NO_TEXT)
    text, running = _joined(pages)
    large = sized.titles()
    others = [each for each in large if key_of(each) not in letterheads]
    is_letterhead = not title and others != large
    title = title or (others[0] if others else "") or ("" if is_letterhead else _set_apart(pages[0]))
    notes = {SOME_PAGES: sum(not page.strip() for page in pages), RUNNING: running, LETTERHEAD: int(is_letterhead)}
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


class _Sized:
    """The pieces of a page with the size of their letters, as pypdf comes upon them."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, float]] = []

    def add(self, text: str, cm: Sequence[float], tm: Sequence[float], _font: object, size: float) -> None:
        self._pieces.append((text, round(abs(size) * math.hypot(tm[2], tm[3]) * math.hypot(cm[2], cm[3]), 1)))

    def titles(self) -> list[str]:
        """What stands in letters larger than those of the text and reads like a title, a line for each size, the largest first.

        Of all sizes but the largest it must stand in one place: headings of several sections make no title together.
        """
        letters: Counter[float] = Counter()
        for text, size in self._pieces:
            letters[size] += sum(map(str.isalpha, text))
        body = max(letters, key=lambda size: letters[size], default=0.0)
        larger = [size for size in sorted(letters, reverse=True) if letters[size] and size >= _LARGER * body and size > body]
        lines = [self._line(size) for size in larger if size == larger[0] or self._is_in_one_place(size)]
        return [line for line in lines if len(line.split()) >= _FEWEST_WORDS and is_title(line, stands_out=True)]

    def _line(self, size: float) -> str:
        return " ".join(" ".join(text for text, each in self._pieces if each == size).split())

    def _is_in_one_place(self, size: float) -> bool:
        sizes = [each for text, each in self._pieces if text.strip()]
        return size not in sizes[sizes.index(size) + sizes.count(size) :]


def _opened(pypdf: Any, data: bytes) -> Any:
    """A reader of the file; None where it is behind a password."""
    reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
    return None if reader.is_encrypted and not reader.decrypt("") else reader


def first_page(data: bytes) -> tuple[str, list[str]]:
    """The text of the first page, and what stands there in large letters and reads like a title; empty for a file that can't be read.

    Raises:
        MissingExtraError: pypdf is not installed.
    """
    pypdf = _pypdf()
    sized = _Sized()
    try:
        reader = _opened(pypdf, data)
        if reader is None:
            return "", []
        text: str = reader.pages[0].extract_text(visitor_text=sized.add)
    except Exception:  # noqa: BLE001  why it can't be read is said where its text is
        return "", []
    return text, sized.titles()


def _pypdf() -> Any:
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtraError(package="pypdf", extra="prepare", purpose="reading PDF") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    return pypdf


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
