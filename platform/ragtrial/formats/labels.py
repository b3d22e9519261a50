"""What people are asked, and what they said, as CSV that any spreadsheet opens.

A proposed file has a row for each answer, in random order, and says neither which arm gave it nor what the judge thinks of it:

    item,query,reference_answers,passages,answer,label,allowed,note

A file of one's own names what it is of: `query_id,arm,label`, and where they apply `repetition`, `selection`, `labeller`, `note`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtrial.domain.inert import inert_cell
from ragtrial.errors import InputError
from ragtrial.formats.files import read_text, write_lines
from ragtrial.formats.validation import Findings, fault_in, shortened

COLUMNS = ("item", "query", "reference_answers", "passages", "answer", "label", "allowed", "note")
_BETWEEN = "\n---\n"
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An answer that people are asked about.

    Attributes:
        item_id: Its name in the file; it tells nothing of arm or verdict.
        question: What was asked.
        references: Reference answers; may be empty.
        passages: What the generator read.
        answer: What it answered; empty where it abstained.
    """

    item_id: str
    question: str
    references: tuple[str, ...]
    passages: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLine:
    """One row that somebody filled in.

    Attributes:
        line: Where it begins in the file, from 1.
        word: The label as written.
        item_id: For a proposed file; empty for one's own.
        query_id: For one's own file.
        arm: For one's own file.
        repetition: For one's own file; None where it is no whole number (which is noted).
        selection: As the row says; empty where it does not.
        labeller: Likewise.
        note: Likewise.
    """

    line: int
    word: str
    item_id: str = ""
    query_id: str = ""
    arm: str = ""
    repetition: int | None = 0
    selection: str = ""
    labeller: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """A file that people filled in.

    Attributes:
        path: The file.
        lines: Rows with a label.
        n_blank: Rows without one.
        proposed: Whether it has the form that `ragtrial calibrate --propose` writes.
    """

    path: Path
    lines: tuple[LabelLine, ...]
    n_blank: int
    proposed: bool


def write_items(path: Path, items: Sequence[Item], words: Sequence[str]) -> None:
    """Write the rows to be labelled.

    Args:
        path: Must not be there yet: what people filled in is never overwritten.
        items: In the order in which they are to stand.
        words: The labels that are allowed.

    Raises:
        InputError: The file is there, or can't be written.
    """
    if path.exists():
        raise InputError(f"{str(path)!r} is there already and may hold labels: give another --output, or move it away")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in items:
        answer = item.answer or "(no answer: the system said that it found none)"
        cells = [item.question, _BETWEEN.join(item.references), _BETWEEN.join(item.passages), answer]
        writer.writerow([item.item_id, *map(inert_cell, cells), "", " | ".join(words), ""])
    write_lines(path, [out.getvalue().removesuffix("\n")])


def read_labels(path: Path, findings: Findings) -> LabelFile | None:
    """The rows that people filled in; faults of form are noted. None where the file or its columns can't be read.

    Commas, semicolons and tabs may stand between the cells: spreadsheets write what their country does.
    """
    text = read_text(path, findings)
    if text is None or findings.problems:
        return None
    try:
        rows = _numbered(text, _delimiter(text))
    except csv.Error as error:
        findings.problem(f"is no CSV: {error}", path=str(path))
        return None
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    proposed = "item" in header
    lacking = [name for name in (("item", "label") if proposed else ("query_id", "arm", "label")) if name not in header]
    if lacking:
        message = f"has no column {', '.join(lacking)} (found {', '.join(header) or 'nothing'}): expected item and label, or query_id, arm and label"
        findings.problem(message, path=str(path), line=1)
        return None
    lines = [_line(number, cells, header, path, findings) for number, cells in rows[1:] if any(cell.strip() for cell in cells)]
    said = tuple(line for line in lines if line is not None and line.word)
    if not said and not findings.problems:
        findings.problem("holds no label: fill in the column 'label'", path=str(path))
    blank = sum(line is not None and not line.word for line in lines)
    return LabelFile(path=path, lines=said, n_blank=blank, proposed=proposed)


def _delimiter(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _numbered(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows with the number of the line where each begins.

    Raises:
        csv.Error: A quote is not closed, or what follows it is no delimiter.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, begin = [], 1
    try:
        for cells in reader:
            rows.append((begin, cells))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"{error}, in the row that begins in line {begin}") from error
    return rows


def _line(number: int, cells: Sequence[str], header: Sequence[str], path: Path, findings: Findings) -> LabelLine | None:
    if len(cells) > len(header):
        findings.problem(f"has {len(cells)} cells, and the header names {len(header)}", path=str(path), line=number)
        return None
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
    for name in ("query_id", "arm", "label", "labeller", "note"):
        if fault := fault_in(row.get(name, "")):
            findings.problem(fault, path=str(path), line=number, field=name)
            return None
    return LabelLine(
        line=number,
        word=row.get("label", "").casefold(),
        item_id=row.get("item", ""),
        query_id=row.get("query_id", ""),
        arm=row.get("arm", ""),
        repetition=_repetition(row, number, path, findings),
        selection=row.get("selection", "").casefold(),
        labeller=row.get("labeller", ""),
        note=row.get("note", ""),
    )


def _repetition(row: Mapping[str, str], number: int, path: Path, findings: Findings) -> int | None:
    text = row.get("repetition", "") or "0"
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        findings.problem(f"{shortened(text)} is no whole number from 0", path=str(path), line=number, field="repetition")
        return None
    return int(text)
