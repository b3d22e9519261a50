"""What is read from raw files, before anything is done to it. Nothing of this is ever written to disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDocument:
    """A document as it stands in a file. Authors and senders are not read at all.

    Attributes:
        place: The file's path from the source folder; for a record of a file, `#` and its id or number behind it.
        title: May be empty.
        text: May be blank.
        format: `text`, `markdown`, `html`, `pdf`, `word`, `ticket` or `mail`.
        date: As `YYYY-MM-DD`; None where none is known.
        topic: What the file says of it; None: its top folder.
        thread: What it belongs to, by a digest; None: nothing.
        encoding: Of the file.
        notes: Oddities that dropped nothing, by how often.
    """

    place: str
    title: str = ""
    text: str
    format: str
    date: str | None = None
    topic: str | None = None
    thread: str | None = None
    encoding: str = "utf-8"
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file, or a record of one, that no document could be made from.

    Attributes:
        place: As in `RawDocument`.
        reason: Why; never a text of the file.
    """

    place: str
    reason: str


Loaded = RawDocument | Unread
