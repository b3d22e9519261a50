"""What only a real Milvus server can show: tokens, a server that dies, and other clients beside this one."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import StoreError
from ragtrial.index.milvus import MilvusIndex
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
        there.drop(f"{name}_a")
        assert len(here.search(name, unit(1), top_k=5, model=MODEL)[0]) == 5  # `here` had looked up `_a`
        there._connection._client.release_collection(f"{name}_b")  # type: ignore[union-attr]
        assert len(here.search(name, unit(1), top_k=5, model=MODEL)[0]) == 5  # loaded again


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
