"""The machine's clock is set back or ahead: what counts seconds goes on, and what is stamped with the time stays right, or says that it is not."""

import asyncio
import time

import pytest
from starlette.exceptions import HTTPException

from ragtrial.api.access import KeyGate
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.retention import Retention
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.access import ApiKey
from unit.db import live_samples
from unit.db.live_samples import DAY, START, Clock, live_trial
from unit.db.rolling_samples import expected_buckets, stored_buckets

JUMPS = (-3600.0, 400 * DAY, -400 * DAY)


@pytest.fixture(params=JUMPS, ids=["an hour back", "a year ahead", "a year back"])
def jump(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """How far the wall clock jumps at each look at it."""
    real, seen = time.time, [0]

    def jumping() -> float:
        seen[0] += 1
        return real() + request.param * (seen[0] % 2)

    monkeypatch.setattr(time, "time", jumping)
    return float(request.param)


def statuses(gate: KeyGate) -> list[int]:
    """Of requests one right after the other."""

    async def admitted() -> list[int]:
        found = []
        for _ in range(12):
            try:
                await gate.admit("rt_abc123_secret")
            except HTTPException as refused:
                waits = int((refused.headers or {})["Retry-After"])
                found.append(refused.status_code if 1 <= waits <= 60 else waits)
            else:
                found.append(200)
        return found

    return asyncio.run(admitted())


@pytest.mark.usefixtures("jump")
def test_the_rate_of_a_key_is_counted_by_seconds_that_never_go_back() -> None:
    key = ApiKey(prefix="abc123", name="portal", role="tester", rate_per_minute=6, created_at=0.0)
    found = statuses(KeyGate(lambda _token: key))
    assert found == statuses(KeyGate(lambda _token: key, clock=lambda: 1000.0))
    assert set(found) == {200, 429}


def test_sums_are_those_of_the_log_and_are_known_to_be_kept_where_the_clock_goes_back(sqlite_url: str) -> None:
    clock = Clock(START + DAY)
    with LiveRecorder(sqlite_url, live_samples.experiment(), clock=clock) as recorder, RollUp(sqlite_url, clock=clock) as rolling:
        live_id = recorder.live_id
        for number, at in enumerate((DAY, DAY + 10, DAY - 7200, DAY - 7190, DAY + 30)):
            recorder.log(live_trial(f"t{number}", f"u{number}", at=START + at)).result(10)
            rolling.roll(live_id)
            clock.now = START + at
        with LiveBoardReader(sqlite_url) as board:
            assert stored_buckets(rolling._reading, live_id) == expected_buckets(rolling._reading, live_id)  # the same log
            clock.now = START - DAY  # set back by two days, with nothing new
            rolling.roll(live_id)
            assert board.rolled_up_at(live_id) == START - DAY, "a roll-up that lives would pass for one of the future for two days"


def test_retention_removes_nothing_by_a_clock_that_was_set_back_and_counts_before_it_removes_by_one_that_is_ahead(sqlite_url: str) -> None:
    with LiveRecorder(sqlite_url, live_samples.experiment(), clock=Clock()) as recorder:
        for number in range(4):
            recorder.log(live_trial(f"t{number}", f"u{number}", at=START + number)).result(10)
    with Retention(sqlite_url, keep_days=30, clock=Clock(START - 400 * DAY)) as retention:
        assert retention.old("handbook") == ()
    with Retention(sqlite_url, keep_days=30, clock=Clock(START + 400 * DAY)) as retention:
        (old,) = retention.old("handbook")
        assert (old.trials, old.concluded) == (4, False), "what it came to is not stored, so that ragtrial db retention leaves it alone"
