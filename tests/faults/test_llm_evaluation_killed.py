"""`kill -9` at any moment of an evaluation with an LLM, then `--resume`: the same result, and nothing paid for twice."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killing import Driver, logged, result_of
from material import write_beir_folder, write_experiment
from repeating import times
from scripted_llm import Reply, ScriptedLlm
from scripted_reader import reader_and_judge

FOLDERS, KILLS_EACH = times(7, 2), 3
CONCURRENCY = 8


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.process.kill()
    driver.process.wait()


@pytest.mark.slow
def test_a_killed_evaluation_pays_for_no_call_twice(tmp_path: Path, driver: Driver) -> None:
    data = write_beir_folder(tmp_path / "data", n_passages=80, n_queries=60)
    with ScriptedLlm(lambda asked, number: slow(reader_and_judge(asked, number))) as server:
        llm = {"model": "gpt-4o-mini", "base_url": server.url}
        master = tmp_path / "master"
        experiment = write_experiment(
            master / "experiment.yaml",
            data,
            generation={"provider": "openai-compatible", **llm},
            metrics={"primary": {"name": "judge_correctness"}, "secondary": ["nDCG@10"], "judge": llm},
            llm={"concurrency": CONCURRENCY},
            analysis={"resamples": 1000, "latency_queries": 5},
        )
        assert driver.run("index", str(experiment), "--quiet") == 0
        whole = tmp_path / "whole"
        shutil.copytree(master, whole)
        start = time.monotonic()
        assert driver.run("evaluate", str(whole / "experiment.yaml"), "--output", str(whole / "out"), "--quiet") in (0, 1)
        duration = time.monotonic() - start
        expected, expected_log, n_whole = result_of(whole / "out"), logged(whole), len(server.requests)

        rng = random.Random(21)
        killed = 0
        for number in range(FOLDERS):
            folder, before = tmp_path / f"kill-{number}", len(server.requests)
            shutil.copytree(master, folder)
            command = ["evaluate", str(folder / "experiment.yaml"), "--output", str(folder / "out"), "--quiet", "--resume"]
            hit = 0
            for _ in range(KILLS_EACH):
                child = driver.start(*command)
                time.sleep(rng.uniform(0.1, 0.6) * duration)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                hit += driver.wait() == -signal.SIGKILL
            assert driver.run(*command) in (0, 1)
            assert result_of(folder / "out") == expected
            assert logged(folder) == expected_log
            assert n_whole <= len(server.requests) - before <= n_whole + hit * CONCURRENCY
            killed += hit
            shutil.rmtree(folder)
    assert killed >= FOLDERS, "most kills must hit a running evaluation for this test to mean anything"


def slow(reply: Reply) -> Reply:
    """The same after 20 ms, so that a kill finds calls in flight."""
    return Reply(text=reply.text, usage=reply.usage, delay_s=0.02)
