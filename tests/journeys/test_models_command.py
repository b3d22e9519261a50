"""A model's life through the command line: registered, evaluated, promoted, rolled back, exported, deleted; and never loaded when poisoned."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import registered_models
import tiny_model
from commands import Done, ragtrial_command
from ragtrial.domain.experiment import Experiment
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import load_experiment, sql_url
from unit import live_logs

LESSON = tiny_model.lesson(120, seed=77)
LIVE = {"query_text": "full", "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}}}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions, evaluated once through the command line."""
    folder = tmp_path_factory.mktemp("evaluated")
    registry = Registry(folder / ".ragtrial" / "models")
    for seed, good in enumerate((False, True)):
        registered_models.register(registry, registered_models.build(folder / "built" / str(seed), good=good, seed=seed))
    done = ragtrial_command("evaluate", registered_models.write_experiment(folder), "--output", folder / "out", "--quiet")
    assert done.code == 0, done.err + done.out
    return folder


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / "copy", ignore=shutil.ignore_patterns("built")))


def models(folder: Path, command: str, *arguments: str | Path) -> Done:
    """`ragtrial models COMMAND ...` in the folder's registry."""
    return ragtrial_command("models", command, *arguments, "--registry", folder / ".ragtrial" / "models")


def test_the_life_of_a_model(folder: Path) -> None:
    experiment = folder / "e.yaml"
    assert models(folder, "alias", "tiny@v2", "candidate", "--by", "ana").out == "registry:tiny@candidate is tiny@v2\n"
    promoted = ragtrial_command("models", "promote", "tiny@candidate", experiment, "--by", "ana")
    assert (promoted.code, promoted.out.startswith("production of 'tiny' is tiny@v2; rt_small_production_")) == (0, True), promoted.err

    head, first, second = (" ".join(line.split()) for line in models(folder, "list").out.splitlines())
    assert head == "MODEL ALIASES CREATED BASE PAIRS DEV VERDICT"
    assert first == "registry:tiny@v1 2026-01-02 03:04 tiny 200 nDCG@10 0.2500 -> 0.5000 not evaluated"
    assert second == "registry:tiny@v2 candidate, production 2026-01-02 03:04 tiny 200 nDCG@10 0.2500 -> 0.5000 adopt custom"

    refused = models(folder, "delete", "tiny@v2", "--yes")
    assert (refused.code, "alias 'candidate'; it has the alias 'production'" in refused.err) == (2, True)
    models(folder, "alias", "tiny@v2", "candidate", "--remove")
    back = ragtrial_command("models", "rollback", "tiny", experiment, "--reason", "slow", "--json")
    assert json.loads(back.out)["version"] is None
    assert "alias 'production'" in models(folder, "show", "tiny@production").err

    used = ragtrial_command("models", "delete", "tiny@v2", "--yes", "--experiment", experiment)
    assert used.code == 2
    for said in ("arm 'custom' of", "points to its collection 'rt_tiny_v2_"):
        assert said in used.err
    assert models(folder, "delete", "tiny@v2", "--yes", "--reason", "licence").code == 0
    assert json.loads(models(folder, "show", "tiny@v2").out)["deleted"] is True
    actions = [line.split()[2] for line in models(folder, "history", "tiny").out.splitlines()]
    assert actions == ["register", "register", "alias", "promote", "alias", "rollback", "delete"]


