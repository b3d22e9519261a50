"""Gold sets as CSV, JSON lines or Parquet tables with ragas' column names.

Names as in ragas 0.4 (`SingleTurnSample`): `user_input`, `reference`, `reference_contexts`, `reference_context_ids`.
"""

import ast
import bisect
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import Judgment, Query
from ragtrial.formats.files import read_objects, read_text
from ragtrial.formats.judgments import Row, check_rows, gold_set
from ragtrial.formats.records import Documents, Place, Queries, tags_of, text_of, texts_of
from ragtrial.formats.shards import read_corpus
from ragtrial.formats.validation import DataSet, Findings, Report, shortened

_EXAMPLE = 'e.g. {"user_input": "...", "reference": "...", "reference_context_ids": ["d1"]}'
_ID_COLUMNS = ("id", "_id", "query_id")
_LISTS = ("reference_contexts", "reference_context_ids")
_OF_A_SYSTEM = ("response", "retrieved_contexts", "retrieved_context_ids", "rubrics")
_NO_TAGS = frozenset({*_ID_COLUMNS, *_LISTS, *_OF_A_SYSTEM, "user_input", "reference", "cluster", "tags"})


def load_table(path: Path, corpus: Path | str) -> DataSet:
    """A `corpus.jsonl` and the gold set of a table.

    Each row is a query (`user_input`) with its reference answer (`reference`, optional). What is relevant is named by document ids
    (`reference_context_ids`, judged 1 as a whole), or else by texts (`reference_contexts`), each of which must stand in a document, white
    space aside, and is judged 1 as a span. Optional columns: `id` (default: `row-<number>`), `cluster`, `tags`; every other column
    of texts is a tag, except what a system answered (`response`, `retrieved_contexts`, ...).

    Args:
        path: `.csv`, `.jsonl` or `.parquet`. In CSV, lists are JSON (or Python) lists in one cell, tags a JSON object.
        corpus: The documents, as in a BEIR folder.

    Raises:
        ValidationError: With every problem that `check_table` reports.
    """
    findings = Findings()
    return findings.require(read_table(path, corpus, findings))


def load_answered(path: Path) -> tuple[Query, ...]:
    """The queries of a table with their reference answers, for tables that name no passages: each row needs `user_input` and `reference`.

    Args:
        path: As for `load_table`.

    Raises:
        ValidationError: With every fault.
    """
    findings = Findings()
    known: dict[str, int] = {}
    queries: list[Query] = []
    before = len(findings.problems)
    for number, (line, record) in enumerate(_records(path, findings), start=1):
        place = Place(path=path, line=line, findings=findings)
        query = _query(record, number, known, place)
        if query is not None and not query.answers:
            place.problem("is missing: without passages in 'reference_context_ids' the answer is what is learnt", field="reference")
        elif query is not None:
            queries.append(query)
    if not known and len(findings.problems) == before:
        findings.problem(f"holds no row: give one query a row, {_EXAMPLE}", path=str(path))
    return findings.require(tuple(queries))


def names_passages(path: Path) -> bool:
    """Whether some row of a table names what is relevant, by ids or by texts; False also where the table can't be read."""
    return any(record.get(name) for _, record in _records(path, Findings()) for name in _LISTS)


def check_table(path: Path, corpus: Path | str) -> Report:
    """Everything that is wrong or odd in a gold table and its corpus."""
    findings = Findings()
    read_table(path, corpus, findings)
    return findings.report()


def read_table(path: Path, corpus: Path | str, findings: Findings) -> DataSet | None:
    """What `load_table` returns; None where there are problems, which are noted."""
    documents = read_corpus(corpus, findings)
    finder = _Finder(tuple(documents.sound.values()))
    queries = Queries(path=path)
    rows: list[Row] = []
    before = len(findings.problems)
    n_rows = 0
    for n_rows, (line, record) in enumerate(_records(path, findings), start=1):
        place = Place(path=path, line=line, findings=findings)
        query = _query(record, n_rows, queries.known, place)
        judged = _judgments(record, query.query_id if query else "", documents, finder, place)
        if query is not None:
            queries.sound[query.query_id] = query
            rows += judged
    if not n_rows and len(findings.problems) == before:
        findings.problem(f"holds no row: give one query a row, {_EXAMPLE}", path=str(path))
    findings.counts["queries"] = n_rows
    gold = gold_set(path.stem, queries.sound.values(), check_rows(rows, queries, documents, findings), path, findings)
    if gold is None:
        return None
    return DataSet(name=path.stem, documents=tuple(documents.sound.values()), gold=gold, warnings=tuple(findings.warnings))


