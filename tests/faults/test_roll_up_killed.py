"""A roll-up under kill -9: whatever it had written, the next one ends with the sums of the log, and the log is as it was."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.report.live_summary import read_live_summary
from ragtrial.suite.rolling import roll_once
from unit import live_logs
from unit.db import live_samples
from unit.db.live_samples import START, answered, failed, live_trial, vote
from unit.db.rolling_samples import STRETCH, Log, expected_buckets, stored_buckets

KILLS = 6

# One interpreter imports everything once and forks a child for each kill: the child rolls up until it is killed.
DRIVER = """
import os, sys
from ragtrial.db.roll_up import RollUp
if sys.argv[2] == "psycopg":
    import psycopg
def begin(description, total):
    os.write(1, b"begun\\n")
    return lambda done: os.write(1, f"did {done}\\n".encode())
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with RollUp(sys.argv[1]) as rolling:
            while True:
                rolling.roll(int(line), progress=begin)
    os.write(1, f"child {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


def add(log: Log, chance: random.Random, numbers: range) -> None:
    """Trials of forty days, in any order, with votes on old ones and new ones."""
    trials = []
    for number in numbers:
        arm = chance.choice(["baseline", "custom"])
        made = failed(arm) if chance.random() < 0.05 else answered(arm)
        at = START + chance.random() * 40 * 86_400
        trials.append((number, live_trial(f"t{number}", f"u{chance.randrange(50)}", arm, made=made, at=at)))
    log.trials(trials)
    for _ in range(len(numbers) // 20):
        number = chance.randrange(1, numbers.stop)
        log.vote(number, vote(f"t{number}", f"v{chance.random()}", chance.choice(["up", "down", "withdrawn"])))


def lines_until(process: "subprocess.Popen[str]", word: str) -> list[str]:
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line.strip())
        if line.startswith(word):
            return found
    raise AssertionError(f"the driver ended without saying {word!r}")


@pytest.mark.slow
def test_a_roll_up_that_is_killed_again_and_again_ends_with_the_sums_of_the_log(url: str) -> None:
    plan = live_logs.experiment(guardrails=())
    live_id, chance, size = live_logs.registered(url, plan), random.Random(11), 3_000
    log = Log(url, live_id)
    add(log, chance, range(1, size + 1))
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent / "platform"), str(tests)])}
    command = [sys.executable, "-c", DRIVER, url, "sqlite3" if url.startswith("sqlite") else "psycopg"]
    halfway = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdin is not None
        for life in range(KILLS):
            driver.stdin.write(f"{live_id}\n")
            driver.stdin.flush()
            said = lines_until(driver, "child")
            child = int(said[-1].split()[1])
            for _ in range(max(0, chance.randrange(1, 8) - sum(line.startswith("did") for line in said))):
                lines_until(driver, "did")  # a group of stretches is written
            os.kill(child, signal.SIGKILL)
            lines_until(driver, "dead")
            stored = stored_buckets(log.engine, live_id)
            halfway += len(stored) > 0 and stored != expected_buckets(log.engine, live_id)
            if life % 2:
                add(log, chance, range(size + 1, size + 501))
                size += 500
            if life == 3:
                with LiveRecorder(url, plan, clock=live_samples.Clock()) as recorder:
                    recorder.forget_unit("u7")
        driver.stdin.close()
    done = roll_once(url)
    assert done.errors == ()
    assert halfway > KILLS / 2  # most of them were killed in the middle
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    with LiveReader(url) as reader, LiveBoardReader(url) as board, RollUp(url) as rolling:
        assert not rolling.roll(live_id).rows
        summary = read_live_summary(reader, board, live_id)
        assert summary is not None
        total = sum(bucket.trials for bucket in board.buckets(live_id, width_s=STRETCH * 12))
        assert total == sum(usage.n_trials for usage in summary.spent) == board.trials(live_id).total
    log.close()
