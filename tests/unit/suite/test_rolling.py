"""What the dashboard reads is kept up to date, at its pace, and what fails for one experiment does not stop the others."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragtrial.cli.main import app
from ragtrial.cli.rolling import _Stop
from ragtrial.contracts import no_progress
from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.score import Score
from ragtrial.errors import InputError, StoreError
from ragtrial.report.live_summary import SNAPSHOT_FORM, LiveSummary, read_live_summary
from ragtrial.suite import live_snapshots
from ragtrial.suite import rolling as rolling_up
from ragtrial.suite.concluding import conclude_into
from ragtrial.suite.rolling import PACE, Rolling, roll_for_ever, roll_once
from unit import live_logs
from unit.db import live_samples
from unit.db.live_samples import DAY, START, live_trial, signal, vote
from unit.logged import log, sample

PLAN = live_logs.experiment(guardrails=())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def recorder(url: str) -> Iterator[LiveRecorder]:
    with LiveRecorder(url, PLAN, clock=live_samples.Clock()) as recorder:
        recorder.log(live_trial("t1", "ann", at=START)).result(10)
        yield recorder


class SlowClock(live_samples.Clock):
    """A clock on which each analysis takes some seconds: the time passes between its two looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, took_s: float) -> None:
        super().__init__()
        real = live_snapshots.summarise_live

        def slow(*given: object, **more: object) -> LiveSummary:
            self.now += took_s
            return real(*given, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(live_snapshots, "summarise_live", slow)


def state(rolling: Rolling) -> str:
    (live,) = rolling.once().live
    return live.snapshot


def test_one_pass_makes_all_that_the_dashboard_reads(url: str) -> None:
    first = live_logs.fill(url, PLAN, n_units=30)
    second = live_logs.fill(url, live_logs.experiment("interleaved", name="other"), n_units=20, first=10_000)
    done = roll_once(url)
    assert (done.errors, {live.live_id for live in done.live}) == ((), {first, second})
    assert {live.snapshot for live in done.live} == {"made"}
    with LiveReader(url) as reader, LiveBoardReader(url) as board:
        for live_id in (first, second):
            summary = read_live_summary(reader, board, live_id)
            assert summary is not None
            assert sum(usage.n_trials for usage in summary.usage) == sum(bucket.trials for bucket in board.buckets(live_id))


def test_a_snapshot_is_made_again_only_when_something_is_new(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 100)
    changes: list[Callable[[], object]] = [
        lambda: recorder.log(live_trial("t2", "bob", at=START + 10)).result(10),
        lambda: recorder.vote(vote("t2", "k1")).result(10),
        lambda: recorder.vote(vote("t2", "k2", "down")).result(10),
        lambda: recorder.vote(vote("t2", "k3", source="p1")).result(10),
        lambda: recorder.score("t2", [Score(metric="nDCG@10", value=0.5, scorer="r/1")]).result(10),
        lambda: recorder.signal(signal("t2", "s1")).result(10),
        lambda: recorder.change_traffic(expected_version=1, stopped=True, actor="ann", reason=""),
        lambda: recorder.forget_unit("bob"),
    ]
    with Rolling(url, paced=True, clock=clock) as rolling:
        assert state(rolling) == "made"
        for change in changes:
            clock.now += 60
            assert state(rolling) == "current"
            change()
            clock.now += 60
            assert state(rolling) == "made"
        clock.now += 60
        assert state(rolling) == "current"


def test_a_snapshot_waits_ten_times_as_long_as_the_last_one_took(url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SlowClock(monkeypatch, took_s=3.0)
    with Rolling(url, paced=True, clock=clock) as rolling:
        assert state(rolling) == "made"
        recorder.log(live_trial("t2", "bob", at=START + 10)).result(10)
        clock.now += PACE * 3 - 1
        assert state(rolling) == "waits"
        with LiveBoardReader(url) as board:
            assert sum(bucket.trials for bucket in board.buckets(recorder.live_id)) == 2  # sums do not wait
        clock.now += 1
        assert state(rolling) == "made"


def test_snapshots_of_several_experiments_share_the_tenth_and_take_turns(
    url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SlowClock(monkeypatch, took_s=2.0)
    other = live_logs.experiment("shadow", name="other")
    with LiveRecorder(url, other, clock=live_samples.Clock()) as second, Rolling(url, paced=True, clock=clock) as rolling:
        second.log(live_trial("o1", "ann")).result(10)
        assert [live.snapshot for live in rolling.once().live] == ["made", "made"]  # the first ones do not wait
        turns = []
        for n in range(4):
            recorder.log(live_trial(f"t{n + 2}", "bob")).result(10)
            second.log(live_trial(f"o{n + 2}", "bob")).result(10)
            clock.now += PACE * 2
            turns += [live.name for live in rolling.once().live if live.snapshot == "made"]
    assert turns in (["handbook", "other"] * 2, ["other", "handbook"] * 2)


def test_quick_snapshots_are_five_seconds_apart(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 100)
    with Rolling(url, paced=True, clock=clock) as rolling:
        assert state(rolling) == "made"
        recorder.log(live_trial("t2", "bob", at=START + 10)).result(10)
        clock.now += 4.5
        assert state(rolling) == "waits"
        clock.now += 1
        assert state(rolling) == "made"


def test_what_another_process_has_analysed_is_not_analysed_again(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 100)
    with Rolling(url, paced=True, clock=clock) as mine, Rolling(url, paced=True, clock=clock) as other:
        assert state(mine) == "made"
        recorder.log(live_trial("t2", "bob", at=START + 10)).result(10)
        clock.now += 2
        assert state(mine) == "waits"
        clock.now += 10
        assert state(other) == "made"
        clock.now += 10
        assert state(mine) == "current"


def test_after_a_start_only_what_is_news_is_analysed(url: str, recorder: LiveRecorder) -> None:
    """Whatever came while nobody looked, and however long after the last trial."""
    clock = live_samples.Clock(START + 3600)
    recorder.log(live_trial("t2", "bob", at=START + 10)).result(10)
    with Rolling(url, clock=clock) as rolling:
        assert state(rolling) == "made"
    changes: list[Callable[[], object]] = [
        lambda: recorder.score("t2", [Score(metric="nDCG@10", value=0.5, scorer="r/1")]).result(10),
        lambda: recorder.signal(signal("t2", "s1")).result(10),
        lambda: recorder.vote(vote("t2", "k1", source="p1")).result(10),
        lambda: recorder.forget_unit("bob"),
    ]
    for change in changes:
        clock.now += 20 * DAY
        with Rolling(url, clock=clock) as rolling:
            assert state(rolling) == "current"
        change()
        with Rolling(url, clock=clock) as rolling:
            assert state(rolling) == "made"


def test_what_was_summed_by_a_process_that_was_killed_is_analysed_by_the_next_one(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 3600)
    with Rolling(url, clock=clock) as rolling:
        assert state(rolling) == "made"
    recorder.vote(vote("t1", "k1")).result(10)
    with RollUp(url) as killed:  # before it came to the analysis
        killed.roll(recorder.live_id)
    with Rolling(url, clock=clock) as rolling:
        assert state(rolling) == "made"
        assert state(rolling) == "current"


def test_no_analysis_is_made_of_sums_that_another_process_goes_on_with(
    url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RollUp.roll

    def overtaken(self: RollUp, live_id: int, **more: object) -> object:
        return dataclasses.replace(real(self, live_id, **more), complete=False)  # type: ignore[arg-type]

    with Rolling(url) as rolling, LiveBoardReader(url) as board, monkeypatch.context() as patch:
        patch.setattr(RollUp, "roll", overtaken)
        assert state(rolling) == "waits"
        assert board.snapshot(recorder.live_id) is None
        patch.undo()
        assert state(rolling) == "made"


def test_an_analysis_is_made_again_when_it_is_due(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 3600)
    with Rolling(url, clock=clock) as rolling, LiveBoardReader(url) as board, RollUp(url) as writer:
        rolling.once()
        stored = board.snapshot(recorder.live_id)
        assert stored is not None
        writer.store_snapshot(recorder.live_id, dataclasses.replace(stored, due_at=clock.now + 60))
        assert state(rolling) == "current"
        clock.now += 60
        assert state(rolling) == "made"
        assert state(rolling) == "current"


def test_a_snapshot_of_another_form_is_made_again_at_once(url: str, recorder: LiveRecorder) -> None:
    clock = live_samples.Clock(START + 20 * DAY)
    with Rolling(url, clock=clock) as rolling, LiveBoardReader(url) as board, RollUp(url) as writer:
        rolling.once()
        stored = board.snapshot(recorder.live_id)
        assert stored is not None
        writer.store_snapshot(recorder.live_id, dataclasses.replace(stored, form=SNAPSHOT_FORM - 1))
        assert state(rolling) == "made"
        assert board.snapshots_made()[recorder.live_id].form == SNAPSHOT_FORM


def spoil(url: str, name: str, plan: dict[str, object]) -> None:
    engine = database.open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE live_experiments SET plan = ? WHERE name = ?", (json.dumps(plan), name))
    engine.dispose()


def test_a_plan_that_is_not_understood_is_a_problem_of_its_own_experiment_alone(url: str, recorder: LiveRecorder) -> None:
    other = live_logs.registered(url, live_logs.experiment(name="other"))
    with LiveReader(url) as reader:
        plan = reader.plan(other)
    spoil(url, "other", {**plan, "retrieval": {"top_k": "many"}})
    done = roll_once(url)
    problems = {live.name: live.problem for live in done.live}
    assert problems["handbook"] is None
    assert "no plan that this ragtrial understands (see retrieval.top_k" in str(problems["other"])
    with LiveBoardReader(url) as board:
        stored = board.snapshot(other)
        assert stored is not None
        assert (stored.document, stored.problem) == (None, problems["other"])


def test_what_fails_for_one_experiment_is_said_and_the_others_are_rolled_up(
    url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = live_logs.registered(url, live_logs.experiment(name="other"))
    real = RollUp.roll

    def roll(self: RollUp, live_id: int, **more: object) -> object:
        if live_id == other:
            raise StoreError("the disk is full")
        return real(self, live_id, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(RollUp, "roll", roll)
    done = roll_once(url)
    assert [live.name for live in done.live] == ["handbook"]
    assert done.errors == ("live experiment 'other' is not up to date: the disk is full",)


def test_an_analysis_that_fails_is_kept_as_a_problem(url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object, **_more: object) -> LiveSummary:
        return 1 // 0  # type: ignore[return-value]

    monkeypatch.setattr(live_snapshots, "summarise_live", fail)
    (live,) = roll_once(url).live
    assert "the analysis failed (ZeroDivisionError" in str(live.problem)


class Kept:
    """`roll_for_ever` in a thread, and what it says."""

    def __init__(self, url: str, **options: object) -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        given = {"every_s": 0.05, "say": self.said.append, **options}
        self.thread = threading.Thread(target=roll_for_ever, args=(url, self.stop), kwargs=given)

    def __enter__(self) -> "Kept":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_a_watch_shows_that_it_lives_also_while_there_is_nothing_to_read(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    stop = _Stop(file)
    thread = threading.Thread(target=roll_for_ever, args=(f"sqlite:///{tmp_path / 'log.db'}", stop), kwargs={"every_s": 0.05})
    thread.start()
    try:
        until(file.exists)
        first = file.stat().st_mtime_ns
        until(lambda: file.stat().st_mtime_ns > first)
        stop.shown(no_progress)("trials", 10)(5)
    finally:
        stop.set()
        thread.join(30)
    found = CliRunner().invoke(app, ["roll-up", "--database", "sqlite:///x.db", "--heartbeat", str(file)])
    assert "--heartbeat is for --watch" in str(found.exception)
    with pytest.raises(InputError, match="can't be written"):
        _Stop(tmp_path / "nowhere" / "alive").beat()


def until(holds: Callable[[], bool], *, within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def n_trials(url: str, live_id: int) -> int:
    with LiveBoardReader(url) as board:
        return sum(bucket.trials for bucket in board.buckets(live_id))


def test_a_database_that_is_not_there_is_waited_for_and_said_once(url: str) -> None:
    with Kept(url) as kept:
        until(lambda: len(kept.said) > 0)
        time.sleep(0.3)
        assert len(kept.said) == 1
        assert "holds nothing yet" in kept.said[0]
        with LiveRecorder(url, PLAN, clock=live_samples.Clock()) as recorder:
            recorder.log(live_trial("t1", "ann", at=START)).result(10)
            until(lambda: n_trials(url, recorder.live_id) == 1)
            recorder.log(live_trial("t2", "bob", at=START)).result(10)
            until(lambda: n_trials(url, recorder.live_id) == 2)
    assert len(kept.said) == 1


@pytest.mark.parametrize("upgrade", [False, True])
def test_an_older_schema_is_waited_for_or_brought_up_where_that_was_asked_for(url: str, upgrade: bool) -> None:
    with LiveRecorder(url, PLAN, clock=live_samples.Clock()) as recorder:
        recorder.log(live_trial("t1", "ann", at=START)).result(10)
        live_id = recorder.live_id
    schema.downgrade(url, "0004")
    with Kept(url, upgrade=upgrade) as kept:
        if not upgrade:
            until(lambda: len(kept.said) == 1)
            assert "has schema '0004'" in kept.said[0]
            assert "ragtrial db upgrade" in kept.said[0]
            assert schema.current_revision(url) == "0004"
            schema.upgrade(url)
        until(lambda: schema.current_revision(url) == schema.HEAD and n_trials(url, live_id) == 1)
    assert len(kept.said) == (0 if upgrade else 1)


def test_a_fault_is_said_once_while_it_lasts_and_again_when_it_comes_back(url: str, recorder: LiveRecorder) -> None:
    other = live_logs.registered(url, live_logs.experiment(name="other"))
    with LiveReader(url) as reader:
        plan = reader.plan(other)
    with Kept(url) as kept:
        until(lambda: n_trials(url, recorder.live_id) == 1)
        assert kept.said == []
        spoil(url, "other", {**plan, "retrieval": 3})
        with LiveRecorder(url, live_logs.experiment(name="other")) as second:
            until(lambda: second.log(live_trial(f"o{time.monotonic_ns()}", "ann")).result(10) is None and len(kept.said) > 0)
        time.sleep(0.3)
    assert len(kept.said) == 1
    assert kept.said[0].startswith("live experiment 'other' has no analysis: the plan of 'other' in the log is no plan")


def test_no_fault_of_ours_ends_it(url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one experiment the others go on; in the pass itself it is logged, counted and tried again."""
    other = live_logs.registered(url, live_logs.experiment(name="other"))
    summing, looking = RollUp.roll, Rolling.once
    broken = threading.Event()
    broken.set()

    def roll(self: RollUp, live_id: int, **more: object) -> object:
        return summing(self, live_id, **more) if live_id != other else len(None)  # type: ignore[arg-type]

    def once(self: Rolling, **more: object) -> object:
        return len(None) if broken.is_set() else looking(self, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(RollUp, "roll", roll)
    monkeypatch.setattr(Rolling, "once", once)
    with Kept(url) as kept:
        until(lambda: len(kept.said) > 0)
        broken.clear()
        until(lambda: n_trials(url, recorder.live_id) > 0)
        until(lambda: len(kept.said) == 2)
    assert kept.said[0].startswith("the dashboard's numbers are not up to date: TypeError: object of type 'NoneType' has no len()")
    assert kept.said[1].startswith("live experiment 'other' is not up to date: TypeError: object of type 'NoneType' has no len()")


def test_a_url_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        roll_for_ever("mysql://x", threading.Event())
    with pytest.raises(StoreError):
        roll_once(f"sqlite:///{tmp_path / 'none.db'}")


def test_finished_evaluations_are_concluded_once_and_one_that_fails_does_not_stop_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sample(), sample()
    second.evaluation = dataclasses.replace(second.evaluation, evaluation_id="later")
    broken, sound = log(url, first), log(url, second)
    tried: list[str] = []

    def conclude(given: str, evaluation_id: str) -> object:
        tried.append(evaluation_id)
        if evaluation_id == broken:
            raise InputError("its plan is not understood")
        return conclude_into(given, evaluation_id)

    monkeypatch.setattr(rolling_up, "conclude_into", conclude)
    with Rolling(url) as rolling:
        done = rolling.once()
        assert done.concluded == (sound,)
        assert done.errors == (f"evaluation {broken!r} can't be concluded: its plan is not understood",)
        assert rolling.once().concluded == ()
    assert tried == [broken, sound]  # what fails once on the same data would fail every time
    with BoardReader(url) as board:
        assert board.problem(broken) == "its plan is not understood"
        assert board.problem(sound) is None
    tried.clear()
    with Rolling(url) as rolling:  # it may be another version now
        rolling.once()
        rolling.once()
    assert tried == [broken]


def test_a_conclusion_that_fails_unexpectedly_is_kept_as_a_problem_and_stops_nothing(
    url: str, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation_id = log(url, sample())

    def fail(_url: str, _evaluation_id: str) -> object:
        return 1 // 0

    monkeypatch.setattr(rolling_up, "conclude_into", fail)
    done = roll_once(url)
    assert [live.snapshot for live in done.live] == ["made"]
    (said,) = done.errors
    assert "the analysis failed (ZeroDivisionError" in said
    with BoardReader(url) as board:
        assert board.problem(evaluation_id) is not None


def test_the_command_says_what_it_did_and_its_json_holds_the_same(url: str, recorder: LiveRecorder) -> None:
    runner = CliRunner()
    first = runner.invoke(app, ["roll-up", "--database", url])
    assert first.exit_code == 0
    assert "handbook: 1 x 5 minutes summed, 1 rows written; analysed in" in first.stdout
    again = runner.invoke(app, ["roll-up", "--database", url, "--json"])
    assert again.exit_code == 0
    (live,) = json.loads(again.stdout)["live"]
    assert (live["name"], live["rows"], live["newest_trial"], live["problem"]) == ("handbook", 0, 1, None)


def test_the_command_needs_a_file_or_a_database() -> None:
    found = CliRunner().invoke(app, ["roll-up"])
    assert isinstance(found.exception, InputError)
    assert "give the experiment's file, or --database" in str(found.exception)
