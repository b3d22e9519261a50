"""What an index will take, in bytes, before it is built.

Sizes are those of the structures as faiss and DiskANN lay them out, which Milvus builds its indexes with; a server adds what its metadata take.
Every segment has an index of its own, so that centroids are counted once for each.
"""

import math
from dataclasses import dataclass

from ragtrial.contracts import IndexParameters
from ragtrial.index.codes import vector_bytes
from ragtrial.index.index_types import TYPES

SEGMENT_BYTES = 1 << 30
"""A sealed segment at most (Milvus's `dataCoord.segment.maxSize`, 1,024 MB; 512 MB before 2.4)."""
LIMIT = 0.9
"""Share of its memory up to which a query node loads (`queryNode.overloadedMemoryThresholdPercentage`)."""
WORK = 1.2
"""Beside what is loaded: searches under way, and segments that are held twice while they are balanced."""

_ID, _LINK, _SECTOR = 8, 4, 4_096
_PQ_SHARE, _CACHE_SHARE, _DEGREE = 0.125, 0.10, 56
"""Milvus's `DiskIndex.PQCodeBudgetGBRatio`, `SearchCacheBudgetGBRatio` and `MaxDegree`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSize:
    """What the index of one collection takes, in bytes.

    Attributes:
        type: Of the index.
        memory: In one replica.
        disk: Of the index files; a server keeps the vectors and texts beside them.
    """

    type: str
    memory: int
    disk: int


def index_size(parameters: IndexParameters, *, n: int, dimension: int) -> IndexSize:
    """What an index of `n` vectors takes.

    Bytes a vector, d dimensions (Douze et al. 2024, "The Faiss library", arXiv:2401.08281, and the faiss wiki's "Faiss indexes" for the
    inverted files; Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using HNSW graphs", section 4.2.3,
    for the graph, with the mean level 1 / (M - 1) of its floor; Subramanya et al. 2019, "DiskANN", NeurIPS, for the layout on disk):

    - FLAT: the stored vector, s (4 d as float32, d as int8, d / 8 as binary); no file beside those that hold the vectors.
    - IVF_FLAT, IVF_SQ8: s or d, 8 for its id; 4 d for each of `nlist` centroids, and 8 d for IVF_SQ8's ranges.
    - HNSW, HNSW_SQ: s or d, links 4 (2 M + M / (M - 1)), 12 for level and offset.
    - SCANN: d / 4 (4 bits for each pair of dimensions), 8 for its id, 4 d to reorder by; centroids as above.
    - DISKANN: in memory 4 d (0.125 + 0.10), codes and cache; on disk 4 d + 4 (56 + 1), in sectors of 4,096 bytes.
    """
    stored = vector_bytes(parameters.vectors, dimension)
    build = {**TYPES[parameters.type].build, **parameters.build}
    segments = max(1, math.ceil(n * stored / SEGMENT_BYTES))
    centroids = 4 * dimension * min(build.get("nlist", 0), n) * segments
    match parameters.type:
        case "FLAT":
            return IndexSize(type="FLAT", memory=n * stored, disk=0)
        case "IVF_FLAT":
            memory = n * (stored + _ID) + centroids
        case "IVF_SQ8":
            memory = n * (dimension + _ID) + centroids + 8 * dimension * segments
        case "HNSW" | "HNSW_SQ":
            links = _LINK * (2 * build["M"] + build["M"] / (build["M"] - 1))
            memory = round(n * ((dimension if parameters.type == "HNSW_SQ" else stored) + links + _ID + 4))
        case "SCANN":
            memory = round(n * (dimension / 4 + _ID + stored)) + centroids
        case "DISKANN":
            return IndexSize(type="DISKANN", memory=round(n * stored * (_PQ_SHARE + _CACHE_SHARE)), disk=_on_disk(n, dimension))
    return IndexSize(type=parameters.type, memory=memory, disk=memory)


def _on_disk(n: int, dimension: int) -> int:
    node = 4 * dimension + _LINK * (_DEGREE + 1)
    if node > _SECTOR:
        return n * math.ceil(node / _SECTOR) * _SECTOR
    return math.ceil(n / (_SECTOR // node)) * _SECTOR


def node_memory(loaded: int) -> int:
    """What query nodes need together for what they load, so that they take it and have room to search."""
    return math.ceil(loaded * WORK / LIMIT)
