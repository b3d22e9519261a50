"""When calls are held back, when one probes, and when an endpoint counts as dead."""

import asyncio

import pytest

from ragtrial.llm.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sleeping(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that `asyncio.sleep` moves."""
    clock, plain = Clock(), asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        await plain(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return clock


def test_it_opens_after_ten_failures_in_a_row_and_not_before():
    breaker = Breaker(patience_s=60)
    for _ in range(9):
        assert not breaker.failed()
    breaker.succeeded()
    assert [breaker.failed() for _ in range(11)] == [False] * 9 + [True, False]
    assert breaker.is_open


def test_it_opens_after_three_where_there_is_no_connection():
    breaker = Breaker(patience_s=60)
    assert [breaker.failed(unreachable=True) for _ in range(3)] == [False, False, True]


def opened(clock: Clock, patience_s: float = 120.0, *, ever: bool = False) -> Breaker:
    breaker = Breaker(patience_s=patience_s, clock=clock)
    if ever:
        breaker.succeeded()
    for _ in range(64):  # a whole crowd in flight: it says no more than ten do
        breaker.failed()
    return breaker


@pytest.mark.parametrize(
    ("patience_s", "ever", "probes_at"),
    [
        (120.0, False, [1.0, 3.0, 7.0, 10.0]),
        (120.0, True, [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 120.0]),
        (5.0, False, [1.0, 3.0, 5.0]),
        (5.0, True, [1.0, 3.0, 5.0]),
    ],
)
def test_probes_come_later_and_later_and_the_last_when_patience_ends(
    sleeping: Clock, patience_s: float, ever: bool, probes_at: list[float]
):
    breaker, probed = opened(sleeping, patience_s, ever=ever), []

    async def probe() -> None:
        probed.append(sleeping.now)
        if breaker.is_dead:
            raise ConnectionError("dead")
        breaker.probe_failed()

    with pytest.raises(ConnectionError, match="dead"):
        asyncio.run(breaker.admit(probe))
    assert probed == probes_at


def test_one_probe_at_a_time_and_its_success_lets_all_in(sleeping: Clock):
    breaker, probes = opened(sleeping), 0

    async def probe() -> None:
        nonlocal probes
        probes += 1
        await asyncio.sleep(0.5)
        if probes == 3:
            breaker.succeeded()
        else:
            breaker.probe_failed()

    async def run() -> None:
        await asyncio.wait_for(asyncio.gather(*(breaker.admit(probe) for _ in range(2000))), 30)

    asyncio.run(run())
    assert (probes, breaker.is_open, breaker.is_dead) == (3, False, False)


def test_who_is_cancelled_while_waiting_or_probing_does_not_block_the_next(sleeping: Clock):
    breaker = opened(sleeping)

    async def hang() -> None:
        await asyncio.Event().wait()

    async def well() -> None:
        breaker.succeeded()

    async def run() -> None:
        first, second = asyncio.ensure_future(breaker.admit(hang)), asyncio.ensure_future(breaker.admit(hang))
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.wait_for(breaker.admit(well), 30)

    asyncio.run(run())


def test_a_success_begins_the_patience_and_the_cooldown_anew(sleeping: Clock):
    breaker = opened(sleeping, ever=True)
    for _ in range(4):
        breaker.probe_failed()
    sleeping.now = 100.0
    breaker.succeeded()
    for _ in range(10):
        breaker.failed()
    sleeping.now = 219.0
    assert not breaker.is_dead
    sleeping.now = 220.0
    assert breaker.is_dead
