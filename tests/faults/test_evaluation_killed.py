"""`kill -9` at any moment of an evaluation, then `--resume`: the same result, no trial lost, none doubled."""

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from killing import Driver, logged, result_of
from material import write_beir_folder, write_experiment
from repeating import times

FOLDERS, KILLS_EACH = times(5, 2), 4
KILLS = FOLDERS * KILLS_EACH
N_QUERIES = 120


@pytest.fixture(scope="module")
def driver() -> Driver:
    driver = Driver()
    yield driver  # type: ignore[misc]  # a fixture that yields
    driver.process.kill()
    driver.process.wait()


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
    for number in range(FOLDERS):
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(master, folder)
        command = ["evaluate", str(folder / "experiment.yaml"), "--output", str(folder / "out"), "--quiet", "--resume"]
        for _ in range(KILLS_EACH):  # each life does a part of what is left
            child = driver.start(*command)
            time.sleep(rng.uniform(0.0, 0.5 * duration))
            with contextlib.suppress(ProcessLookupError):  # it was faster this time: counted below
                os.kill(child, signal.SIGKILL)
            killed_unfinished += driver.wait() == -signal.SIGKILL
        assert driver.run(*command) in (0, 1)
        assert result_of(folder / "out") == expected
        assert logged(folder) == expected_log
        shutil.rmtree(folder)
    assert killed_unfinished >= KILLS // 2, "most kills must hit a running evaluation for this test to mean anything"
