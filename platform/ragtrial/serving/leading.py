"""One of several workers on a machine does what must be done once."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragtrial.errors import SetupError


class Leadership:
    """A lock on a file, which the system takes away from a process that ends, however it ends. Without such locks (Windows) all lead.

    Args:
        path: Of the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def won(self) -> bool:
        """Whether this process leads, from now on until it ends.

        Raises:
            SetupError: The file can't be made.
        """
        if self._descriptor is not None or sys.platform == "win32":
            return True
        import fcntl

        descriptor = self._opened()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until this process leads, and let go at the end.

        Raises:
            SetupError: The file can't be made.
        """
        if sys.platform != "win32":
            import fcntl

            self._descriptor = self._opened()
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let another process lead."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SetupError(f"lock {str(self._path)!r} can't be made ({error.strerror})") from error
