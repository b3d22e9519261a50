"""The shards through Ray Data: read and cut by tasks, embedded by a pool of actors, and streamed back as they are done.

Ray retries what a dead worker was doing, and starts the worker anew; what is done twice is the same rows again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.contracts import Embedder, VectorIndex
from ragtrial.distributed.stages import Columns, EmbedPassages, WritePassages, read_rows
from ragtrial.distributed.survey import Survey, SurveyedShard
from ragtrial.domain.execution import RaySpec
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import InputError, ModelError, RagtrialError, SetupError


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What goes through Ray, and how.

    Attributes:
        survey: The shards.
        chunking: How documents are cut.
        spec: How many actors, with what.
        identity: What the vectors are made with.
        make: Loads the model on a worker.
        open_index: Connects a worker to the server; None where the command writes by itself.
        collection: What workers write into.
        keep: Whether passages and vectors come back where workers write.
    """

    survey: Survey
    chunking: ChunkingSpec
    spec: RaySpec
    identity: ModelIdentity
    make: Callable[[], Embedder]
    open_index: Callable[[], VectorIndex] | None
    collection: str
    keep: bool


def stream(flow: Flow, todo: Sequence[SurveyedShard]) -> Iterator[Columns]:
    """Batches of rows as they are done, in any order: of the columns `shard`, `line`, and with `keep` also `passage` and `vector`.

    Raises:
        ModelError: A passage can't be embedded, or a worker has no model, or another one; the message names shard and line.
        InputError: A shard was changed while it was read.
        SetupError: The cluster is too small for one actor, or Ray failed.
    """
    import ray.exceptions

    dataset = _dataset(flow, todo)
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
            _check(batch, flow.survey)
            yield batch
    except ray.exceptions.RayError as error:
        raise _translated(error) from error


def n_actors(spec: RaySpec) -> int:
    """Actors at the start: as given, or as many as the cluster has room for.

    Raises:
        SetupError: It has no room for one.
    """
    import ray

    if spec.actors is not None:  # as told: a cluster that grows on demand may have no room yet
        return spec.actors
    resources = ray.cluster_resources()
    wanted = {"CPU": float(spec.cpus_per_actor), "GPU": spec.gpus_per_actor}
    room = min(math.floor(resources.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items() if amount)
    if room < 1:
        has = ", ".join(f"{resources.get(name, 0):g} {name}s" for name in wanted)
        raise SetupError(
            f"an actor needs {spec.cpus_per_actor} CPUs and {spec.gpus_per_actor:g} GPUs, but the Ray cluster has {has}: "
            "change ray.cpus_per_actor or ray.gpus_per_actor, or add nodes"
        )
    return int(room)


def _dataset(flow: Flow, todo: Sequence[SurveyedShard]) -> Any:
    import ray.data

    spec, actors = flow.spec, n_actors(flow.spec)
    most = max(actors, spec.max_actors or actors)
    memory = {} if spec.memory_per_actor_mb is None else {"memory": spec.memory_per_actor_mb << 20}
    numbers = ray.data.from_items([{"number": shard.number} for shard in todo], override_num_blocks=len(todo))
    rows = numbers.map_batches(
        read_rows,
        fn_kwargs={"shards": flow.survey.shards, "chunking": flow.chunking},
        batch_size=1,
        num_cpus=0,  # reading is little beside embedding, and must not wait for a CPU that all actors hold
        compute=ray.data.TaskPoolStrategy(size=most),
    )
    embedded = rows.map_batches(
        EmbedPassages,
        fn_constructor_kwargs={"make": flow.make, "identity": flow.identity, "threads": spec.cpus_per_actor},
        batch_size=spec.batch_size,
        num_cpus=spec.cpus_per_actor,
        num_gpus=spec.gpus_per_actor or None,
        compute=ray.data.ActorPoolStrategy(min_size=actors, max_size=most),
        **memory,
    )
    if flow.open_index is None:
        return embedded
    return embedded.map_batches(
        WritePassages,
        fn_constructor_kwargs={"open_index": flow.open_index, "name": flow.collection, "keep": flow.keep},
        batch_size=spec.batch_size,
        num_cpus=0,
        compute=ray.data.ActorPoolStrategy(size=spec.writers),
    )


def _check(batch: Columns, survey: Survey) -> None:
    """Raise the first fault of a batch, with its place."""
    for number, line, error in zip(batch["shard"], batch["line"], batch["error"], strict=True):
        if error:
            shard = survey.shards[int(number)].shard
            if not line:
                raise InputError(f"{error}: index the corpus again")
            raise ModelError(f"{shard.uri}:{line}: {error}")


def _translated(error: Exception) -> RagtrialError:
    """What Ray says, in a sentence: the last line of its traces."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, RagtrialError):
        return cause
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    said = lines[-1][:400] if lines else type(error).__name__
    return SetupError(f"embedding on Ray failed: {said}; what was stored is kept, and the same command goes on from it")
