"""The commands, from validate to compare, on a small experiment with everything real but the models."""

import json
from pathlib import Path

import pytest
import yaml

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from servers import milvus_server, postgres_server

REPORTS = {"report.html", "report.json", "report.md", "junit.xml", "trials.parquet", "qrels.txt", "baseline.run", "custom.run", "bm25.run"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that was evaluated once."""
    folder = tmp_path_factory.mktemp("evaluated")
    experiment = write_experiment(folder / "e.yaml", write_beir_folder(folder / "data"))
    done = ragtrial_command("evaluate", experiment, "--output", folder / "out", "--quiet")
    assert done.code == 0, done.err
    assert done.out.startswith("Adopt custom")
    return folder


def report(folder: Path, name: str = "out") -> dict:
    """The report without times."""
    content = json.loads((folder / name / "report.json").read_text())
    return {key: value for key, value in content.items() if key not in ("timing", "latency")}


def test_an_evaluation_writes_every_report(evaluated: Path) -> None:
    assert {path.name for path in (evaluated / "out").iterdir()} == REPORTS


def test_the_gate_decides_the_exit_code(tmp_path: Path) -> None:
    data = write_beir_folder(tmp_path / "data")
    same = [
        {"name": n, "role": r, "embedding": {"provider": "hashing", "model": "a"}}
        for n, r in (("baseline", "control"), ("custom", "treatment"))
    ]
    done = ragtrial_command("evaluate", write_experiment(tmp_path / "e.yaml", data, arms=same), "--output", tmp_path / "out", "--quiet")
    assert done.code == 1
    assert done.out.startswith("Undecided")


def test_a_truly_worse_treatment_is_not_adopted(tmp_path: Path) -> None:
    data = write_beir_folder(tmp_path / "data")
    arms = [
        {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "b", "dimensions": 256}},
        {"name": "custom", "role": "treatment", "embedding": {"provider": "hashing", "model": "a", "dimensions": 32}},
    ]
    done = ragtrial_command("evaluate", write_experiment(tmp_path / "e.yaml", data, arms=arms), "--output", tmp_path / "out", "--quiet")
    assert done.code == 1
    assert done.out.startswith("Keep the baseline")


def test_resuming_a_finished_evaluation_reuses_it(evaluated: Path) -> None:
    assert ragtrial_command("evaluate", evaluated / "e.yaml", "--output", evaluated / "again", "--resume", "--quiet").code == 0
    assert report(evaluated, "again") == report(evaluated)
    info = json.loads(ragtrial_command("db", "info", evaluated / "e.yaml", "--json").out)
    assert len(info["evaluations"]) == 1


def test_analyse_and_report_need_only_the_database(evaluated: Path) -> None:
    (evaluated / "data").rename(evaluated / "moved")
    try:
        done = ragtrial_command("analyse", evaluated / "e.yaml", "--json")
        assert done.code == 0
        assert json.loads(done.out)["verdict"] == report(evaluated)["verdict"]
        assert ragtrial_command("report", evaluated / "e.yaml", "--output", evaluated / "third").code == 0
        assert report(evaluated, "third") == report(evaluated)
    finally:
        (evaluated / "moved").rename(evaluated / "data")


def test_compare_finds_the_same_in_the_exported_runs(evaluated: Path) -> None:
    out = evaluated / "out"
    files = ("--qrels", out / "qrels.txt", "--baseline", out / "baseline.run", "--custom", out / "custom.run")
    done = ragtrial_command("compare", *files, "--metric", "nDCG@10", "--metric", "R@5", "--json")
    assert done.code == 0
    reported = {metric["name"]: metric for metric in report(evaluated)["metrics"]}
    for metric in json.loads(done.out)["metrics"]:
        assert metric["custom"]["mean"] == pytest.approx(reported[metric["name"]]["custom"]["mean"], abs=1e-9)
        assert metric["difference"]["low"] == pytest.approx(reported[metric["name"]]["difference"]["low"], abs=1e-9)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data"))
    before = sorted(tmp_path.rglob("*"))
    done = ragtrial_command("evaluate", experiment, "--dry-run", "--json", "--output", tmp_path / "out")
    assert done.code == 0
    plan = json.loads(done.out)
    assert (plan["n_passages"], plan["n_queries"], plan["n_trials"]) == (200, 120, 480)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_limit_asks_a_random_sample_and_gives_no_verdict_on_too_few(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data"))
    done = ragtrial_command("evaluate", experiment, "--limit", "30", "--output", tmp_path / "out", "--json")
    assert done.code == 1
    content = json.loads(done.out)
    assert content["verdict"]["decision"] == "too few"
    assert content["metrics"][0]["n"] == 30


def test_an_undeclared_difference_refuses_the_verdict_and_a_declared_one_does_not(tmp_path: Path) -> None:
    data = write_beir_folder(tmp_path / "data")
    arms = yaml.safe_load(write_experiment(tmp_path / "a.yaml", data).read_text())["arms"]
    arms[1]["retrieval"] = {"top_k": 20}
    experiment = write_experiment(tmp_path / "e.yaml", data, arms=arms)
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--json")
    assert (done.code, json.loads(done.out)["verdict"]["decision"]) == (1, "refused")
    assert not json.loads(done.out)["parity"]["ok"]
    experiment = write_experiment(tmp_path / "e.yaml", data, arms=arms, subject=["embedding", "retrieval"])
    assert json.loads(ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--json").out)["parity"]["ok"]


def test_repetitions_are_averaged_and_change_nothing_where_all_is_deterministic(tmp_path: Path, evaluated: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data"), repetitions=3)
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--json")
    once, thrice = report(evaluated)["metrics"][0], json.loads(done.out)["metrics"][0]
    assert thrice["difference"]["low"] == pytest.approx(once["difference"]["low"])
    assert thrice["n"] == once["n"]


@pytest.mark.slow
def test_servers_give_the_same_result_as_files(tmp_path: Path, evaluated: Path) -> None:
    for why in (milvus_server.why_not(), postgres_server.why_not()):
        if why:
            pytest.skip(why)
    with (
        milvus_server.running(tmp_path / "milvus") as milvus,
        postgres_server.running() as postgres,
        postgres_server.fresh_database(postgres, "journey") as sql,
    ):
        experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data"), stores={"milvus": milvus, "sql": sql})
        done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--json")
        assert done.code == 0, done.err
    for ours, theirs in zip(report(evaluated)["metrics"], json.loads(done.out)["metrics"], strict=True):
        assert ours["name"] == theirs["name"]
        if not ours["name"].endswith("_ms"):
            assert theirs["custom"]["mean"] == pytest.approx(ours["custom"]["mean"])
            assert theirs["difference"] == pytest.approx(ours["difference"])


def test_the_doctor_finds_this_machine_ready() -> None:
    done = ragtrial_command("doctor", "--json")
    findings = {finding["part"]: finding for finding in json.loads(done.out)}
    assert findings["Milvus Lite"]["state"] == "ok"
    assert findings["SQLite"]["state"] == "ok"
    assert done.code == 0


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    assert "ragtrial train" in ragtrial_command("models", "list", "--registry", tmp_path).out
    assert ragtrial_command("models", "show", "nothing", "--registry", tmp_path).code == 2
