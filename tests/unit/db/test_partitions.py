"""The live log in partitions on PostgreSQL: whatever the partition, nothing is written twice, refused or lost."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from commands import ragtrial_command
from live_service import live_experiment
from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.bulk_import import bulk_import
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_news import beside
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.partitions import BLOCK, PartitionKeeper, next_number, partitions_of, sizes_of
from ragtrial.db.retention import Retention
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.score import Score
from ragtrial.errors import DuplicateRequestError, StoreError
from ragtrial.formats.experiment import load_experiment
from ragtrial.suite.rolling import roll_once
from unit.db import live_samples
from unit.db.live_samples import DAY, START, Clock, live_trial, signal, vote
from unit.db.test_live_preferences import comparison, preference

FAR = 2**31 + 5  # behind what 32 bits hold
TABLES = ("live_trials", "live_scores", "live_votes", "live_signals")
FEBRUARY = START + 30 * DAY


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = database.open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _run(url: str, statement: str) -> list[Any]:
    with opened(url) as engine, engine.begin() as connection:
        done = connection.execute(text(statement))
        return list(done.all()) if done.returns_rows else []


def _go_to(url: str, number: int) -> None:
    """The next trial gets this number."""
    _run(url, f"SELECT setval('live_trials_id_seq', {number}, false)")


def _names(url: str) -> list[str]:
    with opened(url) as engine, engine.connect() as connection:
        return [one.name for one in partitions_of(connection)]


def _keep(url: str, now: float = START) -> tuple[str, ...]:
    with opened(url) as engine:
        return PartitionKeeper(engine, name="log", clock=lambda: now).keep()


def _where(url: str, table: str) -> list[str]:
    """The partition of each row, in order."""
    number = "id" if table == "live_trials" else "trial"
    return [row[0] for row in _run(url, f"SELECT tableoid::regclass::text FROM {table} ORDER BY {number}")]  # noqa: S608  # our own names


def _recorder(url: str, now: float = START) -> LiveRecorder:
    return LiveRecorder(url, live_samples.experiment(), clock=Clock(now))


def test_a_replayed_request_changes_nothing_in_another_partition(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1", idempotency_key="k"), live_trial("t1s", request_id="t1", idempotency_key="k")).result(10)
        _go_to(postgres_url, BLOCK + 7)
        with pytest.raises(DuplicateRequestError, match="a request of 'chat' with the key 'k' is logged already"):
            recorder.log(live_trial("t2", idempotency_key="k")).result(10)
        with pytest.raises(DuplicateRequestError, match="trial 't1' is logged already"):
            recorder.log(live_trial("t1")).result(10)
        recorder.log(live_trial("t3", idempotency_key="k3")).result(10)
        for trial_id in ("t1", "t3"):
            assert recorder.vote(vote(trial_id, "v")).result(10) == "recorded"
        live_id = recorder.live_id
    _go_to(postgres_url, FAR)
    with _recorder(postgres_url) as recorder:
        for trial_id in ("t1", "t3"):
            assert recorder.vote(vote(trial_id, "v", "down")).result(10) == "repeated"
        recorder.log(live_trial("t4")).result(10)
        assert recorder.vote(vote("t4", "v")).result(10) == "recorded"
    with LiveReader(postgres_url) as reader:
        served = [reader.by_key(live_id, caller="chat", idempotency_key=key) for key in ("k", "k3", "none")]
        assert [None if one is None else one.trial_id for one in served] == ["t1", "t3", None]
        assert [trial.trial_id for trial in reader.recent(live_id)] == ["t4", "t3", "t1s", "t1"]
        assert [len(reader.votes_of(trial_id)) for trial_id in ("t1", "t3", "t4")] == [1, 1, 1]


def test_what_is_said_of_a_trial_lies_beside_it_and_is_told_to_the_sums(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1", "ann")).result(10)
        _go_to(postgres_url, BLOCK)
        recorder.log(live_trial("t2", "bob", "custom")).result(10)
        roll_once(postgres_url, clock=lambda: START + 200)
        done = []
        for trial_id in ("t2", "t1"):
            score = recorder.score(trial_id, [Score(metric="nDCG@10", value=0.5, scorer="s")])
            done += [score, recorder.vote(vote(trial_id, "v")), recorder.signal(signal(trial_id, "s"))]
        wait(done, 20)
        assert not [future.exception() for future in done if future.exception()]
        live_id = recorder.live_id
    for table in TABLES:
        assert _where(postgres_url, table) == [f"{table}_0", f"{table}_1"]
    assert {row[0] for row in _run(postgres_url, "SELECT unit FROM live_unit_changes")} == {row[0] for row in _run(
        postgres_url, "SELECT unit FROM live_trials"
    )}  # fmt: skip
    roll_once(postgres_url, clock=lambda: START + 300)
    with LiveReader(postgres_url) as reader:
        units = reader.unit_tables(live_id, ("nDCG@10", "thumbs_up"), experiment=live_samples.experiment())
    assert units is not None
    assert units.tables["nDCG@10"].control.totals.tolist() == units.tables["nDCG@10"].treatment.totals.tolist() == [0.5]
    assert units.tables["thumbs_up"].treatment.totals.tolist() == [1.0]


def test_the_default_partition_becomes_one_like_the_others_and_no_row_is_moved(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1")).result(10)
        recorder._end_keeping()
        _go_to(postgres_url, 5 * BLOCK + 3)
        recorder.log(live_trial("t2", "bob", "custom")).result(10)
        recorder.compare(comparison()).result(10)
        recorder.prefer(preference("p")).result(10)
        assert recorder.vote(vote("t2", "v")).result(10) == "recorded"
        assert _where(postgres_url, "live_trials") == ["live_trials_0", *["live_trials_default"] * 3]
        file = "SELECT pg_relation_filepath('{}')"
        before = _run(postgres_url, file.format("live_trials_default"))
        done = _keep(postgres_url)
        assert done[:3] == (
            "the default partition holds trials: it becomes one from 30,000,000 on",
            "its trials were looked at",
            "it is partition 3 now",
        )
        assert _keep(postgres_url) == ()
        assert _run(postgres_url, file.format("live_trials_3")) == before
        assert _run(postgres_url, "SELECT count(*) FROM live_trials_default")[0][0] == 0
        assert _where(postgres_url, "live_votes") == ["live_votes_3"]
        assert recorder.signal(signal("t2", "s")).result(10) == "recorded"
        recorder.log(live_trial("t3")).result(10)
        last = _where(postgres_url, "live_trials")[-1]
        assert last == f"live_trials_{1005}"  # a thousand partitions on: nobody wrote so many meanwhile
        with pytest.raises(DuplicateRequestError):
            recorder.log(live_trial("t2")).result(10)
    with LiveReader(postgres_url) as reader:
        found = reader.comparison("c1")
        assert found is not None
        assert len(reader.preferences_of("c1")) == 1
    with erasing(postgres_url) as eraser:
        assert eraser.forget_unit("ann", actor="a")["comparisons"] == 1
    assert [row[0] for row in _run(postgres_url, "SELECT trial_id FROM live_trial_keys")] == ["t2"]


def test_a_month_has_a_partition_of_its_own_and_writers_are_waited_for(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1")).result(10)
    assert _keep(postgres_url) == ()
    with opened(postgres_url) as engine, engine.connect() as writing:
        at_it = writing.begin()
        writing.exec_driver_sql("UPDATE live_trials SET solicited = solicited")
        assert _keep(postgres_url, FEBRUARY) == ()  # in use: it is left to the next look
        at_it.rollback()
    assert _keep(postgres_url, FEBRUARY) == ("2027-02 begins with partition 1", "made partition 3")
    assert _keep(postgres_url, FEBRUARY) == ()
    assert _keep(postgres_url, START) == ()  # by a clock that was set back
    with _recorder(postgres_url, FEBRUARY) as recorder:
        recorder.log(live_trial("t2", at=FEBRUARY)).result(10)
    assert _where(postgres_url, "live_trials") == ["live_trials_0", "live_trials_1"]
    with opened(postgres_url) as engine, engine.connect() as connection:
        assert [one.partition.opened for one in sizes_of(connection)] == ["2027-01", "2027-02", None, None, None]
        assert next_number(connection) == BLOCK + 1


def test_a_month_without_trials_needs_no_partition(postgres_url: str) -> None:
    schema.upgrade(postgres_url)
    assert _keep(postgres_url, START) == ("partition 0 is that of 2027-01",)
    assert _keep(postgres_url, FEBRUARY) == ("partition 0 is that of 2027-02",)
    assert _names(postgres_url) == ["0", "1", "2", "default"]


def test_writers_go_on_while_several_processes_make_partitions(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder._end_keeping()
        _go_to(postgres_url, 3 * BLOCK - 20)
        threads = [threading.Thread(target=_keep, args=(postgres_url, START + month * 31 * DAY)) for month in (0, 1, 1, 2)]
        for thread in threads:
            thread.start()
        done = [recorder.log(live_trial(f"t{n}", f"u{n}")) for n in range(200)]
        done += [recorder.vote(vote(f"t{n}", "v")) for n in range(200)]
        for thread in threads:
            thread.join(60)
        wait(done, 60)
        assert not [future.exception() for future in done if future.exception()]
    _keep(postgres_url, START + 62 * DAY)
    assert len(_where(postgres_url, "live_trials")) == len(_where(postgres_url, "live_votes")) == 200
    assert "live_trials_default" not in _where(postgres_url, "live_trials")


def test_a_late_score_of_last_months_trial_is_news(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1")).result(10)
        _go_to(postgres_url, BLOCK)
        recorder.log(live_trial("t2")).result(10)
        recorder.score("t2", [Score(metric="nDCG@10", value=0.5, scorer="s")]).result(10)
        with opened(postgres_url) as engine:
            with engine.connect() as connection:
                before = beside(connection, recorder.live_id, ["nDCG@10"], None)
            recorder.score("t1", [Score(metric="nDCG@10", value=0.5, scorer="s")]).result(10)
            with engine.connect() as connection:
                assert beside(connection, recorder.live_id, ["nDCG@10"], before).digest != before.digest


def test_an_upgraded_log_is_the_first_partition_and_a_downgraded_one_is_whole(postgres_url: str) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1", idempotency_key="k")).result(10)
        recorder.compare(comparison()).result(10)
        for name in ("v", "w"):
            recorder.vote(vote("t1", name)).result(10)
        _go_to(postgres_url, BLOCK)
        recorder.log(live_trial("t2")).result(10)
        recorder.score("t2", [Score(metric="nDCG@10", value=0.5, scorer="s")]).result(10)
    schema.downgrade(postgres_url, "0009")
    assert _where(postgres_url, "live_trials") == ["live_trials"] * 4
    assert _run(
        postgres_url, "SELECT data_type FROM information_schema.columns WHERE table_name = 'live_trials' AND column_name = 'id'"
    ) == [("integer",)]
    schema.upgrade(postgres_url)
    assert _names(postgres_url) == ["0", "2", "3", "default"]
    assert _where(postgres_url, "live_trials") == ["live_trials_0"] * 4
    with _recorder(postgres_url) as recorder:
        for again in (live_trial("t1"), live_trial("t3", idempotency_key="k")):
            with pytest.raises(DuplicateRequestError):
                recorder.log(again).result(10)
        _go_to(postgres_url, FAR)
        recorder.log(live_trial("t4")).result(10)
        assert recorder.vote(vote("t1", "w")).result(10) == "repeated"
        assert recorder.vote(vote("t4", "w")).result(10) == "recorded"
    with pytest.raises(StoreError, match=r"live_trials has ids that schema 0009 can't hold \(32 bits\): nothing was changed"):
        schema.downgrade(postgres_url, "0009")
    assert schema.current_revision(postgres_url) == schema.HEAD


def test_who_may_write_and_read_the_log_may_after_the_upgrade_and_makes_no_partition(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with _recorder(postgres_url) as recorder:
        recorder.log(live_trial("t1")).result(10)
    schema.downgrade(postgres_url, "0009")
    _run(postgres_url, "DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN")
    try:
        for what in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE, SELECT ON ALL SEQUENCES"):
            _run(postgres_url, f"GRANT {what} IN SCHEMA public TO app")
        schema.upgrade(postgres_url)
        _go_to(postgres_url, BLOCK)
        with caplog.at_level("WARNING"), _recorder(postgres_url.replace("postgres:@", "app:@")) as recorder:
            recorder.log(live_trial("t2")).result(10)
            assert recorder.vote(vote("t1", "v")).result(10) == "recorded"
            with pytest.raises(DuplicateRequestError):
                recorder.log(live_trial("t1")).result(10)
            caplog.clear()
            with bulk_import(postgres_url.replace("postgres:@", "app:@"), recorder.live_id, late_days=1, actor="app"):
                pass  # needs no partition, and this user may make none
            with RollUp(postgres_url.replace("postgres:@", "app:@")) as roll_up:
                roll_up.keep_partitions()
        assert "partitions of the live log are not made ahead" in caplog.text
        assert "must be owner" in caplog.text or "permission denied" in caplog.text
    finally:
        _run(postgres_url, "DROP OWNED BY app; DROP ROLE app")


def _log_two_months(url: str) -> int:
    """Twenty trials in the first partition, with a comparison, and five in the second; all about them, and stopped."""
    with _recorder(url) as recorder:
        done = []
        for n in range(25):
            if n == 20:
                wait(done, 30)
                recorder.compare(comparison()).result(10)
                recorder.prefer(preference("p")).result(10)
                _go_to(url, BLOCK)
            at = START + n * DAY
            done.append(recorder.log(live_trial(f"t{n}", f"u{n % 7}", "custom" if n % 2 else "baseline", at=at, waited_ms=float(n))))
            done.append(recorder.score(f"t{n}", [Score(metric="nDCG@10", value=n / 25, scorer="s")]))
            done += [recorder.vote(vote(f"t{n}", "v", at=at + 60)), recorder.signal(signal(f"t{n}", "s", at=at + 60))]
        wait(done, 30)
        assert not [future.exception() for future in done if future.exception()]
        recorder.change_traffic(expected_version=1, actor="a", reason="over", stopped=True)
        live_id = recorder.live_id
    roll_once(url, clock=lambda: START + 40 * DAY)
    return live_id


def _sums(url: str, live_id: int) -> object:
    with LiveReader(url) as reader:
        units = reader.unit_tables(live_id, ("nDCG@10", "latency_ms", "thumbs_up"), experiment=live_samples.experiment())
    assert units is not None
    return {name: (sorted(t.control.totals), sorted(t.treatment.totals)) for name, t in units.tables.items()}, units.votes


@pytest.mark.parametrize("in_use", [False, True])
def test_retention_drops_a_partition_of_which_nothing_stays(postgres_url: str, in_use: bool) -> None:
    live_id = _log_two_months(postgres_url)
    before = _sums(postgres_url, live_id)
    with opened(postgres_url) as engine, engine.connect() as reading, Retention(
        postgres_url, keep_days=19, clock=lambda: START + 41 * DAY
    ) as retention:  # fmt: skip
        if in_use:  # by somebody who reads for longer than anybody waits: rows are deleted instead
            reading.exec_driver_sql("SELECT count(*) FROM live_trials")
        (old,) = retention.old(None)
        assert old.trials == 22 + 2  # t0 to t21, and those of the comparison
        removed = retention.remove(old, actor="a")
    assert removed == {"trials": 24, "scores": 22, "votes": 22, "signals": 22}
    assert ("0" in _names(postgres_url)) == in_use
    for table in TABLES:
        assert _where(postgres_url, table) == [f"{table}_1"] * 3
    assert sorted(row[0] for row in _run(postgres_url, "SELECT trial_id FROM live_trial_keys")) == ["t22", "t23", "t24"]
    assert _run(postgres_url, "SELECT count(*) FROM live_comparisons")[0][0] == 0
    counted = _run(postgres_url, "SELECT trials, scores, votes, signals FROM live_retentions")
    assert [tuple(row) for row in counted] == [(24, 22, 22, 22)]
    assert _sums(postgres_url, live_id) == before
    roll_once(postgres_url, clock=lambda: START + 42 * DAY)
    assert _sums(postgres_url, live_id) == before
    with _recorder(postgres_url) as recorder:  # the log goes on
        recorder.log(live_trial("t0", at=START + 42 * DAY)).result(10)


def test_a_partition_with_trials_of_an_experiment_that_stays_is_not_dropped(postgres_url: str) -> None:
    with LiveRecorder(postgres_url, live_samples.experiment(name="other"), clock=Clock()) as other:
        other.log(live_trial("o1")).result(10)
    _log_two_months(postgres_url)
    with Retention(postgres_url, keep_days=19, clock=lambda: START + 41 * DAY) as retention:
        (old,) = retention.old("handbook")
        assert retention.remove(old, actor="a")["trials"] == 24
    assert "0" in _names(postgres_url)
    with LiveReader(postgres_url) as reader:
        assert reader.trial("o1") is not None


def test_the_command_shows_partitions_and_makes_them(url: str, tmp_path: Path) -> None:
    path = live_experiment(tmp_path, stores={"sql": url})
    with LiveRecorder(url, load_experiment(path).experiment, clock=Clock()) as recorder:
        recorder.log(live_trial("t1")).result(10)
    if url.startswith("sqlite"):
        assert _keep(url) == ()
        said = ragtrial_command("db", "partitions", path, "--make-ahead")
        assert (said.code, said.out) == (0, "no partitions: this database is SQLite, which has one table of each kind\n")
        return
    _go_to(url, BLOCK)
    said = ragtrial_command("db", "partitions", path, "--make-ahead")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "made partition 3"
    assert any(
        re.match(r"partition 0: trials 0 to 9,999,999; 2027-01; (trials not counted yet|about \d+ trials), .* MiB$", line) for line in lines
    )
    assert lines[-1] == "partition default: whatever no other holds; empty"
    shown = json.loads(ragtrial_command("db", "partitions", path, "--json").out)["partitions"]
    assert [one["partition"]["name"] for one in shown] == ["0", "1", "2", "3", "default"]
