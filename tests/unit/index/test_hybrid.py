import math
from pathlib import Path

import numpy as np
import pytest
from pymilvus import AnnSearchRequest, MilvusClient, RRFRanker, WeightedRanker

from ragtrial.contracts import IndexParameters
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.none import NoEmbedder
from ragtrial.errors import StoreError
from ragtrial.index.exact import ExactIndex
from ragtrial.index.hybrid import Blend, BlendedRetriever, blended, fused
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.milvus_support import check_supported, check_version

WORDS = IndexParameters(build={}, search={}, words=True)
TEXTS = [
    "the reefer at slot 12 lost its power",
    "demurrage is charged from the sixth day",
    "demurrage and detention: demurrage again",
    "the crane works on shore power",
    "a manifest lists the cargo of a vessel",
]


def passages() -> list[Passage]:
    return [Passage(passage_id=f"p{i}", document_id=f"d{i}", text=text, start=0, end=len(text)) for i, text in enumerate(TEXTS)]


def hits(*pairs: tuple[str, float]) -> tuple[Hit, ...]:
    return tuple(Hit(passage_id=name, similarity=score) for name, score in pairs)


def test_reciprocal_ranks_are_summed_and_ties_stand_by_id() -> None:
    found = fused(hits(("b", 0.9), ("a", 0.8)), hits(("a", 7.0), ("b", 6.0), ("c", 1.0)), blend=Blend(rrf_k=60), top_k=3)
    assert [hit.passage_id for hit in found] == ["a", "b", "c"], "a and b have ranks 1 and 2 each, so the id decides"
    assert [hit.similarity for hit in found] == pytest.approx([1 / 61 + 1 / 62, 1 / 61 + 1 / 62, 1 / 63])


def test_a_large_constant_still_tells_ranks_apart() -> None:
    many = hits(*((f"p{99 - i:03}", 1 - i / 1000) for i in range(100)))
    found = fused(many, (), blend=Blend(rrf_k=10_000), top_k=100)
    assert [hit.passage_id for hit in found] == [hit.passage_id for hit in many]


@pytest.mark.parametrize(("metric", "similarity"), [("COSINE", 0.6), ("L2", 2 * 0.6 - 2)])
def test_weighted_scores_are_normalised_as_milvus_does_whatever_the_metric(metric: str, similarity: float) -> None:
    blend = Blend(fusion="weighted", dense_weight=0.25, metric=metric)  # type: ignore[arg-type]
    found = fused(hits(("a", similarity)), hits(("a", 3.0), ("b", 1.0)), blend=blend, top_k=2)
    expected = [0.25 * 0.8 + 0.75 * 2 * math.atan(3) / math.pi, 0.75 * 2 * math.atan(1) / math.pi]
    assert [hit.similarity for hit in found] == pytest.approx(expected)


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_fusion_agrees_with_milvus_own(tmp_path: Path, fusion: str) -> None:
    embedder, path = HashingEmbedder(dimension=256), str(tmp_path / "milvus.db")
    index = MilvusIndex(path)
    index.create("c", model=embedder.identity, corpus="x", parameters=WORDS)
    index.insert("c", passages(), embedder.embed(TEXTS, kind="passage"))
    index.finish("c")
    query = "demurrage charged on the sixth day at slot 12"
    vectors = embedder.embed([query], kind="query")
    blend = Blend(fusion=fusion, dense_weight=0.3)  # type: ignore[arg-type]
    (ours,) = blended(index, "c", [query], vectors, top_k=5, model=embedder.identity, blend=blend)
    client = MilvusClient(path)
    requests = [
        AnnSearchRequest([vectors[0].tolist()], "vector", {"metric_type": "COSINE"}, limit=100),
        AnnSearchRequest([query], "words", {"metric_type": "BM25"}, limit=100),
    ]
    ranker = RRFRanker(60) if fusion == "rrf" else WeightedRanker(0.3, 0.7)
    (theirs,) = client.hybrid_search("c", requests, ranker, limit=5, output_fields=["passage_id"])
    expected = dict(zip(theirs.ids, theirs.distances, strict=True))
    for hit in ours[:3]:  # further down all dense similarities are nearly 0, where equal ones stand in another order
        if fusion == "weighted":
            assert hit.similarity == pytest.approx(expected[hit.passage_id], abs=1e-3)
    assert ours[0].passage_id == theirs.ids[0] == "p1"
    index.close()


