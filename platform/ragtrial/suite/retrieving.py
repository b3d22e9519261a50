"""What searches an arm's collection: by its vectors, by words, or by both."""

from collections.abc import Mapping
from typing import TypeAlias

from ragtrial.build import Surroundings, build_embedder, build_reranker, model_location
from ragtrial.contracts import Embedder, Reranker, VectorIndex
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import Arm, Experiment, RetrievalSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.reranking import RerankSpec
from ragtrial.embedding.none import NoEmbedder
from ragtrial.embedding.retriever import DenseRetriever
from ragtrial.foreign.retriever import ForeignRetriever
from ragtrial.index.hybrid import Blend, BlendedRetriever
from ragtrial.reranking.reordering import Reordering, RerankedRetriever

ArmRetriever: TypeAlias = DenseRetriever | BlendedRetriever | RerankedRetriever | ForeignRetriever


def blend_of(spec: RetrievalSpec) -> Blend | None:
    """How BM25 comes into the search; None for dense retrieval."""
    if spec.method == "dense":
        return None
    return Blend(
        method=spec.method,
        fusion=spec.fusion,
        rrf_k=spec.rrf_k,
        dense_weight=spec.dense_weight,
        candidates=spec.candidates,
        metric=spec.index.metric,
    )


def build_retriever(
    spec: RetrievalSpec, *, embedder: Embedder, index: VectorIndex, collection: str, reordering: Reordering | None = None
) -> ArmRetriever:
    """What searches an arm's collection, and puts what it finds in a new order where it is told how."""
    blend = blend_of(spec)
    inner: DenseRetriever | BlendedRetriever
    if blend is None:
        inner = DenseRetriever(embedder=embedder, index=index, collection=collection, group_tag=spec.index.partition_tag)
    else:
        inner = BlendedRetriever(embedder=embedder, index=index, collection=collection, blend=blend, group_tag=spec.index.partition_tag)
    return inner if reordering is None else RerankedRetriever(inner, reordering)


def reordering_of(spec: RetrievalSpec, reranker: Reranker | None, passages: Mapping[str, Passage]) -> Reordering | None:
    """How an arm's hits are put in a new order; None where they are not."""
    if spec.rerank is None or reranker is None:
        return None
    return Reordering(reranker=reranker, passages=passages, candidates=spec.rerank.candidates)


def load_rerankers(experiment: Experiment, around: Surroundings, *, live: bool = False) -> dict[str, Reranker | None]:
    """Each arm's reranker, by arm; one for both where they rerank alike, None where they don't.

    Args:
        experiment: With its arms.
        around: For models and keys.
        live: Users wait for it.

    Raises:
        ModelError: There is no such model, or the endpoint gives no answer.
        InputError: No such provider.
    """
    specs = {arm.name: experiment.retrieval_of(arm).rerank for arm in experiment.arms}
    built: dict[RerankSpec, Reranker] = {}
    for spec in specs.values():
        if spec is not None and spec not in built:
            built[spec] = build_reranker(spec, around, live=live)
    return {arm: None if spec is None else built[spec] for arm, spec in specs.items()}


def check_reranker(spec: RerankSpec, around: Surroundings) -> None:
    """Fail before any work where a reranker's model is missing; what an endpoint has is seen when it is asked.

    Raises:
        ModelError: There is no such model.
    """
    if spec.provider == "sentence-transformers":
        model_location(spec.model, around)


def build_arm_embedder(arm: Arm, retrieval: RetrievalSpec, around: Surroundings) -> Embedder:
    """The arm's embedder; a stand-in without dimensions where it searches by words alone, or has a retriever of its own.

    Raises:
        ModelError: There is no such model.
        InputError: No such provider, or a number that can't be.
    """
    if retrieval.retriever is not None:
        spec = retrieval.retriever
        return NoEmbedder(ModelIdentity(name=spec.path, revision=spec.version, dimension=0))
    if retrieval.method == "bm25":
        return NoEmbedder()
    return build_embedder(arm.embedding, around)
