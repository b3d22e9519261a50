"""Additive increase, multiplicative decrease, pauses, and places that are never lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ragtrial.llm.brake import Brake
from ragtrial.llm.limiter import AdaptiveLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_begins_at_half_and_doubles_each_round_until_the_first_refusal():
    limiter = AdaptiveLimiter(64)
    sizes = [limiter.size]
    for _ in range(2):
        for _ in range(limiter.size):
            limiter.succeeded()
        sizes.append(limiter.size)
    assert sizes == [32, 64, 64]


def test_a_refusal_halves_it_once_for_all_that_were_sent_together():
    clock = Clock()
    limiter = AdaptiveLimiter(64, clock=clock)
    sent = clock.now
    clock.now += 1
    assert [limiter.refused(sent) for _ in range(20)] == [True] + [False] * 19
    assert limiter.size == 16
    clock.now += 1
    assert limiter.refused(clock.now)
    assert limiter.size == 8


def test_after_a_refusal_it_grows_by_one_a_round():
    limiter = AdaptiveLimiter(64)
    limiter.refused(limiter.now())
    for expected in (17, 18, 19):
        for _ in range(limiter.size + 1):  # a little more than a round, for the fractions
            limiter.succeeded()
        assert limiter.size == expected


def test_it_never_falls_below_one_nor_rises_above_the_most():
    clock = Clock()
    limiter = AdaptiveLimiter(2, clock=clock)
    for _ in range(10):
        clock.now += 1
        limiter.refused(clock.now)
    assert limiter.size == 1
    for _ in range(100):
        limiter.succeeded()
    assert limiter.size == 2


def test_no_more_are_in_flight_than_there_are_places_and_all_come_through():
    async def run() -> tuple[int, int]:
        limiter, most, done = AdaptiveLimiter(6), 0, 0

        async def work() -> None:
            nonlocal most, done
            await limiter.acquire()
            most = max(most, limiter.held)
            await asyncio.sleep(0)
            limiter.succeeded()
            limiter.release()
            done += 1

        await asyncio.gather(*(work() for _ in range(200)))
        assert limiter.held == 0
        return most, done

    assert asyncio.run(run()) == (6, 200)


def test_a_pause_holds_those_who_wait_and_those_who_come():
    async def run() -> float:
        loop, limiter = asyncio.get_running_loop(), AdaptiveLimiter(4)
        limiter.pause(0.1)
        limiter.pause(0.3)
        limiter.pause(0.05)  # the longest counts
        start = loop.time()
        await asyncio.gather(limiter.acquire(), limiter.acquire())
        return loop.time() - start

    assert 0.29 <= asyncio.run(run()) < 5


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_who_is_cancelled_leaves_no_place_behind(turns: int):
    """Also in the moment when the place was just given."""

    async def run() -> None:
        limiter = AdaptiveLimiter(1)
        await limiter.acquire()
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        limiter.release()
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        got = await asyncio.gather(*waiting, return_exceptions=True)
        for each in got:
            if each is None:
                limiter.release()
        assert limiter.held == 0
        await asyncio.wait_for(limiter.acquire(), 1)

    asyncio.run(run())


def test_the_brake_wakes_those_who_wait_with_the_reason_and_frees_their_places():
    async def run() -> None:
        brake, limiter = Brake(), AdaptiveLimiter(1)
        await limiter.acquire()

        async def wait(what: Callable[[], Awaitable[object]]) -> object:
            return await brake.wait_for(what())

        waiting = [asyncio.ensure_future(wait(limiter.acquire)), asyncio.ensure_future(wait(lambda: asyncio.sleep(60)))]
        await asyncio.sleep(0)
        brake.pull(KeyError("first"))
        brake.pull(KeyError("second"))
        assert [str(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == ["'first'"] * 2
        limiter.release()
        assert limiter.held == 0
        with pytest.raises(KeyError, match="first"):
            brake.check()

    asyncio.run(run())


def test_a_cancellation_without_a_reason_stays_one():
    async def run() -> None:
        task = asyncio.ensure_future(Brake().wait_for(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
