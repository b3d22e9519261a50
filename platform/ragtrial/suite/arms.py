"""The arms made ready: model, collection, parity, leakage."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragtrial.build import (
    build_generator,
    build_index,
    check_index,
    index_parameters,
    model_location,
)
from ragtrial.contracts import Embedder, Generator, Progress, VectorIndex, no_progress
from ragtrial.domain.evaluation import ArmFacts, IndexFacts
from ragtrial.domain.experiment import Arm, RetrievalSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import Conditions
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import StoreError
from ragtrial.evaluation import order_of
from ragtrial.finetuning.leakage import check_lineage
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import milvus_uri
from ragtrial.indexing import alias_of, index_arm, measured_recall
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.promotion_journal import recover
from ragtrial.suite.retrieving import ArmRetriever, build_arm_embedder, build_retriever

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate

RECALL_SAMPLE = 100
RECALL_MAX_PASSAGES = 200_000


@dataclass(frozen=True, kw_only=True)
class ReadyArm:
    """One arm, indexed.

    Attributes:
        arm: As planned.
        facts: What it is made of.
        generator: Makes its answers; None where generation is off.
        retriever: With the vector cache, for quality.
        timed_retriever: Without it, for latency.
    """

    arm: Arm
    facts: ArmFacts
    generator: Generator | None
    retriever: ArmRetriever
    timed_retriever: ArmRetriever


def load_models(prepared: Prepared, *, progress: Progress = no_progress) -> dict[str, Embedder]:
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


def open_index(prepared: Prepared, *, timeout_s: float = 60.0) -> VectorIndex:
    """The experiment's Milvus, after a look at what it will be asked to build.

    Args:
        prepared: The experiment with its data.
        timeout_s: For each call.

    Raises:
        StoreError: It can't be reached, is no Milvus, or can't build what an arm asks for.
    """
    uri = milvus_uri(prepared.file)
    asked = [index_parameters(prepared.experiment.retrieval_of(arm)) for arm in prepared.experiment.arms]
    for parameters in asked:
        check_index(parameters, uri)
    token = prepared.around.settings.secret(prepared.experiment.stores.milvus_token_env)
    index = build_index(uri, token=token, timeout_s=timeout_s)
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
    index: VectorIndex,
    cache: VectorCache,
    progress: Progress,
) -> tuple[ReadyArm, ...]:
    """Index the corpus with each arm's model, and measure the index's recall; control first.

    Args:
        prepared: The experiment with its data.
        embedders: From `load_models`.
        generators: From `load_generators`; None loads them here.
        index: From `open_index`.
        cache: Of vectors.
        progress: Told how many passages are embedded.
    """
    if generators is None:
        generators = load_generators(prepared)
    return tuple(
        _ready(prepared, arm, bare=embedders[arm.name], index=index, cache=cache, generator=generators[arm.name], progress=progress)
        for arm in (prepared.experiment.control, prepared.experiment.treatment)
    )


def _ready(
    prepared: Prepared, arm: Arm, *, bare: Embedder, index: VectorIndex, cache: VectorCache, generator: Generator | None, progress: Progress
) -> ReadyArm:
    cached = CachedEmbedder(bare, cache) if bare.identity.dimension else bare  # nothing to keep of an arm without vectors
    retrieval = prepared.experiment.retrieval_of(arm)
    facts = index_facts(prepared, arm, embedder=cached, index=index, progress=progress)
    return ReadyArm(
        arm=arm,
        facts=ArmFacts(
            arm=arm.name,
            role=arm.role,
            model=bare.identity,
            index=facts,
            conditions=_conditions(prepared, arm, bare, facts, generator),
            lineage=_lineage(prepared, arm, bare.identity),
        ),
        generator=generator,
        retriever=build_retriever(retrieval, embedder=cached, index=index, collection=facts.collection),
        timed_retriever=build_retriever(retrieval, embedder=bare, index=index, collection=facts.collection),
    )


def index_facts(prepared: Prepared, arm: Arm, *, embedder: Embedder, index: VectorIndex, progress: Progress) -> IndexFacts:
    """Index the corpus for the arm where that is still to do, and measure the recall of approximate search."""
    retrieval = prepared.experiment.retrieval_of(arm)
    facts = index_arm(
        corpus=prepared.corpus,
        embedder=embedder,
        index=index,
        parameters=index_parameters(retrieval),
        alias=alias_of(prepared.experiment.name, arm.name),
        progress=progress,
    )
    if len(prepared.corpus.passages) > RECALL_MAX_PASSAGES or not embedder.identity.dimension:
        return facts
    sample = order_of(prepared.gold, seed=prepared.experiment.analysis.seed, limit=RECALL_SAMPLE)
    vectors = embedder.embed([query.text for query in sample], kind="query")
    matrix = embedder.embed([passage.content for passage in prepared.corpus.passages], kind="passage")
    ids = [passage.passage_id for passage in prepared.corpus.passages]
    recall = measured_recall(index, facts.collection, embedder.identity, vectors, matrix, ids, top_k=retrieval.top_k)
    return dataclasses.replace(facts, ann_recall=recall)


def _conditions(prepared: Prepared, arm: Arm, embedder: Embedder, facts: IndexFacts, generator: Generator | None) -> Conditions:
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
            **{f"build.{name}": str(value) for name, value in retrieval.index.build.items()},
            **{f"search.{name}": str(value) for name, value in retrieval.index.search.items()},
        },
        generation={"provider": generation.provider, "context_passages": str(generation.context_passages), **settings},
        data={"corpus": prepared.corpus.fingerprint, "gold": prepared.gold.fingerprint, "n_passages": str(facts.n_passages)},
    )


def _method_settings(retrieval: RetrievalSpec) -> dict[str, str]:
    """What is not dense search over float32 vectors; left out where it is, so that older certificates stay as they are."""
    found: dict[str, str] = {} if retrieval.index.vectors == "fp32" or retrieval.method == "bm25" else {"vectors": retrieval.index.vectors}
    if retrieval.method != "dense":
        found["method"] = retrieval.method
    if retrieval.method == "hybrid":
        found |= {"fusion": retrieval.fusion, "candidates": str(max(retrieval.candidates, retrieval.top_k))}
        found |= {"rrf_k": str(retrieval.rrf_k)} if retrieval.fusion == "rrf" else {"dense_weight": str(retrieval.dense_weight)}
    return found


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in settings)


def _lineage(prepared: Prepared, arm: Arm, loaded: ModelIdentity) -> Mapping[str, object] | None:
    """The record of the version that was loaded, even where its alias, or the latest version, has become another one since."""
    if not arm.embedding.model.startswith("registry:") or not loaded.dimension:
        return None
    registry = Registry(prepared.around.registry)
    meant = registry.get(arm.embedding.model)
    exact = (model for model in registry.list() if f"{model.name}-{model.version}" == loaded.name)
    lineage = next(exact, meant).lineage
    return {name: value for name, value in lineage.items() if name != "files"}  # the checksum over all of them is enough for a log


def leakage(prepared: Prepared) -> tuple[str, str]:
    """Whether a registered model was trained on what it is tested on; models without a record are said to be unknown.

    Beyond a failure the treatment's state counts: what the control may have seen can only make custom's gain look smaller.
    """
    qrels = prepared.gold.qrels()
    relevant = sorted({passage_id for grades in qrels.values() for passage_id, grade in grades.items() if grade > 0})
    texts = [prepared.corpus.by_id[passage_id].content for passage_id in relevant]
    states: dict[str, str] = {}
    details = []
    for arm in (prepared.experiment.control, prepared.experiment.treatment):
        if arm.embedding.model.startswith("registry:"):
            model = Registry(prepared.around.registry).get(arm.embedding.model)
            found, detail = check_lineage(model, prepared.gold, texts)
            states[arm.role] = found
            details.append(f"{arm.name}: {detail}")
        else:
            details.append(f"{arm.name}: no training record of {arm.embedding.model!r}")
    state = "fail" if "fail" in states.values() else states.get("treatment", "unknown")
    return state, "; ".join(details)


def archived(prepared: Prepared) -> dict[str, tuple[str, str]]:
    """That an arm runs a version which was archived, where that is so: a check of the evaluation, by name."""
    said = []
    registry = Registry(prepared.around.registry)
    for arm in prepared.experiment.arms:
        if arm.embedding.model.startswith("registry:"):
            model = registry.get(arm.embedding.model)
            why = registry.records(model.name).archived.get(model.version)
            if why is not None:
                said.append(f"{arm.name} runs {model.reference}, which is archived{f' ({why})' if why else ''}")
    return {"archived": ("warn", "; ".join(said))} if said else {}


def missing_models(prepared: Prepared) -> tuple[str, ...]:
    """Names of registered models that arms ask for and the registry lacks."""
    have = {model.name for model in Registry(prepared.around.registry).list()}
    names = [_registered_name(arm) for arm in prepared.experiment.arms]
    return tuple(dict.fromkeys(name for name in names if name is not None and name not in have))


def _registered_name(arm: Arm) -> str | None:
    model = arm.embedding.model
    return model.removeprefix("registry:").partition("@")[0] if model.startswith("registry:") else None


def check_models(prepared: Prepared, *, to_train: Collection[str] = ()) -> None:
    """Fail before any work where a model is missing.

    Args:
        prepared: The experiment.
        to_train: Registered models that will be trained first.

    Raises:
        ModelError: An arm's model does not exist.
    """
    for arm in prepared.experiment.arms:
        if prepared.experiment.retrieval_of(arm).method == "bm25":
            continue
        if arm.embedding.provider == "sentence-transformers" and _registered_name(arm) not in to_train:
            model_location(arm.embedding.model, prepared.around)
