"""What a preparation has done so far, on disk, so that a killed one goes on. It holds only what may be kept: redacted documents."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ragtrial.errors import SetupError
from ragtrial.preparation.documents import Dropped, Kept
from ragtrial.redaction import Find

_FILE = "documents.jsonl"


class Work:
    """Results by key in a file that is only added to; a line that was cut off by a kill is as if it had not been written.

    Args:
        folder: Made where it is missing.
        resume: Take over what is there; otherwise it is thrown away.

    Raises:
        SetupError: The folder can't be written to.
    """

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self._folder = folder
        self._done: dict[str, Kept | Dropped] = {}
        self._files: dict[str, list[str]] = {}
        self.taken_over = 0
        """Documents of an earlier run that this one asked for; what is there under other settings is not."""
        try:
            if not resume and folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / _FILE
            whole = self._read(path) if path.exists() else 0
            self._file = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise SetupError(
                f"can't write {str(folder)!r}: {error.strerror}; choose an output folder beside which one can write"
            ) from error

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def of(self, key: str, make: Callable[[], Kept | Dropped]) -> Kept | Dropped:
        """The result of this key; made and written where there is none."""
        if key in self._done:
            self.taken_over += 1
            return self._done[key]
        made = make()
        self._write({"key": key, **_plain(made)})
        return made

    def of_file(self, key: str) -> list[Kept | Dropped] | None:
        """The results of all documents of a file, in order; None where it was not finished."""
        if key not in self._files:
            return None
        self.taken_over += len(self._files[key])
        return [self._done[each] for each in self._files[key]]

    def finish_file(self, key: str, documents: Sequence[str]) -> None:
        """Note the keys of all documents of a file: it need not be read again."""
        self._write({"file": key, "documents": list(documents)})

    def _write(self, record: Mapping[str, object]) -> None:
        try:
            self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise SetupError(f"can't write to {str(self._folder)!r}: {error.strerror}; mend it, and go on with --resume") from error

    def remove(self) -> None:
        """Throw it away: the corpus is written."""
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, path: Path) -> int:
        """Take over the whole lines, and say where they end."""
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                if "file" in record:
                    self._files[record["file"]] = record["documents"]
                else:
                    key = record.pop("key")
                    self._done[key] = _made(record)
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):  # of another version, or damaged
                break
            whole += len(line)
        return whole


def _plain(made: Kept | Dropped) -> dict[str, Any]:
    return {"kept": isinstance(made, Kept), **dataclasses.asdict(made)}


def _made(record: dict[str, Any]) -> Kept | Dropped:
    if not record.pop("kept"):
        return Dropped(**record)
    finds = {name: tuple(Find(**each) for each in found) for name, found in record.pop("finds").items()}
    return Kept(**record, finds=finds)


def work_folder(output: Path) -> Path:
    """Where the work for an output folder is kept: beside it."""
    return output.with_name(f".{output.name}.work")


def same_disk_folder(output: Path) -> Path:
    """A folder that is written to before it is renamed to the output folder."""
    return output.with_name(f".{output.name}.{os.getpid()}")
