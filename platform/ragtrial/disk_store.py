"""Bytes by key in a folder: what the caches of vectors and of LLM calls are kept in."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import lmdb

from ragtrial.errors import StoreError

T = TypeVar("T")
_LEAST_BYTES = 8192
"""LMDB's two first pages, without which there is nothing."""
FIRST_MAP_BYTES = 1 << 30
_DAMAGED = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError, lmdb.PanicError)


def _opened(folder: Path, map_bytes: int) -> Any:
    """The environment; where it can't be made, as on a full disk, no piece of a file is left that would pass for a damaged one."""
    file = folder / "data.mdb"
    fresh = not file.exists()
    try:
        return lmdb.open(str(folder), map_size=map_bytes, subdir=True)
    except lmdb.Error:
        if fresh and file.exists() and file.stat().st_size < _LEAST_BYTES:
            file.unlink()
        raise


class DiskStore:
    """An LMDB environment: transactional, safe for several threads and processes, never corrupted by a kill; it grows as it fills.

    Args:
        folder: Made where it doesn't exist.
        name: What it is, for messages.
        setting: Where its place is given, for messages.
        if_damaged: What to do where it can't be read, for messages.
        first_map_bytes: Size that it may have at first; it doubles when it is full.

    Raises:
        StoreError: The folder can't be made or written, or holds something else.
    """

    def __init__(self, folder: Path, *, name: str, setting: str, if_damaged: str, first_map_bytes: int = FIRST_MAP_BYTES) -> None:
        self._name, self._if_damaged = f"{name} {str(folder)!r}", if_damaged
        self._reading = threading.Lock()  # LMDB must not change its map's size while this process reads
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._environment = _opened(folder, first_map_bytes)
            self._environment.reader_check()  # killed processes leave their places behind
            self._fill_up(folder / "data.mdb")
        except _DAMAGED as error:
            raise StoreError(f"{self._name} can't be opened ({type(error).__name__}: {error}): {if_damaged}") from error
        except (OSError, lmdb.Error) as error:
            raise StoreError(f"{self._name} can't be opened: {error}; give a writable folder in {setting}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._environment.close()

    def read(self, work: Callable[[Any], T]) -> T:
        """What `work` makes of a read transaction.

        Raises:
            StoreError: The files can't be read.
        """
        try:
            with self._reading, self._environment.begin() as transaction:
                return work(transaction)
        except lmdb.MapResizedError:
            self._resize(0)  # another process made it larger; 0 takes over its size
            return self.read(work)
        except lmdb.Error as error:
            raise self.unreadable(error) from error

    def write(self, work: Callable[[Any], T]) -> T:
        """What `work` makes of a write transaction: all of it or nothing, and on disk when it returns.

        Raises:
            StoreError: The files can't be written.
        """
        try:
            with self._environment.begin(write=True) as transaction:
                return work(transaction)
        except lmdb.MapFullError:
            self._resize(self._environment.info()["map_size"] * 2)
        except lmdb.MapResizedError:
            self._resize(0)
        except _DAMAGED as error:
            raise self.unreadable(error) from error
        except lmdb.Error as error:
            raise StoreError(f"{self._name} can't be written: {error}; make room on the disk, or mend the folder's permissions") from error
        return self.write(work)

    def unreadable(self, error: Exception) -> StoreError:
        """What to raise where its content is not what it should be."""
        return StoreError(f"{self._name} can't be read ({type(error).__name__}: {error}): {self._if_damaged}")

    def _fill_up(self, path: Path) -> None:
        """Make the file as long as its last page says: reading what a truncated file lost would end the process (SIGBUS), zeros are an error.

        A sound file may be shorter, too, by pages that were freed before they were written. Never makes it shorter: others may write.
        """
        n_bytes = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        if path.stat().st_size >= n_bytes or not hasattr(os, "posix_fallocate"):
            return
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)

    def _resize(self, n_bytes: int) -> None:
        with self._reading:
            self._environment.set_mapsize(n_bytes)
