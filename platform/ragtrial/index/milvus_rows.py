"""What Milvus keeps of a passage, and of what a collection was made for."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pymilvus import DataType, Function, FunctionType, MilvusClient

from ragtrial.contracts import IndexParameters, VectorKind, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import StoreError
from ragtrial.index.codes import QueryCodes, in_metric, packed, passage_codes, query_codes, ranges_from
from ragtrial.index.index_types import TYPES
from ragtrial.index.rules import Origin, plain_parameters
from ragtrial.index.words import ANALYZER, K1, B

MAX_BYTES = 65_535
"""Longest text of a field, in bytes of UTF-8: a server's limit, kept on Milvus Lite too so that a corpus can move."""

GROUP_FIELD = "belongs_to"
"""What a passage's document belongs to: the partition key of collections that have one. Empty where it belongs to nothing."""
PARTITIONS = 16
"""That Milvus spreads groups over by their hash."""

Row = dict[str, Any]

_INSERT_ROWS, _INSERT_BYTES = 2_048, 16 << 20


def schema(client: MilvusClient, origin: Origin, *, lite: bool) -> object:
    """The fields of a collection: the passage, its vector as it is stored, and what BM25 searches.

    A vector of dimension 0 has no field. Milvus Lite has neither int8 nor binary vectors: there the codes stand as float32, which ranks
    alike and saves no bytes.
    """
    fields = client.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("passage_id", DataType.VARCHAR, is_primary=True, max_length=MAX_BYTES)
    for name in ("document_id", "title", "text"):
        fields.add_field(name, DataType.VARCHAR, max_length=MAX_BYTES)
    for name in ("start_offset", "end_offset"):
        fields.add_field(name, DataType.INT64)
    if origin.parameters.partition:
        fields.add_field(GROUP_FIELD, DataType.VARCHAR, max_length=MAX_BYTES, is_partition_key=True)
    dimension, kind = origin.model.dimension, "fp32" if lite else origin.parameters.vectors
    if dimension:
        types = {"fp32": DataType.FLOAT_VECTOR, "int8": DataType.INT8_VECTOR, "binary": DataType.BINARY_VECTOR}
        fields.add_field("vector", types[kind], dim=dimension)
    if origin.parameters.words:
        fields.add_field("content", DataType.VARCHAR, max_length=MAX_BYTES, enable_analyzer=True, analyzer_params=ANALYZER)
        fields.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        fields.add_function(
            Function(name="bm25", function_type=FunctionType.BM25, input_field_names=["content"], output_field_names=["words"])
        )
    return fields


def stored_vectors(origin: Origin, rows: Vectors, *, lite: bool) -> Sequence[object]:
    """Vectors as the field takes them."""
    kind = origin.parameters.vectors
    codes = passage_codes(kind, rows, None if origin.ranges is None else ranges_from(origin.ranges))
    return _sendable(kind, codes, lite=lite)


def _sendable(kind: VectorKind, codes: Vectors, *, lite: bool) -> Sequence[object]:
    if lite or kind == "fp32":
        return list(codes)
    if kind == "int8":
        return list(codes.astype(np.int8))
    return [row.tobytes() for row in packed(codes)]


def asked_vectors(origin: Origin, queries: Vectors, *, lite: bool) -> tuple[Sequence[object], QueryCodes]:
    """Queries as the field compares them, and how a result becomes a similarity."""
    kind = origin.parameters.vectors
    asked = query_codes(kind, queries, None if origin.ranges is None else ranges_from(origin.ranges))
    return _sendable(kind, asked.codes, lite=lite), asked


def similarity_of(origin: Origin, asked: QueryCodes, place: int, distances: Sequence[float], *, lite: bool) -> list[float]:
    """What Milvus returned for a query, as similarities: higher is nearer."""
    parameters = origin.parameters
    if parameters.vectors == "fp32":
        return [0.0 - distance for distance in distances] if parameters.metric == "L2" else list(distances)
    values = np.asarray(distances, dtype=np.float64)
    if parameters.vectors == "binary" and not lite:  # Hamming
        cosines = 1 - 2 * values / origin.model.dimension
    else:
        cosines = values * float(asked.scale[place]) + float(asked.offset[place])
    return [float(value) for value in in_metric(cosines, parameters.metric)]


