"""The log can't be written: who gets what, what is counted, and what is in the log afterwards."""

import asyncio
from concurrent.futures import Future

import pytest

from ragtrial.domain.live_trial import Vote
from ragtrial.errors import OverloadedError, QueueFullError, RecordRefusedError, StoreError
from ragtrial.serving.outages import Outages
from ragtrial.serving.traffic import TrafficWatch
from unit.serving.house import ask, asking, house, serving, unit_in


class Unwilling:
    """A recorder whose database can go away."""

    def __init__(self, recorder):
        self._recorder = recorder
        self.error: StoreError | None = None
        self.tried = 0

    def __getattr__(self, name):
        return getattr(self._recorder, name)

    def _or_fail(self, write, *what):
        self.tried += 1
        if isinstance(self.error, QueueFullError):
            raise self.error
        if self.error is not None:
            future: Future[None] = Future()
            future.set_exception(self.error)
            return future
        return write(*what)

    def log(self, *trials):
        return self._or_fail(self._recorder.log, *trials)

    def vote(self, vote):
        return self._or_fail(self._recorder.vote, vote)

    def outage(self, outage):
        if self.error is not None:
            raise self.error
        self._recorder.outage(outage)


LOST = StoreError("the database is lost")


def unwilling(tmp_path, mode="split", **live):
    return house(tmp_path, mode, live=live, recording=Unwilling)


async def until(holds, *, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.02)


async def outages_of(made, *, within_s=60.0):
    for _ in range(int(within_s / 0.1)):
        if found := made.reader.outages(made.recorder.live_id):
            return found
        await asyncio.sleep(0.1)
    return ()


def test_where_the_log_is_lost_requests_are_refused_and_the_outage_is_logged_afterwards(tmp_path):
    made = unwilling(tmp_path)

    async def run():
        async with serving(made) as service:
            await ask(service)
            made.recorder.error = LOST
            for _ in range(5):
                with pytest.raises(OverloadedError) as refused:
                    await ask(service)
            tried, ready = made.recorder.tried, service.ready()
            made.recorder.error = None
            await asyncio.sleep(1.1)
            served = await ask(service)
            return refused.value, tried, ready, served, await outages_of(made), made.logged()

    refused, tried, ready, served, outages, logged = asyncio.run(run())
    assert refused.retry_after_s > 0
    assert "lost" not in str(refused)  # what a database says is not for users
    assert tried == 2  # the first request of the outage; the others were spared the attempt
    assert ready.database == "the database is lost"
    assert served.logged
    (outage,) = outages
    assert (outage.refused, outage.unlogged, outage.reason) == (5, 0, "the database is lost")
    assert outage.start <= outage.end
    assert len(logged) == 2


def test_where_availability_comes_first_everyone_gets_the_baseline_without_a_record(tmp_path):
    made = unwilling(tmp_path, availability="unlogged")

    async def run():
        async with serving(made) as service:
            made.recorder.error = LOST
            served = [await ask(service, unit=unit_in(arm)) for arm in ("custom", "baseline", "custom")]
            counted = service.counts.value("ragtrial_requests_total", arm="baseline", outcome="unlogged")
            made.recorder.error = None
            return served, counted, await outages_of(made), made.logged()

    served, counted, outages, logged = asyncio.run(run())
    assert {(each.arm, each.reason, each.logged, each.answer) for each in served} == {
        ("baseline", "unlogged", False, "quay number1 lies north")
    }
    assert counted == 3
    assert [(outage.refused, outage.unlogged) for outage in outages] == [(0, 3)]
    assert logged == ()


def test_a_full_queue_refuses_but_the_next_request_tries_again(tmp_path):
    made = unwilling(tmp_path)

    async def run():
        async with serving(made) as service:
            made.recorder.error = QueueFullError("2000 wait")
            for _ in range(3):
                with pytest.raises(OverloadedError):
                    await ask(service)
            tried = made.recorder.tried
            made.recorder.error = None
            return tried, await ask(service), service.ready()

    tried, served, ready = asyncio.run(run())
    assert tried == 3
    assert served.logged
    assert ready.database is None


def test_a_record_that_alone_cannot_be_written_is_no_outage_for_others(tmp_path):
    made = unwilling(tmp_path)

    async def run():
        async with serving(made) as service:
            made.recorder.error = RecordRefusedError("can't hold that one")
            with pytest.raises(OverloadedError):
                await ask(service)
            made.recorder.error = None
            return service.ready(), await ask(service)

    ready, served = asyncio.run(run())
    assert ready.ok
    assert served.logged  # at once: not one of those that are spared the attempt


def test_a_twin_that_cannot_be_logged_does_not_make_the_service_unready(tmp_path):
    made = unwilling(tmp_path, "shadow")

    async def run():
        async with serving(made) as service:
            made.models["custom"].gate.clear()
            await ask(service)
            made.recorder.error = LOST
            made.models["custom"].gate.set()
            for _ in range(1200):
                if service.counts.value("ragtrial_shed_total", kind="twin not logged"):
                    break
                await asyncio.sleep(0.05)
            made.recorder.error = None
            # a balancer that sends nothing to what is not ready would never end that
            return service.counts.value("ragtrial_shed_total", kind="twin not logged"), service.ready()

    shed, ready = asyncio.run(run())
    assert shed == 1
    assert ready.ok


