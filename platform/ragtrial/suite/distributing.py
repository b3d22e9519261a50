"""`execution: ray`: the arms' collections made on Ray, from the shards themselves and not from passages in memory."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ragtrial.build import Surroundings, build_import, build_index, index_parameters
from ragtrial.contracts import Embedder, IndexParameters, Progress, VectorIndex, Vectors, no_progress
from ragtrial.distributed.indexing import Destination, Importer, Remember, Source, index_shards
from ragtrial.distributed.session import ray_session
from ragtrial.distributed.survey import survey
from ragtrial.domain.corpus import Corpus, CorpusIdentity, Passage
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.domain.experiment import Arm
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import SetupError
from ragtrial.formats.data import corpus_location
from ragtrial.formats.experiment import milvus_uri, resolve_path
from ragtrial.formats.shards import list_shards
from ragtrial.index.recall import MOST_PASSAGES
from ragtrial.indexing import alias_of, collection_name, of_groups
from ragtrial.suite.foreign_arms import has_own
from ragtrial.suite.preparing import Configured
from ragtrial.suite.retrieving import build_arm_embedder


def index_on_ray(
    configured: Configured,
    embedders: Mapping[str, Embedder],
    *,
    index: VectorIndex,
    cache: VectorCache,
    corpus: Corpus | None = None,
    progress: Progress = no_progress,
) -> dict[str, IndexFacts]:
    """Make the arms' collections that are not complete.

    Aliases move to collections whose recall need not be measured; to others `index_facts` moves them, after that.

    Args:
        configured: The experiment.
        embedders: Each arm's, by arm.
        index: The experiment's store, open.
        cache: Of vectors; it gets those of a corpus whose recall will be measured.
        corpus: The passages where they are in memory: then nothing is read where all collections are complete.
        progress: Told how many passages are stored.

    Returns:
        What is known of each collection, by arm; empty where `corpus` was given and nothing was to do.

    Raises:
        RagtrialError: See `distributed.indexing.index_shards`, `distributed.survey.survey` and `distributed.session.ray_session`.
    """
    experiment, folder = configured.experiment, configured.file.folder
    arms = tuple(arm for arm in experiment.arms if not has_own(experiment, arm))
    if not arms:
        return {}
    if corpus is not None:
        arms = tuple(arm for arm in arms if not _is_complete(configured, arm, embedders[arm.name], index, corpus, len(corpus.passages)))
        if not arms:
            return {}
    source = Source(
        survey=survey(list_shards(corpus_location(experiment.data, folder)), experiment.chunking, progress=progress),
        chunking=experiment.chunking,
    )
    if corpus is not None and corpus.fingerprint != source.survey.fingerprint:
        raise SetupError("the corpus's files were changed while they were read: give the command again")
    to_do = [
        arm
        for arm in arms
        if embedders[arm.name].identity.dimension
        and not _is_complete(configured, arm, embedders[arm.name], index, source.survey, source.survey.n_passages)
    ]
    is_examined = examined(configured, source.survey.n_passages)
    with _importer(configured) as importer, ray_session(experiment.ray) if to_do else contextlib.nullcontext():
        return {
            arm.name: index_shards(
                source,
                embedder=embedders[arm.name],
                make=partial(build_arm_embedder, arm, experiment.retrieval_of(arm), for_workers(configured, arm)),
                to=_destination(configured, arm, index, move=not is_examined, importer=importer),
                spec=experiment.ray,
                remember=_remembering(embedders[arm.name], cache) if is_examined else None,
                progress=progress,
            )
            for arm in arms
        }


@contextlib.contextmanager
def _importer(configured: Configured) -> Iterator[Importer | None]:
    """What imports files, where the experiment says so."""
    spec, uri = configured.experiment.ray, milvus_uri(configured.file)
    if spec.write != "bulk-import" or spec.import_folder is None:
        yield None
        return
    token = configured.around.settings.secret(configured.experiment.stores.milvus_token_env)
    importer = build_import(uri, token=token, folder=resolve_path(configured.file.folder, spec.import_folder), prefix=spec.import_prefix)
    try:
        yield importer
    finally:
        importer.stop()


def examined(configured: Configured, n_passages: int) -> bool:
    """Whether the indexes' recall is measured against exact search over the corpus, which takes its passages and vectors to this machine.

    That is so where it is small, or where an index may not go unmeasured.
    """
    experiment = configured.experiment
    retrievals = [experiment.retrieval_of(arm) for arm in experiment.arms]
    return n_passages <= MOST_PASSAGES or any(not spec.index.may_go_unmeasured for spec in retrievals if spec.method != "bm25")


def _is_complete(configured: Configured, arm: Arm, embedder: Embedder, index: VectorIndex, corpus: CorpusIdentity, n_passages: int) -> bool:
    parameters = of_groups(_parameters(configured, arm), corpus)
    found = index.describe(collection_name(corpus, embedder.identity, parameters))
    return found is not None and found.complete and found.n_passages == n_passages


def _parameters(configured: Configured, arm: Arm) -> IndexParameters:
    return index_parameters(configured.experiment.retrieval_of(arm))


def _destination(configured: Configured, arm: Arm, index: VectorIndex, *, move: bool, importer: Importer | None) -> Destination:
    experiment, folder, uri = configured.experiment, configured.file.folder, milvus_uri(configured.file)
    token = configured.around.settings.secret(experiment.stores.milvus_token_env)
    return Destination(
        index=index,
        store=uri,
        open_index=partial(build_index, uri, token=token) if "://" in uri else None,
        parameters=_parameters(configured, arm),
        alias=alias_of(experiment.name, arm.name),
        move=move,
        ledger=resolve_path(folder, experiment.ray.ledger),
        importer=importer,
    )


def for_workers(configured: Configured, arm: Arm) -> Surroundings:
    """What a model is loaded against on a worker: the same folders and the same rules, so many threads, and of the secrets the arm's key alone."""
    around, name = configured.around, arm.embedding.api_key_env
    key = around.settings.secret(name) if arm.embedding.provider != "sentence-transformers" else None
    settings = replace(  # all that is not named here goes along: how far files may reach, and whether pickles may be loaded
        around.settings,
        environment={} if key is None else {name: key},
        torch_threads=configured.experiment.ray.cpus_per_actor,
        stores={},
        key_pepper=None,
        otlp_endpoint=None,
        serve=None,
        board=None,
    )
    return Surroundings(folder=around.folder, registry=around.registry, settings=settings)


def _remembering(embedder: Embedder, cache: VectorCache) -> Remember | None:
    if not embedder.identity.dimension:
        return None
    cached = CachedEmbedder(embedder, cache)

    def remember(passages: Sequence[Passage], vectors: Vectors) -> None:
        cached.remember([passage.content for passage in passages], vectors, kind="passage")

    return remember
