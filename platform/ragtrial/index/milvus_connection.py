"""Getting hold of a Milvus: a server by its address, or Milvus Lite by its path; and letting go of it again."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # no stubs come with it
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from ragtrial.errors import MissingCollectionError, StoreError

_GONE = 2
MISSING = 100
"""Milvus's code for a collection that it doesn't have."""
_SERVER = ("http://", "https://", "tcp://", "unix:")
_NOISY = ("pymilvus", "pymilvus.milvus_client", "milvus_lite")
_KEEPALIVE = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}
"""pymilvus pings every 10 s, also while a corpus is being embedded and nothing is asked; a server counts that as abuse and hangs up."""
_CONNECT_SECONDS = 10.0
_LONGEST_MESSAGE = 400
_IF_DAMAGED = "; where files are damaged, move the folder away and run ragtrial index: it holds nothing that is not made from the corpus"

_NO_PINGS = {"grpc.keepalive_time_ms": (1 << 31) - 1, "grpc.keepalive_permit_without_calls": False}
"""Milvus Lite's server takes pymilvus' pings, every 10 seconds, for an attack: while a model embeds, it would cut the connection and
have gRPC complain on the terminal. It lives in this process, so there is nothing to keep alive."""


class Connection:
    """A client of one Milvus store, with foreign errors translated.

    Milvus Lite runs inside this process, one server for each path: letting go of a path lets go of it for every connection to it.

    Args:
        uri: `http://host:port` of a server, or a path that ends in `.db`: the folder that Milvus Lite keeps.
        token: `user:password` or an API key, or None.
        timeout_s: For each call.

    Raises:
        StoreError: The path is no Milvus Lite store and can't become one, another process holds it, or the server can't be
            reached or refuses the token.
    """

    def __init__(self, uri: str, *, token: str | None, timeout_s: float) -> None:
        self.lite = not uri.startswith(_SERVER)
        self.uri = uri if self.lite else re.sub(r"//[^/]*@", "//", uri)  # for messages: without `user:password@`
        self._client: MilvusClient | None = None
        _silence()
        self._address = str(Path(uri).absolute()) if self.lite else uri  # still the same folder after a chdir
        if self.lite:
            _check_path(uri)
        with _last_error() as cause:
            try:
                self._client = MilvusClient(
                    self._address, token=token or "", timeout=min(timeout_s, _CONNECT_SECONDS), grpc_options=_KEEPALIVE
                )
                self._client.list_collections(timeout=timeout_s)  # a wrong token shows at the first call only
            except (MilvusException, grpc.RpcError, ValueError) as error:  # ValueError: a port that is no number
                self.close()
                raise StoreError(self._why_not(cause[-1] if self.lite and cause else error)) from error

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[MilvusClient]:
        """The client, for calls whose errors become `StoreError`.

        Args:
            doing: What is tried, for the message: `searching collection 'x'`.

        Raises:
            StoreError: Milvus refused or is gone, or the connection is closed.
        """
        if self._client is None:
            raise StoreError(f"Milvus store {self.uri!r} is closed: open it again")
        try:
            yield self._client
        except (MilvusException, grpc.RpcError) as error:
            if getattr(error, "code", None) == _GONE or isinstance(error, grpc.RpcError):
                raise StoreError(f"{doing} failed: {self._why_not(error)}") from error
            kind = MissingCollectionError if getattr(error, "code", None) == MISSING else StoreError
            advice = _IF_DAMAGED if self.lite and doing.startswith("loading") else ""
            raise kind(f"{doing} failed: Milvus at {self.uri!r} says: {_said(error)}{advice}") from error

    def close(self) -> None:
        """Let go; Milvus Lite writes what it still has and can be opened again, by this process or another."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.lite:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self._address)

    def _why_not(self, error: BaseException) -> str:
        if not self.lite:
            return (
                f"Milvus at {self.uri!r} can't be reached or refuses the connection ({_said(error)}): "
                "start the server, check address and token, or give a file path for Milvus Lite"
            )
        if type(error).__name__ == "DataDirLockedError":
            return f"Milvus Lite store {self.uri!r} is open in another process: wait for it, stop it, or give another path"
        return f"Milvus Lite store {self.uri!r} can't be opened ({_said(error)}): check the folder, or give another path{_IF_DAMAGED}"


def _check_path(uri: str) -> None:
    """Refuse a path before Milvus Lite writes into it: it makes a store out of any folder."""
    path = Path(uri)
    if "://" in uri or path.suffix != ".db":
        raise StoreError(f"{uri!r} is no Milvus store: give http://host:port of a server, or a path that ends in .db for Milvus Lite")
    if not path.parent.is_dir():
        raise StoreError(
            f"Milvus Lite store {uri!r} can't be made: its folder {str(path.parent)!r} does not exist; make it, or give another path"
        )
    if not path.exists():
        return
    try:
        inside = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise StoreError(
            f"{uri!r} is not a Milvus Lite store, which is a folder ({error.strerror or error}): give another path, or move the file away"
        ) from error
    if inside and not {"LOCK", "collections"} <= inside:
        raise StoreError(f"{uri!r} is a folder, but not a Milvus Lite store (it holds {min(inside)!r} and the like): give another path")


def _silence() -> None:
    """Keep tracebacks of errors that are translated off the terminal; pymilvus logs each of them with its own handlers."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def _last_error() -> Iterator[list[BaseException]]:
    """Errors that Milvus Lite logs while it starts: it tells its callers only that it failed."""
    errors: list[BaseException] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                errors.append(record.exc_info[1])

    logger = logging.getLogger("milvus_lite.server_manager")
    handler, level, propagate = Keep(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _said(error: BaseException) -> str:
    """What a foreign error says, on one line of bearable length."""
    details = error.details() if isinstance(error, grpc.Call) else getattr(error, "message", None)
    text = re.sub(r"\s+", " ", str(details or error)).strip()
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ..."
