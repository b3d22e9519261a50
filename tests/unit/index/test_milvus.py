"""What only Milvus does: stores on disk, servers that are not there, limits of its fields. Milvus Lite throughout."""

import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import StoreError
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.milvus_rows import batches

MODEL = ModelIdentity(name="m", revision="1", settings=("a=b",), dimension=8)
FLAT = IndexParameters(build={}, search={})


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passages(n: int) -> list[Passage]:
    return [Passage(passage_id=f"p{i}", document_id="d", text="x", start=0, end=1) for i in range(n)]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[MilvusIndex]:
    with contextlib.closing(MilvusIndex(str(path))) as index:
        yield index


@pytest.mark.parametrize("kind", ["FLAT", "IVF_FLAT", "HNSW"])
def test_a_store_is_found_again_as_it_was_closed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "milvus.db"
    parameters = IndexParameters(type=kind, build={}, search={})  # type: ignore[arg-type]
    with opened(path) as index:
        index.create("rt_a", model=MODEL, corpus="c", parameters=parameters)
        index.insert("rt_a", passages(200), unit(200))
        index.finish("rt_a")
        index.point("alias", "rt_a")
        index.create("rt_b", model=MODEL, corpus="c", parameters=parameters)
        index.insert("rt_b", passages(7), unit(7))
        before, info = index.search("alias", unit(5, 1), top_k=5, model=MODEL), index.describe("rt_a")
    with opened(path) as index:  # in the same process
        assert index.collections() == ("rt_a", "rt_b")
        assert index.describe("alias") == info
        assert index.search("alias", unit(5, 1), top_k=5, model=MODEL) == before
        assert index.stored_ids("rt_b") == {f"p{i}" for i in range(7)}
        index.insert("rt_b", passages(9)[7:], unit(9)[7:])
        index.finish("rt_b")
        assert index.point("alias", "rt_b") == "rt_a"


def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("dear diary")
    with pytest.raises(StoreError, match=r"notes.db' is not a Milvus Lite store, which is a folder"):
        MilvusIndex(str(path))
    assert path.read_text() == "dear diary"
    assert [p.name for p in tmp_path.iterdir()] == ["notes.db"]


def test_a_folder_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "photos.db"
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    with pytest.raises(StoreError, match=r"photos.db' is a folder, but not a Milvus Lite store \(it holds 'holiday.jpg'"):
        MilvusIndex(str(folder))
    assert [p.name for p in folder.iterdir()] == ["holiday.jpg"]


