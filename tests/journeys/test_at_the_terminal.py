"""What a user sees beside results: help, misuse, quiet and colourless output, Ctrl-C, and no noise from libraries."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.cli.main import app

RAGTRIAL = str(Path(sys.executable).parent / "ragtrial")
_FOUND: dict[str, Any] = vars(get_command(app))["commands"]
COMMANDS = tuple(_FOUND)
COMMANDS_OF_GROUPS = tuple((name, each) for name, found in _FOUND.items() for each in getattr(found, "commands", ()))
EXPECTED_LINES = re.compile(
    r"small: |before the run: |load the models: |embed the gold queries: |index hashing-[ab]@1: |asking the gold queries: |analysing evaluation small-"
)


def small(folder: Path, *, n_queries: int = 20, **changes: object) -> Path:
    data = write_beir_folder(folder / "data", n_passages=40, n_queries=n_queries)
    return write_experiment(folder / "e.yaml", data, **changes)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), *COMMANDS_OF_GROUPS], ids=" ".join)
def test_every_command_says_what_it_does(command: tuple[str, ...]) -> None:
    done = ragtrial_command(*command, "--help")
    assert done.code == 0
    assert f"ragtrial {' '.join(command)}" in done.out
    assert len(done.out.splitlines()) > 4
    assert done.err == ""


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that was evaluated, with metrics of short and long names."""
    experiment = small(tmp_path_factory.mktemp("analysed"))
    assert ragtrial_command("evaluate", experiment, "--output", experiment.parent / "out", "--quiet").code == 1
    return experiment


