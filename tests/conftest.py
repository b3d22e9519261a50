"""What several test folders share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # how long an example takes says more of the machine than of the code
settings.load_profile("house")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with covidqa, pubmedqa and medquad, which is not part of the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "covidqa" / "corpus.jsonl").is_file():
        pytest.skip(f"real data sets (covidqa, pubmedqa, medquad) are not at {folder}")
    return folder
