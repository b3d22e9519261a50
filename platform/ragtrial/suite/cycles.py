"""The cycles of `ragtrial loop`: what was seen, done and decided, kept so that whatever is killed goes on where it was.

`<folder>/<number>/cycle.json` with the cycle's own files beside it. A step is noted when its work is on disk, never before: a step that was
killed is done again, and each is written so that doing it again changes nothing.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragtrial.domain.retraining import STEPS, Ending, Step
from ragtrial.errors import BusyError, InputError, SetupError
from ragtrial.finetuning.registry import now
from ragtrial.finetuning.registry_records import locked, write_json

_RECORD = "cycle.json"
_FORM = 1


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One candidate, from what opened it to what became of it.

    Attributes:
        number: From 1.
        opened_at: ISO 8601, UTC.
        reasons: What opened it, in words.
        done: Facts of each step that is over, by step, in order.
        refused: Why it went no further by itself; None where nothing stopped it.
        ending: What a person decided; None while it is open.
        ended_at: When.
        ended_by: Who.
        ended_because: Why.
    """

    number: int
    opened_at: str
    reasons: tuple[str, ...]
    done: Mapping[Step, Mapping[str, Any]] = field(default_factory=dict)
    refused: str | None = None
    ending: Ending | None = None
    ended_at: str | None = None
    ended_by: str | None = None
    ended_because: str | None = None

    @property
    def next_step(self) -> Step | None:
        """What is to be done; None where it waits for a person, or is over."""
        if self.refused is not None or self.ending is not None:
            return None
        return next((step for step in STEPS if step not in self.done), None)

    @property
    def is_over(self) -> bool:
        """Whether another cycle may be opened."""
        return self.ending is not None or self.refused is not None

    @property
    def waits(self) -> bool:
        """Whether a person has to decide."""
        return not self.is_over and self.next_step is None

    @property
    def model(self) -> str | None:
        """`NAME@VERSION`, once it is trained."""
        return self.done.get("train", {}).get("model")


class CycleLog:
    """The cycles in a folder, which may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While this holds no other process changes the cycles.

        Raises:
            BusyError: One does.
            SetupError: The folder can't be written to.
        """
        _make(self.folder)
        with locked(self.folder, busy=BusyError(f"another ragtrial loop is at work in {str(self.folder)!r}: wait until it has ended")):
            yield

    def all(self) -> tuple[Cycle, ...]:
        """In order.

        Raises:
            InputError: A record can't be read.
        """
        found = [path for path in self.folder.glob(f"*/{_RECORD}") if path.parent.name.isdigit()]
        return tuple(_read(path) for path in sorted(found, key=lambda path: int(path.parent.name)))

    def home(self, cycle: Cycle) -> Path:
        """Where the cycle's own files lie."""
        return self.folder / f"{cycle.number:04d}"

    def open(self, reasons: tuple[str, ...]) -> Cycle:
        """Begin the next one.

        Raises:
            SetupError: The folder can't be written to.
        """
        number = 1 + max((cycle.number for cycle in self.all()), default=0)
        return self.write(Cycle(number=number, opened_at=now(), reasons=reasons))

    def note(self, cycle: Cycle, step: Step, facts: Mapping[str, Any]) -> Cycle:
        """Write down that a step is over."""
        return self.write(dataclasses.replace(cycle, done={**cycle.done, step: {**facts, "at": now()}}))

    def refuse(self, cycle: Cycle, reason: str) -> Cycle:
        """Write down why it goes no further."""
        return self.write(dataclasses.replace(cycle, refused=reason, ended_at=now()))

    def end(self, cycle: Cycle, ending: Ending, *, who: str, reason: str) -> Cycle:
        """Write down what a person decided."""
        return self.write(dataclasses.replace(cycle, ending=ending, ended_at=now(), ended_by=who, ended_because=reason or None))

    def write(self, cycle: Cycle) -> Cycle:
        """Replace a cycle's record; on disk when it returns.

        Raises:
            SetupError: The folder can't be written to.
        """
        home = self.home(cycle)
        _make(home)
        write_json(home / _RECORD, {"form": _FORM, **dataclasses.asdict(cycle)})
        return cycle


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"loop folder {str(folder)!r} can't be made ({error.strerror}): give a writable folder in the policy") from error


def _read(path: Path) -> Cycle:
    try:
        record = json.loads(path.read_text("utf-8"))
        record.pop("form")
        return Cycle(**{**record, "reasons": tuple(record["reasons"])})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is no record of a cycle ({error}): restore it, or remove its folder") from error
