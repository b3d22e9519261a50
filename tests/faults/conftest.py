"""What several tests of faults begin with."""

import shutil
from pathlib import Path

import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that was indexed and evaluated on files; its reports are in `out`. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_beir_folder(folder / "data", n_passages=60, n_queries=12)
    path = write_experiment(folder / "experiment.yaml", data, analysis={"resamples": 1000, "latency_queries": 2})
    assert ragtrial_command("evaluate", path, "--output", folder / "out", "--quiet").code == 1  # too few queries
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
