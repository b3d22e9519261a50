"""The rows of files that other programs export (JSON, JSON lines, CSV, YAML, Parquet), with where each one stands."""

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragtrial.formats.files import read_objects, read_text
from ragtrial.formats.validation import Findings, fault_in, found, shortened
from ragtrial.formats.yaml_lines import read_yaml

_EXAMPLE = 'e.g. {"question": "...", "reference": "..."}'
_CELL = 10_000_000
"""Characters of a CSV cell; Python's own limit is 131,072, which a few contexts in one cell exceed."""
_HALF = re.compile(r"\\u(0000)?d[89a-f]", re.IGNORECASE)
"""What a text in a text may hold half a surrogate pair as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file.

    Attributes:
        number: From 1, in the file.
        line: Where it stands; None where the format has no lines.
        value: Its fields.
    """

    number: int
    line: int | None
    value: Mapping[str, object]


def read_rows(path: Path, findings: Findings, *, lists: tuple[str, ...] = ("data",)) -> Iterator[Row]:
    """The rows of a file by its ending: .json and .yaml (a list, or an object that holds one), .jsonl, .csv or .parquet; faults are noted.

    A row with half a surrogate pair in any of its texts, which no file of ours could hold, is noted and left out.

    Args:
        path: The file.
        findings: Where faults go.
        lists: Of a JSON object, the keys that may hold the list, each a dotted path.
    """
    for row in _any_rows(path, findings, lists):
        fault = half_pair(row.value)
        if fault is None:
            yield row
        else:
            where = None if row.line is not None else f"[{row.number - 1}]"
            findings.problem(fault, path=str(path), line=row.line, field=where)


def half_pair(value: object) -> str | None:
    """What is wrong where a text in nested lists and objects, names of fields and texts within texts included, holds half a surrogate pair."""
    waiting = [value]
    while waiting:  # no recursion: an export may be nested as deeply as its reader goes
        each = waiting.pop()
        if isinstance(each, str):
            fault = fault_in(each.replace("\0", " "))
            if fault is not None:
                return fault
            if _HALF.search(each) and (inner := listed(each)) is not each and inner != each:
                waiting.append(inner)
        elif isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set):
            waiting += each
    return None


def _any_rows(path: Path, findings: Findings, lists: tuple[str, ...]) -> Iterator[Row]:
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            for number, (line, value) in enumerate(read_objects(path, findings, example=_EXAMPLE), start=1):
                yield Row(number=number, line=line, value=value)
        case ".json":
            before = len(findings.problems)
            whole = read_json(path, findings)
            yield from _items(whole, path, findings, lists) if len(findings.problems) == before else ()
        case ".yaml" | ".yml":
            text = read_text(path, findings)
            document = read_yaml(text or "", str(path))
            findings.problems += document.problems
            yield from _items(document.value, path, findings, lists) if text is not None and not document.problems else ()
        case ".csv":
            yield from _csv_rows(path, findings)
        case ".parquet":
            yield from _parquet_rows(path, findings)
        case suffix:
            findings.problem(f"has the ending {suffix!r}: expected .json, .jsonl, .csv, .yaml or .parquet", path=str(path))


def read_json(path: Path, findings: Findings) -> object:
    """The whole file as JSON; None, noted, where it is none."""
    text = read_text(path, findings)
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        findings.problem(f"broken JSON, {error.msg} at column {error.colno}: export the file again", path=str(path), line=error.lineno)
    except RecursionError:
        findings.problem("JSON nested too deeply to be an export", path=str(path))
    except ValueError:
        findings.problem("JSON with a number of too many digits", path=str(path))
    return None


def within(value: object, dotted: str) -> object:
    """What stands at a dotted path of nested objects; None where nothing does."""
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def listed(value: object) -> object:
    """A cell that holds a list or an object as text (JSON, or Python as pandas writes it), parsed; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{", '"')):
        return value
    for parse in (json.loads, ast.literal_eval):  # literals alone: nothing is run
        try:
            return parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _items(whole: object, path: Path, findings: Findings, lists: tuple[str, ...]) -> Iterator[Row]:
    items = whole if isinstance(whole, list) else next((each for key in lists if isinstance(each := within(whole, key), list)), None)
    if items is None:
        findings.problem(f"is {found(whole)}: expected a list, or an object with a list in {' or '.join(map(repr, lists))}", path=str(path))
        return
    for number, item in enumerate(items, start=1):
        if isinstance(item, Mapping):
            yield Row(number=number, line=None, value=item)
        else:
            findings.problem(f"is {found(item)}: expected an object", path=str(path), field=f"[{number - 1}]")


def _csv_rows(path: Path, findings: Findings) -> Iterator[Row]:
    text = read_text(path, findings)
    if text is None:
        return
    before = csv.field_size_limit(_CELL)
    try:
        yield from _cells(path, text, findings)
    finally:
        csv.field_size_limit(before)


def _cells(path: Path, text: str, findings: Findings) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            message = f"broken CSV, {error}: put cells with commas, quotes or line breaks in double quotes"
            findings.problem(message, path=str(path), line=line)
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                findings.problem(f"has the column {twice!r} twice: rename one", path=str(path), line=line)
                return
        elif len(cells) != len(header):
            findings.problem(f"has {len(cells)} columns, but the header has {len(header)}", path=str(path), line=line)
        else:
            number += 1
            yield Row(number=number, line=line, value={name: cell for name, cell in zip(header, cells, strict=True) if cell != ""})
    if header is None:
        findings.problem("is empty: expected a header and rows", path=str(path))


def _parquet_rows(path: Path, findings: Findings) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        findings.problem("there is no such file", path=str(path))
        return
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        findings.problem(f"is no readable Parquet file: {shortened(str(error).splitlines()[0])}", path=str(path))
        return
    for number, value in enumerate(rows, start=1):
        yield Row(number=number, line=None, value=value)
