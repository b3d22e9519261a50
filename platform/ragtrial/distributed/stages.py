"""What runs on Ray's workers: shards are read and cut, passages embedded, and rows written.

Rows travel as columns: the shard's number, the line in it, the passage as JSON, its vector, and what is wrong (empty where nothing is).
A fault is a row and not an exception, for Ray would wrap that in a page of its own traces.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ragtrial.chunking import chunker
from ragtrial.contracts import Embedder, VectorIndex, Vectors
from ragtrial.distributed.survey import ShardDigest, SurveyedShard
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import ModelError, RagtrialError, StoreError
from ragtrial.formats.shards import read_shard
from ragtrial.formats.validation import Findings

Columns = dict[str, Any]
_ROWS = 256
_FIELDS = tuple(field.name for field in fields(Passage))


def as_text(passage: Passage) -> str:
    """A passage as JSON; `as_passage` is its inverse."""
    return json.dumps({name: getattr(passage, name) for name in _FIELDS}, ensure_ascii=False)


def as_passage(text: str) -> Passage:
    """What `as_text` wrote."""
    return Passage(**json.loads(text))


def read_rows(batch: Columns, *, shards: Sequence[SurveyedShard], chunking: ChunkingSpec) -> Iterator[Columns]:
    """The passages of the shards that a batch names, a few hundred at a time.

    What is read must be what was surveyed: a shard that was changed since gives a faulty row at its end.
    """
    split = chunker(chunking).split
    for number in batch["number"]:
        surveyed = shards[int(number)]
        findings, digest = Findings(), ShardDigest()
        rows: list[tuple[int, Passage]] = []
        for line, document in read_shard(surveyed.shard, findings):
            passages = split(document)
            digest.add(passages)
            rows += [(line, passage) for passage in passages]
            if len(rows) >= _ROWS:
                yield _columns(surveyed.number, rows)
                rows = []
        if rows:
            yield _columns(surveyed.number, rows)
        if findings.problems or digest.value != surveyed.digest:
            what = str(findings.problems[0]) if findings.problems else f"{surveyed.shard.uri}: was changed while it was being indexed"
            yield _fault(surveyed.number, 0, what)


def _columns(number: int, rows: Sequence[tuple[int, Passage]]) -> Columns:
    return {
        "shard": np.full(len(rows), number, dtype=np.int32),
        "line": np.array([line for line, _ in rows], dtype=np.int64),
        "passage": np.array([as_text(passage) for _, passage in rows], dtype=object),
        "error": np.full(len(rows), "", dtype=object),
    }


def _fault(number: int, line: int, message: str) -> Columns:
    return {
        "shard": np.array([number], dtype=np.int32),
        "line": np.array([line], dtype=np.int64),
        "passage": np.array([""], dtype=object),
        "error": np.array([message], dtype=object),
    }


class EmbedPassages:
    """An actor with a model of its own, loaded once.

    Args:
        make: Loads the model.
        identity: What it has to be.
        threads: Of one forward pass.
    """

    def __init__(self, make: Callable[[], Embedder], identity: ModelIdentity, threads: int) -> None:
        os.environ.update({"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(threads)})
        self._identity = identity
        self._wrong = ""
        try:
            self._embedder = make()
            found = self._embedder.identity
            if found != identity:
                self._wrong = (
                    f"the model on worker {os.uname().nodename!r} is {found}, not {identity}: give every node the same model files"
                )
        except RagtrialError as error:
            self._wrong = f"worker {os.uname().nodename!r}: {error}"

    def __call__(self, batch: Columns) -> Columns:
        """The batch with its vectors, or with what is wrong."""
        empty = np.zeros((len(batch["shard"]), self._identity.dimension), dtype=np.float32)
        if self._wrong:
            return {**batch, "error": np.full(len(batch["shard"]), self._wrong, dtype=object), "vector": empty}
        if any(batch["error"]):
            return {**batch, "vector": empty}
        passages = [as_passage(text) for text in batch["passage"]]
        try:
            return {**batch, "vector": self._embedder.embed([passage.content for passage in passages], kind="passage")}
        except ModelError as error:
            errors = np.full(len(passages), "", dtype=object)
            place = self._culprit(passages)
            errors[0 if place is None else place] = f"passage {passages[place or 0].passage_id!r} can't be embedded: {error}"
            return {**batch, "error": errors, "vector": empty}

    def _culprit(self, passages: Sequence[Passage]) -> int | None:
        """The first passage that can't be embedded, found by halving; None where each half can be."""
        start, end = 0, len(passages)
        while end - start > 1:
            middle = (start + end) // 2
            if self._fails(passages[start:middle]):
                end = middle
            elif self._fails(passages[middle:end]):
                start = middle
            else:
                return None
        return start

    def _fails(self, passages: Sequence[Passage]) -> bool:
        try:
            self._embedder.embed([passage.content for passage in passages], kind="passage")
        except ModelError:
            return True
        return False


class WritePassages:
    """An actor that writes into a server.

    Args:
        open_index: Connects to it.
        name: The collection.
        keep: Whether passages and vectors go on to the command, for its cache.
    """

    def __init__(self, open_index: Callable[[], VectorIndex], name: str, keep: bool) -> None:
        self._name, self._keep = name, keep
        self._wrong = ""
        try:
            self._index = open_index()
        except StoreError as error:
            self._wrong = f"worker {os.uname().nodename!r}: {error}"

    def __call__(self, batch: Columns) -> Columns:
        """The batch, once the store has acknowledged it."""
        error = self._wrong
        if not error and not any(batch["error"]):
            try:
                self._index.insert(
                    self._name, [as_passage(text) for text in batch["passage"]], np.asarray(batch["vector"], dtype=np.float32)
                )
            except StoreError as refused:
                error = f"worker {os.uname().nodename!r}: {refused}"
        if error:
            batch = {**batch, "error": np.full(len(batch["shard"]), error, dtype=object)}
        kept = ("shard", "line", "error", "passage", "vector") if self._keep else ("shard", "line", "error")
        return {name: batch[name] for name in kept}


def rows_of(batch: Columns) -> tuple[list[Passage], Vectors]:
    """The passages of a batch and their vectors."""
    return [as_passage(text) for text in batch["passage"]], np.asarray(np.stack(list(batch["vector"])), dtype=np.float32)
