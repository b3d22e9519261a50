"""What changes about registered models: aliases, the archive, promotions, notes and the history of all that; one small file for each name.

A version's folder never changes, so this stands beside the versions, in `<registry>/<name>/records.json`. It is replaced as a whole
(written, synced, renamed) by one process at a time, so that an alias and the line of history that explains it are there together or not.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ragtrial.errors import ModelError, SetupError

RECORDS = "records.json"
INTENT = "promotion.json"
"""What a promotion is about to do; there only while it does it, or where it was killed."""

LOCK = ".lock"

Alias = Literal["candidate", "production"]
ALIASES: tuple[Alias, ...] = get_args(Alias)

_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of history.

    Attributes:
        at: ISO 8601, UTC.
        who: As the system or `--by` named them.
        action: `register`, `alias`, `archive`, `unarchive`, `promote`, `rollback` or `delete`.
        version: What it was done to.
        alias: The alias that moved, or None.
        before: The version that it pointed to, or None.
        after: The version that it points to since, or None.
        reason: Why; empty where nobody said.
        details: What else belongs to it: experiment, evaluation, Milvus alias and collections, what was overridden.
    """

    at: str
    who: str
    action: str
    version: str
    alias: str | None = None
    before: str | None = None
    after: str | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What was found of a version after it was registered.

    Attributes:
        version: Which one.
        kind: `evaluation`, `intrinsic`, `licence`, or whatever else found something.
        at: When it was noted; ISO 8601, UTC.
        record: What was found, as JSON values; where it has an `id`, the last record of that kind and id counts.
    """

    version: str
    kind: str
    at: str
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One version in production for one experiment; the last one of an experiment is in force.

    Attributes:
        promotion_id: Unique.
        experiment: Whose Milvus alias it moved.
        version: In production.
        collection: What the Milvus alias points to.
        milvus_alias: Its name.
        evaluation_id: The evidence; None where it was forced without any.
        before_version: In production before, whatever the experiment; None where nothing was.
        before_collection: What the Milvus alias pointed to before; None where there was no such alias.
        at: ISO 8601, UTC.
        who: Who promoted it.
        reason: Why.
        overridden: What would have refused it, where it was forced.
    """

    promotion_id: str
    experiment: str
    version: str
    collection: str
    milvus_alias: str
    evaluation_id: str | None
    before_version: str | None
    before_collection: str | None
    at: str
    who: str
    reason: str = ""
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """All that is kept of one name beside its versions.

    Attributes:
        aliases: Version by alias.
        archived: Reason by version; an archived version can still be loaded by its number.
        promotions: In force, oldest first: a rollback takes the last one of its experiment away.
        history: Oldest first; only ever grows.
        notes: Oldest first.
        deleted: Lineage of versions whose weights are gone.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    archived: Mapping[str, str] = field(default_factory=dict)
    promotions: tuple[Promotion, ...] = ()
    history: tuple[Change, ...] = ()
    notes: tuple[Note, ...] = ()
    deleted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def aliases_of(self, version: str) -> tuple[str, ...]:
        """The aliases that point to a version, by name."""
        return tuple(sorted(alias for alias, at in self.aliases.items() if at == version))


def read_records(home: Path) -> Records:
    """The records of a name; empty where there are none yet.

    Args:
        home: The name's folder.

    Raises:
        ModelError: They can't be read, or were written by a later version.
    """
    path = home / RECORDS
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Records()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ModelError(f"model records {str(path)!r} can't be read ({why}): restore the file from a copy") from error
    try:
        return _records(json.loads(text))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"model records {str(path)!r} can't be understood ({error}): restore the file from a copy; without it the versions are still "
            "there, but their aliases, notes and history are gone"
        ) from error


def change_records(home: Path, update: Callable[[Records], Records]) -> Records:
    """Replace the records of a name while no other process does; what was written.

    Args:
        home: The name's folder.
        update: Gives the new records for those that hold now; what it raises leaves these in force.

    Raises:
        ModelError: What is there can't be read.
        SetupError: The folder can't be written.
    """
    with locked(home):
        return write_records(home, update(read_records(home)))


def write_records(home: Path, records: Records) -> Records:
    """Replace the records; only under `locked`.

    Raises:
        SetupError: The folder can't be written.
    """
    write_json(home / RECORDS, {"form": _FORM, **asdict(records)})
    return records


@contextlib.contextmanager
def locked(home: Path, *, busy: SetupError | None = None) -> Iterator[None]:
    """Wait until no other process or thread changes what is in a folder; the system frees the lock of a process that ends, however it ends.

    Not to be taken twice. Without such locks (Windows) nobody waits.

    Args:
        home: The folder.
        busy: Raised instead of waiting.

    Raises:
        SetupError: The lock can't be made.
    """
    try:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SetupError(
            f"model registry {str(home)!r} can't be written ({error.strerror}): give a writable folder in stores.registry"
        ) from error
    try:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if busy is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if busy is None:
                    raise
                raise busy from None
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file at once: after a crash at any moment the old content is there, or the new one; it is on the disk on return.

    Raises:
        SetupError: It can't be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise SetupError(
            f"{str(path)!r} can't be written ({error.strerror or error}): make room, or mend the folder's permissions"
        ) from error


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to disk, where the system does that through a read-only descriptor."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _records(read: Mapping[str, Any]) -> Records:
    if read["form"] != _FORM:
        raise ValueError(f"form {read['form']} is not the form {_FORM} of this version")
    promotions = tuple(Promotion(**{**each, "overridden": tuple(each["overridden"])}) for each in read["promotions"])
    return Records(
        aliases=dict(read["aliases"]),
        archived=dict(read["archived"]),
        promotions=promotions,
        history=tuple(Change(**each) for each in read["history"]),
        notes=tuple(Note(**each) for each in read["notes"]),
        deleted=dict(read["deleted"]),
    )
