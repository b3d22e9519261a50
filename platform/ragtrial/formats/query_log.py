"""Queries with their times, one JSON object on a line: what another system has logged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ragtrial.formats.files import read_objects
from ragtrial.formats.validation import Findings, fault_in, found

_LATEST = 253_402_300_799
"""The last second of the year 9999: what is later is no time that Python, or anybody's log, can hold."""

EXAMPLE = '{"text": "...", "at": "2026-11-01T08:00:00Z", "user": "u1"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedQuery:
    """A query of a log: its text, when it was asked (seconds since 1970), and who asked; None where that is not known."""

    text: str
    at: float
    user: str | None = None


def read_query_log(path: Path) -> tuple[LoggedQuery, ...]:
    """The queries of a JSON-lines file in the order of their times.

    Each line needs `text`, and `at` as ISO 8601 (without a zone it is UTC) or as seconds since 1970; `user` may be left out.

    Raises:
        ValidationError: With every line that is wrong; or there is no query in it.
    """
    findings, queries = Findings(), []
    for number, fields in read_objects(path, findings, example=EXAMPLE):
        text, user, at = fields.get("text"), fields.get("user"), _moment(fields)
        fault = fault_in(text) if isinstance(text, str) else None
        if not isinstance(text, str) or not text.strip():
            findings.problem(f"{_said(fields, 'text')}: expected the query", path=str(path), line=number, field="text")
        elif fault is not None:
            findings.problem(fault, path=str(path), line=number, field="text")
        elif at is None:
            said = f"{_said(fields, 'at')}: expected a time like 2026-11-01T08:00:00Z, or seconds since 1970"
            findings.problem(said, path=str(path), line=number, field="at")
        elif user is not None and not (isinstance(user, str) and user):
            findings.problem(f"is {found(user)}: expected a name, or nothing", path=str(path), line=number, field="user")
        else:
            queries.append(LoggedQuery(text=text, at=at, user=user))
    if not queries and not findings.problems:
        findings.problem(f"holds no query: expected one object on each line, {EXAMPLE}", path=str(path))
    queries.sort(key=lambda query: query.at)
    return findings.require(tuple(queries))


def _said(fields: Mapping[str, object], name: str) -> str:
    return f"is {found(fields[name])}" if name in fields else "is missing"


def _moment(fields: Mapping[str, object]) -> float | None:
    value = fields.get("at")
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= _LATEST else None  # NaN is not, either
    return None if not isinstance(value, str) else moment_of(value)


def moment_of(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 date or time, in UTC where it names no zone; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