def test_a_damaged_store_is_one_paragraph(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "milvus.db"
    with opened(path) as index:
        index.create("rt_a", model=MODEL, corpus="c", parameters=FLAT)
    (path / "collections" / "rt_a" / "schema.json").write_text("{")
    with pytest.raises(StoreError, match=r"Milvus Lite store '.*milvus.db' can't be opened \(.*schema.*\): check the folder") as caught:
        MilvusIndex(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_relative_path_stays_the_same_store_after_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    index = MilvusIndex("milvus.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    index.close()
    with opened(tmp_path / "milvus.db") as again:
        assert again.collections() == ()


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"its folder '.*nowhere' does not exist"):
        MilvusIndex(str(tmp_path / "nowhere" / "milvus.db"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["milvus.sqlite", "ftp://host/milvus.db", "milvus"])
def test_what_is_neither_path_nor_address_is_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"is no Milvus store: give http://host:port .* or a path that ends in \.db"):
        MilvusIndex(uri)
    assert not list(tmp_path.iterdir())


def test_a_store_that_another_process_holds_is_refused_with_that_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "milvus.db"
    hold = (
        "import sys; from ragtrial.index.milvus import MilvusIndex; index = MilvusIndex(sys.argv[1]); print('held', flush=True); "
        "sys.stdin.read(); index.close()"
    )
    platform = str(Path(__file__).resolve().parents[3] / "platform")
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": platform}
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="is open in another process: wait for it, stop it, or give another path"):
            MilvusIndex(str(path))
        other.stdin.close()
        assert other.wait() == 0
    with opened(path) as index:
        assert index.collections() == ()
    assert "Traceback" not in capfd.readouterr().err


def test_a_server_that_is_not_there_is_one_paragraph(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(StoreError, match=f"Milvus at '{uri}' can't be reached") as caught:
        MilvusIndex(uri, timeout_s=2)
    assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_an_address_with_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(StoreError, match="can't be reached"):
        MilvusIndex("http://localhost:port")


def test_build_parameters_that_milvus_lite_would_ignore_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "milvus.db") as index:
        for kind, build, message in (
            ("HNSW", {"M": 32}, "'M' of index HNSW is 32, but Milvus Lite always builds with 16"),
            ("HNSW", {"M": 16, "efConstruction": 100}, "'efConstruction' of index HNSW is 100, but Milvus Lite always builds with 200"),
            ("IVF_FLAT", {"nlist": 64}, "'nlist' of index IVF_FLAT is 64, but Milvus Lite always builds with 128"),
        ):
            with pytest.raises(StoreError, match=message):
                index.create("rt_a", model=MODEL, corpus="c", parameters=IndexParameters(type=kind, build=build, search={}))  # type: ignore[arg-type]
        assert index.collections() == ()


def test_a_text_beyond_the_field_is_refused_by_the_passage_s_name_before_anything_is_stored(tmp_path: Path) -> None:
    longest = "é" * 32_767  # 65,534 bytes
    too_long = longest + "é"
    items = [
        Passage(passage_id="ok", document_id="d", text=longest, start=0, end=len(longest)),
        Passage(passage_id="giant", document_id="d", text=too_long, start=0, end=len(too_long)),
    ]
    with opened(tmp_path / "milvus.db") as index:
        index.create("rt_a", model=MODEL, corpus="c", parameters=FLAT)
        with pytest.raises(
            StoreError, match="passage 'giant' has a text of 65536 bytes, but collection 'rt_a' takes 65535: cut the documents"
        ):
            index.insert("rt_a", items, unit(2))
        assert index.stored_ids("rt_a") == set()
        index.insert("rt_a", items[:1], unit(1))
        assert index.stored_ids("rt_a") == {"ok"}


def test_ef_below_top_k_is_refused_and_raised_where_it_was_not_given(tmp_path: Path) -> None:
    with opened(tmp_path / "milvus.db") as index:
        for name, search in (("given", {"ef": 8}), ("default", {})):
            index.create(name, model=MODEL, corpus="c", parameters=IndexParameters(type="HNSW", build={}, search=search))
            index.insert(name, passages(100), unit(100))
            index.finish(name)
        assert len(index.search("given", unit(1), top_k=8, model=MODEL)[0]) == 8
        with pytest.raises(StoreError, match="'ef' of index HNSW is 8, below top_k 9"):
            index.search("given", unit(1), top_k=9, model=MODEL)
        assert len(index.search("default", unit(1), top_k=90, model=MODEL)[0]) == 90


def test_a_collection_of_someone_else_is_neither_listed_nor_touched(tmp_path: Path) -> None:
    with opened(tmp_path / "milvus.db") as index:
        with index._connection.calls("making a collection as others do") as client:
            client.create_collection("theirs", dimension=8)
        assert index.collections() == ()
        for forbidden in (
            lambda: index.create("theirs", model=MODEL, corpus="c", parameters=FLAT),
            lambda: index.drop("theirs"),
            lambda: index.search("theirs", unit(1), top_k=1, model=MODEL),
        ):
            with pytest.raises(StoreError, match="'theirs' was not made by this version of ragtrial"):
                forbidden()


def test_names_that_a_server_would_refuse_are_refused_everywhere(tmp_path: Path) -> None:
    with opened(tmp_path / "milvus.db") as index:
        for name in ("a-b", "1st", "", "x" * 256, "é"):
            with pytest.raises(StoreError, match="can't name a collection"):
                index.create(name, model=MODEL, corpus="c", parameters=FLAT)


def test_top_k_outside_of_what_milvus_returns_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "milvus.db") as index:
        for top_k in (0, 16_385):
            with pytest.raises(StoreError, match="Milvus returns 1 to 16384 passages"):
                index.search("rt_a", unit(1), top_k=top_k, model=MODEL)


def test_a_closed_index_says_so_and_closing_twice_is_fine(tmp_path: Path) -> None:
    index = MilvusIndex(str(tmp_path / "milvus.db"))
    index.close()
    index.close()
    with pytest.raises(StoreError, match="is closed: open it again"):
        index.collections()


def test_what_milvus_refuses_is_one_paragraph_without_tracebacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path / "milvus.db") as index:
        index.create("rt_a", model=MODEL, corpus="c", parameters=FLAT)
        message = r"trying something failed: Milvus at '.*milvus.db' says: "
        with pytest.raises(StoreError, match=message) as caught, index._connection.calls("trying something") as client:
            client.search("nowhere", data=unit(1), limit=1, timeout=5)
        assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert logging.getLogger("milvus_lite.server_manager").propagate


def test_inserts_are_cut_into_requests_that_a_server_takes() -> None:
    small = [{"text": "x", "vector": None}] * 5_000
    assert [len(batch) for batch in batches(small, 384)] == [2048, 2048, 904]
    large = [{"text": "x" * 60_000, "vector": None}] * 100
    sizes = [len(batch) for batch in batches(large, 4096)]
    assert sum(sizes) == 100
    assert max(sizes) * (4 * 60_000 + 4 * 4096) <= 16 << 20
    assert list(batches([], 8)) == []
