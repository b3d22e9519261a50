"""One look at all shards before any work: what is wrong in them, what the corpus is called, and how much there is."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ragtrial.chunking import chunker
from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.corpus import GROUPS_LENGTH, Document, Passage, fingerprint_parts, group_parts
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.fingerprint import LineDigest, digest_lines
from ragtrial.errors import ValidationError
from ragtrial.formats.shards import Shard, read_shard
from ragtrial.formats.validation import Findings

_Split = Callable[[Document], tuple[Passage, ...]]
_MOST_PROBLEMS = 1_000
"""After so many faults reading stops: a wrong file would give one a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedShard:
    """A shard, and what is in it.

    Attributes:
        number: Its place among the shards, from 0.
        shard: The file.
        digest: Content hash of its passages.
        n_passages: That it is cut into.
    """

    number: int
    shard: Shard
    digest: str
    n_passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A corpus that was streamed through; a `CorpusIdentity`.

    Attributes:
        fingerprint: What `Corpus.fingerprint` is of the same documents read into memory.
        chunking: Label of the chunking.
        groups: As `Corpus.groups`.
        shards: In order.
        n_passages: Of all shards.
    """

    fingerprint: str
    chunking: str
    groups: str
    shards: tuple[SurveyedShard, ...]
    n_passages: int


def survey(shards: Sequence[Shard], spec: ChunkingSpec, *, progress: Progress = no_progress) -> Survey:
    """Read every shard once, check it, and hash its passages.

    Memory does not grow with the corpus: which ids were seen is kept in a temporary file.

    Args:
        shards: In order.
        spec: How documents are cut.
        progress: Told how many shards are read.

    Raises:
        ValidationError: With every fault of the shards (the first 1,000), each with file, line and field.
    """
    findings, whole, groups = Findings(), LineDigest(), LineDigest()
    seen: list[SurveyedShard] = []
    split = chunker(spec).split
    advance = progress("read the corpus", len(shards))
    with tempfile.TemporaryDirectory(prefix="ragtrial-ids-") as folder, closing(_Ids(Path(folder) / "ids.db")) as ids:
        for number, shard in enumerate(shards):
            parts = ShardDigest()
            for passages in _passages(shard, split, ids, findings):
                parts.add(passages)
                for part in fingerprint_parts(passages):
                    whole.add(part)
                for part in group_parts(passages):
                    groups.add(part)
            seen.append(SurveyedShard(number=number, shard=shard, digest=parts.value, n_passages=parts.n_passages))
            advance(1)
    n_passages = sum(one.n_passages for one in seen)
    if not n_passages and not findings.problems:
        findings.problem("hold no document", path=", ".join(shard.uri for shard in shards[:3]))
    if findings.problems:
        raise ValidationError(findings.problems)
    return Survey(
        fingerprint=whole.value(), chunking=spec.label, groups=groups.value(length=GROUPS_LENGTH), shards=tuple(seen), n_passages=n_passages
    )


def _passages(shard: Shard, split: _Split, ids: "_Ids", findings: Findings) -> Iterator[tuple[Passage, ...]]:
    """The passages of each document of a shard; a document whose id is not new is noted and left out."""
    for line, document in read_shard(shard, findings):
        if len(findings.problems) >= _MOST_PROBLEMS:
            raise ValidationError(findings.problems)
        before = ids.first(document.document_id, shard.uri, line)
        if before is None:
            yield split(document)
            continue
        message = f"{document.document_id!r} stands in line {before[1]} of {before[0]!r} already: give each an id of its own"
        findings.problem(message, path=shard.uri, line=line, field="_id")


class ShardDigest:
    """The content hash of a shard's passages, which is taken as they stream by."""

    def __init__(self) -> None:
        self.value = ""
        self.n_passages = 0

    def add(self, passages: Sequence[Passage]) -> None:
        """The next passages: the hash of the hash before them and of theirs."""
        self.value = digest_lines([self.value, *fingerprint_parts(passages), *group_parts(passages)], length=32)
        self.n_passages += len(passages)


class _Ids:
    """Which document ids there were, and where, in a file that is thrown away."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode = off", "synchronous = off", "cache_size = -65536", "locking_mode = exclusive"):
            self._database.execute(f"pragma {setting}")
        self._database.execute("create table ids (id text primary key, uri text, line integer) without rowid")
        self._database.execute("begin")

    def first(self, document_id: str, uri: str, line: int) -> tuple[str, int] | None:
        """Where the id stood before; None where it is new, which is noted."""
        new = self._database.execute("insert or ignore into ids values (?, ?, ?)", (document_id, uri, line)).rowcount
        if new:
            return None
        found: tuple[str, int] = self._database.execute("select uri, line from ids where id = ?", (document_id,)).fetchone()
        return found

    def close(self) -> None:
        self._database.close()
