"""The barrier between an index that was built and an arm that uses it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtrial.contracts import IndexParameters, Kind, VectorIndex, Vectors
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.index import IndexSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import StoreError
from ragtrial.index import recall
from ragtrial.index.exact import ExactIndex
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.recall import RecallBarrier
from ragtrial.indexing import index_arm
from recalls import plain_recall

N, D = 1_500, 24
CORPUS = Corpus(
    name="c", passages=tuple(Passage(passage_id=f"p{i}", document_id="d", text=str(i), start=0, end=len(str(i))) for i in range(N))
)
QUERIES = [str(i) for i in range(2_000, 2_040)]


class Scattered:
    """An embedder whose text `17` is the 17th of many random directions."""

    def __init__(self) -> None:
        rows = np.random.default_rng(1).normal(size=(2_100, D)).astype(np.float32)
        self.rows: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.identity = ModelIdentity(name="scattered", revision="1", dimension=D)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        del kind, progress
        return self.rows[[int(text) for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        del texts
        return None


MODEL = Scattered()


def barrier(parameters: IndexParameters, *, least: float) -> RecallBarrier:
    return RecallBarrier(embedder=MODEL, passages=CORPUS.by_id, queries=QUERIES, top_k=10, least=least, parameters=parameters)


class FindsHalfUntil(ExactIndex):
    """Loses every second hit until it was finished so often, as a store does that answers from unfinished parts."""

    def __init__(self, finishes: int) -> None:
        super().__init__()
        self.finishes, self.finished = finishes, 0

    def finish(self, name: str) -> None:
        super().finish(name)
        self.finished += 1

    def search(
        self, name: str, vectors: Vectors, *, top_k: int, model: ModelIdentity, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        found = super().search(name, vectors, top_k=2 * top_k, model=model, groups=groups)
        return tuple(hits[::2] if self.finished < self.finishes else hits[:top_k] for hits in found)


def test_an_alias_is_not_moved_to_an_index_that_finds_too_little_and_what_to_turn_is_said(tmp_path: Path) -> None:
    good, coarse = (
        IndexParameters(type="HNSW", build={}, search={"ef": 128}),
        IndexParameters(type="IVF_FLAT", build={}, search={"nprobe": 1}),
    )
    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"))) as index:
        first = index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=good, alias="arm", barrier=barrier(good, least=0.95))
        assert first.ann_recall is not None
        assert first.ann_recall >= 0.95
        message = r"finds \d+\.\d% of the 10 nearest passages of 40 queries, below index.min_recall 95.0%: raise index.search.nprobe"
        for _ in range(2):  # also where the collection is there already, complete
            with pytest.raises(StoreError, match=message):
                index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=coarse, alias="arm", barrier=barrier(coarse, least=0.95))
            assert index.resolve("arm") == first.collection
        last = index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=coarse, alias="arm", barrier=barrier(coarse, least=0.0))
        assert index.resolve("arm") == last.collection
        assert last.ann_recall is not None
        assert last.ann_recall < 0.5


@pytest.mark.parametrize(("finishes", "passes"), [(1, True), (2, True), (99, False)])
def test_an_index_that_is_not_whole_yet_is_waited_for_and_one_that_stays_so_is_not(finishes: int, passes: bool) -> None:
    index, parameters = FindsHalfUntil(finishes), IndexParameters(type="HNSW", build={}, search={})
    with contextlib.nullcontext() if passes else pytest.raises(StoreError, match=r"finds 50\.0% of the 10"):
        facts = index_arm(
            corpus=CORPUS, embedder=MODEL, index=index, parameters=parameters, alias="arm", barrier=barrier(parameters, least=0.95)
        )
        assert facts.ann_recall == 1.0
    assert index.finished == (finishes if passes else 2)
    assert (index.resolve("arm") is not None) == passes


def test_recall_is_what_it_is_with_all_vectors_at_once_however_small_the_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parameters = IndexParameters(type="IVF_SQ8", build={}, search={"nprobe": 8})
    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"))) as index:
        name = index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=parameters, alias="arm").collection
        whole = plain_recall(index, name, MODEL.identity, MODEL.embed(QUERIES, kind="query"), MODEL.rows[:N], top_k=10)
        for part in (7, 400, 10_000):
            monkeypatch.setattr(recall, "_PART", part)
            assert barrier(parameters, least=0).measure(index, name) == pytest.approx(whole, abs=1e-9)
        assert 0.1 < whole < 0.95
        info = index.describe(name)
        assert info is not None
        assert info.index_type == "IVF_SQ8"


class Counting(Scattered):
    """Counts the passages that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.passages = 0

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        self.passages += len(texts) * (kind == "passage")
        return super().embed(texts, kind=kind, progress=progress)


