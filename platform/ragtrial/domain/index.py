"""Which Milvus index an arm's vectors get, and how it is held and read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """The Milvus index."""

    __pydantic_config__ = STRICT

    type: Literal["FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "SCANN", "DISKANN"] = described(
        "FLAT is exact; the others trade recall for speed or memory: see docs/scaling-milvus.md, and `ragtrial index --estimate` for bytes.",
        default="FLAT",
    )
    vectors: Literal["fp32", "int8", "binary"] = described(
        "How vectors are stored: int8 takes a quarter of the bytes, binary (the signs alone, compared by Hamming distance) a 32nd.",
        default="fp32",
    )
    metric: Literal["COSINE", "IP", "L2"] = described("Vectors are unit vectors, so all three rank alike.", default="COSINE")
    build: Mapping[str, int] = described(
        "Build parameters: nlist (IVF_FLAT, IVF_SQ8, SCANN); M, efConstruction (HNSW, HNSW_SQ); DISKANN's are the server's.",
        default_factory=dict,
    )
    search: Mapping[str, int] = described(
        "Search parameters: nprobe (IVF_FLAT, IVF_SQ8), nprobe, reorder_k (SCANN), ef (HNSW, HNSW_SQ), search_list (DISKANN).",
        default_factory=dict,
    )
    min_recall: float | None = described(
        "The recall against exact search that the index must show on a sample of queries before the arm may be used; 0 also lets more than "
        "200,000 passages go unmeasured. [default: 0.95 for approximate types over fp32 vectors, else 0]",
        later=True,
        default=None,
    )
    partition_by: Literal["none", "group"] = described(
        "group: passages are kept apart by what their document belongs to (`doc` in corpus.jsonl: a tenant, a source): Milvus's partition key.",
        later=True,
        default="none",
    )
    partition_tag: str | None = described(
        "The query's tag that names the group it is searched in; a query without it is searched everywhere. [default: all are]",
        later=True,
        default=None,
    )
    shards: int = described(
        "Channels that a server writes a collection through; 2 or more pay for writing at scale only. Milvus Lite has none.",
        later=True,
        default=1,
    )
    replicas: int = described(
        "Copies that a server's query nodes hold, for more searches a second; each takes the whole memory. Milvus Lite has one.",
        later=True,
        default=1,
    )
    consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = described(
        "How fresh a search is. Passages are all there before a collection is searched, so Bounded returns the same as Strong, 200 ms sooner.",
        later=True,
        default="Bounded",
    )
    mmap: bool = described(
        "A server maps vectors and texts from its disk, and does not hold them in memory: slower, and larger. Not on Milvus Lite.",
        later=True,
        default=False,
    )
    resource_groups: tuple[str, ...] = described(
        "The server's resource groups that the collection is loaded into; Milvus Lite has none.", later=True, default=()
    )

    def __post_init__(self) -> None:
        if self.min_recall is not None and not 0 <= self.min_recall <= 1:
            raise ValueError(f"min_recall is {self.min_recall}: give a share from 0 to 1")
        if not 1 <= self.shards <= 16:
            raise ValueError(f"shards is {self.shards}: give 1 to 16")
        if self.replicas < 1:
            raise ValueError(f"replicas is {self.replicas}: give at least 1")
        if self.partition_tag is not None and self.partition_by == "none":
            raise ValueError("partition_tag needs partition_by: group")

    @property
    def least_recall(self) -> float:
        """What holds of `min_recall`. What int8 and binary codes lose is the arm's own doing and reported, so nothing is demanded of them unasked."""
        if self.min_recall is not None:
            return self.min_recall
        return 0.95 if self.type != "FLAT" and self.vectors == "fp32" else 0.0

    @property
    def may_go_unmeasured(self) -> bool:
        """Whether a corpus that is too large to be measured at every run may be searched unmeasured: exactly, or as `min_recall: 0` declares."""
        if self.min_recall is not None:
            return self.min_recall == 0
        return self.type == "FLAT" and self.vectors == "fp32"
