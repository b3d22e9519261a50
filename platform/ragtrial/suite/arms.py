"""The arms made ready: model, collection, parity, leakage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragtrial.build import (
    build_generator,
    build_index,
    check_index,
    index_parameters,
    reading_of,
)
from ragtrial.contracts import Embedder, Generator, Progress, Reranker, VectorIndex, no_progress
from ragtrial.domain.evaluation import ArmFacts, IndexFacts
from ragtrial.domain.experiment import Arm, RetrievalSpec
from ragtrial.domain.gold import groups_of
from ragtrial.domain.parity import Conditions
from ragtrial.domain.retriever import OWN_ANSWERS, RetrieverSpec
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import StoreError
from ragtrial.evaluation import order_of
from ragtrial.finetuning.registry import Registry
from ragtrial.foreign.retriever import ForeignAnswers, ForeignRetriever
from ragtrial.formats.experiment import milvus_uri
from ragtrial.index.recall import RecallBarrier
from ragtrial.indexing import alias_of, collection_name, index_arm, is_ready, of_groups
from ragtrial.reranking.cache import CachedReranker
from ragtrial.reranking.reordering import RerankedRetriever
from ragtrial.suite.arm_models import lineage_of
from ragtrial.suite.distributing import index_on_ray
from ragtrial.suite.foreign_arms import foreign_conditions, has_own, open_foreign
from ragtrial.suite.preparing import Configured, Prepared
from ragtrial.suite.promotion_journal import recover
from ragtrial.suite.retrieving import (
    ArmRetriever,
    build_arm_embedder,
    build_retriever,
    load_rerankers,
    reordering_of,
)

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate

RECALL_SAMPLE = 100


@dataclass(frozen=True, kw_only=True)
class ReadyArm:
    """One arm, indexed.

    Attributes:
        arm: As planned.
        facts: What it is made of.
        generator: Makes its answers; None where generation is off.
        retriever: With the caches of vectors and rerankers' scores, for quality.
        timed_retriever: Without them, for latency.
        reranker: Without its cache; None where nothing is reranked.
        foreign: The arm's own pipeline, where it brings one; then it has no collection.
        check: State and detail of what is to be said of that pipeline.
    """

    arm: Arm
    facts: ArmFacts
    generator: Generator | None
    retriever: ArmRetriever
    timed_retriever: ArmRetriever
    reranker: Reranker | None = None
    foreign: ForeignRetriever | None = None
    check: tuple[str, str] | None = None


def load_models(prepared: Configured, *, progress: Progress = no_progress) -> dict[str, Embedder]:
    """Each arm's embedder, by arm; loaded before anything is written, but after a promotion that was interrupted is finished.

    Raises:
        ModelError: An arm's model does not exist, can't be loaded, or is not what was registered.
        StoreError: A promotion was interrupted, and the experiment's Milvus can't be opened to finish it.
    """
    arms = prepared.experiment.arms
    recover(Registry(prepared.around.registry), prepared.experiment.name, lambda: open_index(prepared))
    advance = progress("load the models", len(arms))
    embedders = {}
    for arm in arms:
        embedders[arm.name] = build_arm_embedder(arm, prepared.experiment.retrieval_of(arm), prepared.around)
        advance(1)
    return embedders


def load_generators(prepared: Prepared, gate: "Gate | None" = None) -> dict[str, Generator | None]:
    """Each arm's generator, by arm; one for both where they generate alike, so that answers can be shared.

    Args:
        prepared: The experiment with its data.
        gate: For generators that ask an LLM.

    Raises:
        InputError: An arm's generator does not exist, or refuses its settings.
    """
    experiment = prepared.experiment
    specs = {experiment.generation_of(arm) for arm in experiment.arms}
    by_spec = {spec: build_generator(spec, prepared.corpus, prepared.around, gate=gate) for spec in specs}
    return {arm.name: by_spec[experiment.generation_of(arm)] for arm in experiment.arms}


def open_index(prepared: Configured, *, timeout_s: float = 60.0) -> VectorIndex:
    """The experiment's Milvus, after a look at what it will be asked to build.

    Args:
        prepared: The experiment with its data.
        timeout_s: For each call.

    Raises:
        StoreError: It can't be reached, is no Milvus, or can't build what an arm asks for.
    """
    uri = milvus_uri(prepared.file)
    searched = [prepared.experiment.retrieval_of(arm) for arm in prepared.experiment.arms if not has_own(prepared.experiment, arm)]
    asked = [index_parameters(retrieval) for retrieval in searched]
    for parameters in asked:
        check_index(parameters, uri)
    token = prepared.around.settings.secret(prepared.experiment.stores.milvus_token_env)
    reading = reading_of([retrieval.index for retrieval in searched]) if searched else None
    index = build_index(uri, token=token, timeout_s=timeout_s, reading=reading)
    try:
        for parameters in asked:
            index.check(parameters)
    except StoreError:
        index.close()
        raise
    return index


def ready_arms(
    prepared: Prepared,
    embedders: Mapping[str, Embedder],
    generators: Mapping[str, Generator | None] | None = None,
    *,
    rerankers: Mapping[str, Reranker | None] | None = None,
    index: VectorIndex,
    cache: VectorCache,
    progress: Progress,
    anew: bool = True,
) -> tuple[ReadyArm, ...]:
    """Index the corpus with each arm's model, and measure the index's recall; an arm's own pipeline is tried instead; control first.

    Args:
        prepared: The experiment with its data.
        embedders: From `load_models`.
        generators: From `load_generators`; None loads them here.
        rerankers: From `load_rerankers`; None loads them here.
        index: From `open_index`.
        cache: Of vectors, and of rerankers' scores.
        progress: Told how many passages are embedded.
        anew: Measure also a recall that was kept from before.
    """
    generators = load_generators(prepared) if generators is None else generators
    rerankers = load_rerankers(prepared.experiment, prepared.around) if rerankers is None else rerankers
    if prepared.experiment.execution == "ray":
        index_on_ray(
            prepared,
            embedders,
            index=index,
            cache=cache,
            corpus=prepared.corpus,
            progress=progress,
        )
    return tuple(
        _ready(
            prepared,
            arm,
            bare=embedders[arm.name],
            index=index,
            cache=cache,
            generator=generators[arm.name],
            reranker=rerankers[arm.name],
            progress=progress,
            anew=anew,
        )
        for arm in (prepared.experiment.control, prepared.experiment.treatment)
    )


def _ready(
    prepared: Prepared,
    arm: Arm,
    *,
    bare: Embedder,
    index: VectorIndex,
    cache: VectorCache,
    generator: Generator | None,
    reranker: Reranker | None,
    progress: Progress,
    anew: bool,
) -> ReadyArm:
    retrieval = prepared.experiment.retrieval_of(arm)
    if retrieval.retriever is not None:
        return _ready_foreign(prepared, arm, retrieval.retriever, cache=cache, generator=generator, reranker=reranker)
    cached = CachedEmbedder(bare, cache) if bare.identity.dimension else bare  # nothing to keep of an arm without vectors
    facts = index_facts(prepared, arm, embedder=cached, index=index, progress=progress, anew=anew)
    passages = prepared.corpus.by_id
    kept = None if reranker is None else reordering_of(retrieval, CachedReranker(reranker, cache), passages)
    fresh = reordering_of(retrieval, reranker, passages)
    return ReadyArm(
        arm=arm,
        facts=ArmFacts(
            arm=arm.name,
            role=arm.role,
            model=bare.identity,
            index=facts,
            conditions=_conditions(prepared, arm, bare, facts, generator, reranker),
            lineage=lineage_of(prepared, arm, bare.identity),
        ),
        generator=generator,
        retriever=build_retriever(retrieval, embedder=cached, index=index, collection=facts.collection, reordering=kept),
        timed_retriever=build_retriever(retrieval, embedder=bare, index=index, collection=facts.collection, reordering=fresh),
        reranker=reranker,
    )


def _ready_foreign(
    prepared: Prepared, arm: Arm, spec: RetrieverSpec, *, cache: VectorCache, generator: Generator | None, reranker: Reranker | None
) -> ReadyArm:
    """An arm that brings its own pipeline: nothing is indexed."""
    retrieval = prepared.experiment.retrieval_of(arm)
    opened = open_foreign(prepared, arm, spec)
    own = opened.retriever
    if prepared.experiment.generation_of(arm).provider == OWN_ANSWERS:
        generator = ForeignAnswers(own)
    passages = prepared.corpus.by_id
    kept = None if reranker is None else reordering_of(retrieval, CachedReranker(reranker, cache), passages)
    fresh = reordering_of(retrieval, reranker, passages)
    conditions = foreign_conditions(
        prepared,
        arm,
        own,
        rerank=_rerank_settings(retrieval, reranker),
        generation={} if generator is None else {"version": generator.version, **generator.settings},
    )
    return ReadyArm(
        arm=arm,
        facts=ArmFacts(arm=arm.name, role=arm.role, model=own.identity, conditions=conditions),
        generator=generator,
        retriever=own if kept is None else RerankedRetriever(own, kept),
        timed_retriever=own if fresh is None else RerankedRetriever(own, fresh),
        reranker=reranker,
        foreign=own,
        check=opened.check,
    )


def index_facts(
    prepared: Prepared, arm: Arm, *, embedder: Embedder, index: VectorIndex, progress: Progress, anew: bool = True
) -> IndexFacts:
    """Index the corpus for the arm where that is still to do, and measure the recall of its search; `anew` also where it was measured before."""
    retrieval = prepared.experiment.retrieval_of(arm)
    return index_arm(
        corpus=prepared.corpus,
        embedder=embedder,
        index=index,
        parameters=index_parameters(retrieval),
        alias=alias_of(prepared.experiment.name, arm.name),
        barrier=recall_barrier(prepared, retrieval, embedder, anew=anew),
        progress=progress,
    )


def recall_barrier(prepared: Prepared, retrieval: RetrievalSpec, embedder: Embedder, *, anew: bool = True) -> RecallBarrier | None:
    """What the arm's index must find of exact search, as deep as the arm searches, before the arm is used; None for an arm without vectors."""
    if not embedder.identity.dimension:
        return None
    sample = order_of(prepared.gold, seed=prepared.experiment.analysis.seed, limit=RECALL_SAMPLE)
    return RecallBarrier(
        embedder=embedder,
        passages=prepared.corpus.by_id,
        queries=[query.text for query in sample],
        groups=groups_of(sample, retrieval.index.partition_tag) or (),
        top_k=retrieval.vector_depth,
        least=retrieval.index.least_recall,
        parameters=index_parameters(retrieval),
        optional=retrieval.index.may_go_unmeasured,
        anew=anew,
        uncached=embedder.bare if isinstance(embedder, CachedEmbedder) else None,
    )


