"""The files of a prepared corpus."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ragtrial.formats.files import write_lines
from ragtrial.preparation.corpus import Assembled, Sorted
from ragtrial.preparation.documents import Dropped

FILES = ("corpus.jsonl", "splits.tsv", "removed.jsonl", "redactions.jsonl")


def write_corpus(folder: Path, made: Assembled) -> dict[str, str]:
    """Write the documents, their splits, what was dropped, and where personal data stood; the SHA-256 of each file by its name.

    Raises:
        InputError: The folder can't be written to.
    """
    write_lines(folder / "corpus.jsonl", (_json(_document(each)) for each in made.documents))
    write_lines(folder / "splits.tsv", ["document-id\tsplit", *(f"{each.document.document_id}\t{each.split}" for each in made.documents)])
    write_lines(folder / "removed.jsonl", (_json(_removed(each)) for each in made.dropped))
    write_lines(folder / "redactions.jsonl", (line for each in made.documents for line in _redactions(each)))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def _document(each: Sorted) -> dict[str, object]:
    """In BEIR's form; `doc` names what the document belongs to, readers ignore the rest."""
    document = each.document
    optional = {"doc": each.group, "date": document.date, "topic": document.topic, "gold": each.gold}
    return {
        "_id": document.document_id,
        "title": document.title,
        "text": document.text,
        **{key: value for key, value in optional.items() if value is not None},
        "source": document.source,
        "format": document.format,
        "language": document.language,
        "split": each.split,
    }


def _removed(each: Dropped) -> dict[str, object]:
    record = {"_id": each.document_id, **{key: value for key, value in dataclasses.asdict(each).items() if key != "document_id"}}
    return {key: value for key, value in record.items() if value is not None}


def _redactions(each: Sorted) -> Iterator[str]:
    for name, finds in each.document.finds.items():
        kinds = dict.fromkeys(find.kind for find in finds)
        for kind in kinds:
            offsets = [[find.start, find.end] for find in finds if find.kind == kind]
            yield _json({"_id": each.document.document_id, "field": name, "kind": kind, "count": len(offsets), "offsets": offsets})


def _json(record: dict[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False)
