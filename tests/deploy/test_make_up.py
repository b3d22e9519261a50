"""`make up` with a `docker` that starts nothing: what Compose is told then, and by every later command."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import composed

ROOT = Path(__file__).resolve().parent.parent.parent
QUOTED = "o'clock"


def program(path: Path) -> ModuleType:
    """A program that stands beside the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


up = program(ROOT / "deploy" / "up.py")

STAND_IN = """#!{python}
import json, os, pathlib
told = {{}}
if pathlib.Path(".env").exists():
    lines = [line for line in pathlib.Path(".env").read_text().splitlines() if "=" in line and line[0] != "#"]
    told = {{name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}}
told |= {{name: value for name, value in os.environ.items() if name in {names!r}}}
with open({log!r}, "a") as out:
    print(json.dumps([os.sys.argv[1:], told]), file=out)
"""
"""In the place of `docker`: writes down its arguments and what Compose would know: .env, and the environment, which goes before it."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A checkout with a `docker` that starts nothing.

    Attributes:
        folder: The checkout.
        log: What `docker` was told.
        environment: Of a shell there.
    """

    folder: Path
    log: Path
    environment: Mapping[str, str]

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, env=self.environment)

    def docker(self, *words: str) -> None:
        subprocess.run(["docker", *words], cwd=self.folder, check=True, env=self.environment)

    def told(self) -> tuple[list[str], dict[str, str]]:
        """The last command, and the variables that held for it."""
        words, variables = json.loads(self.log.read_text().splitlines()[-1])
        return words, variables

    def service(self, name: str) -> dict[str, Any]:
        """What the last command would have found of a service; the second file's keys over the first one's."""
        _, variables = self.told()
        found: dict[str, Any] = {}
        for file in variables.get("COMPOSE_FILE", "docker-compose.yml").split(":"):
            found |= composed.read(self.folder / file, **variables).services.get(name, {})
        return found


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder, programs, log = tmp_path / "ragtrial", tmp_path / "bin", tmp_path / "docker.jsonl"
    for each in (folder, programs):
        each.mkdir()
    for name in ("Makefile", "docker-compose.yml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("*-*password", "*key*", "*token*"))
    docker = programs / "docker"
    docker.write_text(STAND_IN.format(python=sys.executable, log=str(log), names=up.OURS))
    docker.chmod(0o755)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "COMPOSE_")) and key not in up.OURS}
    return Installed(folder=folder, log=log, environment={**clean, "PATH": f"{programs}{os.pathsep}{clean['PATH']}"})


def experiment_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "a b.yaml"
    path.touch()
    return path


def test_what_make_up_was_told_holds_for_every_later_command(installed: Installed, tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path / "mi$ne" / "rag")
    first = installed.make(
        "up", f"EXPERIMENT={str(experiment).replace('$', '$$')}", f"WORKSPACE={tmp_path}/mi$$ne", "OBSERVABILITY=1", "API_PORT=9000"
    )
    assert first.returncode == 0, first.stderr
    assert "http://127.0.0.1:9000" in first.stdout
    words, told = installed.told()
    assert words == ["compose", "up", "--detach", "--build", "--wait", "api", "dashboard", "tester", "roll-up", *up.WATCHING]
    assert told["COMPOSE_PROFILES"] == "observability"
    for later in (["compose", "up", "-d"], ["compose", "run", "--rm", "index"], None, "down"):
        if isinstance(later, list):
            installed.docker(*later)
        else:
            assert installed.make(later or "up").returncode == 0
        words, now = installed.told()
        assert now == told
        assert later is not None or words[-3:] == list(up.WATCHING), "again, with nothing said"
        api = installed.service("api")
        assert api["command"][:2] == ["serve", "rag/a b.yaml"]
        assert api["volumes"][1] == f"{tmp_path}/mi$ne:/workspace:ro"
        assert api["ports"] == ["127.0.0.1:9000:8000"]
        assert api["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4318"


def test_make_up_goes_back_to_the_demo_and_leaves_lines_that_are_not_its_own(installed: Installed, tmp_path: Path) -> None:
    (installed.folder / ".env").write_text("# mine\nHTTPS_PROXY=http://proxy:3128\n")
    assert installed.make("up", f"EXPERIMENT={experiment_in(tmp_path / 'mine')}", "OBSERVABILITY=1").returncode == 0
    assert installed.make("up", "EXPERIMENT=", "OBSERVABILITY=0").returncode == 0
    commands = [json.loads(line)[0][1:] for line in installed.log.read_text().splitlines()]
    assert commands[1] == ["--profile", "observability", "rm", "--stop", "--force", *up.WATCHING]
    assert commands[2][-4:] == list(up.SERVICES)
    assert installed.told()[1] == {
        "HTTPS_PROXY": "http://proxy:3128",
        "COMPOSE_FILE": "docker-compose.yml",
        "COMPOSE_PATH_SEPARATOR": ":",
    }
    assert installed.service("api")["command"][1] == "experiments/live-demo.yaml"
    assert (installed.folder / ".env").read_text().startswith("# mine\nHTTPS_PROXY")
    assert "/.env" in (ROOT / ".gitignore").read_text().split()


def test_make_up_says_what_is_wrong_and_writes_nothing(installed: Installed, tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path / "mine")
    for given, said in (
        ([f"EXPERIMENT={experiment}", "WORKSPACE=/srv"], "is not in WORKSPACE=/srv"),
        (["EXPERIMENT=nowhere.yaml"], "there is no experiment file"),
        (["WORKSPACE=/srv"], "give EXPERIMENT=..., too"),
        (["API_PORT=http"], "give a port"),
        ([f"EXPERIMENT={experiment_in(tmp_path / QUOTED)}"], "can't stand in .env"),
    ):
        done = installed.make("up", *given)
        assert done.returncode == 2
        assert said in done.stderr
        assert not (installed.folder / ".env").exists()
        assert not installed.log.exists()
    assert installed.make("up", f"EXPERIMENT={experiment}").returncode == 0
    experiment.unlink()
    assert "there is no experiment file" in installed.make("up").stderr


def test_make_up_takes_nothing_that_the_shell_exports_for_others(installed: Installed, tmp_path: Path) -> None:
    """Jenkins exports WORKSPACE, whoever traces their own programs an endpoint, Kubernetes `PROMETHEUS_PORT=tcp://...`."""
    exported = {"WORKSPACE": "/var/jenkins/job", up.ENDPOINT: "http://someone:4318", "PROMETHEUS_PORT": "tcp://10.0.0.1:9090"}
    shell = Installed(folder=installed.folder, log=installed.log, environment={**installed.environment, **exported})
    for given, endpoint in (((), None), ((f"{up.ENDPOINT}=http://mine:4318", "API_PORT="), "http://mine:4318")):
        done = shell.make("up", f"EXPERIMENT={experiment_in(tmp_path / str(endpoint)[-4:])}", *given)
        assert done.returncode == 0, done.stderr
        told = shell.told()[1]
        assert (told["RAGTRIAL_WORKSPACE"], told.get(up.ENDPOINT)) == (str(tmp_path / str(endpoint)[-4:]), endpoint)
        left = [name for name in ("WORKSPACE", up.ENDPOINT, "PROMETHEUS_PORT") if not any(each.startswith(name) for each in given)]
        assert f"not taken from the environment: {', '.join(sorted(left))}" in done.stderr
    assert "not taken" not in installed.make("up", "API_PORT=9000").stderr
    assert f"SETTINGS := {' '.join(up.TAKEN)}\n" in (ROOT / "Makefile").read_text(), "what make says that it was given"
