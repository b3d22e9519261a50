"""Old trials go, what they came to stays; a running experiment's stay unless somebody insists."""

import dataclasses
from concurrent.futures import wait
from pathlib import Path

import pytest
from sqlalchemy import func, select

from live_service import live_experiment
from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.retention import Retention
from ragtrial.db.unit_models import RetentionRow
from ragtrial.domain.score import Score
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.suite.retaining import retain
from ragtrial.suite.rolling import roll_once
from unit.db import live_samples, rolling_samples
from unit.db.live_samples import DAY, START, signal, vote

N = 60
METRICS = ("nDCG@10", "failed", "latency_ms", "thumbs_up", "copied")


def _now() -> float:
    return START + 40 * DAY


def _log(url: str, *, stopped: bool) -> int:
    """Two trials a day for thirty days, with a score, a vote and a signal each."""
    with LiveRecorder(url, live_samples.experiment(), clock=live_samples.Clock()) as recorder:
        done = []
        for n in range(N):
            arm, at = "custom" if n % 2 else "baseline", START + n * DAY / 2
            done.append(recorder.log(live_samples.live_trial(f"t{n}", f"u{n % 20}", arm, at=at, waited_ms=float(n))))
        wait(done, 60)
        for n in range(N):
            at = START + n * DAY / 2 + 60
            done.append(recorder.score(f"t{n}", [Score(metric="nDCG@10", value=n / N, scorer="s")]))
            done += [recorder.vote(vote(f"t{n}", "v", "up", at=at)), recorder.signal(signal(f"t{n}", "s", at=at))]
        wait(done, 60)
        assert not [future.exception() for future in done if future.exception()]
        if stopped:
            recorder.change_traffic(expected_version=1, actor="a", reason="over", stopped=True)
        return recorder.live_id


def _rows(url: str) -> tuple[int, ...]:
    engine = open_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            tables = (LiveTrialRow, LiveScoreRow, LiveVoteRow, LiveSignalRow)
            return tuple(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    finally:
        engine.dispose()


def _sums(url: str, live_id: int) -> dict[str, object]:
    experiment = live_samples.experiment()
    with LiveReader(url) as reader:
        units = reader.unit_tables(live_id, METRICS, experiment=experiment)
    assert units is not None
    found: dict[str, object] = {name: (sorted(t.control.totals), sorted(t.treatment.totals)) for name, t in units.tables.items()}
    return found | {"units": units.exposure.units.tolist(), "trials": units.exposure.trials.tolist(), "votes": units.votes}


def test_an_experiment_that_is_over_loses_its_old_trials_and_none_of_its_sums(url: str) -> None:
    live_id = _log(url, stopped=True)
    with Retention(url, keep_days=20, clock=_now) as retention:
        (old,) = retention.old("handbook")
        assert (old.running, old.concluded) == (False, False)
    roll_once(url, clock=_now)
    before = _sums(url, live_id)
    engine = open_engine(url)
    buckets = rolling_samples.stored_buckets(engine, live_id)
    with Retention(url, keep_days=20, clock=_now) as retention:
        (old,) = retention.old("handbook")
        # kept are the 20 days before now, and the day on which they begin: START is 08:00 UTC, so the cut is at START + 20 d - 8 h
        expected = sum(START + n * DAY / 2 < START + 20 * DAY - 8 * 3600 for n in range(N))
        assert (old.trials, old.running, old.concluded) == (expected, False, True)
        assert retention.remove(old, actor="a") == {"trials": expected, "scores": expected, "votes": expected, "signals": expected}
        assert retention.old("handbook") == ()
    assert _rows(url) == (N - expected,) * 4
    assert _sums(url, live_id) == before
    roll_once(url, clock=_now)  # what keeps the sums does not take them back
    assert _sums(url, live_id) == before
    assert rolling_samples.stored_buckets(engine, live_id) == buckets
    with engine.connect() as connection:
        row = connection.execute(select(RetentionRow.__table__)).one()
        assert (row.trials, row.scores, row.votes, row.signals, row.actor) == (expected, expected, expected, expected, "a")
    engine.dispose()
    with LiveReader(url) as reader:
        assert reader.audit_log(live_id)[0].action == "retention"


def test_a_running_experiment_that_somebody_insists_on_is_decided_by_what_stays(sqlite_url: str) -> None:
    live_id = _log(sqlite_url, stopped=False)
    now = START + 30 * DAY
    roll_once(sqlite_url, clock=lambda: now)
    with Retention(sqlite_url, keep_days=10, clock=lambda: now) as retention:
        (old,) = retention.old(None)
        assert old.running
        removed = retention.remove(old, actor="a")["trials"]
    roll_once(sqlite_url, clock=lambda: now)
    with LiveReader(sqlite_url) as reader:
        units = reader.unit_tables(live_id, METRICS, experiment=live_samples.experiment())
    assert units is not None
    assert int(units.exposure.trials.sum()) == N - removed


def test_a_quiet_month_does_not_end_an_experiment_that_nobody_stopped(sqlite_url: str) -> None:
    """Its sums would be closed, and what comes after the pause would count for nothing."""
    _log(sqlite_url, stopped=False)
    with Retention(sqlite_url, keep_days=20, clock=lambda: START + 60 * DAY) as retention:
        (old,) = retention.old(None)
        assert (old.running, old.summed) == (True, True)


def test_a_mode_without_sums_by_unit_keeps_its_trials(tmp_path: Path) -> None:
    """Shadow and interleaved are analysed from their trials alone: without some of them the verdict would be another one."""
    path = live_experiment(tmp_path, mode="shadow", metrics={"primary": {"name": "nDCG@10"}})
    file = load_experiment(path)
    with LiveRecorder(sql_url(file), file.experiment, clock=live_samples.Clock()) as recorder:
        trial = dataclasses.replace(live_samples.live_trial("t0", "u0", "baseline", at=START - 3650 * DAY), experiment=file.experiment.name)
        recorder.log(trial).result(30)
        recorder.change_traffic(expected_version=1, actor="a", reason="over", stopped=True)
    done = retain(path, keep_days=1, everything=True, running_too=True)
    assert not done.removed
    (reason,) = done.left.values()
    assert "only mode split keeps sums by unit" in reason


def test_keeping_nothing_is_refused(sqlite_url: str) -> None:
    with pytest.raises(InputError, match=r"--keep is 0 days: give at least 1"):
        Retention(sqlite_url, keep_days=0)
