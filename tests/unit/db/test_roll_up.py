"""Sums of the live log by time are those of a plain loop over the log, whatever was written, erased or killed in between."""

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from ragtrial.db import roll_up, roll_up_reading
from ragtrial.db.live_board_reader import LiveBoardReader, StoredSnapshot
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.trial import Ranking, Trial, Usage
from ragtrial.errors import InputError, StoreError
from repeating import times
from unit.db import live_samples
from unit.db.live_samples import START, answered, failed, live_trial, query, vote
from unit.db.rolling_samples import STRETCH, Log, expected_buckets, stored_buckets

KINDS: dict[str, Callable[[str], Trial]] = {
    "answered": answered,
    "abstained": lambda arm: answered(arm, text=""),
    "failed": failed,
    "not timed": lambda arm: dataclasses.replace(answered(arm), timings=None),
    "no answer": lambda arm: Trial(arm=arm, query_id=query().digest, ranking=Ranking(query_id=query().digest, hits=())),
    "free": lambda arm: _using(arm, Usage()),
    "half counted": lambda arm: _using(arm, Usage(prompt_tokens=3)),
}
FIRST_ID = count(1)  # of trials, over all examples of all tests: some share a database


def _using(arm: str, usage: Usage) -> Trial:
    made = answered(arm)
    assert made.answer is not None
    return dataclasses.replace(made, answer=dataclasses.replace(made.answer, usage=usage))


def new_experiment(url: str, name: str = "handbook") -> int:
    with LiveRecorder(url, live_samples.experiment(name=name), clock=live_samples.Clock()) as recorder:
        return recorder.live_id


def a_trial(
    number: int, *, at: float, unit: str = "ann", arm: str = "baseline", kind: str = "answered", reason: str = "split"
) -> LiveTrial:
    assignment = Assignment(unit=None, arm=arm, reason=reason, bucket=1, propensity=0.5, version=1)
    return live_trial(
        f"trial-{number}", unit, arm, made=KINDS[kind](arm), at=START + at, assignment=assignment, waited_ms=number % 97 + 0.5
    )