def test_an_unlogged_answer_has_an_id_that_no_trial_has(tmp_path):
    """A database that goes away while it commits may have logged the trial, of another arm, under the request's id."""
    made = unwilling(tmp_path, availability="unlogged")
    tried = []

    async def run():
        async with serving(made) as service:
            write = made.recorder.log
            made.recorder.error = LOST
            made.recorder.log = lambda *trials: tried.extend(trial.trial_id for trial in trials) or write(*trials)
            return await ask(service, unit=unit_in("custom"))

    served = asyncio.run(run())
    assert not served.logged
    assert len(tried) == 1
    assert served.trial_id not in tried


def test_an_outage_without_later_requests_is_logged_as_well(tmp_path):
    made = unwilling(tmp_path)

    async def run():
        async with serving(made) as service:
            made.recorder.error = LOST
            with pytest.raises(OverloadedError):
                await ask(service)
            await asyncio.sleep(1.5)
            made.recorder.error = None
            found = await outages_of(made)
            return found, service.ready(), (await ask(service)).logged

    outages, ready, logged = asyncio.run(run())
    assert [outage.refused for outage in outages] == [1]
    assert ready.ok
    assert logged


def test_a_vote_that_can_not_be_written_is_refused(tmp_path):
    made = unwilling(tmp_path)

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            made.recorder.error = LOST
            with pytest.raises(OverloadedError):
                await service.vote(Vote(trial_id=served.trial_id, key="k", thumb="up", at=1e9))
            return service.counts.value("ragtrial_votes_total", kind="vote", outcome="refused")

    assert asyncio.run(run()) == 1


def test_a_twin_that_can_not_be_logged_is_counted_and_nobody_is_refused_for_it(tmp_path):
    made = unwilling(tmp_path, "shadow")

    async def run():
        async with serving(made) as service:
            made.models["custom"].gate.clear()
            await ask(service)
            made.recorder.error = LOST
            made.models["custom"].gate.set()
            for _ in range(1200):
                if counted := service.counts.value("ragtrial_shed_total", kind="twin not logged"):
                    return counted, service.running.outages.now()
                await asyncio.sleep(0.05)
            return 0, None

    assert asyncio.run(run()) == (1, None)


def test_a_request_that_is_cut_off_while_it_is_logged_leaves_the_log_whole(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            for _ in range(20):
                task = asyncio.create_task(service.ask(asking()))
                await asyncio.sleep(0.004)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return await ask(service)

    assert asyncio.run(run()).logged


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_one_request_a_second_probes_a_lost_database():
    time = Time()
    outages = Outages(clock=time, monotonic=time)
    assert not outages.blocked()
    outages.failed("gone", lost=True)
    assert outages.blocked()
    time.now += 1.0
    assert [outages.blocked() for _ in range(3)] == [False, True, True]
    outages.succeeded()
    assert not outages.blocked()


def test_what_comes_while_an_outage_is_written_begins_another_one():
    time = Time()
    outages = Outages(clock=time, monotonic=time)
    outages.failed("gone", lost=False)
    outages.refused()
    assert outages.due() is None
    time.now += 2.0
    outage = outages.due()
    assert outage is not None
    outages.refused()
    outages.written(outage)
    later = outages.now()
    assert later is not None
    assert (outage.refused, later.refused, later.start) == (1, 1, 1002.0)


def test_a_clock_that_is_set_back_leaves_an_outage_that_does_not_end_before_it_began():
    time, steady = Time(), Time()
    outages = Outages(clock=time, monotonic=steady)
    outages.refused()
    time.now -= 3600
    outages.refused()
    steady.now += 2
    outage = outages.due()
    assert outage is not None
    assert (outage.start, outage.end) == (1000.0, 1000.0)


def test_a_state_that_can_not_be_read_for_long_stops_the_treatment_until_it_can(tmp_path):
    made, steady = house(tmp_path), Time()

    async def run():
        async with serving(made) as service:
            running = service.running
            error: list[StoreError] = []

            def read():
                if error:
                    raise error[0]
                return running.read_traffic()

            watch = TrafficWatch(read, running.read_traffic(), counts=service.counts, every_s=0.02, monotonic=steady)
            task = asyncio.create_task(watch.run())
            error.append(LOST)
            await until(lambda: watch.error is not None)
            known = watch.in_force.stopped
            steady.now += 11
            lost, said = watch.in_force, watch.error
            error.clear()
            await until(lambda: watch.error is None and not watch.in_force.stopped)
            task.cancel()
            return known, lost, said, watch.in_force, watch.error

    known, lost, said, after, error = asyncio.run(run())
    assert not known
    assert lost.stopped
    assert said == "the database is lost"
    assert not after.stopped
    assert error is None
