"""The disk is full while something is written: what was there stays, nothing is half written, and with room again the same command ends it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from commands import Done, ragtrial_command
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import SetupError, StoreError
from ragtrial.finetuning.registry_records import Note, Records, change_records, read_records


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("a disk that is full is a small tmpfs, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leave: int = 8192) -> Path:
    filler = disk / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - leave))
    return filler


def on_disk(folder: Path, **stores: str) -> Path:
    path = folder / "experiment.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "stores": stores}, sort_keys=False))
    return path


def refused(done: Done) -> None:
    assert done.code == 2, done
    said = [line for line in done.err.splitlines() if line][-1]
    assert said.startswith("error: "), done.err
    assert any(word in said for word in ("No space left on device", "make room")), said
    assert "Traceback" not in done.err


def test_an_evaluation_whose_log_is_on_a_full_disk_says_so_and_ends_when_there_is_room(
    folder: Path, tmp_path: Path, small_disk: Path
) -> None:
    path = on_disk(folder, sql=f"sqlite:///{small_disk / 'log.db'}")
    filler, output = fill(small_disk), tmp_path / "new"
    command = ("evaluate", path, "--output", output, "--quiet", "--resume")
    refused(ragtrial_command(*command))
    assert not (output / "report.json").exists()
    filler.unlink()
    again = ragtrial_command(*command)
    assert again.code == 1, again
    for run in ("baseline.run", "custom.run"):
        assert (output / run).read_bytes() == (folder / "out" / run).read_bytes()


@pytest.mark.parametrize("store", ["milvus", "vectors"])
def test_an_index_that_has_no_room_is_made_by_the_same_command_when_there_is_some(store: str, folder: Path, small_disk: Path) -> None:
    path = on_disk(folder, **{store: str(small_disk / {"milvus": "milvus.db", "vectors": "vectors"}[store])})
    filler = fill(small_disk)
    refused(ragtrial_command("index", path, "--quiet"))
    filler.unlink()
    again = ragtrial_command("index", path, "--quiet")
    assert again.code == 0, again
    assert again.out.count("recall against exact search 100.00%") == 2


def test_reports_that_have_no_room_leave_those_that_were_there(folder: Path, small_disk: Path) -> None:
    output = Path(shutil.copytree(folder / "out", small_disk / "out"))
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    fill(small_disk)
    done = ragtrial_command("report", folder / "experiment.yaml", "--output", output)
    refused(done)
    assert f"reports can't be written to '{output}' (No space left on device)" in done.err
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def test_a_vector_cache_that_has_no_room_keeps_what_it_has(small_disk: Path) -> None:
    texts = [f"text {number}" for number in range(500)]
    with VectorCache(small_disk) as cache:
        embedder = CachedEmbedder(HashingEmbedder(dimension=64), cache)
        embedder.embed(texts[:100], kind="passage")
        filler = fill(small_disk)
        with pytest.raises(StoreError, match=r"can't be written: .*; make room on the disk"):
            embedder.embed(texts, kind="passage")
        filler.unlink()
        before = embedder.embedded
        embedder.embed(texts, kind="passage")
        assert embedder.embedded - before == 400, "the first hundred were kept"


def test_records_of_a_model_that_have_no_room_stay_as_they_are(small_disk: Path) -> None:
    home = small_disk / "model"
    home.mkdir()

    def noted(records: Records) -> Records:
        note = Note(version="v1", kind="evaluation", at="2026-11-01", record={"text": "x" * 50_000})
        return Records(aliases={"candidate": "v1"}, notes=(*records.notes, note))

    change_records(home, noted)
    filler = fill(small_disk)
    with pytest.raises(SetupError, match=r"records.json' can't be written \(No space left on device\): make room"):
        change_records(home, noted)
    assert len(read_records(home).notes) == 1
    filler.unlink()
    change_records(home, noted)
    assert len(read_records(home).notes) == 2
