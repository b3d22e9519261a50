"""A corpus in many files: JSON-lines or Parquet shards in a folder, behind a glob, or in an object store, read as a stream.

A shard's rows are those of a `corpus.jsonl` (`_id`, `text`, optional `title` and `doc`). Shards are read in the order of their names,
each row in its place, so that a corpus has one fingerprint however it is read. Addresses with a scheme (`s3://`, `gs://`, `hdfs://`,
`file://`) are opened by pyarrow's file systems, with the credentials that these find by themselves.
"""

import fnmatch
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.domain.corpus import Document
from ragtrial.errors import ValidationError
from ragtrial.formats.records import EXAMPLE_DOCUMENT, Documents, Place, document_of, read_documents
from ragtrial.formats.validation import Findings, found, shortened

ENDINGS = (".jsonl", ".ndjson", ".parquet")
_PARQUET_ROWS = 1_024
_NEARLY = (".json", ".csv", ".tsv", ".gz", ".zst", ".bz2", ".xz", ".zip", ".arrow", ".avro", ".orc")

_GLOB = re.compile(r"[*?\[]")
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file of a corpus.

    Attributes:
        uri: Its absolute path, or its address in an object store.
        size: In bytes.
    """

    uri: str
    size: int

    @property
    def is_parquet(self) -> bool:
        """Parquet, or else JSON lines."""
        return self.uri.lower().endswith(".parquet")


def is_sharded(location: Path | str) -> bool:
    """Whether it names anything but one local JSON-lines file: a folder, a glob, a Parquet file, an object store."""
    text = str(location)
    return (
        "://" in text
        or text.lower().endswith(".parquet")
        or (not Path(text).is_file() and (Path(text).is_dir() or bool(_GLOB.search(text))))
    )


def list_shards(location: Path | str) -> tuple[Shard, ...]:
    """The shards of a corpus, by name; hidden files, and those with `_` in front as Spark writes them, are none.

    Args:
        location: A file, a folder, a glob in the last part of a path, or the address of one of these in an object store.

    Raises:
        ValidationError: There is no such place, it can't be read, or holds no shard.
    """
    import pyarrow as pa
    from pyarrow.fs import FileSelector, FileType

    text = str(location)
    last = text.rsplit("/", 1)[-1]
    pattern = last if _GLOB.search(last) and not ("://" not in text and Path(text).exists()) else None
    try:
        system, root = _opened(text.removesuffix(last).rstrip("/") if pattern else text)
        info = system.get_file_info(root)
        if info.type == FileType.NotFound:
            raise _refused(text, "there is no such file or folder")
        files = [info] if info.type == FileType.File else system.get_file_info(FileSelector(root))
    except (OSError, pa.ArrowException) as error:
        raise _refused(text, f"can't be read: {_first_line(error)}") from error
    if pattern is None and info.type != FileType.File:
        _check_alone(text, [(one.base_name, one.type == FileType.Directory) for one in files])
    scheme = text.split("://", 1)[0] + "://" if "://" in text and not text.startswith("file://") else ""
    named = [
        Shard(uri=scheme + one.path, size=one.size or 0) for one in files if one.type == FileType.File and _is_shard(one.base_name, pattern)
    ]
    if not named:
        raise _refused(text, f"holds no shard: give files that end in {', '.join(ENDINGS)}")
    return tuple(sorted(named, key=lambda shard: shard.uri))


def _check_alone(place: str, entries: Iterable[tuple[str, bool]]) -> None:
    """A folder of shards holds nothing that could be meant as one, and no gold queries: they would be indexed as passages.

    What writers of data sets leave beside their files (`_SUCCESS`, hidden files) is passed over.

    Raises:
        ValidationError: It does.
    """
    for name, is_folder in sorted(entries):
        if name.startswith((".", "_")):
            continue
        glob = f"give the shards by a glob ({place.rstrip('/')}/part-*.jsonl), or put them into a folder of their own"
        if name.split(".")[0] == "queries" and name.endswith(ENDINGS):
            raise _refused(place, f"holds {name!r}, the queries of a gold set, which are no documents: {glob}")
        if is_folder or name.endswith(_NEARLY):
            raise _refused(place, f"holds {name!r}, which is not read as a shard ({', '.join(ENDINGS)} are): {glob}")


def read_corpus(location: Path | str, findings: Findings) -> Documents:
    """All documents of a corpus in memory: a `corpus.jsonl`, or the shards at a place; faults are noted."""
    if not is_sharded(location):
        return read_documents(Path(location), findings)
    documents = Documents(path=Path(location))
    places: dict[str, str] = {}
    before = len(findings.problems)
    try:
        shards = list_shards(location)
    except ValidationError as error:
        findings.problems += error.problems
        return documents
    for shard in shards:
        for line, document in read_shard(shard, findings):
            name = document.document_id
            if name in documents.known:
                message = f"{name!r} stands in line {documents.known[name]} of {places[name]!r} already: give each an id of its own"
                findings.problem(message, path=shard.uri, line=line, field="_id")
                continue
            documents.known[name], places[name] = line, shard.uri
            documents.sound[name] = document
    if not documents.known and len(findings.problems) == before:
        findings.problem(f"holds no document: give one object a line, {EXAMPLE_DOCUMENT}", path=str(location))
    findings.counts["documents"] = len(documents.known)
    return documents


def read_shard(shard: Shard, findings: Findings) -> Iterator[tuple[int, Document]]:
    """The sound documents of a shard with their lines (rows in Parquet, from 1), a few at a time; faults are noted.

    Whether an id stands twice is not looked at.
    """
    records = _parquet_records if shard.is_parquet else _json_records
    for line, record in records(shard, findings):
        own = Findings()
        document = document_of(record, Place(path=Path(shard.uri), line=line, findings=own))
        for problem in own.problems:
            findings.problem(problem.message, path=shard.uri, line=line, field=problem.field)
        if document is not None:
            yield line, document


def _json_records(shard: Shard, findings: Findings) -> Iterator[tuple[int, dict[str, object]]]:
    for line, raw in _lines(shard, findings):
        try:
            value = json.loads(raw.decode())
        except UnicodeDecodeError as error:
            message = f"is no UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start} of the line; save the file as UTF-8"
            findings.problem(message, path=shard.uri, line=line)
            continue
        except json.JSONDecodeError as error:
            text = shortened(raw.decode().strip())
            message = f"broken JSON, {error.msg} at column {error.colno} of {text}: expected one object on one line, {EXAMPLE_DOCUMENT}"
            findings.problem(message, path=shard.uri, line=line)
            continue
        except RecursionError:
            findings.problem(f"JSON nested too deeply: expected one flat object, {EXAMPLE_DOCUMENT}", path=shard.uri, line=line)
            continue
        if isinstance(value, dict):
            yield line, value
        else:
            findings.problem(f"is {found(value)}: expected one object on one line, {EXAMPLE_DOCUMENT}", path=shard.uri, line=line)


def _lines(shard: Shard, findings: Findings) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, without holding the file."""
    import pyarrow as pa

    try:
        system, path = _opened(shard.uri)
        with io.BufferedReader(system.open_input_stream(path), 1 << 20) as file:
            for number, line in enumerate(file, start=1):
                bare = line.removeprefix(_UTF8_MARK) if number == 1 else line
                if bare.strip():
                    yield number, bare
    except (OSError, pa.ArrowException) as error:
        findings.problem(f"can't be read: {_first_line(error)}", path=shard.uri)


