"""Files that the disk or somebody has damaged: each is refused with what to do, or is made again; never a traceback, never a wrong number."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Done, ragtrial_command
from ragtrial.disk_store import DiskStore
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import StoreError
from ragtrial.llm.cache import CallCache

TEXTS = [f"text {number}" for number in range(80)]
READS_TRUNCATED = """
import sys
from pathlib import Path
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import StoreError
try:
    with VectorCache(Path(sys.argv[1])) as cache:
        CachedEmbedder(HashingEmbedder(dimension=1024), cache).embed([f"text {n}" for n in range(80)], kind="passage")
except StoreError as error:
    print(error)
"""


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path: Path, n_bytes: int = 64) -> None:
    """Turn the bits of some bytes in the middle."""
    middle = path.stat().st_size // 2
    overwrite(path, bytes(byte ^ 0xFF for byte in path.read_bytes()[middle : middle + n_bytes]), middle)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def fill_with_rubbish(path: Path) -> None:
    path.write_bytes(b"\x00rubbish" * 20)


def embedded(folder: Path, dimension: int = 64) -> tuple[np.ndarray, int]:
    """The vectors of the texts, and how many of them were not in the cache."""
    with VectorCache(folder) as cache:
        embedder = CachedEmbedder(HashingEmbedder(dimension=dimension), cache)
        return embedder.embed(TEXTS, kind="passage"), embedder.embedded


def test_a_vector_that_the_disk_has_changed_is_made_again_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    right, _ = embedded(tmp_path)
    file = tmp_path / "data.mdb"
    for number in (3, 40):
        place = file.read_bytes().index(right[number].tobytes())
        overwrite(file, b"\x00\x00\xc0\x7f", place + 4 * 7)  # NaN in the one, so that nothing else would do
        overwrite(file, bytes([file.read_bytes()[place + 40] ^ 1]), place + 40)
    found, n = embedded(tmp_path)
    np.testing.assert_array_equal(found, right)
    assert n == 2
    assert f"2 of 80 vectors in the vector cache '{tmp_path}' are damaged: they are made again" in caplog.text
    assert embedded(tmp_path)[1] == 0


def test_vectors_of_before_the_checksums_are_taken_where_they_are_vectors(tmp_path: Path) -> None:
    right, _ = embedded(tmp_path / "now")
    with VectorCache(tmp_path / "old") as cache:
        keys = CachedEmbedder(HashingEmbedder(dimension=64), cache)._keys(TEXTS, "passage")  # as they were stored
    with DiskStore(tmp_path / "old", name="", setting="", if_damaged="") as store:
        values = [row.tobytes() for row in right]
        values[5] = (10 * right[5]).tobytes()
        store.write(lambda transaction: [transaction.put(key, value) for key, value in zip(keys, values, strict=True)])
    found, n = embedded(tmp_path / "old")
    np.testing.assert_array_equal(found, right)
    assert n == 1


IN_A_CONTAINER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from ragtrial.embedding.cache import VectorCache
from ragtrial.llm.cache import CallCache
from ragtrial.errors import StoreError
import logging, numpy as np, os
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
with VectorCache(Path(sys.argv[1])) as cache:
    cache.put([(b"key", np.eye(1, 4, dtype=np.float32)[0])])
    found = cache.get([b"key", b"other"])
    print("process", os.getpid(), [row is not None for row in found], flush=True)
    try:
        CallCache(Path(sys.argv[1]))
    except StoreError as error:
        print(error, flush=True)
    sys.stdin.readline()
"""