def nothing_to_do(prepared: Prepared, embedders: Mapping[str, Embedder], *, index: VectorIndex, cache: VectorCache) -> bool:
    """Whether `ready_arms` with `anew=False` would only look: every collection is complete, behind its alias, and measured."""
    corpus = prepared.corpus
    for arm in prepared.experiment.arms:
        if has_own(prepared.experiment, arm):
            continue
        retrieval, bare = prepared.experiment.retrieval_of(arm), embedders[arm.name]
        name = collection_name(corpus, bare.identity, of_groups(index_parameters(retrieval), corpus))
        barrier = recall_barrier(prepared, retrieval, CachedEmbedder(bare, cache), anew=False)
        alias = alias_of(prepared.experiment.name, arm.name)
        if not is_ready(index, alias, name, n_passages=len(corpus.passages), barrier=barrier):
            return False
    return True


def _conditions(
    prepared: Prepared, arm: Arm, embedder: Embedder, facts: IndexFacts, generator: Generator | None, reranker: Reranker | None
) -> Conditions:
    experiment, identity = prepared.experiment, embedder.identity
    retrieval, generation = experiment.retrieval_of(arm), experiment.generation_of(arm)
    settings = {} if generator is None else {"version": generator.version, **generator.settings}
    return Conditions(
        embedding={
            "model": str(identity),
            "revision": identity.revision,
            "dimension": str(identity.dimension),
            **_pairs(identity.settings),
        },
        chunking={"chunking": experiment.chunking.label},
        retrieval={
            "top_k": str(retrieval.top_k),
            "index": facts.index_type,
            "metric": facts.metric,
            **_method_settings(retrieval),
            **_rerank_settings(retrieval, reranker),
            **{f"build.{name}": str(value) for name, value in retrieval.index.build.items()},
            **{f"search.{name}": str(value) for name, value in retrieval.index.search.items()},
        },
        generation={"provider": generation.provider, "context_passages": str(generation.context_passages), **settings},
        data={
            "corpus": prepared.corpus.fingerprint,
            "gold": prepared.gold.fingerprint,
            "n_passages": str(facts.n_passages),
            **({} if retrieval.index.partition_by == "none" else {"groups": prepared.corpus.groups}),
        },
    )