def test_a_large_corpus_is_measured_once_before_the_alias_moves_and_its_recall_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MOST_PASSAGES", N - 1)
    index, parameters, seen = ExactIndex(), IndexParameters(type="HNSW", build={}, search={}), []
    for _ in range(2):
        model = Counting()
        asked = RecallBarrier(embedder=model, passages=CORPUS.by_id, queries=QUERIES, top_k=10, least=0.9, parameters=parameters)
        facts = index_arm(corpus=CORPUS, embedder=model, index=index, parameters=parameters, alias="arm", barrier=asked)
        seen.append((facts.ann_recall, model.passages < 20))
    assert seen == [(1.0, False), (1.0, True)]  # the second time a few passages, to see whose vectors these are


@pytest.mark.parametrize(
    ("spec", "measured"),
    [
        (IndexSpec(type="HNSW", vectors="int8"), True),  # nothing is demanded of codes, and what they lose is known all the same
        (IndexSpec(type="HNSW", min_recall=0), False),  # declared
        (IndexSpec(type="FLAT"), False),  # exact
        (IndexSpec(type="FLAT", min_recall=0.99), True),
    ],
)
def test_a_large_corpus_goes_unmeasured_only_where_search_is_exact_or_the_file_says_so(
    monkeypatch: pytest.MonkeyPatch, spec: IndexSpec, measured: bool
) -> None:
    monkeypatch.setattr(recall, "MOST_PASSAGES", N - 1)
    index, parameters = ExactIndex(), IndexParameters(type=spec.type, vectors=spec.vectors, build={}, search={})
    asked = RecallBarrier(
        embedder=MODEL,
        passages=CORPUS.by_id,
        queries=QUERIES,
        top_k=10,
        least=spec.least_recall,
        parameters=parameters,
        optional=spec.may_go_unmeasured,
    )
    facts = index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=parameters, alias="arm", barrier=asked)
    assert (facts.ann_recall is not None) == measured


def test_what_was_measured_is_kept_with_the_collection_and_a_service_measures_nothing_again(tmp_path: Path) -> None:
    parameters = IndexParameters(type="HNSW", build={}, search={})

    def started(index: VectorIndex, **how: Any) -> tuple[float | None, int]:
        model = Counting()
        given = {"queries": QUERIES, "top_k": 10, "least": 0.9, "anew": False, **how}
        asked = RecallBarrier(embedder=model, passages=CORPUS.by_id, parameters=parameters, **given)
        facts = index_arm(corpus=CORPUS, embedder=model, index=index, parameters=parameters, alias="arm", barrier=asked)
        return facts.ann_recall, model.passages

    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"))) as index:
        found, embedded = started(index)
        assert embedded > 2 * N
    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"))) as index:  # as another process opens it
        assert started(index) == (found, 16)
        assert started(index, anew=True)[1] > N, "an evaluation looks again"
        assert started(index, queries=QUERIES[:30])[1] > N, "another sample"
        assert started(index, top_k=20)[1] > N, "another depth"
        assert started(index) == (found, 16)
        (name,) = index.collections()
        index.insert(name, CORPUS.passages[:1], MODEL.rows[:1])
        index.finish(name)
        assert started(index)[1] > N, "what was written into it since was not measured"


