"""What was measured, one JSON line for each (step, size, repeat): a run that is killed goes on where it was."""

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ragtrial.errors import InputError

PROCESSORS = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement.

    Attributes:
        step: Its name, as `steps.STEPS` has it, or one that was measured along with it.
        size: Passages, queries or trials.
        repeat: From 0.
        seconds: Wall clock, of the work alone.
        peer_seconds: Of the peer in the same process; None where it was not run.
        memory_mib: Peak of the process that is named in `steps.STEPS`; None where none is looked at.
        detail: What else was found; numbers and short texts.
        machine: Where.
    """

    step: str
    size: int
    repeat: int
    seconds: float
    peer_seconds: float | None = None
    memory_mib: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    machine: str = ""

    def __post_init__(self) -> None:
        if self.size < 1 or self.seconds <= 0:
            raise ValueError(f"step {self.step!r} at size {self.size} took {self.seconds} s: both are above 0")


def this_machine() -> str:
    """Processor and cores: measurements of two machines are not put into one table."""
    name = platform.machine()
    with contextlib.suppress(OSError):
        names = [
            line.partition(":")[2].strip() for line in PROCESSORS.read_text(encoding="utf-8").splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{len(os.sched_getaffinity(0))} x {name}"


def read(path: Path) -> list[Measured]:
    """All that was measured; the line that a kill left unfinished is left out, and what was measured again counts as measured last.

    Raises:
        InputError: A finished line is no measurement.
    """
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    found: dict[tuple[str, int, int], Measured] = {}
    for number, line in enumerate(whole, start=1):
        try:
            measured = Measured(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: this is no measurement ({error}): give another --out, or remove the line") from error
        found[measured.step, measured.size, measured.repeat] = measured
    return list(found.values())


def append(path: Path, measured: Iterable[Measured]) -> None:
    """Add lines, on the disk before this returns, after cutting off what a kill left of an unfinished one.

    The last one is the step that has a process of its own: where it is missing, the step is measured again.
    """
    lines = b"".join(json.dumps(asdict(each), sort_keys=True).encode() + b"\n" for each in measured)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Keep a second run away from the same file.

    Raises:
        InputError: Another run writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another run writes {path}: wait for it, or give another --out") from error
        yield


def require_one_machine(path: Path, found: list[Measured]) -> None:
    """Refuse to go on with another machine's measurements.

    Raises:
        InputError: They are there.
    """
    others = {each.machine for each in found} - {this_machine()}
    if others:
        raise InputError(
            f"{path} was measured on {min(others)}, this is {this_machine()}: ratios hold within one machine; give another --out"
        )
