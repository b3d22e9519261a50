"""Where the corpus is embedded: in this process, or on Ray. The vectors are the same, so none of it is part of a plan."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described

Execution = Literal["local", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySpec:
    """How `execution: ray` embeds the corpus: how many actors, with what, and how their vectors get into Milvus."""

    __pydantic_config__ = STRICT

    address: str | None = described(
        "host:port of a running Ray cluster, or 'auto' for the one that this machine belongs to; none: Ray is started here, on the loopback "
        "interface, for as long as the command runs.",
        default=None,
    )
    actors: int | None = described(
        "Actors that embed, each with a model of its own; default: as many as the cluster's GPUs (gpus_per_actor above 0) or CPUs allow.",
        default=None,
    )
    max_actors: int | None = described("Let the pool grow from actors to so many where the cluster has room.", default=None)
    cpus_per_actor: int = described("CPUs of an actor; it runs so many torch threads.", default=1)
    gpus_per_actor: float = described("GPUs of an actor; 0.5 puts two on one.", default=0.0)
    memory_per_actor_mb: int | None = described(
        "Memory that Ray sets aside for an actor, so that a node is not given too many.", default=None
    )
    batch_size: int = described("Passages that an actor embeds at a time; they are sorted by length within it.", default=512)
    write: Literal["upsert", "bulk-import"] = described(
        "upsert: rows are sent to Milvus in batches. bulk-import: Parquet files are written, and a server imports them.", default="upsert"
    )
    writers: int = described("upsert to a server: actors that write; Milvus Lite is written by the command itself.", default=2)
    import_folder: str | None = described(
        "bulk-import: the folder for the Parquet files, which the server's storage must hold too; relative to the experiment file.",
        default=None,
    )
    import_prefix: str | None = described(
        "bulk-import: where the server finds import_folder in its own storage; none: under the same path.", default=None
    )
    local_cpus: int | None = described("CPUs of a Ray that is started here; default: all.", default=None)
    object_store_mb: int | None = described("Shared memory of a Ray that is started here; default: Ray's own choice.", default=None)
    ledger: str = described("Folder of the ledger of shards that are stored, relative to the experiment file.", default=".ragtrial/shards")

    def __post_init__(self) -> None:
        for name in ("actors", "max_actors", "cpus_per_actor", "memory_per_actor_mb", "batch_size", "writers", "local_cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if self.gpus_per_actor < 0:
            raise ValueError(f"gpus_per_actor is {self.gpus_per_actor}: give 0 or more")
        if self.object_store_mb is not None and self.object_store_mb < 80:
            raise ValueError(f"object_store_mb is {self.object_store_mb}: Ray takes no less than 80")
        if self.max_actors is not None and self.max_actors < (self.actors or 1):
            raise ValueError(f"max_actors is {self.max_actors}, below actors ({self.actors or 1})")
        if self.write == "bulk-import" and self.import_folder is None:
            raise ValueError("write is 'bulk-import', which needs import_folder: a folder that the Milvus server reads too")