def test_a_deletion_is_asked_for_and_needs_somebody_who_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ("", "n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        done = models(folder, "delete", "tiny@v1")
        assert (done.code, "it was not confirmed" in done.err) == (2, True)
    assert len(json.loads(models(folder, "list", "--json").out)) == 2


def test_an_export_has_the_card_with_the_evaluations_result(folder: Path) -> None:
    assert models(folder, "licence", "tiny@v2", "CC-BY-4.0").code == 0
    done = models(folder, "export", "tiny@v2", folder / "out", "--json")
    assert done.code == 2  # the reports are there
    done = models(folder, "export", "tiny@v2", folder / "exported", "--json")
    card = (Path(json.loads(done.out)["folder"]) / "README.md").read_text()
    assert card.rstrip("\n") == models(folder, "card", "tiny@v2").out.rstrip("\n")
    assert "license: cc-by-4.0" in card
    assert "Verdict: Adopt custom" in card


def test_evaluations_of_before_the_notes_are_found_in_the_log(folder: Path) -> None:
    (folder / ".ragtrial" / "models" / "tiny" / "records.json").unlink()
    assert "not evaluated as the custom model" in models(folder, "card", "tiny@v2").out
    assert "Verdict: Adopt custom" in ragtrial_command("models", "card", "tiny@v2", "--experiment", folder / "e.yaml").out
    graph = json.loads(ragtrial_command("models", "graph", "tiny@v2", "--experiment", folder / "e.yaml", "--format", "json").out)
    assert {node["kind"] for node in graph["nodes"]} == {"model", "base", "data", "pairs", "evaluation"}


def test_two_versions_are_compared_by_what_they_were_made_from(folder: Path) -> None:
    registry = Registry(folder / ".ragtrial" / "models")
    registered_models.register(registry, registry.get("tiny@v1").folder, settings={"epochs": 3, "learning_rate": 3e-5, "seed": 42})
    assert models(folder, "diff", "tiny@v1", "tiny@v3").out == "settings.epochs: 2 -> 3\n"
    assert models(folder, "diff", "tiny@v1", "tiny@v2").out == "nothing differs but names and times\n"


def poison(folder: Path) -> None:
    weights = folder / ".ragtrial" / "models" / "tiny" / "v2" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "e.yaml", "--output", "again"),
        ("index", "e.yaml"),
        ("models", "promote", "tiny@v2", "e.yaml"),
        ("models", "show", "tiny@v2", "--experiment", "e.yaml"),
    ],
)
def test_a_poisoned_weight_file_is_refused_wherever_it_would_be_loaded(folder: Path, command: tuple[str, ...]) -> None:
    poison(folder)
    done = ragtrial_command(*(folder / part if part.endswith(("yaml", "again")) else part for part in command))
    assert done.code == 2
    assert "model tiny@v2" in done.err
    assert "is not what was registered (its checksum differs: model.safetensors)" in done.err
    assert not (folder / "again").exists()


@pytest.mark.slow
def test_a_service_with_a_poisoned_weight_file_does_not_start(folder: Path, repository: Path) -> None:
    experiment = registered_models.write_experiment(folder, file="live.yaml", live=LIVE)
    poison(folder)
    command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "serve", str(experiment), "--port", "0", "--no-auth"]
    environment = {**os.environ, "PYTHONPATH": str(repository / "platform")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: model tiny@v2 in")
    assert "checksum differs: model.safetensors" in last


def test_verify_names_the_poisoned_version_and_exits_with_1(folder: Path) -> None:
    assert models(folder, "verify").code == 0
    poison(folder)
    done = models(folder, "verify", "--json")
    found = json.loads(done.out)
    assert done.code == 1
    assert (found["tiny@v1"], "model.safetensors" in found["tiny@v2"]) == (None, True)


def test_an_archived_version_that_an_arm_runs_is_said(folder: Path) -> None:
    models(folder, "archive", "tiny@v2", "--reason", "superseded")
    assert "custom runs tiny@v2, which is archived (superseded)" in ragtrial_command("validate", folder / "e.yaml").out
    done = ragtrial_command("evaluate", folder / "e.yaml", "--output", folder / "again", "--quiet")
    assert done.code == 0
    assert "custom runs tiny@v2, which is archived (superseded)" in (folder / "again" / "report.md").read_text()


@pytest.mark.slow
def test_what_is_trained_from_production_has_it_in_its_lineage_and_protects_it(folder: Path) -> None:
    pairs = [json.dumps({"query": p.query, "passage": p.passage, "passage_id": p.passage_id, "document_id": p.document_id}) for p in LESSON]
    (folder / "pairs.jsonl").write_text("\n".join(pairs))
    training = {"base": "registry:tiny@v2", "name": "child", "pairs": ["pairs.jsonl"], "epochs": 1, "precision": "fp32"}
    experiment = registered_models.write_experiment(folder, training=training, file="train.yaml")
    done = ragtrial_command("train", experiment, "--licence", "MIT", "--quiet")
    assert done.code == 0, done.err
    assert "licence: MIT\n" in done.out, "what the card says"
    shown = json.loads(models(folder, "show", "child").out)
    assert (shown["licence"], shown["base"]["location"]) == ("MIT", "registry:tiny@v2")
    assert shown["base"]["revision"] == Registry(folder / ".ragtrial" / "models").get("tiny@v2").revision
    assert "it is the base of child@v1" in models(folder, "delete", "tiny@v2", "--yes").err


def test_a_version_that_live_traffic_is_served_with_is_not_deleted(folder: Path) -> None:
    experiment: Experiment = load_experiment(registered_models.write_experiment(folder, live=LIVE)).experiment
    lineage = {"name": "tiny", "version": "v2"}
    live_logs.registered(sql_url(load_experiment(folder / "e.yaml")), experiment, facts={**live_logs.FACTS, "arms": [{"lineage": lineage}]})
    done = ragtrial_command("models", "delete", "tiny@v2", "--yes", "--experiment", folder / "e.yaml")
    assert done.code == 2
    assert "live experiment 'small' serves it and was not stopped" in done.err