def test_hybrid_finds_what_only_one_of_the_two_finds() -> None:
    embedder, index = HashingEmbedder(dimension=256), ExactIndex()
    index.create("c", model=embedder.identity, corpus="x", parameters=WORDS)
    index.insert("c", passages(), embedder.embed(TEXTS, kind="passage"))
    index.finish("c")
    retriever = BlendedRetriever(embedder=embedder, index=index, collection="c", blend=Blend())
    found = retriever.retrieve([Query(query_id="q", text="manifest of a vessel"), Query(query_id="r", text="unheard-of")], top_k=3)
    assert found.hits[0][0].passage_id == "p4"
    assert len(found.hits[1]) == 3, "no word is shared, but vectors always rank"


@pytest.mark.parametrize("kind", ["exact", "lite"])
def test_words_alone_need_no_model(kind: str, tmp_path: Path) -> None:
    index = ExactIndex() if kind == "exact" else MilvusIndex(str(tmp_path / "milvus.db"))
    embedder = NoEmbedder()
    index.create("c", model=embedder.identity, corpus="x", parameters=WORDS)
    index.insert("c", passages(), embedder.embed(TEXTS, kind="passage"))
    index.finish("c")
    info = index.describe("c")
    assert info is not None
    assert (info.n_passages, info.complete, info.parameters) == (5, True, WORDS)
    retriever = BlendedRetriever(embedder=embedder, index=index, collection="c", blend=Blend(method="bm25"))
    found = retriever.retrieve([Query(query_id="q", text="Demurrage?"), Query(query_id="r", text="unheard-of")], top_k=3)
    assert [hit.passage_id for hit in found.hits[0]] == ["p2", "p1"]
    assert found.hits[1] == ()
    index.close()


def test_a_collection_without_words_says_what_to_do() -> None:
    index = ExactIndex()
    model = ModelIdentity(name="m", revision="1", dimension=8)
    index.create("c", model=model, corpus="x", parameters=IndexParameters(build={}, search={}))
    with pytest.raises(StoreError, match="made without words: index the corpus again"):
        index.search_words("c", ["x"], top_k=1)


def test_a_server_that_is_too_old_is_refused_before_any_work() -> None:
    with pytest.raises(StoreError, match=r"server is v2\.3\.5, but BM25 .* needs 2\.5 or newer"):
        check_version("v2.3.5", WORDS)
    int8 = IndexParameters(type="HNSW", build={}, search={}, vectors="int8")
    with pytest.raises(StoreError, match=r"int8 vectors .* needs 2\.6"):
        check_version("2.5.4", int8)
    check_version("2.6.1", WORDS)
    check_version("2.6.1", int8)
    check_version("master-20260101", WORDS)  # it will say itself what it can't


def test_what_a_server_has_no_index_for_is_refused() -> None:
    with pytest.raises(StoreError, match="int8 vectors with HNSW only"):
        check_supported(IndexParameters(type="FLAT", build={}, search={}, vectors="int8"), lite=False)
    check_supported(IndexParameters(type="FLAT", build={}, search={}, vectors="int8"), lite=True)
    with pytest.raises(StoreError, match="no HNSW index"):
        check_supported(IndexParameters(type="HNSW", build={}, search={}, vectors="binary"), lite=True)


def test_many_equal_passages_stand_by_id_across_the_cut(tmp_path: Path) -> None:
    index, model = MilvusIndex(str(tmp_path / "milvus.db")), NoEmbedder().identity
    items = [
        Passage(passage_id=f"p{i:03}", document_id="d", text="demurrage", start=0, end=9) for i in np.random.default_rng(0).permutation(60)
    ]
    index.create("c", model=model, corpus="x", parameters=WORDS)
    index.insert("c", items, np.empty((60, 0), np.float32))
    index.finish("c")
    assert [hit.passage_id for hit in index.search_words("c", ["demurrage"], top_k=5)[0]] == [f"p{i:03}" for i in range(5)]
    index.close()