@contextmanager
def writes(rolling: RollUp) -> Iterator[list[dict[str, Any]]]:
    """Its write transactions: their statements, and the rows that they wrote."""
    found: list[dict[str, Any]] = []

    def begun(_connection: object) -> None:
        found.append({"statements": [], "rows": 0})

    def executed(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("BEGIN"):
            return
        found[-1]["statements"].append(statement)
        found[-1]["rows"] += max(0, cursor.rowcount) if not statement.lstrip().upper().startswith("SELECT") else 0

    engine: Engine = rolling._writing
    event.listen(engine, "begin", begun, insert=True)
    event.listen(engine, "after_cursor_execute", executed)
    try:
        yield found
    finally:
        event.remove(engine, "begin", begun)
        event.remove(engine, "after_cursor_execute", executed)


class _KilledError(Exception):
    """Stands for the end of the process in the middle of a pass."""


class Life:
    """One live experiment: what is logged in it, and who rolls it up."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name, self.live_id = url, name, new_experiment(url, name)
        self.log, self.rolling = Log(url, self.live_id), RollUp(url)
        self.numbers: list[int] = []
        self.gaps: list[int] = []
        self.keys = count()

    def close(self) -> None:
        self.rolling.close()
        self.log.close()

    def add(self, number: int, stretch: int, unit: str, arm: str, kind: str, reason: str) -> None:
        chance = random.Random(number)
        at = (stretch + chance.random()) * STRETCH
        self.log.trial(number, a_trial(number, at=at, unit=f"{self.name} {unit}", arm=arm, kind=kind, reason=reason))
        self.numbers.append(number)

    def do(self, action: tuple[Any, ...]) -> None:
        name, *given = action
        if name == "log":
            self.add(next(FIRST_ID), *given)
        elif name == "begin a transaction elsewhere":  # it has its ids, and commits later
            self.gaps.append(next(FIRST_ID))
        elif name == "commit it" and self.gaps:
            self.add(self.gaps.pop(given[0] % (len(self.gaps) + 1) - 1), *given[1:])
        elif name == "vote" and self.numbers:
            which, thumb, source, late = given
            number = self.numbers[which % len(self.numbers)]
            key = f"{self.name}-{next(self.keys)}"
            self.log.vote(number, vote(f"trial-{number}", key, thumb, source="p1" if source else None), late=late)
        elif name == "forget":
            with erasing(self.url) as eraser:
                eraser.forget_unit(f"{self.name} {given[0]}", actor="test")
            self.numbers = list(self._left())
        elif name == "restart":
            self.rolling.close()
            self.rolling = RollUp(self.url)
        elif name == "pass":
            self.check()
        elif name == "killed pass":
            self._killed()

    def _left(self) -> Iterator[int]:
        with self.log.engine.connect() as connection:
            yield from connection.exec_driver_sql(f"SELECT id FROM live_trials WHERE live_id = {self.live_id}").scalars()  # noqa: S608

    def _killed(self) -> None:
        def begin(_description: str, _total: int) -> Callable[[int], None]:
            def advance(_done: int) -> None:
                raise _KilledError

            return advance

        try:
            self.rolling.roll(self.live_id, progress=begin)
        except _KilledError:
            self.do(("restart",))

    def check(self) -> None:
        assert self.rolling.roll(self.live_id).complete
        assert stored_buckets(self.log.engine, self.live_id) == expected_buckets(self.log.engine, self.live_id)
        assert self.rolling.roll(self.live_id).stretches == 0


TRIALS = (
    st.integers(0, 5),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["baseline", "custom"]),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(["split", "split", "override"]),
)
RARELY = st.integers(0, 5).map(lambda n: n == 5)
VOTES = (st.sampled_from(["up", "down", "withdrawn"]), RARELY, RARELY)
ACTIONS = st.one_of(
    st.tuples(st.just("log"), *TRIALS),
    st.tuples(st.just("log"), *TRIALS),
    st.tuples(st.just("vote"), st.integers(0, 30), *VOTES),
    st.tuples(st.just("vote"), st.integers(0, 30), *VOTES),
    st.tuples(st.just("begin a transaction elsewhere")),
    st.tuples(st.just("commit it"), st.integers(0, 9), *TRIALS),
    st.tuples(st.just("forget"), st.sampled_from(["ann", "bob"])),
    st.sampled_from([("pass",), ("pass",), ("restart",), ("killed pass",)]),
)
LIVES = count()
LOG, VOTE, COMMIT = ("log", 0, "ann", "custom", "answered", "split"), ("vote", 0, "up", False, False), ("commit it", 0)


@pytest.mark.parametrize("url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@settings(max_examples=times(60, 15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(actions=[LOG, ("pass",), VOTE, ("pass",), ("vote", 0, "down", False, False), ("pass",), ("vote", 0, "withdrawn", False, False)])
@example(actions=[LOG, VOTE, ("vote", 0, "down", False, True), ("pass",), ("vote", 0, "withdrawn", True, False)])
@example(actions=[LOG, ("log", 0, "bob", *LOG[3:]), ("pass",), ("forget", "bob"), LOG, ("pass",)])  # as many as before, but other ones
@example(actions=[("begin a transaction elsewhere",), LOG, ("pass",), ("forget", "ann"), (*COMMIT, *LOG[1:])])
@example(actions=[LOG, ("log", 3, *LOG[2:]), ("log", 6, *LOG[2:]), ("killed pass",), ("forget", "ann"), LOG, ("pass",)])
@example(actions=[("log", 0, "bob", *LOG[3:]), ("log", 3, *LOG[2:]), ("pass",), ("forget", "bob")])
@given(actions=st.lists(ACTIONS, min_size=5, max_size=40))
def test_whatever_happens_the_sums_are_those_of_the_log(url: str, actions: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(roll_up, "_STRETCHES_AT_ONCE", 2)  # so that a few trials take several transactions
        patched.setattr(roll_up, "ROWS_AT_ONCE", 2)
        life = Life(url, f"life-{next(LIVES)}")
        try:
            for action in actions:
                life.do(action)
            life.check()
        finally:
            life.close()


def test_a_pass_without_news_writes_nothing_until_its_next_heartbeat(url: str) -> None:
    live_id, clock = new_experiment(url), live_samples.Clock()
    log = Log(url, live_id)
    log.trial(1, a_trial(1, at=0))
    with RollUp(url, clock=clock) as rolling, LiveBoardReader(url) as board:
        first = rolling.roll(live_id)
        assert (first.stretches, first.rows, first.newest_trial, first.version) == (1, 1, 1, 1)
        clock.now += 20
        with writes(rolling) as found:
            assert rolling.roll(live_id).version == first.version
        assert found == []
        assert board.rolled_up_at(live_id) == START
        clock.now += 20
        with writes(rolling) as found:
            assert rolling.roll(live_id).version == first.version
        assert len(found) == 1
        assert board.rolled_up_at(live_id) == START + 40
    log.close()


def test_what_happens_in_another_experiment_makes_no_work_here(url: str) -> None:
    here, there = new_experiment(url, "here"), new_experiment(url, "there")
    log, other = Log(url, here), Log(url, there)
    log.trial(1, a_trial(1, at=0))
    with RollUp(url) as rolling:
        rolling.roll(here)
        other.trial(2, a_trial(2, at=0))
        other.vote(2, vote("trial-2", "k"))
        with writes(rolling) as found:
            assert rolling.roll(here) == roll_up.RolledUp(stretches=0, rows=0, newest_trial=1, version=1, complete=True)
        assert found == []
        assert rolling.roll(there).rows == 1
        assert stored_buckets(other.engine, there) == expected_buckets(other.engine, there)
    log.close()
    other.close()


def test_a_vote_on_a_source_is_news_though_no_sum_changes(url: str) -> None:
    live_id = new_experiment(url)
    log = Log(url, live_id)
    log.trial(1, a_trial(1, at=0))
    with RollUp(url) as rolling:
        rolling.roll(live_id)
        log.vote(1, vote("trial-1", "k", source="p1"))
        again = rolling.roll(live_id)
    assert (again.version, again.rows) == (2, 0)
    log.close()


def test_nothing_is_computed_while_others_wait_and_transactions_are_small(url: str) -> None:
    live_id, n = new_experiment(url), 3000
    log, chance = Log(url, live_id), random.Random(1)
    kinds = sorted(KINDS)
    log.trials(
        [
            (k, a_trial(k, at=chance.random() * 500 * STRETCH, arm=chance.choice(["baseline", "custom"]), kind=chance.choice(kinds)))
            for k in range(1, n + 1)
        ]
    )
    with RollUp(url) as rolling, writes(rolling) as found:
        done = rolling.roll(live_id)
    assert done.rows > 900
    assert max(transaction["rows"] for transaction in found) <= roll_up.ROWS_AT_ONCE + 2
    assert len(found) >= done.rows / (roll_up.ROWS_AT_ONCE + 2)
    said = {statement for transaction in found for statement in transaction["statements"]}
    assert said
    assert not [statement for statement in said if "live_trials" in statement or "live_votes" in statement]
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


@pytest.mark.parametrize("begun", [False, True])
def test_who_is_overtaken_leaves_the_rest_to_the_other_and_both_are_right_in_the_end(
    url: str, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_up, "_STRETCHES_AT_ONCE", 2)
    live_id = new_experiment(url)
    log = Log(url, live_id)
    with RollUp(url) as mine, RollUp(url) as other:
        if begun:
            log.trial(1, a_trial(1, at=0))
            mine.roll(live_id)
            other.roll(live_id)
        log.trials([(k, a_trial(k, at=k * STRETCH)) for k in range(2, 12)])

        def overtake(_description: str, _total: int) -> Callable[[int], None]:
            log.trial(99, a_trial(99, at=3 * STRETCH))
            assert other.roll(live_id).complete
            return lambda _done: None

        done = mine.roll(live_id, progress=overtake)
        assert not done.complete
        log.vote(99, vote("trial-99", "k"))
        for each in (mine, other, mine):
            assert each.roll(live_id).complete
            assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


def test_two_processes_may_keep_the_same_sums_while_the_log_grows(url: str) -> None:
    live_id = new_experiment(url)
    log, stop, errors = Log(url, live_id), threading.Event(), []

    def keep() -> None:
        try:
            with RollUp(url) as rolling:
                while not stop.is_set():
                    rolling.roll(live_id)
        except Exception as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    for k in range(1, 150):
        log.trial(k, a_trial(k, at=chance.random() * 20 * STRETCH))
        if chance.random() < 0.3:
            log.vote(k, vote(f"trial-{k}", "k", chance.choice(["up", "down"])))
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    with RollUp(url) as rolling:
        rolling.roll(live_id)
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


@pytest.mark.long
def test_a_first_pass_over_100_000_trials_keeps_no_service_from_writing(sqlite_url: str) -> None:
    live_id, n = new_experiment(sqlite_url), 100_000
    log, chance = Log(sqlite_url, live_id), random.Random(2)
    pattern = a_trial(0, at=0)
    for begin in range(1, n, 10_000):
        numbers = range(begin, begin + 10_000)
        log.trials(
            [(k, dataclasses.replace(pattern, trial_id=f"t{k}", request_id=f"t{k}", at=START + chance.random() * 864_000)) for k in numbers]
        )
    written: list[object] = []
    stop = threading.Event()

    def serve() -> None:
        with LiveRecorder(sqlite_url, live_samples.experiment()) as recorder:
            for k in count():
                if stop.is_set():
                    break
                done = recorder.log(live_trial(f"served-{k}", f"u{k}", at=START + k))
                wait([done], 30)
                written.append(done.exception())

    service = threading.Thread(target=serve)
    service.start()
    with RollUp(sqlite_url) as rolling:
        with writes(rolling) as found:
            first = rolling.roll(live_id)
        stop.set()
        service.join()
        rolling.roll(live_id)
    assert first.rows > 2800
    assert max(transaction["rows"] for transaction in found) <= roll_up.ROWS_AT_ONCE + 2
    assert len(written) > 20
    assert set(written) == {None}
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


def test_a_trial_that_is_committed_long_after_higher_ids_is_found_at_the_next_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_up_reading, "TRIALS_LOOKED_AT_AGAIN", 3)
    live_id = new_experiment(url)
    log = Log(url, live_id)
    log.trials([(k, a_trial(k, at=k * STRETCH)) for k in (2, 3, 4, 5, 6, 8)])
    with RollUp(url) as rolling:
        rolling.roll(live_id)
        log.trial(7, a_trial(7, at=7 * STRETCH))
        assert rolling.roll(live_id).rows == 1
        log.trial(1, a_trial(1, at=1 * STRETCH))
        assert rolling.roll(live_id).rows == 0
    with RollUp(url) as rolling:
        assert rolling.roll(live_id).rows == 1
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


def test_moments_on_the_border_of_a_stretch_belong_to_one_stretch(url: str) -> None:
    live_id = new_experiment(url)
    log, border = Log(url, live_id), START // STRETCH * STRETCH
    moments = [border, border - 2.4e-7, border + 2.4e-7, border + STRETCH - 2.4e-7, border + STRETCH]
    log.trials([(k, a_trial(k, at=at - START)) for k, at in enumerate(moments, start=1)])
    with RollUp(url) as rolling:
        rolling.roll(live_id)
        log.trial(9, a_trial(9, at=border - START + 1))
        rolling.roll(live_id)
    assert stored_buckets(log.engine, live_id) == expected_buckets(log.engine, live_id)
    log.close()


def test_a_snapshot_is_replaced_by_the_next_one(url: str) -> None:
    live_id = new_experiment(url)
    first = StoredSnapshot(
        form=1, made_at=START, took_s=0.5, version=7, beside="b", due_at=9.0, document={"sentence": "too few — noch"}, problem=None
    )
    second = StoredSnapshot(form=2, made_at=START + 9, took_s=0.25, version=8, document=None, problem="no plan")
    with RollUp(url) as rolling, LiveBoardReader(url) as board:
        assert board.snapshot(live_id) is None
        for snapshot in (first, second):
            rolling.store_snapshot(live_id, snapshot)
            assert board.snapshot(live_id) == snapshot
        rolling.store_snapshot(live_id, first)  # made by a slower process, from less
        assert board.snapshot(live_id) == second
        assert board.snapshots_made()[live_id].problem == "no plan"


def test_an_experiment_that_is_not_there_is_said(url: str) -> None:
    live_id = new_experiment(url)
    with RollUp(url) as rolling, pytest.raises(InputError, match=r"no live experiment 99"):
        rolling.roll(live_id + 98)


def test_a_database_that_is_not_there_is_said(tmp_path: Any) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        RollUp(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