def test_a_service_does_not_take_a_kept_recall_over_vectors_of_another_model() -> None:
    index, parameters = ExactIndex(), IndexParameters(type="HNSW", build={}, search={})
    index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=parameters, alias="arm", barrier=barrier(parameters, least=0.9))
    other = Scattered()
    other.rows = -other.rows  # the same name, other weights
    kept = RecallBarrier(embedder=other, passages=CORPUS.by_id, queries=QUERIES, top_k=10, least=0.9, parameters=parameters, anew=False)
    with pytest.raises(StoreError, match="does not find 16 of 16 passages by themselves: it holds other vectors"):
        index_arm(corpus=CORPUS, embedder=other, index=index, parameters=parameters, alias="arm", barrier=kept)
    warm = RecallBarrier(  # a cache of vectors that still answers for the model as it was
        embedder=MODEL, uncached=other, passages=CORPUS.by_id, queries=QUERIES, top_k=10, least=0.9, parameters=parameters, anew=False
    )
    with pytest.raises(StoreError, match="does not find 16 of 16 passages by themselves: it holds other vectors"):
        index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=parameters, alias="arm", barrier=warm)


def test_recall_is_that_of_the_groups_that_queries_are_confined_to() -> None:
    grouped = [replace(passage, group="few" if i < 4 else "many") for i, passage in enumerate(CORPUS.passages)]
    corpus = Corpus(name="c", passages=tuple(grouped))
    parameters = IndexParameters(build={}, search={}, partition="group")
    index = ExactIndex()
    for groups, least in ((("few",) * 40, 4), (("many", None) * 20, 10), (("none",) * 40, 0)):
        asked = RecallBarrier(
            embedder=MODEL, passages=corpus.by_id, queries=QUERIES, groups=groups, top_k=10, least=0, parameters=parameters
        )
        facts = index_arm(corpus=corpus, embedder=MODEL, index=index, parameters=parameters, alias="arm", barrier=asked)
        found = index.search(facts.collection, MODEL.embed(QUERIES, kind="query"), top_k=10, model=MODEL.identity, groups=groups)
        assert (facts.ann_recall, min(map(len, found))) == (1.0, least)


def test_a_minimum_is_demanded_of_approximate_search_over_float32_unless_another_is_given() -> None:
    assert IndexSpec(type="FLAT").least_recall == 0
    assert IndexSpec(type="IVF_SQ8").least_recall == 0.95
    assert IndexSpec(type="HNSW", vectors="int8").least_recall == 0
    assert IndexSpec(type="HNSW", vectors="int8", min_recall=0.8).least_recall == 0.8
    with pytest.raises(ValueError, match=r"min_recall is 1\.5"):
        IndexSpec(min_recall=1.5)


class Repeats(Scattered):
    """Makes its vectors anew to within the rounding of bfloat16, and a little off the unit length."""

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        rows = super().embed(texts, kind=kind, progress=progress)
        noise = np.random.default_rng(len(texts)).normal(scale=2e-4, size=rows.shape)
        return (rows + noise.astype(np.float32)) * np.float32(1.0002)


def test_an_exact_search_is_not_refused_for_what_embedding_anew_rounds() -> None:
    index, flat = ExactIndex(), IndexParameters(metric="COSINE", build={}, search={})
    index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=flat, alias="rounds")
    (name,) = index.collections()
    repeats = RecallBarrier(embedder=Repeats(), passages=CORPUS.by_id, queries=QUERIES, top_k=10, least=0, parameters=flat)
    assert 0.9 < repeats.check(index, name) < 0.999  # what is reported stays the strict count


def test_an_exact_search_over_other_vectors_is_refused() -> None:
    index, flat = FindsHalfUntil(99), IndexParameters(metric="COSINE", build={}, search={})
    index_arm(corpus=CORPUS, embedder=MODEL, index=index, parameters=flat, alias="half")
    (name,) = index.collections()
    with pytest.raises(StoreError, match="it holds other vectors than the model makes now"):
        barrier(flat, least=0).check(index, name)
