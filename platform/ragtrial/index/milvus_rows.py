"""What Milvus keeps of a passage, and of what a collection was made for."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pymilvus import DataType, MilvusClient

from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import StoreError
from ragtrial.index.rules import Origin

MAX_BYTES = 65_535
"""Longest text of a field, in bytes of UTF-8: a server's limit, kept on Milvus Lite too so that a corpus can move."""

Row = dict[str, Any]

_INSERT_ROWS, _INSERT_BYTES = 2_048, 16 << 20


def schema(client: MilvusClient, dimension: int) -> object:
    """The fields of every collection."""
    fields = client.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("passage_id", DataType.VARCHAR, is_primary=True, max_length=MAX_BYTES)
    for name in ("document_id", "title", "text"):
        fields.add_field(name, DataType.VARCHAR, max_length=MAX_BYTES)
    for name in ("start_offset", "end_offset"):
        fields.add_field(name, DataType.INT64)
    fields.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    return fields


def row_of(name: str, passage: Passage, vector: Vectors) -> Row:
    """A passage as a row of collection `name`.

    Raises:
        StoreError: One of its texts is longer than `MAX_BYTES`.
    """
    for field in ("passage_id", "document_id", "title", "text"):
        value = getattr(passage, field)
        if len(value) * 4 > MAX_BYTES and (size := len(value.encode())) > MAX_BYTES:
            raise StoreError(
                f"passage {passage.passage_id[:80]!r} has a {field} of {size} bytes, but collection {name!r} takes {MAX_BYTES}: "
                "cut the documents into passages (chunking: {strategy: text})"
            )
    return {
        "passage_id": passage.passage_id,
        "document_id": passage.document_id,
        "title": passage.title,
        "text": passage.text,
        "start_offset": passage.start,
        "end_offset": passage.end,
        "vector": vector,
    }


def batches(rows: Sequence[Row], dimension: int) -> Iterator[list[Row]]:
    """Rows in requests that a server takes (64 MiB), with room to spare."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        length = 4 * dimension + sum(4 * len(value) for value in row.values() if isinstance(value, str))
        if batch and (len(batch) == _INSERT_ROWS or size + length > _INSERT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def escaped(text: str) -> str:
    """Text as it stands between double quotes in a Milvus expression."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def plain(origin: Origin) -> dict[str, Any]:
    """What a collection was made for, as JSON; `origin_of` is its inverse."""
    parameters = origin.parameters
    return {
        "model": asdict(origin.model),
        "corpus": origin.corpus,
        "parameters": {
            "type": parameters.type,
            "metric": parameters.metric,
            "build": dict(parameters.build),
            "search": dict(parameters.search),
        },
    }


def origin_of(found: dict[str, Any]) -> Origin:
    """What `plain` wrote.

    Raises:
        KeyError: A key is missing.
        TypeError: There are other keys.
    """
    model = {**found["model"], "settings": tuple(found["model"]["settings"])}
    return Origin(model=ModelIdentity(**model), corpus=found["corpus"], parameters=IndexParameters(**found["parameters"]))
