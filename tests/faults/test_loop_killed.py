"""`kill -9` at any step of the loop: the next call goes on, and there is one cycle with one model in the end."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import tiny_model
from killing import Driver
from loop_world import build_world, write_yaml
from ragtrial.embedding.sentence_transformers import content_hash
from ragtrial.finetuning.registry import Registry
from ragtrial.suite.cycles import Cycle, CycleLog

pytestmark = pytest.mark.slow

POLICY = {
    "experiment": "live.yaml",
    "model": "harbour-model",
    "when": {"new_pairs": 50, "rest_days": 30},
    "pairs": {"sources": ["titles"], "fewest": 40},
    "training": {
        "base": "./base/model",
        "epochs": 6,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "max_seq_length": 32,
        "precision": "fp32",
    },
}


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver("torch", "sentence_transformers", "datasets", "peft", "ragtrial.finetuning.trainer", "ragtrial.suite.looping")


def world(folder: Path) -> Path:
    tiny_model.build(folder / "base")
    build_world(folder, Path("base/model"), titles=True)
    write_yaml(folder / "policy.yaml", POLICY)
    return folder


def only_cycle(folder: Path) -> Cycle:
    (cycle,) = CycleLog(folder / ".ragtrial/loop/harbour-model").all()
    return cycle


def test_a_loop_that_is_killed_again_and_again_ends_as_one_that_never_was(driver: Driver, tmp_path: Path) -> None:
    started = world(tmp_path / "killed")
    whole = shutil.copytree(started, tmp_path / "whole")
    begin = time.monotonic()
    assert driver.run("loop", "run", str(whole / "policy.yaml"), "--now", "--quiet") == 0
    seconds = time.monotonic() - begin
    kills = 0
    for part in (0.15, 0.3, 0.4, 0.5, 0.6):
        child = driver.start("loop", "run", str(started / "policy.yaml"), "--now", "--quiet")
        time.sleep(part * seconds)
        with contextlib.suppress(ProcessLookupError):  # it may be over by then
            os.kill(child, signal.SIGKILL)
        kills += driver.wait() == -signal.SIGKILL
    assert kills >= 2, "it was over before it could be killed"
    assert driver.run("loop", "run", str(started / "policy.yaml"), "--quiet") == 0
    killed, uninterrupted = only_cycle(started), only_cycle(whole)
    assert killed.waits
    assert killed.model == uninterrupted.model == "harbour-model@v1"
    assert killed.done["evaluate"]["sentence"] == uninterrupted.done["evaluate"]["sentence"]
    models = [Registry(folder / ".ragtrial/models").list() for folder in (started, whole)]
    assert [len(found) for found in models] == [1, 1]
    first, second = (content_hash(found[0].folder) for found in models)
    assert first == second
