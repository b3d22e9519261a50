"""What the PDFs of a folder have in common in large letters: the name of a firm is on each of its letters, and the title of none."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ragtrial.contracts import Progress, no_progress
from ragtrial.preparation.pdf_files import first_page
from ragtrial.preparation.source_files import SourceFile
from ragtrial.preparation.titles import key_of

_FEWEST = 3
"""Files that have a line in large letters, from which on it is a letterhead."""


def find_letterheads(files: Iterable[SourceFile], progress: Progress = no_progress) -> Mapping[str, frozenset[str]]:
    """What is no title in each folder, by its letters and digits (`key_of`); folders without any are left out.

    The first page of each PDF is read, where its folder holds at least three. Files whose first pages say the same count once: versions of one
    text have a title in common.

    Raises:
        MissingExtraError: pypdf is not installed.
    """
    folders: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        if file.kind == "pdf":
            folders[folder_of(file)].append(file)
    folders = {folder: found for folder, found in folders.items() if len(found) >= _FEWEST}
    advance = progress("first pages of PDFs", sum(map(len, folders.values()))) if folders else lambda _: None
    letterheads = {}
    for folder, found in folders.items():
        pages: dict[str, list[str]] = {}
        for file in found:
            text, lines = _first_page(file)
            pages[key_of(text)] = lines
            advance(1)
        counts = Counter(key for lines in pages.values() for key in {key_of(line) for line in lines})
        keys = frozenset(key for key, n in counts.items() if n >= _FEWEST)
        if keys:
            letterheads[folder] = keys
    return letterheads


def folder_of(file: SourceFile) -> str:
    """The folder that a file lies in, as `find_letterheads` names it."""
    return file.place.rpartition("/")[0]


def _first_page(file: SourceFile) -> tuple[str, list[str]]:
    try:
        return first_page(file.path.read_bytes())
    except OSError:  # said where its text is read
        return "", []
