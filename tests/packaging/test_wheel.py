"""The wheel as a stranger gets it. `make release-check` does it in empty environments, with the demo and every extra."""

import email
import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def check(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / ".ci" / "release_check.py"), run_name="release_check")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, repository]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution found for hatch" in done.stderr:
        pytest.skip("no package index is in reach, from which pip takes what builds the wheel")
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content alone; it goes before the checkout on the path."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def ragtrial(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "NO_COLOR": "1", "COLUMNS": "140"}
    return subprocess.run(
        [sys.executable, installed / "bin" / "ragtrial", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_wheel_holds_what_commands_read_and_nothing_else(check: dict[str, Any], wheel: Path) -> None:
    assert check["faults"](wheel) == []


@pytest.mark.slow
def test_the_links_of_the_description_work_away_from_the_repository(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(opened.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    pattern = r"(!?)\[[^\]]*\]\(([^)\s]+)"
    described = re.findall(pattern, metadata.get_payload(decode=True).decode())
    at_home = re.findall(pattern, (repository / "README.md").read_text(encoding="utf-8"))
    home = {"!": "https://raw.githubusercontent.com/ragtrial/ragtrial/main/", "": "https://github.com/ragtrial/ragtrial/blob/main/"}
    assert [place for _, place in described] == [place if "://" in place else home[mark] + place for mark, place in at_home]


@pytest.mark.slow
def test_a_wheel_without_migrations_or_with_tests_is_found_out(check: dict[str, Any], wheel: Path, tmp_path: Path) -> None:
    broken = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(broken, "w") as part:
        for name in whole.namelist():
            if "/migrations/versions/" not in name:
                part.writestr(name, b"")
        part.writestr("tests/test_odd.py", b"")
    found = check["faults"](broken)
    assert "ragtrial/db/migrations/versions/ is missing" in found
    assert "tests/ would be installed at the top of site-packages" in found


@pytest.mark.slow
def test_what_was_installed_works_outside_of_the_repository(installed: Path, tmp_path: Path) -> None:
    where = "import ragtrial, sys; sys.stdout.write(ragtrial.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    place = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(place).is_relative_to(installed), "the test would run the checkout"

    assert "evaluate" in ragtrial(installed, "--help", cwd=tmp_path).stdout
    copied = ragtrial(installed, "demo", "--files-only", "--folder", "demo", cwd=tmp_path)
    assert copied.returncode == 0, copied.stderr
    valid = ragtrial(installed, "validate", "demo/experiments/demo.yaml", cwd=tmp_path)
    assert "409 passages, 192 queries" in valid.stdout, valid.stderr
    made = ragtrial(installed, "db", "upgrade", "demo/experiments/demo.yaml", cwd=tmp_path)
    assert made.returncode == 0, made.stderr


def test_every_extra_of_the_project_is_checked_before_a_release(check: dict[str, Any]) -> None:
    assert {"local", "train", "prepare", "serve", "dashboard", "postgres", "ray"} <= set(check["extras"]())
    assert "dev" not in check["extras"]()
