"""What only a real Milvus server can show: tokens, a server that dies, and other clients beside this one."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymilvus.exceptions import MilvusException

from ragtrial.build import index_parameters
from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.experiment import RetrievalSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.reranking import RerankSpec
from ragtrial.errors import StoreError
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.reading import Reading
from ragtrial.index.recall import RecallBarrier
from ragtrial.indexing import index_arm
from recalls import Rows, recall_of
from servers import milvus_server

MODEL = ModelIdentity(name="m", revision="1", dimension=8)
HNSW = IndexParameters(type="HNSW", build={"M": 8, "efConstruction": 64}, search={})


@pytest.fixture
def name() -> str:
    return f"rt_{uuid.uuid4().hex[:12]}"


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passages(n: int) -> list[Passage]:
    return [Passage(passage_id=f"p{i}", document_id="d", text="x", start=0, end=1) for i in range(n)]


@contextlib.contextmanager
def client(uri: str, **options: object) -> Iterator[MilvusIndex]:
    with contextlib.closing(MilvusIndex(uri, **options)) as index:  # type: ignore[arg-type]
        yield index


def test_what_another_client_left_unfinished_is_gone_on_with(milvus_server_uri: str, name: str) -> None:
    with client(milvus_server_uri) as first:
        first.create(name, model=MODEL, corpus="c", parameters=HNSW)
        first.insert(name, passages(30), unit(30))
    with client(milvus_server_uri) as second:
        second.create(name, model=MODEL, corpus="c", parameters=HNSW)
        assert second.stored_ids(name) == {f"p{i}" for i in range(30)}
        second.insert(name, passages(40)[30:], unit(40)[30:])
        second.finish(name)
        info = second.describe(name)
        assert info is not None
        assert (info.n_passages, info.index_type, info.complete) == (40, "HNSW", True)
        assert [hits[0].passage_id for hits in second.search(name, unit(40), top_k=1, model=MODEL)] == [f"p{i}" for i in range(40)]


def test_ids_are_read_in_pages_of_what_a_server_returns_at_most(milvus_server_uri: str, name: str) -> None:
    n = 16_384 + 10
    with client(milvus_server_uri) as index:
        index.create(name, model=MODEL, corpus="c", parameters=IndexParameters(build={}, search={}))
        items, vectors = passages(n), unit(n)
        for part in np.array_split(np.random.default_rng(1).permutation(n), 3):
            index.insert(name, [items[i] for i in part], vectors[part])
        index.finish(name)  # compares what it counts with what it reads
        assert index.stored_ids(name) == {f"p{i}" for i in range(n)}
        index.drop(name)


def test_a_collection_that_went_away_behind_an_alias_is_looked_up_again(milvus_server_uri: str, name: str) -> None:
    with client(milvus_server_uri) as here, client(milvus_server_uri) as there:
        for suffix in ("_a", "_b"):
            here.create(name + suffix, model=MODEL, corpus="c", parameters=HNSW)
            here.insert(name + suffix, passages(5), unit(5))
            here.finish(name + suffix)
        here.point(name, f"{name}_a")
        assert len(here.search(name, unit(1), top_k=5, model=MODEL)[0]) == 5
        there.point(name, f"{name}_b")
        there.drop(f"{name}_a", force=True)
        assert len(here.search(name, unit(1), top_k=5, model=MODEL)[0]) == 5  # `here` had looked up `_a`
        there._connection._client.release_collection(f"{name}_b")  # type: ignore[union-attr]
        assert len(here.search(name, unit(1), top_k=5, model=MODEL)[0]) == 5  # loaded again


def test_a_server_builds_what_is_asked_for_and_says_so(milvus_server_uri: str, name: str) -> None:
    asked = {
        "sq8": IndexParameters(type="IVF_SQ8", build={"nlist": 32}, search={"nprobe": 32}),
        "scann": IndexParameters(type="SCANN", build={"nlist": 32}, search={"nprobe": 32, "reorder_k": 200}),
        "shards": IndexParameters(type="HNSW", build={}, search={}, shards=2),
    }
    n = 3_000  # below 1,024 rows in a segment a server builds nothing
    items, vectors = passages(n), unit(n)

    with client(milvus_server_uri) as index:

        def measured(suffix: str) -> tuple[str, float]:
            index.create(name + suffix, model=MODEL, corpus="c", parameters=asked[suffix])
            index.insert(name + suffix, items, vectors)
            index.finish(name + suffix)
            info = index.describe(name + suffix)
            assert info is not None
            return info.index_type, recall_of(index, name + suffix, MODEL, unit(50, seed=5), vectors, top_k=10)

        with ThreadPoolExecutor() as pool:  # a server takes some 5 s for each, alone or not
            found = dict(zip(asked, pool.map(measured, asked), strict=True))
        assert {suffix: kind for suffix, (kind, _) in found.items()} == {"sq8": "IVF_SQ8", "scann": "SCANN", "shards": "HNSW"}
        assert all(recall > 0.9 for _, recall in found.values())
        assert found["sq8"][1] < 1  # one byte a dimension, and not the vectors themselves
        with index._connection.calls("looking") as milvus:
            assert milvus.describe_collection(f"{name}shards", timeout=60)["num_shards"] == 2
        with pytest.raises(StoreError, match=r"2\.3\.5-lite, a build that fits into a Python package and never finishes a DISKANN index"):
            index.create(f"{name}_disk", model=MODEL, corpus="c", parameters=IndexParameters(type="DISKANN", build={}, search={}))
        with pytest.raises(StoreError, match=r"index\.type HNSW_SQ needs 2\.5 or newer"):
            index.create(f"{name}_hnsw", model=MODEL, corpus="c", parameters=IndexParameters(type="HNSW_SQ", build={}, search={}))
        assert index.describe(f"{name}_disk") is None
    with client(milvus_server_uri, reading=Reading(replicas=2)) as index:  # one query node
        with index._connection.calls("releasing") as milvus:
            milvus.release_collection(f"{name}sq8", timeout=60)
        message = r"loading collection .* in 2 replicas \(index.replicas; that many query nodes are needed\) failed: .*"
        with pytest.raises(StoreError, match=message):
            index.search(f"{name}sq8", unit(1), top_k=1, model=MODEL)
    for consistency in ("Strong", "Session", "Eventually"):
        with client(milvus_server_uri, reading=Reading(consistency=consistency)) as index:  # type: ignore[arg-type]
            assert index.search(f"{name}shards", vectors[:1], top_k=1, model=MODEL)[0][0].passage_id == "p0"


@contextlib.contextmanager
def searched(uri: str, name: str) -> Iterator[list[str]]:
    """Somebody searches the collection all the while; yields what failed."""
    failed: list[str] = []
    over = threading.Event()

    def search() -> None:
        with client(uri) as index, index._connection.calls("searching as others do") as milvus:
            while not over.is_set():
                try:
                    milvus.search(name, data=list(unit(1)), limit=1, timeout=60)
                except MilvusException as error:
                    failed.append(str(error))

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join()


def test_a_collection_that_serves_is_never_released(milvus_server_uri: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with client(milvus_server_uri) as index:
        index.create(name, model=MODEL, corpus="c", parameters=HNSW)
        index.insert(name, passages(40), unit(40))
        index.finish(name)
        index.point(f"{name}_alias", name)
        with searched(milvus_server_uri, name) as failed:
            with client(milvus_server_uri, reading=Reading(replicas=2)) as other, caplog.at_level("WARNING", logger="ragtrial.index"):
                for _ in range(2):
                    info = other.describe(name)
                    assert info is not None
                    assert (info.n_passages, info.loaded) == (40, True)
                assert len(other.search(name, unit(1), top_k=3, model=MODEL)[0]) == 3
            index.finish(name)  # as a recall barrier does that was not passed
            index.insert(name, passages(50)[40:], unit(50)[40:])
            index.finish(name)
        assert failed == []
        assert len(index.search(name, unit(50)[49:], top_k=1, model=MODEL)[0]) == 1
        info = index.describe(name)
        assert info is not None
        assert (info.n_passages, info.complete) == (50, True)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"collection {name!r} is loaded in 1 replica, and index.replicas is 2: it goes on with 1")


def test_recall_is_kept_by_a_server_until_something_is_written(milvus_server_uri: str, name: str) -> None:
    with client(milvus_server_uri) as index:
        index.create(name, model=MODEL, corpus="c", parameters=HNSW)
        index.insert(name, passages(5), unit(5))
        with pytest.raises(StoreError, match="is not complete, so its recall is not kept"):
            index.keep_recall(name, "sample", 0.97)
        index.finish(name)
        index.keep_recall(name, "sample", 0.97)
    with client(milvus_server_uri) as index:
        index.keep_recall(name, "other", 0.5)
        info = index.describe(name)
        assert info is not None
        assert (info.recalls, info.complete) == ({"sample": 0.97, "other": 0.5}, True)
        index.insert(name, passages(6)[5:], unit(6)[5:])
        index.finish(name)
        info = index.describe(name)
        assert info is not None
        assert info.recalls == {}


def test_a_server_that_builds_no_index_on_few_passages_is_said_to(milvus_server_uri: str) -> None:
    """Segments below 1,024 rows are searched by an interim index, which nothing in the file can change."""
    n, dimension = 1_000, 32
    model = ModelIdentity(name="few", revision="1", dimension=dimension)
    rows = np.random.default_rng(0).normal(size=(n + 50, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    corpus = Corpus(
        name="c", passages=tuple(Passage(passage_id=f"p{i}", document_id="d", text=str(i), start=0, end=len(str(i))) for i in range(n))
    )
    embedder = Rows(model, rows[:n], rows[n:])
    with client(milvus_server_uri) as index:

        def barrier(parameters: IndexParameters) -> RecallBarrier:
            queries = [str(i) for i in range(50)]
            return RecallBarrier(embedder=embedder, passages=corpus.by_id, queries=queries, top_k=10, least=0.99, parameters=parameters)

        flat = IndexParameters(build={}, search={})
        with pytest.raises(
            StoreError,
            match=r"builds no HNSW index on so few passages \(1,000; from about 1,024 on it does\).*use index\.type FLAT, which is exact",
        ):
            index_arm(corpus=corpus, embedder=embedder, index=index, parameters=HNSW, alias=f"{model.name}_hnsw", barrier=barrier(HNSW))
        facts = index_arm(corpus=corpus, embedder=embedder, index=index, parameters=flat, alias=f"{model.name}_flat", barrier=barrier(flat))
        assert facts.ann_recall == 1.0
        assert (index.indexed_from(flat), index.indexed_from(replace(HNSW, shards=2, partition="g"))) == (0, 32 * 1_024)


def test_a_token_is_asked_for_checked_and_survives_no_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reason = milvus_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        uri = server.enter_context(milvus_server.running(tmp_path / "server", authorization=True))
        for token in (None, "root:wrong"):
            with pytest.raises(StoreError, match=f"Milvus at '{uri}' can't be reached or refuses the connection") as caught:
                MilvusIndex(uri, token=token, timeout_s=5)
            assert "wrong" not in str(caught.value)
        index = stack.enter_context(client(uri, token="root:Milvus", timeout_s=3.0))
        assert index.collections() == ()
        server.close()  # SIGKILL
        with pytest.raises(StoreError, match=f"listing the collections failed: Milvus at '{uri}'") as caught:
            index.collections()
        assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("method", ["hybrid", "bm25"])
def test_a_server_without_bm25_refuses_arms_that_need_it_before_any_work_and_says_what_has_it(
    milvus_server_uri: str, name: str, method: str
) -> None:
    words = index_parameters(RetrievalSpec(method=method, rerank=RerankSpec(provider="overlap", model="m")))  # type: ignore[arg-type]
    with client(milvus_server_uri) as index:
        said = r"the Milvus server is v?2\.3\.\d+.*, but BM25 \(retrieval.method 'hybrid' or 'bm25'\) needs 2\.5 or newer"
        for work in (
            lambda: index.check(words),
            lambda: index.create(name, model=MODEL, corpus="c", parameters=words),
        ):
            with pytest.raises(StoreError, match=said) as refused:
                work()
            assert "Milvus Lite" in str(refused.value)
        assert index.describe(name) is None, "nothing was made"
        index.check(
            index_parameters(RetrievalSpec(rerank=RerankSpec(provider="overlap", model="m")))
        )  # a reranker asks nothing of the store
