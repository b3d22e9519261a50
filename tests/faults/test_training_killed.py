"""`kill -9` in the middle of a training, then the same training again: the same weights as without the kill."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import tiny_model
from killing import Driver
from ragtrial.embedding.sentence_transformers import content_hash
from ragtrial.finetuning.registry import RegisteredModel, Registry

pytestmark = pytest.mark.slow

TRAINING = """
import json, os, sys, time
from pathlib import Path
import torch, sentence_transformers, datasets, peft, ragtrial.finetuning.trainer
import tiny_model
from ragtrial.domain.data import DataSpec
from ragtrial.domain.training import LoraSpec, TrainingSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.training import train

def run(base, folder, pause, method):
    train(
        spec=TrainingSpec(
            data=DataSpec(path="x"), method=method, epochs=5, batch_size=16, learning_rate=5e-3, lora=LoraSpec(learning_rate=1e-2),
            max_seq_length=32, precision="fp32",
        ),
        base_folder=Path(base), base=ModelIdentity(name="tiny", revision="1", dimension=32), pairs=tiny_model.lesson(128, seed=1),
        dev=tiny_model.examination(40, seed=2), registry=Registry(Path(folder) / "models"), name="tiny", work_folder=Path(folder) / "work",
        facts={}, progress=lambda description, total: lambda done: time.sleep(float(pause)),
    )

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*json.loads(line))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module", params=["full", "lora", "scratch"])
def method(request: pytest.FixtureRequest) -> str:
    """How the model is made; checkpoints of adapters hold these alone."""
    return str(request.param)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver(script=TRAINING)


def finish(base: Path, folder: Path, driver: Driver, method: str) -> RegisteredModel:
    assert driver.run(str(base), str(folder), "0", method) == 0
    return Registry(folder / "models").get("tiny", verify=True)


def checkpoints(folder: Path) -> list[Path]:
    found = (folder / "work").glob("*/checkpoint-*/ragtrial-watch.json")
    return sorted((path.parent for path in found), key=lambda path: int(path.name.rpartition("-")[2]))


@pytest.fixture(scope="module")
def killed(base: Path, driver: Driver, method: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was killed after its second checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    child = driver.start(str(base), str(folder), "0.15", method)
    deadline = time.monotonic() + 120
    while not any(path.name == "checkpoint-8" for path in checkpoints(folder)):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert Registry(folder / "models").list() == ()
    return folder


@pytest.fixture(scope="module")
def uninterrupted(base: Path, driver: Driver, method: str, tmp_path_factory: pytest.TempPathFactory) -> RegisteredModel:
    return finish(base, tmp_path_factory.mktemp("whole"), driver, method)


def test_a_killed_training_goes_on_from_its_last_checkpoint_and_ends_with_the_same_model(
    base: Path, driver: Driver, method: str, killed: Path, uninterrupted: RegisteredModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    model = finish(base, folder, driver, method)
    assert model.lineage["training"]["resumed_at"] >= 8
    assert content_hash(model.folder) == content_hash(uninterrupted.folder)
    assert model.lineage["curve"] == uninterrupted.lineage["curve"]
    assert model.lineage["dev"] == uninterrupted.lineage["dev"]
    assert checkpoints(folder) == []


def test_a_checkpoint_that_was_being_written_is_passed_over(
    base: Path, driver: Driver, method: str, killed: Path, uninterrupted: RegisteredModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    last = checkpoints(folder)[-1]
    half = Path(shutil.copytree(last, last.with_name("checkpoint-999")))
    (half / "ragtrial-watch.json").unlink()
    next(half.glob("*.safetensors")).write_bytes(b"half")
    (half / "trainer_state.json").unlink()
    assert content_hash(finish(base, folder, driver, method).folder) == content_hash(uninterrupted.folder)
