"""`kill -9` at any moment of an evaluation, then `--resume`: the same result, no trial lost, none doubled."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from material import write_beir_folder, write_experiment

KILLS = 20
N_QUERIES = 500

# One interpreter imports everything once and forks a child for each run: a real process to kill, without seconds of imports each.
DRIVER = """
import os, sys, json
from pathlib import Path
import ragtrial.cli.main, ragtrial.suite.running, ragtrial.suite.concluding, ragtrial.report.files
import bm25s, pyarrow, pymilvus, scipy.stats, statsmodels.api, altair, vl_convert
print("ready", flush=True)
for line in sys.stdin:
    arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        sys.argv = ["ragtrial", *arguments]
        try:
            ragtrial.cli.main.main()
        except SystemExit as stop:
            os._exit(stop.code or 0)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Driver:
    """Runs `ragtrial` commands in children that can be killed."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, *arguments: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.line())

    def wait(self) -> int:
        return int(self.line())

    def run(self, *arguments: str) -> int:
        self.start(*arguments)
        return self.wait()


@pytest.fixture(scope="module")
def driver() -> Driver:
    driver = Driver()
    yield driver  # type: ignore[misc]  # a fixture that yields
    driver.process.kill()
    driver.process.wait()


def result_of(output: Path) -> dict:
    """The report without what may differ between two runs of the same thing: times."""
    content = json.loads((output / "report.json").read_text())
    for key in ("timing", "latency"):
        content.pop(key, None)
    content["metrics"] = [metric for metric in content["metrics"] if not metric["name"].endswith("_ms")]
    content["verdict"].pop("sentence")  # may quote latency
    content["verdict"].pop("reasons", None)
    content.pop("guardrails", None)
    return content


def logged(folder: Path) -> list[tuple]:
    """Every trial with its ranking and scores, times left out."""
    with sqlite3.connect(folder / ".ragtrial" / "ragtrial.db") as database:
        trials = database.execute(
            "select arm, query_id, repetition, answer_text, finish_reason, cited, answer_shared, id from trials"
        ).fetchall()
        hits: dict[int, list] = {}
        for trial, *hit in database.execute("select trial_id, rank, passage_id, similarity from hits order by trial_id, rank"):
            hits.setdefault(trial, []).append(hit)
    return sorted((*trial[:-1], str(hits.get(trial[-1]))) for trial in trials)


@pytest.mark.slow
def test_a_killed_evaluation_resumes_to_the_same_result(tmp_path: Path, driver: Driver) -> None:
    data = write_beir_folder(tmp_path / "data", n_queries=N_QUERIES)
    master = tmp_path / "master"
    experiment = write_experiment(master / "experiment.yaml", data, analysis={"resamples": 1000, "latency_queries": 5})
    assert driver.run("index", str(experiment), "--quiet") == 0

    whole = tmp_path / "whole"
    shutil.copytree(master, whole)
    start = time.monotonic()
    assert driver.run("evaluate", str(whole / "experiment.yaml"), "--output", str(whole / "out"), "--quiet") in (0, 1)
    duration = time.monotonic() - start
    expected, expected_log = result_of(whole / "out"), logged(whole)
    assert len(expected_log) == 4 * N_QUERIES

    rng = random.Random(20)
    killed_unfinished = 0
    for kill in range(KILLS):
        folder = tmp_path / f"kill-{kill}"
        shutil.copytree(master, folder)
        command = ["evaluate", str(folder / "experiment.yaml"), "--output", str(folder / "out"), "--quiet", "--resume"]
        child = driver.start(*command)
        time.sleep(rng.uniform(0.0, 0.8 * duration))
        with contextlib.suppress(ProcessLookupError):  # it was faster this time: counted below
            os.kill(child, signal.SIGKILL)
        killed_unfinished += driver.wait() == -signal.SIGKILL
        assert driver.run(*command) in (0, 1)
        assert result_of(folder / "out") == expected
        assert logged(folder) == expected_log
        shutil.rmtree(folder)
    assert killed_unfinished >= KILLS // 2, "most kills must hit a running evaluation for this test to mean anything"
