"""A corpus in many files: the same documents, fingerprint and messages as in one."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragtrial.chunking import cut
from ragtrial.distributed.survey import survey
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.errors import ValidationError
from ragtrial.formats.data import load_data
from ragtrial.formats.shards import list_shards, read_corpus
from ragtrial.formats.validation import Findings

RECORDS = [
    {"_id": f"d{n:02}", "title": f"Title {n}", "text": f"Quay {n}.\n\nCrane {n} lifts, naïvely.", "doc": f"g{n % 3}"} for n in range(12)
]


def write(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same records as one file, as JSON-lines shards, and as Parquet shards."""
    write(tmp_path / "one" / "corpus.jsonl", RECORDS)
    for number in range(3):
        part = RECORDS[4 * number : 4 * number + 4]
        write(tmp_path / "lines" / f"part-{number}.jsonl", part)
        (tmp_path / "columns").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(part), tmp_path / "columns" / f"part-{number}.parquet")
    (tmp_path / "lines" / "_SUCCESS").touch()
    (tmp_path / "lines" / ".part-9.jsonl").write_text("rubbish")
    return tmp_path


def documents(location: Path | str) -> list:
    findings = Findings()
    read = read_corpus(location, findings)
    assert not findings.problems
    return list(read.sound.values())


@pytest.mark.parametrize("place", ["lines", "columns", "lines/part-*.jsonl", "columns/*.parquet"])
def test_shards_hold_what_one_file_holds(folder: Path, place: str) -> None:
    assert documents(folder / place) == documents(folder / "one" / "corpus.jsonl")


@pytest.mark.parametrize("name", ["queries.jsonl", "part-3.jsonl.gz", "part-3.json", "qrels"])
def test_a_folder_that_holds_more_than_shards_is_refused(folder: Path, name: str) -> None:
    """Gold queries would be indexed as passages, and what is passed over would be missed by nobody."""
    other = folder / "lines" / name
    other.mkdir() if name == "qrels" else other.write_text('{"_id": "q1", "text": "which crane lifts"}\n')
    with pytest.raises(ValidationError, match=f"holds '{name}'.*glob"):
        list_shards(folder / "lines")
    assert len(list_shards(folder / "lines" / "part-*.jsonl")) == 3


def test_an_address_is_read_by_pyarrows_file_system(folder: Path) -> None:
    assert documents((folder / "columns").as_uri()) == documents(folder / "one" / "corpus.jsonl")


@pytest.mark.parametrize("chunking", [ChunkingSpec(), ChunkingSpec(strategy="text", max_chars=20)])
@pytest.mark.parametrize("place", ["one/corpus.jsonl", "lines", "columns"])
def test_a_corpus_that_is_streamed_has_the_fingerprint_of_the_corpus_in_memory(folder: Path, place: str, chunking: ChunkingSpec) -> None:
    corpus = cut(documents(folder / "one" / "corpus.jsonl"), chunking, "x")
    found = survey(list_shards(folder / place), chunking)
    assert (found.fingerprint, found.chunking, found.n_passages) == (corpus.fingerprint, corpus.chunking, len(corpus.passages))
    assert found.groups == corpus.groups


def test_a_beir_folder_may_have_its_corpus_elsewhere(folder: Path) -> None:
    write(folder / "gold" / "queries.jsonl", [{"_id": "q", "text": "which quay"}])
    (folder / "gold" / "qrels").mkdir()
    (folder / "gold" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td05\t1\n")
    data = load_data(DataSpec(path="gold", corpus="columns"), folder)
    assert [document.document_id for document in data.documents] == [record["_id"] for record in RECORDS]


def test_every_fault_of_the_shards_is_named_with_file_line_and_field(folder: Path) -> None:
    bad = folder / "lines" / "part-3.jsonl"
    bad.write_text('{"_id": "d99", "text": "  "}\n\nnot json\n{"_id": "d01", "text": "again"}\n', encoding="utf-8")
    findings = Findings()
    read_corpus(folder / "lines", findings)
    with pytest.raises(ValidationError) as surveyed:
        survey(list_shards(folder / "lines"), ChunkingSpec())
    for problems in (findings.problems, surveyed.value.problems):
        assert [(problem.path, problem.line, problem.field) for problem in problems] == [
            (str(bad), 1, "text"),
            (str(bad), 3, None),
            (str(bad), 4, "_id"),
        ]
        assert f"line 2 of {str(folder / 'lines' / 'part-0.jsonl')!r} already" in problems[-1].message


def test_a_parquet_shard_without_texts_is_refused_by_its_name(folder: Path) -> None:
    bad = folder / "columns" / "part-3.parquet"
    pq.write_table(pa.table({"_id": ["x"], "body": ["y"]}), bad)
    (folder / "columns" / "part-4.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValidationError) as refused:
        survey(list_shards(folder / "columns"), ChunkingSpec())
    first, second = refused.value.problems
    assert first.path == str(bad)
    assert "no column 'text' (found _id, body)" in first.message
    assert "no readable Parquet file" in second.message


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "no such file or folder"), ("lines/*.csv", "holds no shard"), ("lines/q*", "holds no shard")]
)
def test_a_place_without_shards_says_so(folder: Path, place: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        list_shards(folder / place)
