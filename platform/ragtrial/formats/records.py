"""The lines of `corpus.jsonl` and `queries.jsonl` as documents and queries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import Query
from ragtrial.formats.files import read_objects
from ragtrial.formats.validation import Findings, fault_in, found, shortened

EXAMPLE_DOCUMENT = 'e.g. {"_id": "d1", "title": "", "text": "..."}'
_QUERY = 'e.g. {"_id": "q1", "text": "...", "answers": ["..."]}'
_NO_TAGS = frozenset({"_id", "text", "answers", "cluster", "doc", "tags", "metadata"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of one file.

    Attributes:
        path: The file.
        known: Every id in it with its first line, also of documents that are faulty: a judgment of them doesn't dangle.
        sound: Those without a fault, by id, in order.
    """

    path: Path
    known: dict[str, int] = field(default_factory=dict)
    sound: dict[str, Document] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The queries of one file; attributes as in `Documents`."""

    path: Path
    known: dict[str, int] = field(default_factory=dict)
    sound: dict[str, Query] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record stands, and where its faults are noted."""

    path: Path
    line: int | None
    findings: Findings

    def problem(self, message: str, *, field: str | None) -> None:
        """Note a fault of this record."""
        self.findings.problem(message, path=str(self.path), line=self.line, field=field)


def read_documents(path: Path, findings: Findings) -> Documents:
    """The documents of a `corpus.jsonl` (`_id`, `text`, optional `title` and `doc`; other fields are ignored)."""
    documents = Documents(path=path)
    before = len(findings.problems)
    for line, record in read_objects(path, findings, example=EXAMPLE_DOCUMENT):
        place = Place(path=path, line=line, findings=findings)
        fresh = _new_id(record, documents.known, place)
        document = _document(record, fresh, place)
        if document is not None:
            documents.sound[document.document_id] = document
    if not documents.known and len(findings.problems) == before:
        findings.problem(f"holds no document: give one object a line, {EXAMPLE_DOCUMENT}", path=str(path))
    findings.counts["documents"] = len(documents.known)
    return documents


def document_of(record: Mapping[str, object], place: Place) -> Document | None:
    """The document of one row, whether its id is new or not; None (noted) where there is a fault."""
    return _document(record, _id(record, place), place)


def _document(record: Mapping[str, object], document_id: str | None, place: Place) -> Document | None:
    text = text_of(record, "text", place)
    title = text_of(record, "title", place, required=False)
    group = text_of(record, "doc", place, required=False)
    if document_id and text and title is not None and group is not None:
        return Document(document_id=document_id, title=title, text=text, group=group or None)
    return None


def read_queries(path: Path, findings: Findings) -> Queries:
    """The queries of a `queries.jsonl`.

    `_id` and `text` are needed; `answers` is a text or a list of them, `cluster` (or `doc`) the cluster, `tags` a mapping.
    Every other field that holds a text is a tag too.
    """
    queries = Queries(path=path)
    before = len(findings.problems)
    for line, record in read_objects(path, findings, example=_QUERY):
        place = Place(path=path, line=line, findings=findings)
        query_id = _new_id(record, queries.known, place)
        text = text_of(record, "text", place)
        answers = texts_of(record, "answers", place)
        cluster = text_of(record, "cluster" if "cluster" in record else "doc", place, required=False)
        tags = tags_of(record, place, ignore=_NO_TAGS)
        if query_id and text and answers is not None and cluster is not None and tags is not None:
            queries.sound[query_id] = Query(query_id=query_id, text=text, answers=answers, tags=tags, cluster=cluster or None)
    if not queries.known and len(findings.problems) == before:
        findings.problem(f"holds no query: give one object a line, {_QUERY}", path=str(path))
    findings.counts["queries"] = len(queries.known)
    return queries


def _new_id(record: Mapping[str, object], known: dict[str, int], place: Place) -> str | None:
    """The record's id, noted in `known`; None (with the reason noted) where it has none or stands there already."""
    value = _id(record, place)
    if value is None:
        return None
    if value in known:
        place.problem(f"{value!r} stands in line {known[value]} already: give each an id of its own", field="_id")
        return None
    known[value] = place.line or 0
    return value


def _id(record: Mapping[str, object], place: Place) -> str | None:
    """The record's id; None (with the reason noted) where it has none that can be used."""
    value = text_of(record, "_id", place)
    if not value:
        return None
    if value != value.strip() or any(character in value for character in "\t\r\n"):
        message = f"{value!r} begins or ends with white space, or holds a tab or line break: tables of judgments can't name it"
        place.problem(message, field="_id")
        return None
    return value


def text_of(record: Mapping[str, object], key: str, place: Place, *, required: bool = True) -> str | None:
    """The text of one field.

    Returns:
        The text. "" where an optional field is missing, null or blank. None where there is a fault, which is noted.
    """
    value = record.get(key)
    if value is None and not required:
        return ""
    if key not in record:
        place.problem(f"is missing (found {_keys(record)})", field=key)
    elif not isinstance(value, str):
        place.problem(f"is {found(value)}: expected a text in quotes", field=key)
    elif not value.strip():
        if not required:
            return ""
        place.problem(f"is blank: {shortened(value)}", field=key)
    elif fault := fault_in(value):
        place.problem(fault, field=key)
    else:
        return value
    return None


def _keys(record: Mapping[str, object]) -> str:
    keys = [repr(key) for key in list(record)[:8]]
    return ", ".join(keys) + (", ..." if len(record) > len(keys) else "") if keys else "an empty object"


def texts_of(record: Mapping[str, object], key: str, place: Place) -> tuple[str, ...] | None:
    """The texts of a field that holds one or a list of them; empty where it is missing; None (noted) where one is faulty."""
    value = record.get(key)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        place.problem(f"is {found(value)}: expected a text or a list of texts", field=key)
        return None
    parts = {f"{key}[{number}]": part for number, part in enumerate(value)}
    texts = [text_of(parts, name, place) for name in parts]
    sound = tuple(text for text in texts if text is not None)
    return sound if len(sound) == len(texts) else None


def tags_of(record: Mapping[str, object], place: Place, *, ignore: frozenset[str]) -> dict[str, str] | None:
    """Every field that holds a text and is not in `ignore`, and the entries of `tags` over them; None (noted) where one is faulty."""
    given = record.get("tags")
    if given is not None and not isinstance(given, Mapping):
        place.problem(f'is {found(given)}: expected a mapping, e.g. {{"topic": "gate"}}', field="tags")
        return None
    tags = {key: value for key, value in record.items() if key not in ignore and isinstance(value, str)}
    sound = True
    for key, value in (given or {}).items():
        if value is None:
            continue
        if not isinstance(value, str | int | float):
            place.problem(f"is {found(value)}: expected a text", field=f"tags.{key}")
            sound = False
        else:
            tags[key] = str(value).lower() if isinstance(value, bool) else str(value)
    for key, value in tags.items():
        if fault := fault_in(value) or fault_in(key):
            place.problem(fault, field=key)
            sound = False
    return {key: value for key, value in tags.items() if value.strip()} if sound else None
