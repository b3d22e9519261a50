"""`ragtrial index`: both arms' collections, and nothing else."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from pathlib import Path

from ragtrial.contracts import Embedder, Progress, VectorIndex, no_progress
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import milvus_uri, resolve_path
from ragtrial.indexing import alias_of, rollback
from ragtrial.settings import Settings
from ragtrial.suite.arms import index_facts, load_models, open_index
from ragtrial.suite.distributing import examined, index_on_ray
from ragtrial.suite.folders import check_stores
from ragtrial.suite.foreign_arms import has_own
from ragtrial.suite.leading import held_in_turn, leadership
from ragtrial.suite.preparing import Configured, Prepared, configure, prepare

logger = logging.getLogger("ragtrial.index")


def index_file(path: Path, *, settings: Settings, progress: Progress = no_progress) -> dict[str, IndexFacts]:
    """Index the corpus of an experiment file where the file says; what is known of each collection, by arm.

    On Ray the corpus is streamed from its shards. It is read into memory only afterwards, and only where the recall of an index is measured
    (`distributing.examined`).
    """
    configured = configure(path, settings=settings)
    if configured.experiment.execution == "local":
        return index_all(prepare(path, settings=settings), progress=progress)
    check_stores(configured)
    embedders = load_models(configured, progress=progress)
    with ExitStack() as stack:
        stack.enter_context(_in_turn(configured))
        index = stack.enter_context(closing(open_index(configured)))
        cache = stack.enter_context(VectorCache(resolve_path(configured.file.folder, configured.experiment.stores.vectors)))
        facts = index_on_ray(configured, embedders, index=index, cache=cache, progress=progress)
        if not facts or not examined(configured, next(iter(facts.values())).n_passages):
            return facts
        return _indexed(prepare(path, settings=settings), embedders, index=index, cache=cache, progress=progress)


def _in_turn(configured: Configured) -> AbstractContextManager[None]:
    said = "waiting for another process, which is indexing or measuring with the same database (lock 'indexing')"
    return held_in_turn(leadership(configured.file, "indexing"), waiting=partial(logger.warning, said))


def _indexed(
    prepared: Prepared, embedders: Mapping[str, Embedder], *, index: VectorIndex, cache: VectorCache, progress: Progress
) -> dict[str, IndexFacts]:
    return {
        arm.name: index_facts(prepared, arm, embedder=CachedEmbedder(embedders[arm.name], cache), index=index, progress=progress)
        for arm in prepared.experiment.arms
        if not has_own(prepared.experiment, arm)
    }


def index_all(prepared: Prepared, *, progress: Progress = no_progress) -> dict[str, IndexFacts]:
    """Index the corpus once for each arm; what is known of each collection, by arm."""
    check_stores(prepared)
    embedders = load_models(prepared, progress=progress)
    with ExitStack() as stack:
        stack.enter_context(_in_turn(prepared))  # a service that starts meanwhile waits, and finds it done
        index = stack.enter_context(closing(open_index(prepared)))
        cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)))
        return _indexed(prepared, embedders, index=index, cache=cache, progress=progress)


def roll_back(prepared: Prepared, arm: str) -> str:
    """Point the arm's alias back to the collection it pointed to before the last change; the collection it points to now.

    Raises:
        InputError: The experiment has no such arm.
        StoreError: There is no previous collection.
    """
    names = [one.name for one in prepared.experiment.arms]
    if arm not in names:
        raise InputError(f"--rollback {arm!r}: the experiment's arms are {', '.join(names)}")
    uri = milvus_uri(prepared.file)
    nothing = StoreError(f"--rollback {arm!r}: this arm has no collection yet: ragtrial index EXPERIMENT.yaml makes it")
    if "://" not in uri and not Path(uri).exists():
        raise nothing
    with closing(open_index(prepared)) as index:
        alias = alias_of(prepared.experiment.name, arm)
        if index.resolve(alias) is None:
            raise nothing
        return rollback(index, alias)
