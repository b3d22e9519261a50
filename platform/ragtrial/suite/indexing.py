"""`ragtrial index`: both arms' collections, and nothing else."""

from contextlib import ExitStack, closing
from pathlib import Path

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import milvus_uri, resolve_path
from ragtrial.indexing import alias_of, rollback
from ragtrial.suite.arms import index_facts, load_models, open_index
from ragtrial.suite.folders import check_stores
from ragtrial.suite.preparing import Prepared


def index_all(prepared: Prepared, *, progress: Progress = no_progress) -> dict[str, IndexFacts]:
    """Index the corpus once for each arm; what is known of each collection, by arm."""
    check_stores(prepared)
    embedders = load_models(prepared, progress=progress)
    with ExitStack() as stack:
        index = stack.enter_context(closing(open_index(prepared)))
        cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)))
        return {
            arm.name: index_facts(prepared, arm, embedder=CachedEmbedder(embedders[arm.name], cache), index=index, progress=progress)
            for arm in prepared.experiment.arms
        }


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
