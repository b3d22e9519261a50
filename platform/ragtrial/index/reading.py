"""How collections are held in a store's memory and read: what changes speed and size, and never which passages are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a store's collections are loaded and searched. Milvus Lite is one process, for which only the consistency means anything, and that little.

    Attributes:
        replicas: Copies in the memory of a server's query nodes.
        consistency: Of searches. What must see the last write (counts, ids that are stored) is read with `Strong` all the same.
        mmap: Vectors and texts are mapped from a server's disk.
        resource_groups: Of the server, that the collection is loaded into.
    """

    replicas: int = 1
    consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = "Bounded"
    mmap: bool = False
    resource_groups: Sequence[str] = ()
