"""One raw document after the other: cleaned, told its language, freed from personal data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragtrial.domain.fingerprint import digest
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import RedactionError
from ragtrial.preparation.cleaning import clean, clean_line
from ragtrial.preparation.languages import language_of
from ragtrial.preparation.personal_data import Freed, free, free_name
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.redaction import Find, Redactor

NOT_REDACTED = "it could not be searched for personal data"
NOT_SHOWN = "<NOT_SHOWN>"
"""Stands for a path, or a part of one, that could not be searched for personal data."""

Finds = Mapping[str, tuple[Find, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A document without personal data, as it may be written to disk.

    Attributes:
        document_id: Its path, where that holds nothing personal; else a digest of the redacted path.
        source: Its path from the source folder.
        title: May be empty.
        text: Not blank.
        format: As in `RawDocument`; so are `date`, `thread`, `encoding` and `notes`.
        language: By its code, or `und`.
        topic: What the file says, or its top folder; None: neither.
        folder: The folder that it lies in; None: the source itself.
        finds: Where personal data stood, by field (`title`, `text`, `source`, `topic`).
    """

    document_id: str
    source: str
    title: str
    text: str
    format: str
    language: str
    encoding: str
    date: str | None = None
    topic: str | None = None
    thread: str | None = None
    folder: str | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    finds: Finds = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A file or document that is not in the corpus.

    Attributes:
        document_id: As in `Kept`.
        source: Its path, redacted.
        reason: Why.
        stage: The step that dropped it.
        duplicate_of: The id of the document that says the same; None: no such reason.
        similarity: To that document.
    """

    document_id: str
    source: str
    reason: str
    stage: str
    duplicate_of: str | None = None
    similarity: float | None = None


STAGES = ("read", "cleaned", "language", "redacted", "boilerplate", "duplicates", "gold", "split")
"""The steps in their order, each of which may drop documents."""


class Worker:
    """Does to raw documents what needs no other document.

    Args:
        spec: What is to be done.
        redactor: None where personal data shall stay.
    """

    def __init__(self, spec: PreparationSpec, redactor: Redactor | None) -> None:
        self._spec, self._redactor = spec, redactor
        self._names: dict[str, Freed] = {}

    def done(self, raw: Loaded) -> Kept | Dropped:
        """The document as it may be kept, or why it is not. Nothing that is dropped leaves any of its text."""
        source = self._path(raw.place)
        document_id = self._id(source)
        if isinstance(raw, Unread):
            return Dropped(document_id=document_id, source=source.text, reason=raw.reason, stage="read")
        text = clean(raw.text)
        n_words = len(text.split())
        if n_words < self._spec.min_words:
            reason = "no text" if not n_words else f"fewer than {self._spec.min_words} words (min_words)"
            return Dropped(document_id=document_id, source=source.text, reason=reason, stage="cleaned")
        language = language_of(text)
        if self._spec.languages and language not in self._spec.languages:
            reason = f"language {language} (kept: {', '.join(self._spec.languages)})"
            return Dropped(document_id=document_id, source=source.text, reason=reason, stage="language")
        try:
            title, freed = self._free(clean_line(raw.title)), self._free(text)
            topic, folder = self._topic(raw, source.text)
        except RedactionError:
            return Dropped(document_id=document_id, source=source.text, reason=NOT_REDACTED, stage="redacted")
        finds = {"title": title.finds, "text": freed.finds, "source": source.finds, "topic": topic.finds if topic else ()}
        return Kept(
            document_id=document_id,
            source=source.text,
            title=title.text,
            text=freed.text,
            format=raw.format,
            language=language,
            encoding=raw.encoding,
            date=raw.date,
            topic=topic.text if topic else None,
            thread=raw.thread,
            folder=folder,
            notes=raw.notes,
            finds={name: found for name, found in finds.items() if found},
        )

    def _id(self, source: Freed) -> str:
        """The path or the number; where personal data stood there, a digest of what is left: one of what was there could be guessed."""
        if source.finds:
            return f"d-{digest(source.text)}"
        record = source.text.partition("#")[2]
        return record if record and self._spec.ids == "record" else source.text

    def name(self, text: str) -> str:
        """The name of a folder or file, redacted."""
        return self._name(text).text

    def _topic(self, raw: RawDocument, source: str) -> tuple[Freed | None, str | None]:
        """What the file says of its topic, or its top folder; and the folder that it lies in, redacted as the path is."""
        path = source.partition("#")[0]
        folder = path.rpartition("/")[0] or None
        if raw.topic:
            return self._free(clean_line(raw.topic)), folder
        return (Freed(text=path.partition("/")[0], finds=()) if folder else None), folder

    def _free(self, text: str) -> Freed:
        return Freed(text=text, finds=()) if self._redactor is None or not text else free(text, self._redactor)

    def _path(self, place: str) -> Freed:
        """A path, its parts searched one by one: an address must not take the folder above it along."""
        pieces: list[str] = []
        finds: list[Find] = []
        length = 0
        path, mark, record = place.partition("#")
        parts = [*path.split("/"), *([record] if mark else [])]
        for number, part in enumerate(parts):
            joint = "" if not number else "#" if mark and number == len(parts) - 1 else "/"
            freed = self._name(part)
            length += len(joint)
            finds += [Find(kind=each.kind, start=each.start + length, end=each.end + length) for each in freed.finds]
            length += len(freed.text)
            pieces += [joint, freed.text]
        return Freed(text="".join(pieces), finds=tuple(finds))

    def _name(self, part: str) -> Freed:
        if part not in self._names:
            try:
                self._names[part] = Freed(text=part, finds=()) if self._redactor is None or not part else free_name(part, self._redactor)
            except RedactionError:
                self._names[part] = Freed(text=NOT_SHOWN, finds=(Find(kind="NOT_SHOWN", start=0, end=len(NOT_SHOWN)),))
        return self._names[part]
