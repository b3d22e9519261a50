"""What a Milvus can build and search, by its kind and version."""

import re

from ragtrial.contracts import IndexParameters
from ragtrial.errors import StoreError
from ragtrial.index.index_types import TYPES, check_parameters
from ragtrial.index.milvus_rows import PARTITIONS
from ragtrial.index.reading import Reading


def check_supported(parameters: IndexParameters, *, lite: bool) -> None:
    """Whether Milvus, or Milvus Lite, builds an index with these parameters.

    Raises:
        StoreError: It doesn't, or would silently build another one.
    """
    check_parameters(parameters)
    if lite:
        _check_lite_parameters(parameters)
    elif parameters.vectors == "int8" and parameters.type != "HNSW":
        raise StoreError(
            f"index.vectors is 'int8' with type {parameters.type}, but a Milvus server has int8 vectors with HNSW only: use type HNSW"
        )


def check_version(version: str, parameters: IndexParameters, reading: Reading | None = None) -> None:
    """Whether a server of this version has what is asked for.

    Raises:
        StoreError: It is too old, or a build that lacks it.
    """
    if parameters.type == "DISKANN" and version.endswith("-lite"):
        raise StoreError(
            f"the Milvus server is {version}, a build that fits into a Python package and never finishes a DISKANN index: use a full server, "
            "or index.type HNSW or IVF_SQ8"
        )
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is None:  # a build without a number: it will say itself what it can't do
        return
    number = (int(found[1]), int(found[2]))
    kind = TYPES[parameters.type]
    for wanted, since, what, lite in (
        (parameters.words, (2, 5), "BM25 (retrieval.method 'hybrid' or 'bm25')", True),
        (parameters.vectors == "int8", (2, 6), "int8 vectors (index.vectors 'int8')", True),
        (True, kind.since, f"index.type {parameters.type}", kind.lite),
        (bool(parameters.partition), (2, 3), "a partition key (index.partition_by)", True),
        (reading is not None and reading.mmap, (2, 4), "mapping a collection from disk (index.mmap)", False),
    ):
        if wanted and number < since:
            raise StoreError(
                f"the Milvus server is {version}, but {what} needs {since[0]}.{since[1]} or newer: use a newer server"
                f"{', or Milvus Lite' if lite else ''}"
            )


_SEGMENT_ROWS = 1_024
"""A server builds no index on a segment of fewer rows (`indexCoord.segment.minSegmentNumRowsToEnableIndex`) and searches it by an
interim index of its own, which finds some 90 % whatever type was asked for. FLAT is searched exactly all the same."""


def least_rows(parameters: IndexParameters) -> int:
    """Rows of a collection from which on a server builds its index in every segment, if they are spread evenly."""
    if parameters.type == "FLAT":
        return 0
    return _SEGMENT_ROWS * parameters.shards * (PARTITIONS if parameters.partition else 1)


def needs_version(parameters: IndexParameters, reading: Reading) -> bool:
    """Whether the server's version decides; it is asked for only then."""
    return bool(parameters.words or parameters.vectors == "int8" or parameters.partition or reading.mmap) or TYPES[
        parameters.type
    ].since > (2, 0)


def _check_lite_parameters(parameters: IndexParameters) -> None:
    kind = TYPES[parameters.type]
    if not kind.lite:
        raise StoreError(
            f"Milvus Lite has no {parameters.type} index and would search every vector one by one: use type HNSW, or a Milvus server"
        )
    for name, value in parameters.build.items():
        if value != kind.build[name]:
            raise StoreError(
                f"build parameter {name!r} of index {parameters.type} is {value}, but Milvus Lite always builds with {kind.build[name]}: "
                "leave it out, or use a Milvus server"
            )
