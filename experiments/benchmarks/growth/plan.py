"""The steps that are measured: what each is, how far it goes, what bounds it, and the disk that it needs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from growth.results import Measured, this_machine

GIB = 2**30
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        title: For the table.
        unit: What a size counts.
        work: What its seconds are, in a sentence.
        most: Largest size on two cores; larger ones are left out.
        bound: What bounds it.
        peer: What its peer is; empty: there is none.
        peer_most: Largest size at which the peer runs too.
        disk: Bytes that it needs for each, while it runs.
        fixed_disk: Bytes that it needs besides.
        measured_by: The step whose process measures it; itself unless named.
        database: It works on the filled database of its size.
    """

    title: str
    unit: str
    work: str
    most: int
    bound: str
    peer: str = ""
    peer_most: int = 0
    disk: int = 0
    fixed_disk: int = GIB
    measured_by: str = ""
    database: bool = False


_STORED = (
    "made-up vectors of 384 dimensions through `index_arm` into a Milvus 2.3.5 server until it serves; making the vectors is not in it"
)
_SEARCHED = "a search of one query, top 10, median of 1,000 one after the other, in that collection"
_INSERT = "bare insert into the same server, built and loaded"

STEPS: Mapping[str, Step] = {
    "index": Step(
        title="index, real model",
        unit="passages",
        work="`index_arm` with MiniLM on 60 to 160 words a passage: embed, keep, store, build HNSW, load",
        most=10_000,
        bound="the model's arithmetic: cores or GPUs",
        peer="bare `encode` in one call and bare insert",
        peer_most=3_000,
        disk=8_000,
        fixed_disk=2 * GIB,
    ),
    "store-hnsw": Step(
        title="store, HNSW",
        unit="passages",
        work=_STORED,
        most=1_000_000,
        bound="building the graph: cores; then memory",
        peer=_INSERT,
        peer_most=100_000,
        disk=8_000,
        fixed_disk=2 * GIB,
    ),
    "search-hnsw": Step(
        title="search, HNSW",
        unit="passages",
        work=_SEARCHED,
        most=1_000_000,
        bound="the call itself at these sizes; one graph for each segment, then cores",
        measured_by="store-hnsw",
    ),
    "store-ivf": Step(
        title="store, IVF_SQ8",
        unit="passages",
        work=_STORED,
        most=1_000_000,
        bound="the writes; clustering and coding are cheap",
        peer=_INSERT,
        peer_most=100_000,
        disk=8_000,
        fixed_disk=2 * GIB,
    ),
    "search-ivf": Step(
        title="search, IVF_SQ8",
        unit="passages",
        work=_SEARCHED,
        most=1_000_000,
        bound="the scan of nprobe / nlist of all codes: cores",
        measured_by="store-ivf",
    ),
    "evaluate": Step(
        title="evaluate",
        unit="queries",
        work="`ragtrial evaluate` of two arms (the hashing fake, 10,000 indexed passages in Milvus, rows in PostgreSQL), Python's start included",
        most=30_000,
        bound="one Python process: ranking, scoring and writing rows",
        disk=40_000,
        fixed_disk=2 * GIB,
    ),
    "ask": Step(
        title="ask",
        unit="queries",
        work="live queries one after the other through the service in process (MiniLM, Milvus Lite, durable SQLite log), without HTTP",
        most=10_000,
        bound="the model's forward pass for each query: cores",
        disk=8_000,
    ),
    "log": Step(
        title="log",
        unit="trials",
        work="32 threads through `LiveRecorder` into PostgreSQL, each waiting until its trial is durable",
        most=100_000,
        bound="the disk's flushes, shared by group commit; one writer thread",
        peer="one transaction for each trial, a thousand of them, scaled",
        peer_most=100_000,
        disk=4_000,
    ),
    "import": Step(
        title="import",
        unit="trials",
        work="`ragtrial db import` of Parquet into PostgreSQL, one transaction, by COPY",
        most=1_000_000,
        bound="PostgreSQL's indexes and write-ahead log",
        peer="bare COPY of ready CSV",
        peer_most=1_000_000,
        disk=6_000,
    ),
    "analyse": Step(
        title="analyse --live",
        unit="trials",
        work="`ragtrial analyse --live` on PostgreSQL with sums by unit, Python's start included",
        most=10_000_000,
        bound="Python's start, then users (not trials): their sums are read",
        peer="one mean by arm over all trials in SQL",
        peer_most=10_000_000,
        disk=1_600,
        fixed_disk=3 * GIB,
        database=True,
    ),
    "roll-up": Step(
        title="roll-up, first",
        unit="trials",
        work="sums by unit from nothing; afterwards only what changed is summed",
        most=10_000_000,
        bound="PostgreSQL's scan and sort",
        measured_by="analyse",
    ),
    "dashboard": Step(
        title="dashboard",
        unit="trials",
        work="the queries of the slowest page, median of seven, after a roll-up",
        most=10_000_000,
        bound="stretches of time and rows of a page, not trials",
        peer="pandas loads trials and scores",
        peer_most=100_000,
        disk=1_600,
        fixed_disk=3 * GIB,
        database=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a process is to measure.

    Attributes:
        step: Its name.
        size: How much.
        repeat: From 0.
        with_peer: Whether the peer runs too.
        scratch: A folder of its own, removed afterwards.
        postgres: URL of a PostgreSQL server, where the step needs one.
    """

    step: str
    size: int
    repeat: int
    with_peer: bool
    scratch: Path
    postgres: str = field(default="")

    def measured(
        self,
        seconds: float,
        *,
        step: str | None = None,
        peer: float | None = None,
        memory_mib: float | None = None,
        detail: dict[str, Any] | None = None,
    ) -> Measured:
        """The measurement of this size and repeat."""
        return Measured(
            step=step or self.step,
            size=self.size,
            repeat=self.repeat,
            seconds=seconds,
            peer_seconds=peer,
            memory_mib=memory_mib,
            detail=detail or {},
            machine=this_machine(),
        )


def started() -> list[str]:
    """Steps that have a process of their own."""
    return [name for name, step in STEPS.items() if not step.measured_by]


def disk_needed(steps: list[str], sizes: list[int]) -> int:
    """Bytes at most: each step's files are removed before the next one's are made, but a filled database stays for its size."""
    needed = 0
    for size in sizes:
        there = [STEPS[name] for name in steps if size <= STEPS[name].most]
        kept = max((step.fixed_disk + size * step.disk for step in there if step.database), default=0)
        own = max((step.fixed_disk + size * step.disk for step in there if not step.database), default=0)
        needed = max(needed, kept, own)  # those without a database come first, at every size
    return needed


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # servers remove files meanwhile
            total += 512 * path.lstat().st_blocks
    return total
