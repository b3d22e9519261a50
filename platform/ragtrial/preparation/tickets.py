"""Exported tickets: rows of a CSV file, objects of a JSON or JSON-lines file."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence

from ragtrial.domain.preparation import TicketFields
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.web_pages import fragment_text, looks_like_html

BROKEN_JSON = "broken JSON"
NO_TICKETS = "JSON that holds no list of objects"
NO_TEXT_FIELD = "a record without a text (name its field in prepare.yaml: tickets.text)"
BROKEN_CSV = "a broken CSV file"
NO_DATE = "dates of tickets that could not be read (say how they are written in prepare.yaml: tickets.date_format)"

_LIMIT = 1 << 27


def read_tickets(text: str, kind: str, place: str, fields: TicketFields, encoding: str) -> Iterator[Loaded]:
    """A document for each ticket; comments behind what was written first.

    Args:
        text: Of the whole file.
        kind: `csv`, `json` or `jsonl`.
        place: The file.
        fields: Which fields hold what.
        encoding: What the file was written in.
    """
    records = {"csv": _rows, "json": _objects, "jsonl": _lines}[kind](text)
    for number, record in enumerate(records, start=1):
        if isinstance(record, str):
            yield Unread(place=place if kind != "jsonl" else f"{place}#{number}", reason=record)
        else:
            yield _ticket(record, f"{place}#{_id(record, fields) or number}", fields, encoding)


def _rows(text: str) -> Iterator[Mapping[str, object] | str]:
    csv.field_size_limit(_LIMIT)
    try:
        first = text.partition("\n")[0]
        delimiter = max(",;\t|", key=first.count)
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield {key: value for key, value in row.items() if isinstance(key, str)}
    except csv.Error:
        yield BROKEN_CSV


def _objects(text: str) -> Iterator[Mapping[str, object] | str]:
    """The objects of the list that the file is, or of the first list of objects in it; or the file as one object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield BROKEN_JSON
        return
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list) and each and all(isinstance(item, dict) for item in each)]
        value = [value] if _is_record(value) or not lists else lists[0]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        yield NO_TICKETS
        return
    yield from value


def _is_record(value: Mapping[str, object]) -> bool:
    """An object with texts of its own beside its lists is a ticket with comments, no list of tickets."""
    names = {name for names in (TicketFields().text, TicketFields().title) for name in names}
    return any(isinstance(value.get(name), str) for name in names)


def _lines(text: str) -> Iterator[Mapping[str, object] | str]:
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield value if isinstance(value, dict) else BROKEN_JSON


def _ticket(record: Mapping[str, object], place: str, fields: TicketFields, encoding: str) -> Loaded:
    folded = {key.casefold(): value for key, value in record.items()}
    parts = [_plain(_first(folded, fields.text)), *_comments(_first(folded, fields.comments), fields)]
    text = "\n\n".join(dict.fromkeys(part for part in parts if part))  # Zendesk repeats the description as the first comment
    if not text:
        return Unread(place=place, reason=NO_TEXT_FIELD)
    written = _first(folded, fields.date)
    day = day_of(written, date_format=fields.date_format)
    thread = _first(folded, fields.thread)
    topic = _first(folded, fields.topic)
    return RawDocument(
        place=place,
        title=_plain(_first(folded, fields.title)),
        text=text,
        format="ticket",
        date=day,
        topic=str(topic) if isinstance(topic, str | int) and str(topic).strip() else None,
        thread=thread_digest(str(thread)) if thread is not None else None,
        encoding=encoding,
        notes={NO_DATE: 1} if written is not None and day is None else {},
    )


def thread_digest(thread: str) -> str:
    """What names a thread in the corpus: its own name may be an address."""
    return hashlib.sha256(thread.encode("utf-8", "replace")).hexdigest()[:12]


def _id(record: Mapping[str, object], fields: TicketFields) -> str | None:
    """Its number as it can be written: JSON may hold NUL characters and halves of surrogate pairs."""
    value = _first({key.casefold(): value for key, value in record.items()}, fields.id)
    return " ".join(str(value).replace("\0", " ").encode("utf-8", "replace").decode().split()) if isinstance(value, str | int) else None


def _first(record: Mapping[str, object], names: Sequence[str]) -> object | None:
    """The value of the first field that is there and not blank."""
    for name in names:
        value = record.get(name.casefold())
        if value is None and "." in name:
            value = _inner(record, name.split("."))
        if value not in (None, "", [], {}) and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _inner(record: object, path: Sequence[str]) -> object | None:
    for part in path:
        if not isinstance(record, Mapping):
            return None
        record = {str(key).casefold(): value for key, value in record.items()}.get(part.casefold())
    return record


def _comments(value: object, fields: TicketFields) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [
        _plain(_first({k.casefold(): v for k, v in item.items()}, fields.comment_text) if isinstance(item, dict) else item)
        for item in items
    ]


def _plain(value: object) -> str:
    """A text, free of HTML."""
    if not isinstance(value, str):
        return ""
    return (fragment_text(value) if looks_like_html(value) else value).strip()