def _query(record: Mapping[str, object], number: int, known: dict[str, int], place: Place) -> Query | None:
    column = next((name for name in _ID_COLUMNS if record.get(name) not in (None, "")), None)
    value = f"row-{number}" if column is None else record[column]
    query_id = str(value) if isinstance(value, int) and not isinstance(value, bool) else text_of({"id": value}, "id", place)
    text = text_of(record, "user_input", place)
    answers = texts_of(record, "reference", place)
    cluster = text_of(record, "cluster", place, required=False)
    tags = tags_of(record, place, ignore=_NO_TAGS)
    if query_id and query_id in known:
        place.problem(f"{query_id!r} stands in an earlier row already: give each query an id of its own", field=column)
        return None
    if query_id is None:
        return None
    known[query_id] = place.line or number
    if not text or answers is None or cluster is None or tags is None:
        return None
    return Query(query_id=query_id, text=text, answers=answers, tags=tags, cluster=cluster or None)


def _judgments(record: Mapping[str, object], query_id: str, documents: Documents, finder: "_Finder", place: Place) -> list[Row]:
    ids = _plain_ids(record, place)
    contexts = texts_of(record, "reference_contexts", place) if not ids else ()
    if ids is None or contexts is None:
        return []
    if not ids and not contexts:
        message = "names nothing relevant: give document ids in 'reference_context_ids', or texts in 'reference_contexts'"
        place.problem(message, field="reference_context_ids")
    judgments = [Judgment(query_id=query_id, target_id=target, grade=1) for target in ids] if query_id else []
    for number, context in enumerate(contexts):
        spans = finder.spans(context)
        if not spans and documents.sound:
            where = f"none of the {len(documents.sound)} documents of {documents.path.name}"
            message = f"{shortened(context)} stands in {where}, white space aside: give the text as it is in the corpus, or the ids"
            place.problem(message, field=f"reference_contexts[{number}]")
        if query_id:
            judgments += [Judgment(query_id=query_id, target_id=t, grade=1, start=start, end=end) for t, start, end in spans]
    return [Row(judgment=judgment, path=place.path, line=place.line) for judgment in judgments]


def _plain_ids(record: Mapping[str, object], place: Place) -> tuple[str, ...] | None:
    """The document ids; ragas allows whole numbers too."""
    value = record.get("reference_context_ids")
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list | tuple):
        value = [str(part) if isinstance(part, int) and not isinstance(part, bool) else part for part in value]
    return texts_of({"reference_context_ids": value}, "reference_context_ids", place)


@dataclass(frozen=True, slots=True)
class _Flat:
    """A text with each run of white space as one space, and where each of its characters stood."""

    text: str
    offsets: tuple[int, ...]


def _flat(text: str) -> _Flat:
    characters: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(text):
        blank = character.isspace()
        if not blank or (characters and characters[-1] != " "):
            characters.append(" " if blank else character)
            offsets.append(offset)
    return _Flat("".join(characters), tuple(offsets))


