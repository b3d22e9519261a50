"""Bad input: one paragraph that names the thing, what was found and what to do; exit code 2; nothing half-written."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.errors import StoreError

Content = dict[str, Any]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def small(folder: Path, change: Callable[[Content], object] | None = None) -> Path:
    """An experiment file on a small data set, changed."""
    experiment = write_experiment(folder / "e.yaml", write_beir_folder(folder / "data", n_queries=20, n_passages=30))
    content = yaml.safe_load(experiment.read_text())
    if change is not None:
        change(content)
    experiment.write_text(yaml.safe_dump(content))
    return experiment


def custom(**embedding: object) -> Callable[[Content], object]:
    return lambda content: content["arms"][1].update(embedding=embedding)


IN_THE_FILE: dict[str, tuple[Callable[[Content], object], tuple[str, ...]]] = {
    "an unknown key": (lambda c: c.update(metrcs={}), ("e.yaml:", "metrcs", "did you mean 'metrics'")),
    "an unknown metric": (lambda c: c["metrics"]["primary"].update(name="nDCG"), ("unknown metric 'nDCG'", "nDCG@k")),
    "a cut-off beyond top_k": (lambda c: c["metrics"]["primary"].update(name="nDCG@20"), ("'nDCG@20'", "top_k")),
    "two control arms": (lambda c: c["arms"][1].update(role="control"), ("exactly one 'control' and one 'treatment'",)),
    "a missing model folder": (custom(model="./nowhere"), ("nowhere", "does not exist")),
    "a missing model package": (custom(model="package:nothing_here"), ("nothing_here", "pip install")),
    "a model that is not registered": (custom(model="registry:nothing"), ("'nothing'", "ragtrial train")),
    "a hub id that can't be had": (custom(model="no-such/model"), ("no-such/model", "can't be loaded")),
    "an unknown provider": (custom(provider="nope", model="x"), ("'nope'", "sentence-transformers")),
    "an index that Milvus Lite would not build": (
        lambda c: c.update(retrieval={"index": {"type": "HNSW", "build": {"M": 8}}}),
        ("'M'", "Milvus Lite"),
    ),
    "a Milvus server that isn't there": (
        lambda c: c.update(stores={"milvus": "http://127.0.0.1:1"}),
        ("http://127.0.0.1:1", "start the server"),
    ),
    "a database that isn't there": (lambda c: c.update(stores={"sql": "postgresql://x@127.0.0.1:1/y"}), ("127.0.0.1:1", "stores.sql")),
}


@pytest.mark.parametrize("case", IN_THE_FILE)
def test_a_wrong_experiment_is_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    change, expected = IN_THE_FILE[case]
    experiment = small(tmp_path, change)
    refused(tmp_path, expected, "evaluate", experiment, "--output", tmp_path / "out", "--quiet")


def refused(folder: Path, expected: tuple[str, ...], *arguments: str | Path) -> None:
    before = tree(folder)
    done = ragtrial_command(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert len(done.err) < 1500
    for words in expected:
        assert words in done.err
    assert tree(folder) == before


def test_a_broken_line_of_the_corpus_is_named_with_its_number(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    corpus = tmp_path / "data" / "corpus.jsonl"
    lines = corpus.read_text().splitlines()
    lines[3] = '{"_id": "p3", "text": '
    corpus.write_text("\n".join(lines))
    refused(tmp_path, ("corpus.jsonl:4: broken JSON",), "evaluate", experiment, "--output", tmp_path / "out")


def test_a_qrel_of_an_unknown_passage_is_named_with_its_line(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    with (tmp_path / "data" / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tp999\t1\n")
    refused(tmp_path, ("test.tsv:", "'p999' is not in corpus.jsonl"), "evaluate", experiment, "--output", tmp_path / "out")


@pytest.mark.parametrize(("store", "name"), [("milvus", "m.db"), ("sql", "s.db")])
def test_a_file_that_is_no_store_is_left_alone(store: str, name: str, tmp_path: Path) -> None:
    experiment = small(tmp_path, lambda c: c.update(stores={store: name if store == "milvus" else f"sqlite:///{name}"}))
    (tmp_path / name).write_text("a shopping list" * 100)
    refused(tmp_path, (name, "give another path"), "evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    assert (tmp_path / name).read_text().startswith("a shopping list")


@pytest.mark.parametrize("folder", ["e.yaml/out", "/proc/nope"])
def test_an_output_folder_that_cant_be_written_is_found_before_the_work(folder: str, tmp_path: Path) -> None:
    refused(tmp_path, ("output folder", "--output"), "evaluate", small(tmp_path), "--output", tmp_path / folder, "--quiet")


def test_a_model_of_another_dimension_for_an_existing_collection_is_refused(tmp_path: Path) -> None:
    from ragtrial.build import build_index, index_parameters
    from ragtrial.domain.index import IndexSpec
    from ragtrial.embedding.hashing import HashingEmbedder
    from ragtrial.formats.experiment import load_experiment
    from ragtrial.indexing import collection_name
    from ragtrial.settings import read_settings
    from ragtrial.suite.preparing import prepare

    experiment = small(tmp_path)
    assert ragtrial_command("index", experiment, "--quiet").code == 0
    prepared = prepare(experiment, settings=read_settings({}))
    asked = HashingEmbedder(model="a", dimension=32).identity
    name = collection_name(prepared.corpus, asked, index_parameters(IndexSpec()))
    index = build_index(str(load_experiment(experiment).folder / ".ragtrial" / "milvus.db"), token=None)
    other = HashingEmbedder(model="a", dimension=64)
    with pytest.raises(StoreError, match=r"dimension|embeds with|another model"):
        index.search(name, other.embed(["x"], kind="query"), top_k=1, model=other.identity)
    index.close()


@pytest.mark.parametrize("command", ["analyse", "report"])
def test_there_is_nothing_to_analyse_before_an_evaluation(command: str, tmp_path: Path) -> None:
    refused(tmp_path, ("run an evaluation first",), command, small(tmp_path))


def test_training_without_a_training_section_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, ("'training' section",), "train", small(tmp_path))


def test_compare_names_the_broken_line_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("q1 0 p1 1\n")
    (tmp_path / "a.run").write_text("q1 Q0 p1 1 0.9 a\n")
    (tmp_path / "b.run").write_text("q1 Q0 p1 1 nine b\n")
    files = ("--qrels", tmp_path / "qrels.txt", "--baseline", tmp_path / "a.run", "--custom", tmp_path / "b.run")
    refused(tmp_path, ("b.run:1", "nine"), "compare", *files)


def test_in_json_mode_the_error_is_json(tmp_path: Path) -> None:
    done = ragtrial_command("evaluate", small(tmp_path, custom(model="./nowhere")), "--json", "--output", tmp_path / "out")
    assert done.code == 2
    assert json.loads(done.out)["error"]["kind"] == "ModelError"


def test_the_real_command_prints_one_paragraph_and_no_traceback(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "ragtrial", "evaluate", small(tmp_path, lambda c: c.update(metrcs={}))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_validate_lists_every_problem_at_once(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    with (tmp_path / "data" / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tp999\t1\nq999\tp1\t1\nq1\tp1\tbad\n")
    done = ragtrial_command("validate", experiment, "--json")
    assert done.code == 2
    found = json.loads(done.out)
    assert len(found["problems"]) >= 3
    assert all(problem["path"] and problem["line"] for problem in found["problems"])