@pytest.mark.parametrize("columns", ["40", "64", "80", "100", "116", "160"])
def test_no_name_of_a_metric_is_broken_however_narrow_the_terminal_is(
    columns: str, analysed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = ragtrial_command("analyse", analysed).out
    report = json.loads((analysed.parent / "out" / "report.json").read_text())
    names = [metric["name"] for metric in report["metrics"]]
    assert {"nDCG@10", "answer_token_recall", "citation_support"} <= set(names)
    assert set(names) <= {line.split(" ")[0] for line in said.splitlines()}, said
    assert max(map(len, said.splitlines())) <= int(columns), said


def test_without_a_command_there_is_the_help() -> None:
    done = ragtrial_command()
    assert done.code == 2
    assert all(name in done.out + done.err for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evalute",), ("No such command 'evalute'", "evaluate", "ragtrial --help")),
        (("evaluate",), ("Missing argument", "ragtrial evaluate --help")),
        (("evaluate", "e.yaml", "--foo"), ("--foo", "ragtrial evaluate --help")),
        (("evaluate", "e.yaml", "--limit", "0"), ("--limit", "greater than or equal to 1")),
        (("evaluate", "e.yaml", "--limit", "many"), ("--limit", "ragtrial evaluate --help")),
        (("compare", "--qrels", "q"), ("--baseline", "ragtrial compare --help")),
    ],
)
def test_a_misused_command_is_one_line_and_one_object_in_json(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    plain, as_json = ragtrial_command(*arguments), ragtrial_command(*arguments, "--json")
    assert (plain.code, as_json.code) == (2, 2)
    assert plain.out == ""
    assert plain.err.startswith("error: ")
    assert plain.err.count("\n") == 1
    assert all(word in plain.err for word in words)
    if arguments != ("evalute",):  # a command that there isn't takes no --json
        assert words[0] in json.loads(as_json.out)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("models", "show", "nope", "--registry", "here"), ("no model 'nope' in the registry 'here'", "ragtrial train")),
        (("index", "e.yaml", "--rollback", "custom"), ("--rollback 'custom'", "ragtrial index")),
        (("index", "e.yaml", "--rollback", "nobody"), ("--rollback 'nobody'", "baseline, custom")),
        (("db", "info", "e.yaml"), ("ragtrial.db'", "run an evaluation first")),
        (("analyse", "e.yaml", "--evaluation", "x"), ("ragtrial.db'", "run an evaluation first")),
        (("evaluate", "none.yaml"), ("none.yaml", "there is no such file")),
        (("evaluate", "data"), ("data", "Is a directory")),
        (("demo", "--folder", "e.yaml"), ("demo folder 'e.yaml'", "--folder")),
        (("evaluate", "e.yaml", "--limit", "1"), ("1 query is asked", "at least 2")),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_made(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    done = ragtrial_command(*arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words)
    assert tree(tmp_path) == before


def test_an_evaluation_that_fails_halfway_keeps_what_was_there(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    assert ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--quiet").code == 1
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_experiment(experiment, tmp_path / "data", generation={"provider": "nope"})
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    write_experiment(experiment, tmp_path / "data")
    info = json.loads(ragtrial_command("db", "info", experiment, "--json").out)
    assert [evaluation["finished_at"] is not None for evaluation in info["evaluations"]] == [True]


def test_a_collection_that_another_model_fills_is_left_alone(tmp_path: Path) -> None:
    from ragtrial.build import build_index, index_parameters
    from ragtrial.domain.index import IndexSpec
    from ragtrial.embedding.hashing import HashingEmbedder
    from ragtrial.indexing import collection_name
    from ragtrial.settings import read_settings
    from ragtrial.suite.preparing import prepare

    experiment = small(tmp_path)
    corpus, parameters = prepare(experiment, settings=read_settings({})).corpus, index_parameters(IndexSpec())
    name = collection_name(corpus, HashingEmbedder(model="b", dimension=256).identity, parameters)
    store = str(tmp_path / ".ragtrial" / "milvus.db")
    index = build_index(store, token=None)
    index.create(name, model=HashingEmbedder(model="other", dimension=8).identity, corpus=corpus.fingerprint, parameters=parameters)
    index.close()
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert done.err.count("\n") == 1
    for words in (f"collection '{name}'", "hashing-other@1 (8 dimensions)", "hashing-b@1 (256 dimensions)", "ragtrial index"):
        assert words in done.err
    assert not (tmp_path / "out").exists()
    assert json.loads(ragtrial_command("db", "info", experiment, "--json").out)["evaluations"] == []


def test_resuming_says_what_there_is_to_go_on_with(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    command = ("evaluate", experiment, "--output", tmp_path / "out", "--resume")
    first, second, quiet = ragtrial_command(*command), ragtrial_command(*command), ragtrial_command(*command, "--quiet")
    assert "nothing of this plan, data and models is logged yet: evaluation small-" in first.err
    assert "is finished: its result is taken as it is" in second.err
    assert quiet.err == ""
    assert quiet.out.startswith("Too few queries: 20 were scored")


def test_json_is_one_object_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    for arguments in (
        ("validate", experiment),
        ("index", experiment),
        ("evaluate", experiment, "--dry-run"),
        ("evaluate", experiment, "--output", tmp_path / "out"),
        ("analyse", experiment),
        ("db", "info", experiment),
    ):
        done = ragtrial_command(*arguments, "--json")
        assert isinstance(json.loads(done.out), dict), arguments


def test_validate_counts_and_warns_without_refusing(tmp_path: Path) -> None:
    experiment = small(tmp_path, arms=[
        {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a"}},
        {"name": "custom", "role": "treatment", "embedding": {"model": "registry:mine"}},
    ])  # fmt: skip
    done = ragtrial_command("validate", experiment)
    assert done.code == 0
    assert "warning: " in done.out
    assert "no model 'mine' in the registry" in done.out
    assert "40 passages, 20 queries" in done.out
    assert done.out.rstrip().endswith("valid")


@pytest.mark.slow
def test_the_real_command_says_only_what_it_means_to(tmp_path: Path) -> None:
    """As users run it: another process, a log instead of a terminal, colours forced and forbidden."""
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST")}
    command = [RAGTRIAL, "evaluate", small(tmp_path), "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environment, "FORCE_COLOR": ""})
    assert done.returncode == 1
    unexpected = [line for line in done.stderr.splitlines() if not EXPECTED_LINES.match(line)]
    assert unexpected == []
    assert "Too few queries" in done.stdout
    forced = subprocess.run([*command, "--resume", "--quiet"], capture_output=True, text=True, check=False, env=environment)
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]m", forced.stdout + forced.stderr), "a colour, although NO_COLOR is set"


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_logged_and_says_how_to_go_on(tmp_path: Path) -> None:
    experiment = small(
        tmp_path, n_queries=1500, analysis={"resamples": 1000, "latency_queries": 0}, metrics={"primary": {"name": "nDCG@10"}}
    )
    command = [RAGTRIAL, "evaluate", str(experiment), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("asking the gold queries"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in rest
    assert "interrupted; what was logged is kept: the same command with --resume goes on" in rest
    assert not (tmp_path / "out").exists()
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--resume")
    assert done.code in (0, 1)
    assert (tmp_path / "out" / "report.json").is_file()
    info = json.loads(ragtrial_command("db", "info", experiment, "--json").out)
    assert len(info["evaluations"]) == 1
