"""The log of live traffic under kill -9, a lost database and a full disk: nothing acknowledged is lost, nothing is there twice."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragtrial.db.engine import open_engine
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.errors import DuplicateRequestError, QueueFullError, StoreError
from servers import postgres_server
from unit.db import live_samples

EXPERIMENT = live_samples.experiment()
KILLS = {"sqlite": 15, "postgresql": 10}

# One interpreter imports everything once and forks a writer for each kill; the writer says each id when its future is resolved.
DRIVER = """
import os, sys, threading
from ragtrial.db.live_recorder import LiveRecorder
from unit.db import live_samples
from unit.db.live_samples import live_trial, vote

def hammer(recorder, of):
    for n in range(1_000_000):
        trial = f"{of}-{n}"
        recorder.log(live_trial(trial, idempotency_key=trial)).result()
        os.write(1, f"trial {trial}\\n".encode())
        assert recorder.vote(vote(trial, trial)).result() == "recorded"
        os.write(1, f"vote {trial}\\n".encode())

def write(url, life):
    recorder = LiveRecorder(url, live_samples.experiment())
    os.write(1, b"ready\\n")
    threads = [threading.Thread(target=hammer, args=(recorder, f"{life}-{thread}")) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

if sys.argv[2] == "psycopg":
    import psycopg
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        write(sys.argv[1], line.strip())
    os.write(1, f"child {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


def _lines(process: subprocess.Popen[str], last: str) -> list[str]:
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line.strip())
        if line.startswith(last):
            return found
    raise AssertionError(f"the driver ended without saying {last!r}")


def test_a_killed_writer_loses_nothing_that_it_acknowledged_and_doubles_nothing(url: str) -> None:
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent / "platform"), str(tests)])}
    database = url.split(":", maxsplit=1)[0].split("+", maxsplit=1)[0]
    chance = random.Random(7)
    said: set[str] = set()
    command = [sys.executable, "-c", DRIVER, url, "psycopg" if database == "postgresql" else "sqlite3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdin is not None
        for life in range(KILLS[database]):
            driver.stdin.write(f"{life}\n")
            driver.stdin.flush()
            begun = _lines(driver, "child")
            if "ready" not in begun:
                said |= set(_lines(driver, "ready"))
            child = int(begun[-1].split()[1])
            time.sleep(chance.uniform(0.05, 0.8))
            os.kill(child, signal.SIGKILL)
            said |= {*begun, *_lines(driver, "dead")}
        driver.stdin.close()
    said = {line for line in said if line.startswith(("trial", "vote"))}
    with LiveReader(url) as reader:
        assert len(reader.experiments()) == 1
    trials, votes = _column(url, "trial_id", "live_trials"), _column(url, "key", "live_votes")
    assert len(said) > 10 * KILLS[database]  # it was busy when it was killed
    assert len(trials) == len(set(trials))
    assert len(votes) == len(set(votes))
    assert {f"trial {one}" for one in trials} >= {one for one in said if one.startswith("trial")}
    assert {f"vote {one}" for one in votes} >= {one for one in said if one.startswith("vote")}
    assert set(votes) <= set(trials)
    # What is not acknowledged may be there: at most one record of each thread and life.
    assert len(trials) + len(votes) - len(said) <= 8 * KILLS[database]


def _column(url: str, column: str, table: str) -> list[str]:
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        found = list(connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalars())  # noqa: S608  # constants
    engine.dispose()
    return found


LATE = re.compile("keeps writing|has not answered for 3 s")
"""The database has said so after 2 s, or nobody has waited longer than 3 s for it to say anything."""


def _recovered(recorder: LiveRecorder, trial_id: str) -> None:
    """Logs until it succeeds, as a client that tries again would."""
    end = time.monotonic() + 60
    while True:
        try:
            recorder.log(live_samples.live_trial(trial_id)).result(20)
        except DuplicateRequestError:
            return  # it was written while the database went away
        except StoreError:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return


def test_a_locked_sqlite_file_fails_what_waits_within_3_s_and_recording_goes_on_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with LiveRecorder(f"sqlite:///{path}", EXPERIMENT, max_pending=50, max_batch=10) as recorder:
        recorder.log(live_samples.live_trial("before")).result(10)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        futures = [recorder.log(live_samples.live_trial(f"t{n}")) for n in range(50)]
        with pytest.raises(QueueFullError):
            recorder.log(live_samples.live_trial("too much"))
        assert [error for future in futures if not LATE.search(error := str(future.exception(30)))] == []
        for _ in range(2):
            with pytest.raises(StoreError, match=LATE):
                recorder.log(live_samples.live_trial("meanwhile")).result(30)
        assert recorder.pending == 0
        blocker.execute("COMMIT")
        recorder.log(live_samples.live_trial("after")).result(10)
    assert sorted(_column(f"sqlite:///{path}", "trial_id", "live_trials")) == ["after", "before"]


def test_a_stopped_and_restarted_postgresql_fails_what_waits_and_recording_goes_on_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    reason = postgres_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server.stoppable() as server, LiveRecorder(server.url, EXPERIMENT) as recorder:
        recorder.log(live_samples.live_trial("before")).result(10)
        server.stop()
        futures = [recorder.log(live_samples.live_trial(f"t{n}")) for n in range(100)]
        assert all(isinstance(future.exception(30), StoreError) for future in futures)
        with pytest.raises(StoreError):
            recorder.change_traffic(expected_version=1, stopped=True, actor="ann", reason="")
        server.start()
        _recovered(recorder, "after")
        server.freeze()  # it holds its connections and says nothing
        with pytest.raises(StoreError, match="has not answered for 3 s"):
            recorder.log(live_samples.live_trial("silent")).result(30)
        with pytest.raises(StoreError, match="has not answered"):
            recorder.log(live_samples.live_trial("refused"))
        server.thaw()
        _recovered(recorder, "at last")
        recorder.close()
        found = _column(server.url, "trial_id", "live_trials")
    assert set(found) - {"silent"} == {"before", "after", "at last"}
    assert len(found) == len(set(found))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a disk that is full is a small tmpfs, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_what_waits_and_recording_goes_on_when_there_is_room(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'log.db'}"
    with LiveRecorder(url, EXPERIMENT) as recorder:
        recorder.log(live_samples.live_trial("before")).result(10)
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 65_536))
        written, failed = ["before"], 0
        for n in range(300):
            future = recorder.log(live_samples.live_trial(f"t{n}"), live_samples.live_trial(f"t{n}-twin", request_id=f"t{n}"))
            error = future.exception(30)
            if error is None:
                written += [f"t{n}", f"t{n}-twin"]
            else:
                assert "make room on the disk" in str(error)
                failed += 1
        assert failed
        assert sorted(_column(url, "trial_id", "live_trials")) == sorted(written)
        filler.unlink()
        recorder.log(live_samples.live_trial("after")).result(10)
        with LiveReader(url) as reader:
            assert reader.trial("after") is not None
            assert reader.trial("before") is not None