def stored_metric(parameters: IndexParameters, *, lite: bool) -> str:
    """The metric of the vectors' index: of their codes, not of what they stand for."""
    if parameters.vectors == "fp32":
        return parameters.metric
    return "HAMMING" if parameters.vectors == "binary" and not lite else "IP"


def stored_type(parameters: IndexParameters, *, lite: bool) -> str:
    """The type of the vectors' index as Milvus calls it."""
    return f"BIN_{parameters.type}" if parameters.vectors == "binary" and not lite else parameters.type


def index_name(origin: Origin) -> str:
    """The field that stands for the collection: that of the vectors, or of BM25 where it is alone."""
    return "vector" if origin.model.dimension else "words"


def index_fields(client: MilvusClient, origin: Origin, missing: Sequence[str], *, lite: bool) -> object:
    """The indexes to build, of the fields that have none."""
    parameters = origin.parameters
    index = client.prepare_index_params()
    if "vector" in missing:
        build: dict[str, int | str] = {**TYPES[parameters.type].build, **parameters.build}
        if parameters.type == "HNSW_SQ" and not lite:
            build["sq_type"] = "SQ8"
        if parameters.type == "SCANN":
            build["with_raw_data"] = "true"  # reorders by the vectors themselves
        metric = stored_metric(parameters, lite=lite)
        index.add_index("vector", index_name="vector", index_type=stored_type(parameters, lite=lite), metric_type=metric, params=build)
    if "words" in missing:
        chosen = {"bm25_k1": K1, "bm25_b": B}
        index.add_index("words", index_name="words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=chosen)
    return index


def row_of(name: str, passage: Passage, vector: object, origin: Origin) -> Row:
    """A passage as a row of collection `name`, with its vector as it is stored.

    Raises:
        StoreError: One of its texts is longer than `MAX_BYTES`.
    """
    for field in ("passage_id", "document_id", "title", "text", *(("content",) if origin.parameters.words else ())):
        value = getattr(passage, field)
        if len(value) * 4 > MAX_BYTES and (size := len(value.encode())) > MAX_BYTES:
            raise StoreError(
                f"passage {passage.passage_id[:80]!r} has a {field} of {size} bytes, but collection {name!r} takes {MAX_BYTES}: "
                "cut the documents into passages (chunking: {strategy: text})"
            )
    row = {
        "passage_id": passage.passage_id,
        "document_id": passage.document_id,
        "title": passage.title,
        "text": passage.text,
        "start_offset": passage.start,
        "end_offset": passage.end,
    }
    if origin.model.dimension:
        row["vector"] = vector
    if origin.parameters.words:
        row["content"] = passage.content
    if origin.parameters.partition:
        row[GROUP_FIELD] = passage.group or ""
    return row


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


def store(client: MilvusClient, name: str, rows: Sequence[Row], *, partitioned: bool, timeout_s: float) -> None:
    """Rows in the place of those with the same ids.

    With a partition key they are deleted and inserted: the upsert of a 2.3.5 server puts them into other partitions than their groups'
    (29 of 30 were not found by their group), and which later version doesn't could not be tried.
    """
    if not partitioned:
        client.upsert(name, list(rows), timeout=timeout_s)
        return
    ids = ", ".join(
        f'"{escaped(row["passage_id"])}"' for row in rows
    )  # pymilvus puts `ids` between quotes as they are: an id could end them
    client.delete(name, filter=f"passage_id in [{ids}]", timeout=timeout_s)
    client.insert(name, list(rows), timeout=timeout_s)


def escaped(text: str) -> str:
    """Text as it stands between double quotes in a Milvus expression."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def plain(origin: Origin) -> dict[str, Any]:
    """What a collection was made for, as JSON; `origin_of` is its inverse."""
    found = {"model": asdict(origin.model), "corpus": origin.corpus, "parameters": plain_parameters(origin.parameters)}
    return found if origin.ranges is None else {**found, "ranges": origin.ranges}


def origin_of(found: dict[str, Any]) -> Origin:
    """What `plain` wrote.

    Raises:
        KeyError: A key is missing.
        TypeError: There are other keys.
    """
    model = {**found["model"], "settings": tuple(found["model"]["settings"])}
    return Origin(
        model=ModelIdentity(**model),
        corpus=found["corpus"],
        parameters=IndexParameters(**found["parameters"]),
        ranges=found.get("ranges"),
    )
