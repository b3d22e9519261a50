"""Where an experiment keeps things: what its file says, and what the environment says instead."""

import dataclasses
from pathlib import Path

import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.engine import parse_url, shown, without_password
from ragtrial.domain.experiment import StoresSpec
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import load_experiment, milvus_uri, sql_url
from ragtrial.settings import STORES, read_settings
from ragtrial.suite.places import places, try_milvus, try_sql

PASSWORD = "hunter2/x@y:z"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    data = write_beir_folder(folder / "data", n_passages=12, n_queries=6)
    return write_experiment(folder / "e.yaml", data, stores={"vectors": "cache", "sql": "sqlite:///log.db"})


def test_without_an_environment_the_file_holds_and_each_place_says_whether_it_was_written(experiment: Path) -> None:
    file = load_experiment(experiment, read_settings({}))
    assert file.origins == {
        "milvus": "the default",
        "sql": "the file",
        "vectors": "the file",
        "calls": "the default",
        "registry": "the default",
    }
    assert f"stores.vectors: {experiment.parent / 'cache'} (the file)" in places(file, read_settings({}))


def test_the_environment_moves_the_stores_and_the_plan_stays_the_same(experiment: Path) -> None:
    settings = read_settings(
        {
            "RAGTRIAL_STORES_MILVUS": "http://milvus:19530",
            "RAGTRIAL_STORES_SQL": "postgresql://me@db/log",
            "RAGTRIAL_STORES_CALLS": "elsewhere",
            "RAGTRIAL_SQL_PASSWORD": PASSWORD,
            "RAGTRIAL_MILVUS_TOKEN": "root:secret",
        }
    )
    here, there = load_experiment(experiment, read_settings({})), load_experiment(experiment, settings)
    assert here.experiment.plan_digest() == there.experiment.plan_digest()
    assert milvus_uri(there) == "http://milvus:19530"
    assert parse_url(sql_url(there)).password == PASSWORD
    assert (there.experiment.stores.vectors, there.experiment.stores.calls) == ("cache", "elsewhere")
    lines = "\n".join(places(there, settings))
    assert f"stores.calls: {experiment.parent / 'elsewhere'} (RAGTRIAL_STORES_CALLS)" in lines
    assert "stores.sql: postgresql://me:***@db/log (RAGTRIAL_STORES_SQL)" in lines
    assert "password of stores.sql: from RAGTRIAL_SQL_PASSWORD" in lines
    assert "RAGTRIAL_MILVUS_TOKEN: set" in lines
    for secret in (PASSWORD, "root:secret"):
        assert secret not in lines
        assert secret not in repr(there)


def test_a_password_beside_an_sqlite_file_is_of_no_use_and_one_beside_a_url_without_a_user_is_refused(experiment: Path) -> None:
    file = load_experiment(experiment, read_settings({"RAGTRIAL_SQL_PASSWORD": PASSWORD}))
    assert sql_url(file) == f"sqlite:///{experiment.parent / 'log.db'}"
    given = {"RAGTRIAL_SQL_PASSWORD": PASSWORD, "RAGTRIAL_STORES_SQL": "postgresql://db/log"}
    with pytest.raises(InputError, match=r"RAGTRIAL_SQL_PASSWORD gives a password, but stores\.sql names no user"):
        sql_url(load_experiment(experiment, read_settings(given)))


def test_a_milvus_address_with_a_password_is_refused_for_it_would_be_logged(experiment: Path) -> None:
    with pytest.raises(InputError, match="RAGTRIAL_MILVUS_TOKEN") as refused:
        load_experiment(experiment, read_settings({"RAGTRIAL_STORES_MILVUS": f"http://root:{PASSWORD}@milvus:19530"}))
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql//me:{PASSWORD}@db/log",
        f"mysql://me:{PASSWORD.replace('/', '')}@db/log",
        "postgresql://me:hunter2@db:port/log",
        "postgresql+psycopg://me@db/log?password=hunter2",
    ],
)
def test_no_message_shows_a_password(url: str) -> None:
    assert "hunter2" not in without_password(url)
    try:
        said = shown(parse_url(url))
    except InputError as error:
        said = f"{error}{error.__cause__}"
    assert "hunter2" not in said


def test_validate_says_what_set_each_place_and_shows_no_secret(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGTRIAL_STORES_SQL", f"postgresql://me:{PASSWORD.replace('/', '')}@127.0.0.1:1/log")
    done = ragtrial_command("validate", experiment)
    assert done.code == 0, done.out
    assert "stores.sql: postgresql://me:***@127.0.0.1:1/log (RAGTRIAL_STORES_SQL)" in done.out
    assert "hunter2" not in done.out + done.err
    refused = ragtrial_command("db", "upgrade", experiment)
    assert refused.code == 2
    assert "hunter2" not in refused.out + refused.err


@pytest.mark.empty_database
def test_the_stores_are_tried_for_real(experiment: Path, url: str) -> None:
    settings = read_settings({"RAGTRIAL_STORES_SQL": url})
    file = load_experiment(experiment, settings)
    before = sorted(experiment.parent.rglob("*"))
    assert "`ragtrial db upgrade" in try_sql(file)
    assert "`ragtrial index" in try_milvus(file, settings)
    assert sorted(experiment.parent.rglob("*")) == before, "nothing is made"
    nowhere = load_experiment(experiment, read_settings({"RAGTRIAL_STORES_SQL": "postgresql://me@127.0.0.1:1/log"}))
    with pytest.raises(StoreError, match="out of reach"):
        try_sql(nowhere)


def test_doctor_asks_the_experiments_own_stores(experiment: Path, sqlite_url: str) -> None:
    from ragtrial.suite import doctor

    findings = doctor._of_experiment(experiment, read_settings({"RAGTRIAL_STORES_SQL": sqlite_url}))
    states = {finding.part: finding.state for finding in findings}
    assert (states["stores.sql"], states["SQL log"], states["Milvus"]) == ("ok", "ok", "ok")
    lost = doctor._of_experiment(experiment, read_settings({"RAGTRIAL_STORES_SQL": "postgresql://me@127.0.0.1:1/log"}))
    assert {finding.part: finding.state for finding in lost}["SQL log"] == "missing"


def test_train_if_missing_does_nothing_where_every_model_is_there(experiment: Path) -> None:
    done = ragtrial_command("train", experiment, "--missing")
    assert done.code == 0
    assert done.out == "nothing to train: every model that an arm asks for is registered\n"
    assert ragtrial_command("train", experiment).code == 2, "it has no section 'training'"


def test_every_place_of_an_experiment_can_be_moved_by_the_environment() -> None:
    names = [field.name for field in dataclasses.fields(StoresSpec) if not field.name.endswith("_env")]
    assert tuple(names) == STORES