def _method_settings(retrieval: RetrievalSpec) -> dict[str, str]:
    """What is not dense search over float32 vectors; left out where it is, so that older certificates stay as they are."""
    found: dict[str, str] = {} if retrieval.index.vectors == "fp32" or retrieval.method == "bm25" else {"vectors": retrieval.index.vectors}
    if retrieval.index.partition_by != "none":
        found |= {"partition_by": retrieval.index.partition_by, "partition_tag": retrieval.index.partition_tag or "none"}
    if retrieval.method != "dense":
        found["method"] = retrieval.method
    if retrieval.method == "hybrid":
        found |= {"fusion": retrieval.fusion, "candidates": str(max(retrieval.candidates, retrieval.top_k))}
        found |= {"rrf_k": str(retrieval.rrf_k)} if retrieval.fusion == "rrf" else {"dense_weight": str(retrieval.dense_weight)}
    return found


def _rerank_settings(retrieval: RetrievalSpec, reranker: Reranker | None) -> dict[str, str]:
    """What orders the hits anew; nothing where nothing does, so that older certificates stay as they are."""
    if reranker is None or retrieval.rerank is None:
        return {}
    identity = reranker.identity
    named = {"rerank": str(identity), "rerank.revision": identity.revision, "rerank.candidates": str(retrieval.depth)}
    return named | {f"rerank.{name}": value for name, value in _pairs(identity.settings).items()}


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in settings)
