"""`ragtrial index`: both arms' collections, and nothing else."""

from contextlib import ExitStack, closing

from ragtrial.build import build_embedder, build_index
from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError
from ragtrial.formats.experiment import milvus_uri, resolve_path
from ragtrial.indexing import alias_of, rollback
from ragtrial.suite.arms import check_models, index_facts
from ragtrial.suite.preparing import Prepared


def index_all(prepared: Prepared, *, progress: Progress = no_progress) -> dict[str, IndexFacts]:
    """Index the corpus once for each arm; what is known of each collection, by arm."""
    check_models(prepared)
    stores = prepared.experiment.stores
    with ExitStack() as stack:
        cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, stores.vectors)))
        token = prepared.around.settings.secret(stores.milvus_token_env)
        index = stack.enter_context(closing(build_index(milvus_uri(prepared.file), token=token)))
        return {
            arm.name: index_facts(
                prepared,
                arm,
                embedder=CachedEmbedder(build_embedder(arm.embedding, prepared.around), cache),
                index=index,
                progress=progress,
            )
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
    token = prepared.around.settings.secret(prepared.experiment.stores.milvus_token_env)
    with closing(build_index(milvus_uri(prepared.file), token=token)) as index:
        return rollback(index, alias_of(prepared.experiment.name, arm))
