"""Files for intrinsic evaluation: term pairs that an expert wrote, similarity judgments, pairs of general text."""

import csv
import io
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ragtrial.domain.intrinsic import TermPair
from ragtrial.errors import Problem, ValidationError
from ragtrial.formats.files import read_lines, read_text
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import Document, Location, dotted, read_yaml

_FORM = "give two terms, [hold, stop], or {terms: [hold, stop], note: why}"


class Similarity(NamedTuple):
    """Two texts and how alike people find them.

    Attributes:
        left: One text.
        right: The other.
        score: On any scale; more is more alike.
    """

    left: str
    right: str
    score: float


class Everyday(NamedTuple):
    """A query of everyday life and the passage that answers it.

    Attributes:
        topic: May be empty.
        query: Never blank.
        passage: Never blank.
    """

    topic: str
    query: str
    passage: str


def read_terms(path: Path) -> tuple[TermPair, ...]:
    """Term pairs of a YAML file with the lists `near` and `far`.

    Raises:
        ValidationError: With every problem, its line and field.
    """
    findings = Findings()
    text = read_text(path, findings)
    if text is None:
        raise ValidationError(findings.problems)
    document = read_yaml(text, str(path))
    problems = [*document.problems]
    pairs: list[TermPair] = []
    value = document.value
    if not isinstance(value, dict):
        problems.append(Problem(message="expected the lists 'near' and 'far', each of pairs of terms", path=str(path), line=1))
        raise ValidationError(problems)
    unknown = [str(key) for key in value if key not in ("near", "far")]
    problems += [_problem(document, (key,), "unknown key: expected 'near' and 'far'") for key in unknown]
    for key in ("near", "far"):
        entries = value.get(key)
        if not isinstance(entries, list) or not entries:
            problems.append(_problem(document, (key,), f"expected a list of pairs: {_FORM}"))
            continue
        for number, entry in enumerate(entries):
            made = _pair(entry, near=key == "near")
            if isinstance(made, str):
                problems.append(_problem(document, (key, number), made))
            else:
                pairs.append(made)
    problems += _twice(pairs, str(path))
    if problems:
        raise ValidationError(problems)
    return tuple(pairs)


def _pair(entry: object, *, near: bool) -> TermPair | str:
    note: object = ""
    if isinstance(entry, dict):
        unknown = sorted(str(key) for key in entry if key not in ("terms", "note"))
        if unknown:
            return f"unknown key {unknown[0]!r}: {_FORM}"
        note, entry = entry.get("note", ""), entry.get("terms")
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(term, str) and term.strip() for term in entry):
        return f"expected two terms, found {entry!r}: {_FORM}"
    if not isinstance(note, str):
        return f"note is {note!r}: expected a text"
    left, right = entry
    if left.strip().casefold() == right.strip().casefold():
        return f"both terms are {left!r}: a term is always near itself"
    return TermPair(left=left.strip(), right=right.strip(), near=near, note=note)


def _twice(pairs: list[TermPair], path: str) -> Iterator[Problem]:
    first: dict[frozenset[str], TermPair] = {}
    for pair in pairs:
        key = frozenset((pair.left.casefold(), pair.right.casefold()))
        if key in first:
            where = "near and far" if first[key].near != pair.near else "near" if pair.near else "far"
            yield Problem(message=f"{pair.left!r} and {pair.right!r} stand twice ({where}): keep one of them", path=path)
        first.setdefault(key, pair)


def _problem(document: Document, location: Location, message: str) -> Problem:
    return Problem(message=message, path=document.path, line=document.line(location), field=dotted(location))


def read_similarities(path: Path) -> tuple[Similarity, ...]:
    """Similarity judgments of a CSV or TSV file with the columns `left`, `right` and `score` (or three columns in that order, no header).

    Raises:
        ValidationError: With every problem and its line.
    """
    findings = Findings()
    text = read_text(path, findings)
    found: list[Similarity] = []
    if text is not None:
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = csv.reader(io.StringIO(text), delimiter=delimiter)
        places = [0, 1, 2]
        try:
            for number, row in enumerate(rows):
                if number == 0 and {"left", "right", "score"} <= set(row):
                    places = [row.index(name) for name in ("left", "right", "score")]
                elif row:
                    _similarity(row, places, str(path), rows.line_num, findings, found)
        except csv.Error as error:
            findings.problem(f"is no CSV: {error}", path=str(path), line=rows.line_num)
        if not found and not findings.problems:
            findings.problem("holds no rows: expected left, right and score", path=str(path))
    if findings.problems:
        raise ValidationError(findings.problems)
    return tuple(found)


def _similarity(row: list[str], places: list[int], path: str, line: int, findings: Findings, found: list[Similarity]) -> None:
    if len(row) <= max(places):
        findings.problem(f"has {len(row)} columns: expected left, right and score", path=path, line=line)
        return
    left, right, score = (row[place].strip() for place in places)
    try:
        value = float(score)
    except ValueError:
        findings.problem(f"is {score!r}: expected a number", path=path, line=line, field="score")
        return
    if not left or not right or value != value or value in (float("inf"), float("-inf")):
        findings.problem("needs two texts and a finite score", path=path, line=line)
        return
    found.append(Similarity(left, right, value))


def everyday_pairs(path: Path | None = None) -> tuple[Everyday, ...]:
    """Pairs of general text: the bundled ones, or a JSON Lines file with `query` and `passage`, and `topic` if there is one.

    Raises:
        ValidationError: With every problem and its line.
    """
    findings = Findings()
    if path is None:
        text = (files("ragtrial.formats") / "general.jsonl").read_text(encoding="utf-8")
        lines: list[tuple[int, str]] | None = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line]
    else:
        lines = read_lines(path, findings)
    found = []
    for number, line in lines or ():
        made = _everyday(line)
        if made is None:
            findings.problem('expected {"query": ..., "passage": ...} with two texts', path=str(path), line=number)
        else:
            found.append(made)
    if path is not None and not found and not findings.problems:
        findings.problem("holds no pairs", path=str(path))
    if findings.problems:
        raise ValidationError(findings.problems)
    return tuple(found)


def _everyday(line: str) -> Everyday | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    query, passage = record.get("query"), record.get("passage")
    if not isinstance(query, str) or not isinstance(passage, str) or not query.strip() or not passage.strip():
        return None
    return Everyday(str(record.get("topic") or ""), query, passage)
