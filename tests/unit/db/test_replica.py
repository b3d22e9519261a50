"""Analyses read from a real replica, which says how far it is behind; and what a URL says of its pool."""

import json
import math
import time
from pathlib import Path

import pytest

from ragtrial.db.engine import open_engine, replica_lag_s
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment
from ragtrial.suite import reading_place
from ragtrial.suite.live_analysis import live_content_of, replica_said
from ragtrial.suite.reading_place import read_url, replica_note
from servers import postgres_server, postgres_standby
from unit.db import live_samples

HERE = Path(__file__).resolve().parents[3]


def _file(tmp_path: Path, url: str) -> Path:
    text = (HERE / "experiments" / "live-demo.yaml").read_text(encoding="utf-8").replace("path: ../seeds", f"path: {HERE / 'seeds'}")
    path = tmp_path / "live.yaml"
    path.write_text(f"{text}\nstores: {{sql: {json.dumps(url)}}}\n", encoding="utf-8")
    return path


def _until(done: object, expected: object) -> None:
    end = time.monotonic() + 60
    while done() != expected and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.1)
    assert done() == expected  # type: ignore[operator]


def test_an_analysis_reads_the_replica_and_says_how_far_it_is_behind(
    postgres: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, postgres_url)
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    with LiveRecorder(postgres_url, load_experiment(path).experiment) as recorder, postgres_standby.running(postgres) as standby:
        replica = standby.url.replace("/postgres?", f"/{database}?")
        monkeypatch.setenv("RAGTRIAL_SQL_READ", replica)

        def trials() -> int:
            return live_content_of(path).analysis.progress.n_trials

        recorder.log(live_samples.live_trial("t1", "ann", "custom")).result()
        _until(trials, 1)
        _until(lambda: replica_said(path), "read from a replica that has all it was sent")
        standby.pause()
        recorder.log(live_samples.live_trial("t2", "bob")).result()
        _until(lambda: bool(replica_lag_s(replica)), expected=True)
        assert trials() == 1  # the replica's state, and it is said:
        said = replica_said(path)
        assert said is not None
        assert said.endswith("s behind")
        standby.resume()
        _until(trials, 2)
    assert replica_lag_s(postgres_url) is None
    monkeypatch.setenv("RAGTRIAL_SQL_READ", postgres_url + "&pool_size=2")
    assert replica_said(path) == "RAGTRIAL_SQL_READ names the database itself and no replica of it"


def test_a_replica_that_has_replayed_nothing_is_as_far_behind_as_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one can't be held in that state: what the server does on its own is replayed too."""
    monkeypatch.setattr(reading_place, "read_url", lambda _url: "postgresql+psycopg://replica/")
    monkeypatch.setattr(reading_place, "replica_lag_s", lambda _url: math.nan)
    assert replica_note("postgresql+psycopg://main/") == (
        "read from a replica that has replayed nothing since it was started: nobody knows how far it is behind"
    )


def test_another_database_is_not_taken_for_a_replica(
    postgres: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers would be those of another experiment, under this one's name."""
    path = _file(tmp_path, postgres_url)
    experiment = load_experiment(path).experiment
    with postgres_server.fresh_database(postgres, "another") as other:
        for url in (postgres_url, other):
            with LiveRecorder(url, experiment):
                pass
        monkeypatch.setenv("RAGTRIAL_SQL_READ", other)
        with pytest.raises(InputError, match=r"RAGTRIAL_SQL_READ names '.*/another\?.*', which is no replica of the experiment's database"):
            live_content_of(path)
    away = postgres_url.replace("host=/tmp", "host=/nowhere")  # the database is away: its replica answers
    monkeypatch.setenv("RAGTRIAL_SQL_READ", postgres_url)
    assert read_url(away) == postgres_url


def test_the_url_says_how_large_the_pool_is_and_how_long_a_readers_statement_may_take(postgres_url: str) -> None:
    url = f"{postgres_url}&pool_size=2&max_overflow=1&pool_recycle=60&pool_pre_ping=1&statement_timeout=1"
    engine = open_engine(url, read_only=True)
    assert (engine.pool.size(), engine.pool._max_overflow, engine.pool._recycle) == (2, 1, 60)  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1s"
    engine.dispose()
    writer = open_engine(url)
    with writer.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"  # a migration may take its time
    writer.dispose()
    with pytest.raises(InputError, match=r"pool_size is 'many' in the URL of database"):
        open_engine(f"{postgres_url}&pool_size=many")