def container(folder: Path) -> Any:
    """A process in a PID namespace of its own, where it is number 1."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Urpf", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    command = [unshare, "-Urpf", sys.executable, "-c", IN_A_CONTAINER, str(folder), *filter(None, sys.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_containers_that_share_a_volume_do_not_share_an_lmdb(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    with container(folder) as first, container(folder) as alike:
        said = {one.stdout.readline(): one for one in (first, alike)}
        assert set(said) == {
            "process 1 [True, False]\n",
            f"vector cache {str(folder)!r} is in use from another container, which LMDB does not stand: {str(folder) + '.2'!r} is used here\n",
        }
        other = said[max(said)]
        assert other.stdout.readline() == "process 1 [True, False]\n"
        assert "give another folder in stores.calls" in other.stdout.readline(), "in a spare one every call would be paid for again"
        for one in said.values():
            one.stdin.write("\n")
            one.stdin.flush()
    with VectorCache(folder) as cache:  # nobody uses it any more
        assert cache.get([b"key"])[0] is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vectors", "vectors.2"]


@pytest.mark.parametrize("kind", [VectorCache, CallCache])
def test_a_cache_that_is_none_any_more_says_what_to_do_and_what_that_costs(
    kind: type[VectorCache] | type[CallCache], tmp_path: Path
) -> None:
    kind(tmp_path).close()
    overwrite(tmp_path / "data.mdb", b"rubbish!" * 1024)
    advice = "remove the folder, it is only a cache" if kind is VectorCache else "Move it away; what it held will be paid for again"
    with pytest.raises(StoreError, match=rf"can't be opened \(InvalidError: .*\): .*{advice}"):
        kind(tmp_path)


def test_a_truncated_cache_is_an_error_and_not_the_end_of_the_process(tmp_path: Path, repository: Path) -> None:
    embedded(tmp_path, dimension=1024)
    truncate(tmp_path / "data.mdb")
    command = [sys.executable, "-c", READS_TRUNCATED, str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": str(repository / "platform")}, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), (
        done.stderr
    )  # by a signal before: the map went beyond the file's end
    assert "can't be read (CorruptedError" in done.stdout
    assert "remove the folder, it is only a cache" in done.stdout


def refused(folder: Path, *command: str) -> Done:
    """What a command says: one paragraph, exit code 2, and nothing made."""
    done = ragtrial_command(command[0], folder / "experiment.yaml", *command[1:], "--output", folder / "new")
    assert done.code == 2, done
    assert [line for line in done.err.splitlines() if line][-1].startswith("error: ")
    assert "Traceback" not in done.err
    assert not (folder / "new").exists() or not list((folder / "new").iterdir())
    return done


def rubbish_in_every_page(path: Path) -> None:
    rng = random.Random(1)
    for page in range(4096, path.stat().st_size, 4096):
        overwrite(path, rng.randbytes(64), page)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (fill_with_rubbish, "file is not a database; give another path (stores.sql), or move the file away"),
        (truncate, "database disk image is malformed; the file is damaged; restore a copy, or move it away and evaluate again"),
        (
            rubbish_in_every_page,
            "database disk image is malformed; the file is damaged; restore a copy, or move it away and evaluate again",
        ),
    ],
    ids=["rubbish", "truncated", "pages"],
)
def test_a_damaged_sqlite_file_is_refused_and_left_as_it_is(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    file = folder / ".ragtrial" / "ragtrial.db"
    damage(file)
    before = file.read_bytes()
    for command in (["report"], ["evaluate", "--resume"]):
        assert said in refused(folder, *command).err
    assert file.read_bytes() == before


def store_files(folder: Path, pattern: str) -> list[Path]:
    found = sorted((folder / ".ragtrial" / "milvus.db" / "collections").glob(pattern))
    assert found
    return found


@pytest.mark.parametrize(
    ("pattern", "damage", "said"),
    [
        ("*/partitions/_default/indexes/*.idx", flip, "(FLAT, an exact search) finds"),
        ("*/partitions/_default/indexes/*.idx", truncate, "loading collection"),
        ("*/partitions/_default/data/*.parquet", flip, "can't be opened"),
        ("*/schema.json", truncate, "can't be opened"),
    ],
    ids=["vectors", "index", "rows", "schema"],
)
def test_a_damaged_milvus_lite_store_is_refused_and_made_again_from_the_corpus(
    folder: Path, pattern: str, damage: Callable[[Path], None], said: str
) -> None:
    for file in store_files(folder, pattern):
        damage(file)
    error = refused(folder, "evaluate").err
    assert said in error
    assert "run ragtrial index" in error
    if pattern.endswith("schema.json"):
        shutil.move(folder / ".ragtrial" / "milvus.db", folder / "damaged.db")
        assert ragtrial_command("evaluate", folder / "experiment.yaml", "--output", folder / "new", "--quiet").code == 1
        for run in ("baseline.run", "custom.run"):
            assert (folder / "new" / run).read_bytes() == (folder / "out" / run).read_bytes()


def test_a_half_written_report_is_refused_by_whoever_reads_it(folder: Path) -> None:
    truncate(folder / "out" / "report.json")
    done = ragtrial_command("comment", folder / "out" / "report.json")
    assert done.code == 2, done
    assert "report.json" in done.err
    assert "Traceback" not in done.err
