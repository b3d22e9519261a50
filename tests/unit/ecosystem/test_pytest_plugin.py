"""The pytest plugin, in real runs of pytest on a small experiment."""

import json
import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from material import write_beir_folder, write_experiment
from ragtrial.db.reader import Reader

PLATFORM = Path(__file__).resolve().parents[3] / "platform"

SUITE = """
def test_more_dimensions_are_better(ragtrial):
    result = ragtrial.evaluate("experiments/better.yaml")
    ragtrial.assert_gate(result)
    assert result.verdict.decision == "adopt custom"
    assert result.gate
    assert result.comparison("nDCG@10").effect.low > 0
    assert result.report.is_file()

def test_the_same_again_is_not_evaluated_again(ragtrial):
    assert ragtrial.evaluate("experiments/better.yaml").gate.holds

def test_twenty_queries_show_nothing(ragtrial):
    ragtrial.assert_gate(ragtrial.evaluate("experiments/few.yaml"))

def test_the_plain_assertion_says_why(ragtrial):
    assert ragtrial.evaluate("experiments/few.yaml").gate

def test_a_file_that_is_not_there(ragtrial):
    ragtrial.evaluate("experiments/nowhere.yaml")

def test_that_asks_an_llm(ragtrial):
    ragtrial.evaluate("experiments/llm.yaml")

def test_that_evaluates_nothing():
    pass
"""

QUICK = {"metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}}, "analysis": {"resamples": 1000, "latency_queries": 0}}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of pytest left."""

    code: int
    out: str
    cases: dict[str, str]


def run_pytest(folder: Path, *arguments: str) -> Ran:
    """A run in a process of its own; `cases` are `passed`, or how a test ended with what it said."""
    plugin = ["-p", "xdist", "-p", "ragtrial.pytest_plugin"]  # other installed plugins take seconds to import
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PLATFORM), "OMP_NUM_THREADS": "1"}
    junit = folder / "cases.xml"
    command = [sys.executable, "-m", "pytest", *plugin, "--junitxml", str(junit), "-o", "junit_family=xunit1", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert junit.is_file(), done.stdout + done.stderr
    cases = {}
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it
        ended = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        cases[str(case.get("name"))] = "passed" if ended is None else f"{ended.tag}: {ended.get('message')} {ended.text}"
    return Ran(code=done.returncode, out=done.stdout + done.stderr, cases=cases)


def write_world(folder: Path) -> Path:
    data = write_beir_folder(folder / "data", n_passages=120, n_queries=120, answers=False)
    few = write_beir_folder(folder / "few", n_passages=120, n_queries=20, answers=False)
    experiments = folder / "experiments"
    off = {"generation": {"provider": "none"}}
    write_experiment(experiments / "better.yaml", data, name="better", **QUICK, **off)
    write_experiment(experiments / "few.yaml", few, name="few", **QUICK, **off)
    llm = {"provider": "openai-compatible", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    write_experiment(experiments / "llm.yaml", data, name="llm", **QUICK, generation=llm)
    (folder / "test_rag.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def ran(world: Path) -> Ran:
    """Everything at once: most of the time of a run is spent on importing."""
    return run_pytest(world, "--ragtrial-offline")


def test_an_experiment_whose_gate_holds_passes(ran: Ran) -> None:
    assert ran.cases["test_more_dimensions_are_better"] == "passed"
    assert ran.cases["test_the_same_again_is_not_evaluated_again"] == "passed"
    assert ran.code == 1  # others below fail


def test_too_little_data_fails_with_verdict_interval_and_where_the_report_is(ran: Ran, world: Path) -> None:
    report = json.loads((world / "reports" / "few" / "report.json").read_text())
    difference = report["metrics"][0]["difference"]
    said = ran.cases["test_twenty_queries_show_nothing"]
    assert said.startswith("failure:")
    assert report["verdict"]["sentence"] in said
    assert f"[{difference['low']:+.4f}, {difference['high']:+.4f}] (95% interval" in said
    assert "decision   too few" in said
    assert str(world / "reports" / "few" / "report.html") in said
    assert "gating.py" not in said  # no traceback of the machinery
    plain = ran.cases["test_the_plain_assertion_says_why"]  # pytest shortens what it shows of an object
    assert plain.startswith("failure: AssertionError: assert <the gate 'adopt' of few does not hold: Too few queries: 20 were scored")


def test_what_is_wrong_with_the_experiment_fails_the_test_in_one_paragraph(ran: Ran) -> None:
    said = ran.cases["test_a_file_that_is_not_there"]
    assert said.startswith("failure: Failed: experiments/nowhere.yaml could not be evaluated, so nothing is shown:")
    assert "Traceback" not in said


def test_offline_skips_what_asks_an_llm(ran: Ran) -> None:
    assert ran.cases["test_that_asks_an_llm"].startswith("skipped: --ragtrial-offline: it asks an LLM")


def test_the_summary_has_a_line_for_each_evaluation(ran: Ran, world: Path) -> None:
    lines = ran.out.splitlines()
    assert sum(line.startswith("better: adopt custom, gate adopt holds; nDCG@10 +") for line in lines) == 1
    assert sum(line.startswith("few: too few, gate adopt does not hold") for line in lines) == 1
    assert f"  {world / 'reports' / 'better' / 'report.html'}" in lines


def test_workers_share_one_evaluation_and_a_limit_is_told(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    done = run_pytest(world, "-n", "2", "--ragtrial-limit", "15", "-k", "twenty_queries or plain_assertion")
    with Reader(f"sqlite:///{world / 'experiments' / '.ragtrial' / 'ragtrial.db'}") as reader:
        evaluations = reader.evaluations("few")
    assert len(evaluations) == 1, done.out
    assert evaluations[0].n_queries == 15
    assert (world / "reports" / "few-limit-15" / "report.json").is_file()
    assert done.out.count("few: too few") == 1


def test_the_marker_leaves_evaluations_out(world: Path) -> None:
    assert list(run_pytest(world, "-m", "not ragtrial").cases) == ["test_that_evaluates_nothing"]


def test_pytest_finds_the_plugin_by_its_entry_point(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"ragtrial": "ragtrial.pytest_plugin"}


def test_loading_the_plugin_imports_nothing_of_ragtrial_but_itself() -> None:
    code = "import sys, pytest, ragtrial.pytest_plugin; print(sorted(n for n in sys.modules if n.startswith('ragtrial') or n in ('numpy', 'yaml')))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PLATFORM)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['ragtrial', 'ragtrial.pytest_plugin']"
