"""What searches an arm's collection: by its vectors, by words, or by both."""

from typing import TypeAlias

from ragtrial.build import Surroundings, build_embedder
from ragtrial.contracts import Embedder, VectorIndex
from ragtrial.domain.experiment import Arm, RetrievalSpec
from ragtrial.embedding.none import NoEmbedder
from ragtrial.embedding.retriever import DenseRetriever
from ragtrial.index.hybrid import Blend, BlendedRetriever

ArmRetriever: TypeAlias = DenseRetriever | BlendedRetriever


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


def build_retriever(spec: RetrievalSpec, *, embedder: Embedder, index: VectorIndex, collection: str) -> ArmRetriever:
    """What searches an arm's collection."""
    blend = blend_of(spec)
    if blend is None:
        return DenseRetriever(embedder=embedder, index=index, collection=collection)
    return BlendedRetriever(embedder=embedder, index=index, collection=collection, blend=blend)


def build_arm_embedder(arm: Arm, retrieval: RetrievalSpec, around: Surroundings) -> Embedder:
    """The arm's embedder; a stand-in without dimensions where it searches by words alone.

    Raises:
        ModelError: There is no such model.
        InputError: No such provider, or a number that can't be.
    """
    if retrieval.method == "bm25":
        return NoEmbedder()
    return build_embedder(arm.embedding, around)
