"""Which files there are, in an order that is the same everywhere."""

import mimetypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ragtrial.errors import InputError
from ragtrial.preparation.raw import Unread

KINDS: dict[str, str] = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".adoc": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "word",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".eml": "mail",
}
"""What files are read as, by how their names end."""

_REMEDIES: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".doc", ".rtf", ".odt", ".wpd", ".pages"), "another word processor's file: save it as .docx or PDF"),
    ((".ppt", ".pptx", ".odp"), "slides: save them as PDF"),
    ((".xls", ".xlsx", ".xlsm", ".ods", ".numbers"), "a spreadsheet: save its sheets as CSV"),
    ((".msg", ".mbox", ".pst"), "a mailbox or a message of Outlook: save messages as .eml"),
    ((".epub", ".mobi"), "an electronic book: save it as HTML or PDF"),
    ((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"), "an archive: unpack it first"),
    (
        (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".svg"),
        "a picture: run a text recognition over it first",
    ),
    ((".mp3", ".wav", ".m4a", ".ogg", ".mp4", ".mov", ".mkv", ".avi", ".webm"), "sound or film: write down first what is said"),
    ((".xml",), "XML: save it as HTML, JSON or text"),
)
"""Kinds of files that are not read, and what to do about it; none whose ending other kinds have too (`.key`, `.dot`)."""

HIDDEN = "hidden (its name begins with a dot)"
LINK = "a symbolic link: links are not followed"
EMPTY = "an empty file"
TWICE = "given twice"
NO_DOCUMENTS = "beside a corpus.jsonl, and no documents: queries, judgments, or what ragtrial prepare says of a corpus"
NO_FILE = "neither a file nor a folder"

_BESIDE_A_CORPUS = frozenset(("queries.jsonl", "splits.tsv", "removed.jsonl", "redactions.jsonl", "card.json", "card.md", "card.html"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that can be read.

    Attributes:
        path: Where it is.
        place: Its path from the source folder, with `/`; behind the folder's name where several sources are given.
        kind: What it is read as.
        size: In bytes.
    """

    path: Path
    place: str
    kind: str
    size: int

    @property
    def folder(self) -> str | None:
        """The top folder; None where it lies in the source itself."""
        top, slash, _ = self.place.partition("/")
        return top if slash else None


def find_files(sources: Sequence[Path], *, max_megabytes: int) -> tuple[tuple[SourceFile, ...], tuple[Unread, ...]]:
    """The files of the sources that can be read, and the others with the reason.

    Args:
        sources: Folders, whose folders are searched too, or files.
        max_megabytes: Larger files are not read.

    Raises:
        InputError: A source is not there, or the sources hold no file at all.
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"there is no {str(source)!r}: give folders or files that are there")
    files: list[SourceFile] = []
    unread: list[Unread] = []
    seen: set[Path] = set()
    for source, name in zip(sources, _names(sources), strict=True):
        for path, place in _walk(source, name, unread):
            found = _looked_at(path, place, max_megabytes)
            if isinstance(found, SourceFile) and path.resolve() in seen:
                found = Unread(place=place, reason=TWICE)
            if isinstance(found, SourceFile):
                seen.add(path.resolve())
                files.append(found)
            else:
                unread.append(found)
    if not files and not unread:
        raise InputError(f"{', '.join(repr(str(source)) for source in sources)} holds no file: give a folder with {_readable()}")
    return tuple(files), tuple(unread)


def _readable() -> str:
    return f"files that end in {', '.join(sorted(KINDS))}"


def nothing_readable(unread: Sequence[Unread]) -> InputError:
    """What to say where there are files and none can be read."""
    reasons = sorted({each.reason for each in unread})
    return InputError(f"none of {len(unread)} files can be read ({'; '.join(reasons)}): give {_readable()}")


def _names(sources: Sequence[Path]) -> list[str]:
    """What goes before the paths of each source; nothing where there is one only."""
    if len(sources) == 1:
        return [""]
    names: list[str] = []
    for source in sources:
        name = "" if source.is_file() else f"{source.resolve().name}/"
        names.append(name if not name or name not in names else f"{name[:-1]}-{len(names) + 1}/")
    return names


def _walk(source: Path, name: str, unread: list[Unread]) -> Iterator[tuple[Path, str]]:
    if source.is_file():
        yield source, _spelled(name + source.name)
        return

    def refused(error: OSError) -> None:
        place = os.path.relpath(str(error.filename), source)
        unread.append(Unread(place=_spelled(name + place), reason=f"a folder that can't be read: {error.strerror}"))

    for folder, folders, files in os.walk(source, onerror=refused):
        here = Path(folder)
        for each in sorted(folders):
            place = _spelled(name + (here / each).relative_to(source).as_posix())
            if (here / each).is_symlink():
                unread.append(Unread(place=place, reason=LINK))
            elif each.startswith("."):
                unread.append(Unread(place=place, reason=HIDDEN))
        folders[:] = sorted(each for each in folders if not each.startswith(".") and not (here / each).is_symlink())
        for each in sorted(files):
            yield here / each, _spelled(name + (here / each).relative_to(source).as_posix())


def _spelled(place: str) -> str:
    """A path that can be written as UTF-8, on one line and without the character that separates a record."""
    return " ".join(place.encode("utf-8", "replace").decode().split()).replace("#", "_")


def _looked_at(path: Path, place: str, max_megabytes: int) -> SourceFile | Unread:
    kind = KINDS.get(path.suffix.lower())
    reason = None
    size = 0
    try:
        size = path.lstat().st_size
        if path.is_symlink():
            reason = LINK
        elif path.name.startswith("."):
            reason = HIDDEN
        elif not path.is_file():
            reason = NO_FILE
        elif _is_beside_a_corpus(path):
            reason = NO_DOCUMENTS
        elif kind is None:
            reason = _unknown(path.suffix.lower())
        elif size == 0:
            reason = EMPTY
        elif size > max_megabytes * 1_000_000:
            reason = f"larger than {max_megabytes} MB (max_megabytes)"
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
    if reason is not None or kind is None:
        return Unread(place=place, reason=reason or NO_FILE)
    return SourceFile(path=path, place=place, kind=kind, size=size)


def _is_beside_a_corpus(path: Path) -> bool:
    """Whether it is a file of a BEIR folder, or of one that was prepared, other than the corpus itself."""
    folder = path.parent.parent if path.parent.name == "qrels" else path.parent if path.name in _BESIDE_A_CORPUS else None
    return folder is not None and (folder / "corpus.jsonl").is_file()


def _unknown(suffix: str) -> str:
    """Why a file is not read and what to do. A suffix that nobody knows may be part of a name, and is not shown."""
    said = next((said for suffixes, said in _REMEDIES if suffix in suffixes), None)
    if said is not None:
        return f"{said} ({suffix})"
    known = known_suffix(f"x{suffix}")
    return f"a kind of file that is not read: save it as text, Markdown, HTML or PDF{f' ({known})' if known else ''}"


def known_suffix(path: str) -> str:
    """How a file's name ends, in small letters, where that is a kind of files; else empty: it may be part of a name."""
    suffix = PurePosixPath(path).suffix.lower()
    is_ours = suffix in KINDS or any(suffix in suffixes for suffixes, _ in _REMEDIES)
    return suffix if is_ours or mimetypes.guess_type(f"x{suffix}", strict=False) != (None, None) else ""
