import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragtrial.contracts import IndexParameters, Kind, VectorIndex, Vectors
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import StoreError
from ragtrial.index.exact import ExactIndex
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import alias_of, collection_name, index_arm, rollback
from recalls import plain_recall, recall_of

FLAT = IndexParameters(build={}, search={})


class Counting(HashingEmbedder):
    """Says which texts it embedded, and fails after a number of batches, as a machine might."""

    def __init__(self, *, model: str = "hashing", batches: int | None = None) -> None:
        super().__init__(model=model, dimension=256)
        self.texts: list[str] = []
        self.sizes: list[int] = []
        self._batches = batches

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        if self._batches is not None and len(self.sizes) == self._batches:
            raise KeyboardInterrupt
        self.sizes.append(len(texts))
        self.texts.extend(texts)
        return super().embed(texts, kind=kind, progress=progress)


def corpus(n: int = 30, *, word: str = "crane", chunking: str = "none") -> Corpus:
    texts = [f"{word} number {i} " + "hoist " * (i % 7) for i in range(n)]
    return Corpus(
        name="docs",
        passages=tuple(Passage(passage_id=f"p{i}", document_id="d", title="T", text=t, start=0, end=len(t)) for i, t in enumerate(texts)),
        chunking=chunking,
    )


@pytest.fixture(params=["exact", "lite"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    made: VectorIndex = ExactIndex() if request.param == "exact" else MilvusIndex(str(tmp_path / "milvus.db"))
    with contextlib.closing(made):
        yield made


def test_an_arm_s_passages_are_found_behind_its_alias(index: VectorIndex) -> None:
    embedder, docs = Counting(), corpus()
    facts = index_arm(corpus=docs, embedder=embedder, index=index, parameters=FLAT, alias="arm", batch_size=8)
    assert facts.collection == collection_name(docs, embedder.identity, FLAT)
    assert (facts.alias, facts.index_type, facts.metric, facts.n_passages, facts.bytes) == ("arm", "FLAT", "COSINE", 30, 30 * 256 * 4)
    assert facts.ann_recall is None
    assert facts.embed_seconds is not None
    assert facts.embed_seconds > 0
    assert facts.tokens == sum(len(re.findall(r"\w+", p.content)) for p in docs.passages)
    assert index.resolve("arm") == facts.collection
    queries = HashingEmbedder(dimension=256).embed([p.content for p in docs.passages], kind="query")
    found = index.search("arm", queries, top_k=1, model=embedder.identity)
    assert [hits[0].passage_id for hits in found] == [p.passage_id for p in docs.passages]


def test_texts_of_like_length_share_a_batch_longest_first(index: VectorIndex) -> None:
    embedder = Counting()
    index_arm(corpus=corpus(), embedder=embedder, index=index, parameters=FLAT, alias="arm", batch_size=8)
    assert embedder.sizes == [8, 8, 8, 6]
    lengths = [len(text) for text in embedder.texts]
    assert lengths == sorted(lengths, reverse=True)


def test_indexing_again_embeds_nothing_and_claims_no_time(index: VectorIndex) -> None:
    first = index_arm(corpus=corpus(), embedder=Counting(), index=index, parameters=FLAT, alias="arm")
    embedder = Counting()
    again = index_arm(corpus=corpus(), embedder=embedder, index=index, parameters=FLAT, alias="other")
    assert embedder.texts == []
    assert (again.collection, again.n_passages, again.embed_seconds, again.tokens) == (first.collection, 30, None, None)
    assert index.resolve("other") == first.collection


def test_an_interrupted_indexing_goes_on_where_it_stopped_and_moves_no_alias_before_the_end(index: VectorIndex) -> None:
    old = index_arm(corpus=corpus(word="gate"), embedder=Counting(), index=index, parameters=FLAT, alias="arm")
    with pytest.raises(KeyboardInterrupt):
        index_arm(corpus=corpus(), embedder=Counting(batches=2), index=index, parameters=FLAT, alias="arm", batch_size=8)
    assert index.resolve("arm") == old.collection
    embedder = Counting()
    facts = index_arm(corpus=corpus(), embedder=embedder, index=index, parameters=FLAT, alias="arm", batch_size=8)
    assert len(embedder.texts) == 30 - 16
    assert (facts.n_passages, facts.embed_seconds, facts.tokens) == (30, None, None), "a part is not comparable with a whole"
    assert index.resolve("arm") == facts.collection


def test_each_corpus_chunking_model_and_index_has_its_own_collection() -> None:
    model = HashingEmbedder().identity
    names = {
        collection_name(docs, identity, parameters)
        for docs in (corpus(), corpus(word="gate"), corpus(chunking="text-1234"))
        for identity in (model, HashingEmbedder(model="other").identity, HashingEmbedder(dimension=64).identity)
        for parameters in (
            FLAT,
            IndexParameters(metric="L2", build={}, search={}),
            IndexParameters(type="HNSW", build={}, search={"ef": 9}),
        )
    }
    assert len(names) == 27
    assert all(re.fullmatch(r"rt_hashing_(hashing|other)_[0-9a-f]{12}", name) for name in names)
    odd = ModelIdentity(name="Straße/" + "x" * 300, revision="1", dimension=3)
    assert re.fullmatch(r"[A-Za-z0-9_]{1,60}", collection_name(corpus(), odd, FLAT))


def test_aliases_are_readable_legal_and_never_the_same_for_two_arms() -> None:
    assert re.fullmatch(r"rt_covidqa_minilm_vs_finetuned_baseline_[0-9a-f]{6}", alias_of("covidqa-minilm-vs-finetuned", "baseline"))
    pairs = [("a-b", "c"), ("a_b", "c"), ("a", "b_c"), ("é", "c"), ("漢", "c"), ("a", "b-c")]
    assert len({alias_of(*pair) for pair in pairs}) == len(pairs)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", alias_of(experiment * 500, arm * 500)) for experiment, arm in pairs)


def test_an_interrupted_indexing_with_words_goes_on_too_where_the_store_counts_them_right(index: VectorIndex) -> None:
    words = IndexParameters(build={}, search={}, words=True)
    with pytest.raises(KeyboardInterrupt):
        index_arm(corpus=corpus(), embedder=Counting(batches=2), index=index, parameters=words, alias="arm", batch_size=8)
    second = Counting()
    index_arm(corpus=corpus(), embedder=second, index=index, parameters=words, alias="arm", batch_size=8)
    assert len(second.texts) == (30 if isinstance(index, MilvusIndex) else 14)  # Milvus Lite begins anew


def test_a_rollback_goes_to_the_collection_before_and_back(index: VectorIndex) -> None:
    old = index_arm(corpus=corpus(word="gate"), embedder=Counting(), index=index, parameters=FLAT, alias="arm")
    with pytest.raises(StoreError, match="alias 'arm' has no previous collection"):
        rollback(index, "arm")
    new = index_arm(corpus=corpus(), embedder=Counting(), index=index, parameters=FLAT, alias="arm")
    index_arm(corpus=corpus(), embedder=Counting(), index=index, parameters=FLAT, alias="arm")  # changes nothing
    with pytest.raises(StoreError, match="alias 'arm_previous' points to it"):
        index.drop(old.collection)
    assert rollback(index, "arm") == old.collection == index.resolve("arm")
    assert rollback(index, "arm") == new.collection == index.resolve("arm")
    with pytest.raises(StoreError, match="alias 'nobody' has no previous collection"):
        rollback(index, "nobody")


def test_another_program_s_rows_are_noticed(index: VectorIndex) -> None:
    docs, embedder = corpus(), Counting()
    name = index_arm(corpus=docs, embedder=embedder, index=index, parameters=FLAT, alias="arm").collection
    stranger = Passage(passage_id="stranger", document_id="d", text="x", start=0, end=1)
    index.insert(name, [stranger], embedder.embed(["x"], kind="passage"))
    with pytest.raises(StoreError, match="holds 31 passages after indexing, expected 30: something else writes to it"):
        index_arm(corpus=docs, embedder=embedder, index=index, parameters=FLAT, alias="arm")


def test_seconds_and_tokens_are_unknown_where_vectors_came_from_a_cache(tmp_path: Path) -> None:
    docs = corpus()
    with VectorCache(tmp_path / "vectors") as cache:
        for expect_known in (True, False):
            facts = index_arm(corpus=docs, embedder=CachedEmbedder(Counting(), cache), index=ExactIndex(), parameters=FLAT, alias="arm")
            assert (facts.embed_seconds is not None, facts.tokens is not None) == (expect_known, expect_known)


def test_progress_counts_every_passage_once() -> None:
    seen: list[tuple[str, int]] = []
    done: list[int] = []

    def progress(description: str, total: int) -> Callable[[int], None]:
        seen.append((description, total))
        return done.append

    index_arm(corpus=corpus(), embedder=Counting(), index=ExactIndex(), parameters=FLAT, alias="arm", batch_size=8, progress=progress)
    assert seen == [("index hashing-hashing@1", 30)]
    assert sum(done) == 30


def unit(n: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_recall_is_one_for_exact_search_ties_included_and_lower_for_few_probes(tmp_path: Path, metric: str) -> None:
    model = ModelIdentity(name="m", revision="1", dimension=32)
    matrix = unit(2_000, 0)
    matrix[100:140] = matrix[100]
    queries = np.concatenate([unit(30, 1), matrix[100:101]])
    ids = [f"p{i}" for i in range(2_000)]
    items = [Passage(passage_id=name, document_id="d", text="x", start=0, end=1) for name in ids]
    recalls = {}
    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"))) as store:
        for name, parameters in (
            ("exact", IndexParameters(metric=metric, build={}, search={})),  # type: ignore[arg-type]
            ("few", IndexParameters(type="IVF_FLAT", metric=metric, build={}, search={"nprobe": 2})),  # type: ignore[arg-type]
            ("all", IndexParameters(type="IVF_FLAT", metric=metric, build={}, search={"nprobe": 128})),  # type: ignore[arg-type]
        ):
            store.create(name, model=model, corpus="c", parameters=parameters)
            store.insert(name, items, matrix)
            store.finish(name)
            recalls[name] = recall_of(store, name, model, queries, matrix, top_k=10)
            plain = plain_recall(store, name, model, queries[:-1], matrix, top_k=10)
            assert recall_of(store, name, model, queries[:-1], matrix, top_k=10) == pytest.approx(plain, abs=1e-9)
    assert recalls["exact"] == recalls["all"] == 1.0
    assert recalls["few"] < 0.6


@pytest.mark.parametrize("vectors", ["int8", "binary"])
def test_recall_of_codes_is_against_the_vectors_that_they_stand_for(vectors: str) -> None:
    model, store = ModelIdentity(name="m", revision="1", dimension=32), ExactIndex()
    matrix, queries, ids = unit(500, 0), unit(50, 1), [f"p{i}" for i in range(500)]
    parameters = IndexParameters(vectors=vectors, build={}, search={})  # type: ignore[arg-type]
    store.create("c", model=model, corpus="c", parameters=parameters, sample=matrix)
    store.insert("c", [Passage(passage_id=name, document_id="d", text="x", start=0, end=1) for name in ids], matrix)
    store.finish("c")
    recall = recall_of(store, "c", model, queries, matrix, top_k=10)
    assert recall == pytest.approx(plain_recall(store, "c", model, queries, matrix, top_k=10))
    assert (0.9 < recall < 1) if vectors == "int8" else recall < 0.5, "signs alone lose much, and it is said"
