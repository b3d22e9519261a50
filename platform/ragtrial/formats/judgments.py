"""Judgments of a tab-separated file, checked against queries and documents, and the gold set made of them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.formats.files import read_lines
from ragtrial.formats.records import Documents, Queries
from ragtrial.formats.validation import Findings, fault_in, shortened

QRELS = ("query-id", "corpus-id", "score")
SPANS = ("query-id", "doc-id", "start", "end", "score")
_QUERY_COLUMN = frozenset({"query-id", "queryid", "query", "qid", "q-id"})
_TARGET_COLUMN = frozenset({"corpus-id", "corpusid", "doc-id", "docid", "document-id", "passage-id", "pid"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A judgment and where it stands."""

    judgment: Judgment
    path: Path
    line: int | None


def whole(text: str) -> int | None:
    """The whole number that a text names (`1` and `1.0` alike), or None."""
    return int(text.split(".", 1)[0]) if _WHOLE.fullmatch(text) else None


def read_judgments(path: Path, columns: tuple[str, ...], findings: Findings) -> list[Row]:
    """The rows of a `qrels/<split>.tsv` (with or without header) or `spans/<split>.tsv`; faulty ones are noted and left out."""
    lines = read_lines(path, findings)
    if lines is None:
        return []
    if lines and _is_header(lines[0][1].split("\t")):
        header = lines.pop(0)
        _check_header(header[1].split("\t"), columns, path, header[0], findings)
    if not lines:
        findings.problem(f"holds no judgment: give one a line, {' <tab> '.join(columns)}", path=str(path))
    rows = (_row(line.split("\t"), columns, path, number, findings) for number, line in lines)
    return [row for row in rows if row is not None]


def _is_header(cells: list[str]) -> bool:
    return cells[0].strip().lower().replace("_", "-") in _QUERY_COLUMN and whole(cells[-1].strip()) is None


def _check_header(cells: list[str], columns: tuple[str, ...], path: Path, line: int, findings: Findings) -> None:
    names = [cell.strip().lower().replace("_", "-") for cell in cells]
    positions_fit = len(names) == len(columns) and names[1] in _TARGET_COLUMN and (len(columns) == 3 or names[2:4] == ["start", "end"])
    if not positions_fit:
        findings.problem(f"the columns are {', '.join(names)}: expected {', '.join(columns)}, in this order", path=str(path), line=line)


def _row(cells: list[str], columns: tuple[str, ...], path: Path, line: int, findings: Findings) -> Row | None:
    if len(cells) != len(columns):
        message = f"has {len(cells)} tab-separated columns: expected {len(columns)}, {', '.join(columns)}"
        if len(columns) == len(QRELS) and len(" ".join(cells).split()) == 4:
            message += "; for a TREC qrels file say format: trec"
        findings.problem(message, path=str(path), line=line)
        return None
    values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    return judgment_row(values, path, line, findings)


def judgment_row(values: Mapping[str, str], path: Path, line: int | None, findings: Findings) -> Row | None:
    """One row of text cells, named as in `QRELS` or `SPANS`, as a judgment; None where a cell is faulty, which is noted."""
    before = len(findings.problems)
    numbers: dict[str, int | None] = {}
    for name, text in values.items():
        if name in {"score", "start", "end"}:
            numbers[name] = _number(name, text, path, line, findings)
        elif not text:
            findings.problem("is blank", path=str(path), line=line, field=name)
        elif fault := fault_in(text):
            findings.problem(fault, path=str(path), line=line, field=name)
    start, end = numbers.get("start"), numbers.get("end")
    if start is not None and end is not None and start >= end:
        findings.problem(f"{start}..{end} is no span: end must lie after start", path=str(path), line=line, field="end")
    if len(findings.problems) > before:
        return None
    query_id, target_id = list(values.values())[:2]
    judgment = Judgment(query_id=query_id, target_id=target_id, grade=numbers["score"] or 0, start=start, end=end)
    return Row(judgment=judgment, path=path, line=line)


def _number(name: str, text: str, path: Path, line: int | None, findings: Findings) -> int | None:
    number = whole(text)
    if number is None:
        findings.problem(f"{shortened(text)} is no whole number: expected 0, 1, 2, ...", path=str(path), line=line, field=name)
    elif number < 0:
        hint = "; give 0 to what was judged not relevant, and leave out what was not judged" if name == "score" else ""
        findings.problem(f"{number} is below 0{hint}", path=str(path), line=line, field=name)
    return number


def check_rows(rows: Iterable[Row], queries: Queries, documents: Documents, findings: Findings) -> tuple[Judgment, ...]:
    """The judgments, each once; dangling ids, contradictions and spans outside their document are noted."""
    seen: dict[tuple[str, str, int | None, int | None], Row] = {}
    twice: list[Row] = []
    for row in rows:
        judgment = row.judgment
        key = (judgment.query_id, judgment.target_id, judgment.start, judgment.end)
        first = seen.setdefault(key, row)
        if first is not row and first.judgment.grade == judgment.grade:
            twice.append(row)
            continue
        if first is not row:
            message = f"{judgment.grade} contradicts {first.judgment.grade} in line {first.line}, which judges the same: keep one of them"
            findings.problem(message, path=str(row.path), line=row.line, field="score")
        _check_ids(row, queries, documents, findings)
        _check_span(row, documents.sound.get(judgment.target_id), findings)
    if twice:
        message = f"{len(twice)} of {len(twice) + len(seen)} judgments repeat an earlier one with the same grade, this one first; each counts once"
        findings.warn(message, path=str(twice[0].path), line=twice[0].line)
    return tuple(row.judgment for row in seen.values())


def _check_ids(row: Row, queries: Queries, documents: Documents, findings: Findings) -> None:
    judgment = row.judgment
    target = "corpus-id" if judgment.start is None else "doc-id"
    for field, wanted, records in (("query-id", judgment.query_id, queries), (target, judgment.target_id, documents)):
        if records.known and wanted not in records.known:
            message = f"{wanted!r} is not in {records.path.name}, which holds {len(records.known)} ids: mend the id, or take the line out"
            findings.problem(message, path=str(row.path), line=row.line, field=field)


def _check_span(row: Row, document: Document | None, findings: Findings) -> None:
    start, end = row.judgment.start, row.judgment.end
    if document is None or start is None or end is None:
        return
    if end > len(document.text):
        message = f"{start}..{end} reaches beyond document {document.document_id!r}, which has {len(document.text)} characters"
        findings.problem(message, path=str(row.path), line=row.line, field="end")
    elif not document.text[start:end].strip():
        message = f"{start}..{end} of document {document.document_id!r} is white space only"
        findings.problem(message, path=str(row.path), line=row.line, field="start")


def gold_set(name: str, queries: Iterable[Query], judgments: tuple[Judgment, ...], path: Path, findings: Findings) -> GoldSet | None:
    """The gold set, with a warning where queries have nothing relevant; None where there are problems."""
    queries = tuple(queries)
    relevant = Counter(judgment.query_id for judgment in judgments if judgment.grade > 0)
    judged = {judgment.query_id for judgment in judgments}
    nothing = [query.query_id for query in queries if query.query_id in judged and not relevant[query.query_id]]
    if nothing:
        message = (
            f"nothing is relevant for {len(nothing)} of {len(queries)} queries, e.g. {nothing[0]!r}: left out of the retrieval metrics"
        )
        findings.warn(message, path=str(path))
    findings.counts["gold queries"] = len(queries)
    findings.counts["judgments"] = len(judgments)
    if findings.problems:
        return None
    return GoldSet(name=name, queries=queries, judgments=judgments)
