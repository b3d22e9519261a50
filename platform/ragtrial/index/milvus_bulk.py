"""Rows as Parquet files that a Milvus server imports by itself: the way for corpora that are too large to be sent row by row."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pymilvus import connections, utility
from pymilvus.exceptions import MilvusException

from ragtrial.contracts import Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.errors import MissingExtraError, StoreError
from ragtrial.index.milvus_connection import Connection
from ragtrial.index.milvus_rows import origin_of, row_of, schema, stored_vectors
from ragtrial.index.rules import Origin, check_vectors

_CHUNK_BYTES = 64 << 20
_POLL_S = 0.5
_WAIT_S = 24 * 3600.0
_ALIAS = "ragtrial-import"


class BulkImport:
    """Files of rows by shard, and their import into an empty collection.

    An import adds rows, it replaces none: so files are whole or absent (written aside, then renamed), and are imported together at the end.

    Args:
        uri: Of the server; Milvus Lite has no import.
        token: As for the store itself.
        folder: For the files; the server must see them too.
        prefix: Where the server sees the folder; None: under the same path.

    Raises:
        MissingExtraError: pymilvus' bulk writer is not installed.
        StoreError: It is Milvus Lite, the server can't be reached, or the folder can't be made.
    """

    def __init__(self, uri: str, *, token: str | None, folder: Path, prefix: str | None) -> None:
        if "://" not in uri:
            raise StoreError(
                f"ray.write is 'bulk-import', but {uri!r} is Milvus Lite, which imports no files: use write: upsert, or a Milvus server"
            )
        try:
            from pymilvus.bulk_writer import BulkFileType, LocalBulkWriter
        except ImportError as error:
            raise MissingExtraError(package="pymilvus.bulk_writer", extra="ray", purpose="ray.write: bulk-import") from error
        logging.getLogger("pymilvus.bulk_writer").setLevel(logging.ERROR)
        self._make_writer: Callable[..., Any] = lambda fields, path: LocalBulkWriter(
            schema=fields, local_path=str(path), chunk_size=_CHUNK_BYTES, file_type=BulkFileType.PARQUET
        )
        self._uri, self._token, self._folder, self._prefix = uri, token, folder, prefix
        self._connection = Connection(uri, token=token, timeout_s=60.0)
        self._origins: dict[str, Origin] = {}
        self._writers: dict[tuple[str, str], Any] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"folder {str(folder)!r} can't be made ({error.strerror}): change ray.import_folder") from error

    def add(self, name: str, shard: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Rows of a shard, named by its digest, in any order.

        Raises:
            StoreError: A row can't be stored, or the files can't be written.
        """
        origin = self._origin(name)
        rows = check_vectors(name, vectors, dimension=origin.model.dimension, ids=[passage.passage_id for passage in passages])
        writer = self._writers.get((name, shard)) or self._begin(name, shard, origin)
        for passage, vector in zip(passages, stored_vectors(origin, rows, lite=False), strict=True):
            writer.append_row(row_of(name, passage, vector, origin))

    def close(self, name: str, shard: str) -> None:
        """The shard has all its rows: its files are whole when this returns."""
        writer = self._writers.pop((name, shard))
        try:
            writer.commit()
            for number, (path,) in enumerate(writer.batch_files):
                Path(path).replace(self._folder / name / f"{shard}-{number}.parquet")
            shutil.rmtree(self._parts(name, shard), ignore_errors=True)
        except OSError as error:
            raise StoreError(f"files of collection {name!r} can't be written to {str(self._folder)!r}: {error.strerror}") from error

    def has(self, name: str, shard: str) -> bool:
        """Whether the files of the shard are there."""
        return (self._folder / name / f"{shard}-0.parquet").exists()

    def load(self, name: str, shards: Sequence[str]) -> None:
        """Have the server import the files of all shards, wait for it, and remove them.

        Raises:
            StoreError: The server refused, or can't see the files; they are kept.
        """
        files = [path for shard in shards for path in sorted((self._folder / name).glob(f"{shard}-*.parquet"))]
        try:
            connections.connect(alias=_ALIAS, uri=self._uri, token=self._token or "")
            tasks = {utility.do_bulk_insert(name, [self._as_seen(path)], using=_ALIAS): path for path in files}
            self._wait(name, tasks)
        except MilvusException as error:
            raise StoreError(f"importing files into collection {name!r} failed: Milvus at {self._uri!r} says: {error.message}") from error
        finally:
            connections.disconnect(_ALIAS)
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def stop(self) -> None:
        """Let go of the server."""
        self._connection.close()

    def _wait(self, name: str, tasks: dict[int, Path]) -> None:
        end = time.monotonic() + _WAIT_S
        while tasks:
            for task in list(tasks):
                state = utility.get_bulk_insert_state(task, using=_ALIAS)
                if state.state_name in ("Failed", "Failed and cleaned"):
                    raise StoreError(
                        f"importing {str(tasks[task])!r} into collection {name!r} failed: {state.failed_reason[:300]}; does the server see the file "
                        "there? Set ray.import_folder and ray.import_prefix"
                    )
                if state.state_name == "Completed":
                    del tasks[task]
            if tasks and time.monotonic() > end:
                raise StoreError(f"importing into collection {name!r} took more than {_WAIT_S / 3600:.0f} hours: see the server's log")
            if tasks:
                time.sleep(_POLL_S)

    def _as_seen(self, path: Path) -> str:
        relative = path.relative_to(self._folder)
        return str(path) if self._prefix is None else f"{self._prefix.rstrip('/')}/{relative.as_posix()}"

    def _begin(self, name: str, shard: str, origin: Origin) -> Any:
        for old in (self._folder / name).glob(f"{shard}-*.parquet"):
            old.unlink()
        parts = self._parts(name, shard)
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        with self._connection.calls(f"describing collection {name!r}") as client:
            self._writers[name, shard] = self._make_writer(schema(client, origin, lite=False), parts)
        return self._writers[name, shard]

    def _parts(self, name: str, shard: str) -> Path:
        return self._folder / name / f".{shard}"

    def _origin(self, name: str) -> Origin:
        if name not in self._origins:
            with self._connection.calls(f"describing collection {name!r}") as client:
                found = client.describe_collection(name)
            self._origins[name] = origin_of(json.loads(found["properties"]["ragtrial.origin"]))
        return self._origins[name]
