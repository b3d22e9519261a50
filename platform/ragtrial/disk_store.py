"""Bytes by key in a folder: what the caches of vectors and of LLM calls are kept in."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import lmdb

from ragtrial.errors import StoreError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_CLAIM = "used-by"
_MOST_SPARE = 64
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


class _Claim:
    """A folder is used by the processes of one container, or machine, at a time.

    LMDB knows its readers by the numbers of their processes, which mean something in one PID namespace alone: of two containers that share
    a volume the one can't open what the other has open under the same number, or takes the other's reader for a dead one. So the file
    names machine and namespace that use the folder, and each process that does holds a lock on it, which the kernel drops where the process dies.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / _CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @classmethod
    def on(cls, folder: Path) -> "_Claim | None":
        """The claim; None where another container holds one.

        Raises:
            OSError: The folder can't be written.
        """
        claim = cls(folder)
        if claim._taken():
            return claim
        claim.drop()
        return None

    def drop(self) -> None:
        """Let others use the folder."""
        os.close(self._descriptor)

    def _taken(self) -> bool:
        try:
            import fcntl

            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # every machine's first namespace has the same number
            ours = f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}\n".encode()
        except (ImportError, OSError):  # no Linux, so no namespaces
            return True
        while True:
            written = False
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:  # a file system without locks
                return True
            else:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, ours, 0)
                written = True
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            if os.pread(self._descriptor, 128, 0) == ours:
                return True
            if not written:  # else somebody came between the two locks, and is asked again
                return False


def _used(folder: Path, spare: bool) -> tuple[Path, _Claim | None]:
    """The folder with the claim on it, or the first spare one beside it that no other container uses; no claim where there is none left."""
    places = [folder, *(folder.with_name(f"{folder.name}.{n}") for n in range(2, _MOST_SPARE + 1))] if spare else [folder]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        claim = _Claim.on(place)
        if claim is not None:
            return place, claim
    return folder, None


class DiskStore:
    """An LMDB environment: transactional, safe for several threads and processes, never corrupted by a kill; it grows as it fills.

    Args:
        folder: Made where it doesn't exist.
        name: What it is, for messages.
        setting: Where its place is given, for messages.
        if_damaged: What to do where it can't be read, for messages.
        first_map_bytes: Size that it may have at first; it doubles when it is full.
        spare: Where another container uses the folder take `FOLDER.2`, `.3`, ... beside it: for caches, which may be empty.

    Raises:
        StoreError: The folder can't be made or written, holds something else, or another container uses it.
    """

    def __init__(
        self, folder: Path, *, name: str, setting: str, if_damaged: str, first_map_bytes: int = FIRST_MAP_BYTES, spare: bool = False
    ) -> None:
        self._name, self._if_damaged = f"{name} {str(folder)!r}", if_damaged
        self._stack = contextlib.ExitStack()
        self._reading = threading.Lock()  # LMDB must not change its map's size while this process reads
        try:
            place, claim = _used(folder, spare)
            if claim is None:
                raise StoreError(
                    f"{self._name} is in use from another container, which LMDB does not stand: give another folder in {setting}"
                )
            self._stack.callback(claim.drop)
            if place != folder:
                _log.warning("%s is in use from another container, which LMDB does not stand: %r is used here", self._name, str(place))
                self._name = f"{name} {str(place)!r}"
            self._environment = self._stack.enter_context(_opened(place, first_map_bytes))
            self._environment.reader_check()  # killed processes leave their places behind
            self._fill_up(place / "data.mdb")
        except _DAMAGED as error:
            self._stack.close()
            raise StoreError(f"{self._name} can't be opened ({type(error).__name__}: {error}): {if_damaged}") from error
        except (OSError, lmdb.Error) as error:
            self._stack.close()
            raise StoreError(f"{self._name} can't be opened: {error}; give a writable folder in {setting}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

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