def _parquet_records(shard: Shard, findings: Findings) -> Iterator[tuple[int, dict[str, object]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    line = 0
    try:
        system, path = _opened(shard.uri)
        with system.open_input_file(path) as opened, pq.ParquetFile(opened) as file:
            names = [name for name in ("_id", "title", "text", "doc") if name in file.schema_arrow.names]
            lacking = [name for name in ("_id", "text") if name not in names]
            if lacking:
                has = ", ".join(file.schema_arrow.names)
                findings.problem(
                    f"has no column {lacking[0]!r} (found {has}): a corpus has _id and text, and may have title and doc", path=shard.uri
                )
                return
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=names):
                for record in batch.to_pylist():
                    line += 1
                    yield line, record
    except (OSError, pa.ArrowException) as error:
        findings.problem(f"is no readable Parquet file: {_first_line(error)}", path=shard.uri)


def _opened(text: str) -> tuple[Any, str]:
    """The file system of a path or an address, and the path in it."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in text:
        return LocalFileSystem(), str(Path(text).absolute())
    system, path = FileSystem.from_uri(text)
    return system, path


def _is_shard(name: str, pattern: str | None) -> bool:
    if name.startswith((".", "_")) or not name.lower().endswith(ENDINGS):
        return False
    return pattern is None or fnmatch.fnmatchcase(name, pattern)


def _refused(text: str, message: str) -> ValidationError:
    findings = Findings()
    findings.problem(message, path=text)
    return ValidationError(findings.problems)


def _first_line(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0][:300] if str(error) else type(error).__name__
