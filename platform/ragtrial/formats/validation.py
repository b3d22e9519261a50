"""What every reader of data files shares: the faults found so far, and the result where there are none."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet
from ragtrial.errors import Problem, ValidationError

T = TypeVar("T")
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What checking one data set found.

    Attributes:
        problems: Faults that keep it from being used, in the order of the files; empty where it is sound.
        warnings: What is odd, but can be used.
        counts: How many of what were read, e.g. `{"documents": 40, "queries": 12}`; a kind that could not be read is left out.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A corpus that is not cut yet, and the gold set on it.

    Attributes:
        name: For people, e.g. the folder's name.
        documents: At least one; ids are unique.
        gold: Judgments are on these documents or on spans of them.
        warnings: What was odd in the files.
    """

    name: str
    documents: tuple[Document, ...]
    gold: GoldSet
    warnings: tuple[Problem, ...] = ()


@dataclass(slots=True, kw_only=True)
class Findings:
    """Collects problems and warnings while files are read, so that all of them are reported at once."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def problem(self, message: str, *, path: str | None, line: int | None = None, field: str | None = None) -> None:
        """Note a fault that keeps the data from being used."""
        self.problems.append(Problem(message=message, path=path, line=line, field=field))

    def warn(self, message: str, *, path: str | None, line: int | None = None, field: str | None = None) -> None:
        """Note something odd that can be used."""
        self.warnings.append(Problem(message=message, path=path, line=line, field=field))

    def report(self) -> Report:
        """Everything noted so far."""
        return Report(problems=tuple(self.problems), warnings=tuple(self.warnings), counts=dict(self.counts))

    def require(self, result: T | None) -> T:
        """The result, where there is no problem.

        Raises:
            ValidationError: There are problems; it lists all of them.
        """
        if self.problems or result is None:
            raise ValidationError(self.problems)
        return result


def found(value: object) -> str:
    """A value of a JSON or YAML file, named for a message: short, and with its type where that is the point."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """The text in quotes, cut after 60 characters."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")


def fault_in(text: str) -> str | None:
    """Why a text can't be stored or hashed, or None where it can."""
    if "\0" in text:
        return f"holds a NUL character at offset {text.index(chr(0))}: take it out"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = json.dumps(text[error.start])
            return f"holds half a surrogate pair, {half}, at offset {error.start}: write the character itself in UTF-8"
    return None
