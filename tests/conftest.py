"""What several test folders share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from ragtrial.db import schema
from repeating import LONG
from servers import postgres_server

settings.register_profile("house", deadline=None)  # how long an example takes says more of the machine than of the code
settings.load_profile("house")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_report_header() -> str:
    """Which tests these are."""
    return (
        "every case and repetition"
        if LONG
        else "without what only repeats more often or on whole data sets (RAGTRIAL_TEST_LONG=1: make test-all)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a long run is for."""
    left_out = [] if LONG else [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with covidqa, pubmedqa and medquad, which is not part of the project (docs/measured.md says where they come from).

    It is what `RAGTRIAL_TEST_DATA` names, else `data/` of the checkout, else `shared/data/` beside it, which several checkouts can use.
    """
    named = os.environ.get("RAGTRIAL_TEST_DATA")
    folders = [Path(named)] if named else [REPOSITORY / "data", REPOSITORY.parent / "shared" / "data"]
    for folder in folders:
        if (folder / "covidqa" / "corpus.jsonl").is_file():
            return folder
    pytest.skip(f"real data sets (covidqa, pubmedqa, medquad) are not at {folders[0]}; RAGTRIAL_TEST_DATA may name another folder")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL server; skips by name where there is none."""
    reason = postgres_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server.running() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_with_schema(postgres: str) -> Iterator[str]:
    """The name of a database of that server that has today's schema, to be copied: migrating takes some ten times as long."""
    with postgres_server.fresh_database(postgres, "with_schema") as url:
        schema.upgrade(url)
        yield "with_schema"


@pytest.fixture(scope="session")
def sqlite_with_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of SQLite."""
    path = tmp_path_factory.mktemp("schema") / "log.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


def _begins_empty(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("empty_database") is not None


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres: str) -> Iterator[str]:
    like = "template1" if _begins_empty(request) else request.getfixturevalue("postgres_with_schema")
    with postgres_server.fresh_database(postgres, f"test_{uuid4().hex}", like=like) as url:
        yield url


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "log.db"
    if not _begins_empty(request):
        shutil.copy(request.getfixturevalue("sqlite_with_schema"), path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without a row (`empty_database`: without a schema or a file, too): SQLite, and a real PostgreSQL."""
    chosen: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return chosen