class _Finder:
    """Finds texts in documents, white space aside: one search over all documents at once, so that large gold sets stay fast."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        flat = [" ".join(document.text.split()) for document in documents]
        self._all = "\0".join(flat)
        self._starts: list[int] = []
        position = 0
        for text in flat:
            self._starts.append(position)
            position += len(text) + 1

    def spans(self, context: str) -> list[tuple[str, int, int]]:
        """The first place in each document that holds the text, as (document id, start, end); empty where none does."""
        wanted = " ".join(context.split())
        if not wanted:
            return []
        found_at: list[tuple[str, int, int]] = []
        position = self._all.find(wanted)
        while position >= 0:
            number = bisect.bisect_right(self._starts, position) - 1
            found_at.append(self._span(number, position - self._starts[number], len(wanted)))
            next_document = number + 1
            position = self._all.find(wanted, self._starts[next_document]) if next_document < len(self._starts) else -1
        return found_at

    def _span(self, number: int, start: int, length: int) -> tuple[str, int, int]:
        document = self._documents[number]
        offsets = _flat(document.text).offsets
        return document.document_id, offsets[start], offsets[start + length - 1] + 1


def _records(path: Path, findings: Findings) -> Iterator[tuple[int | None, dict[str, object]]]:
    """The rows with their lines (Parquet has none: there the line is the row's number)."""
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        findings.problem(f"has the ending {path.suffix!r}: expected .csv, .jsonl or .parquet", path=str(path))
        return
    yield from reader(path, findings)


def _jsonl(path: Path, findings: Findings) -> Iterator[tuple[int | None, dict[str, object]]]:
    yield from read_objects(path, findings, example=_EXAMPLE)


def _csv(path: Path, findings: Findings) -> Iterator[tuple[int | None, dict[str, object]]]:
    text = read_text(path, findings)
    if text is None:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"broken CSV, {error}: put cells with commas, quotes or line breaks in double quotes"
            findings.problem(message, path=str(path), line=line)
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if not _header_fits(header, path, line, findings):
                return
        elif len(cells) != len(header):
            findings.problem(f"has {len(cells)} columns, but the header has {len(header)}", path=str(path), line=line)
        else:
            record = _typed(dict(zip(header, cells, strict=True)), Place(path=path, line=line, findings=findings))
            if record is not None:
                yield line, record


def _header_fits(header: list[str], path: Path, line: int | None, findings: Findings) -> bool:
    if "user_input" not in header:
        message = f"has the columns {', '.join(header)}: expected 'user_input', and 'reference_context_ids' or 'reference_contexts'"
        findings.problem(message, path=str(path), line=line)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        findings.problem(f"has the column {twice[0]!r} twice: rename one", path=str(path), line=line)
    return "user_input" in header and not twice


def _typed(cells: dict[str, str], place: Place) -> dict[str, object] | None:
    """The cells of a CSV row, lists and tags parsed, empty cells left out (but for the query itself); None, noted, for a broken list."""
    record: dict[str, object] = {name: cell for name, cell in cells.items() if cell or name == "user_input"}
    for name in (*_LISTS, "tags"):
        cell = cells.get(name, "").strip()
        if cell.startswith(("[", "{")):
            record[name] = _parsed(cell)
            if record[name] is None:
                place.problem(f'{shortened(cell)} can\'t be read: write a JSON list, e.g. ["d1", "d2"] (tags: an object)', field=name)
                return None
    return record


def _parsed(cell: str) -> object:
    """A list or mapping written as JSON, or as Python (which is what pandas writes); None where it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value: object = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value
    return None


def _parquet(path: Path, findings: Findings) -> Iterator[tuple[int | None, dict[str, object]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        names, rows = list(table.column_names), table.to_pylist()
    except FileNotFoundError:
        findings.problem("there is no such file", path=str(path))
        return
    except (
        OSError,
        pa.ArrowException,
        ValueError,
        OverflowError,
    ) as error:  # Arrow checks no UTF-8, and Python's dates end with the year 9999
        findings.problem(f"is no readable Parquet file: {str(error).splitlines()[0]}", path=str(path))
        return
    if not _header_fits(names, path, None, findings):
        return
    for number, record in enumerate(rows, start=1):
        tags = record.get("tags")
        if isinstance(tags, dict):
            record["tags"] = {key: value for key, value in tags.items() if value is not None}
        elif isinstance(tags, list) and all(isinstance(pair, tuple) for pair in tags):  # Parquet's map type
            record["tags"] = dict(tags)
        yield number, record
