"""Once retention has removed trials of an experiment that is over, what it came to stays; it takes nothing new, and who asks is erased."""

import dataclasses
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select, update

from live_service import live_experiment
from ragtrial.db.engine import open_engine
from ragtrial.db.live_board_reader import LiveBoardReader, StoredSnapshot
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_models import LiveScoreRow, LiveTrialRow
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.traffic import TrafficStore
from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow, UnitChangeRow
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.score import Score
from ragtrial.errors import InputError
from ragtrial.formats.experiment import ExperimentFile, load_experiment
from ragtrial.splitting import pseudonym
from ragtrial.suite.live_analysis import analyse_live
from ragtrial.suite.log_importing import import_log
from ragtrial.suite.retaining import retain
from ragtrial.suite.rolling import Rolling, roll_once
from unit.db.live_samples import DAY, Clock, live_trial, vote

BEGIN = 1_500_000_000.0
"""Long ago by any clock: retention looks at the real one."""

PLANNED = 200
_AT_ONCE = 60


def _log(url: str, experiment: Experiment, prefix: str, *, n: int = 60, units: int = 20, begin: float = BEGIN, stop: bool = True) -> int:
    """Trials an hour apart, with a score and a vote each; stopped at the end."""
    clock = Clock(begin)
    with LiveRecorder(url, experiment, clock=clock) as recorder:
        for first in range(0, n, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, n))
            trials = [
                live_trial(
                    f"{prefix}{i}",
                    f"u{i % units}",
                    ("baseline", "custom")[i % 2],
                    at=begin + 60 + 3600 * i,
                    waited_ms=10 + i % 7 + i / 1000,
                )
                for i in numbers
            ]
            _all_well([recorder.log(dataclasses.replace(trial, experiment=experiment.name)) for trial in trials])
            scored = [recorder.score(f"{prefix}{i}", [Score(metric="nDCG@10", value=(i % 5) / 5, scorer="s")]) for i in numbers]
            votes = [vote(f"{prefix}{i}", "v", "up" if i % 3 else "down", at=begin + 120 + 3600 * i) for i in numbers]
            _all_well([*scored, *map(recorder.vote, votes)])
        if stop:
            clock.now = begin + 3600 * n
            recorder.change_traffic(expected_version=1, actor="a", reason="over", stopped=True)
        return recorder.live_id


def _all_well(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.result(60)


@pytest.fixture
def place(url: str, tmp_path: Path) -> Path:
    """An experiment file on the database."""
    metrics = {"primary": {"name": "nDCG@10"}, "guardrails": [{"name": "failed", "max_increase": 0.05}]}
    return live_experiment(tmp_path, stores={"sql": url}, metrics=metrics, units_planned=PLANNED)


@pytest.fixture
def file(place: Path) -> ExperimentFile:
    return load_experiment(place)


def _closed(url: str, place: Path, file: ExperimentFile, *, n: int = 60, units: int = 20) -> int:
    live_id = _log(url, file.experiment, "t", n=n, units=units)
    roll_once(url)
    assert retain(place, keep_days=1).removed[f"{file.experiment.name} ({live_id})"]["trials"] == n
    return live_id


def _snapshot(url: str, live_id: int) -> StoredSnapshot:
    with LiveBoardReader(url) as board:
        found = board.snapshot(live_id)
    assert found is not None
    return found


def _count(url: str, *wanted: object) -> list[int]:
    engine = open_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            return [connection.execute(each).scalar_one() for each in wanted]  # type: ignore[call-overload]
    finally:
        engine.dispose()


def test_what_a_closed_experiment_came_to_is_stored_for_the_last_time_and_never_made_again(
    url: str, place: Path, file: ExperimentFile
) -> None:
    live_id = _log(url, file.experiment, "early", n=20, stop=False)
    roll_once(url)
    stale = _snapshot(url, live_id)
    assert _log(url, file.experiment, "t", n=440, units=80, begin=BEGIN + DAY) == live_id
    retain(place, keep_days=1)
    kept = _snapshot(url, live_id)
    assert kept.version > stale.version, "what came since the last look is in it"
    assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [0]
    with LiveReader(url) as reader:
        found = analyse_live(file, reader)
    assert found.progress.n_trials == 460
    assert found.tail is not None
    assert found.tail.ratio is not None, "a p95 that the log can't say any more"
    assert len(found.looks) > 2
    with RollUp(url) as roll_up:  # a process that had read the log before, and is late
        roll_up.store_snapshot(live_id, dataclasses.replace(kept, version=kept.version + 5, document={"other": 1}))
    roll_once(url, clock=lambda: BEGIN + 30 * DAY)
    assert _snapshot(url, live_id) == kept


def test_a_closed_experiment_takes_no_new_trials_and_says_so(url: str, place: Path, file: ExperimentFile, tmp_path: Path) -> None:
    live_id = _closed(url, place, file)
    said = r"experiment '.+' is closed, as retention has removed trials of it.* Give the experiment another name"
    with TrafficStore(url) as store:
        with pytest.raises(InputError, match=f"the traffic can't be started again: {said}"):
            store.change(live_id, expected_version=2, actor="a", reason="again", stopped=False)
        assert store.change(live_id, expected_version=2, actor="a", reason="still stopped", share=0.5).stopped
    with LiveRecorder(url, file.experiment) as recorder, pytest.raises(InputError, match=said):
        recorder.change_traffic(expected_version=3, actor="a", reason="again", stopped=False)
    trials = tmp_path / "trials.parquet"
    pq.write_table(
        pa.table({"trial_id": ["n1"], "user": ["u1"], "arm": ["baseline"], "at": [BEGIN], "waited_ms": [1.0], "query_text": ["?"]}), trials
    )
    with pytest.raises(InputError, match=f"nothing was imported: {said}"):
        import_log(place, {"trials": [trials]})
    assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [0]


def test_who_resumes_while_retention_asks_keeps_every_trial(url: str, place: Path, file: ExperimentFile) -> None:
    live_id = _log(url, file.experiment, "t")
    roll_once(url)

    def resume(_question: str) -> None:
        with TrafficStore(url) as store:
            store.change(live_id, expected_version=2, actor="a", reason="again", stopped=False)

    done = retain(place, keep_days=1, agree=resume)
    assert (done.removed, list(done.left.values())) == ({}, ["it was started again meanwhile, so nothing of it was removed"])
    assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [60]


def test_what_another_process_is_summing_is_left_alone_until_the_next_run(
    url: str, place: Path, file: ExperimentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_id = _log(url, file.experiment, "t")
    roll_once(url)
    real = RollUp.roll

    def overtaken(self: RollUp, live_id: int, **more: object) -> object:
        return dataclasses.replace(real(self, live_id, **more), complete=False)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(RollUp, "roll", overtaken)
        with Rolling(url) as rolling:
            assert "another process sums its log at this moment" in str(rolling.one(live_id))
        done = retain(place, keep_days=1)
        assert done.removed == {}
        assert "summed by another process, all the while: nothing was removed" in done.left[f"{file.experiment.name} ({live_id})"]
        assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [60]
    assert list(retain(place, keep_days=1).left) == []


def _score_anew(url: str, value: float) -> None:
    """All trials, as an import does; neither their number nor the newest of them is another one."""
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(update(LiveScoreRow).values(value=value))
    engine.dispose()


def _stored_mean(url: str, live_id: int) -> float:
    document = _snapshot(url, live_id).document
    assert document is not None
    mean: float = document["analysis"]["comparisons"][0]["baseline"]["mean"]
    return mean


def test_scores_of_old_trials_that_came_last_are_in_the_final_result(url: str, place: Path, file: ExperimentFile) -> None:
    live_id = _log(url, file.experiment, "t")
    roll_once(url)
    _score_anew(url, 0.75)
    retain(place, keep_days=1)
    assert _stored_mean(url, live_id) == pytest.approx(0.75)


@pytest.mark.parametrize("summed", [False, True], ids=["nobody-has-summed-them", "another-process-has"])
def test_scores_that_come_while_it_is_being_closed_are_in_sums_and_result(
    url: str, place: Path, file: ExperimentFile, monkeypatch: pytest.MonkeyPatch, summed: bool
) -> None:
    live_id = _log(url, file.experiment, "t")
    real, values = RollUp.store_snapshot, [0.25]

    def stored(self: RollUp, *what: Any, **more: Any) -> bool:
        done = real(self, *what, **more)
        if values:
            _score_anew(url, values.pop())
            if summed:
                with RollUp(url) as other:
                    other.roll_units(live_id)
        return done

    roll_once(url)
    monkeypatch.setattr(RollUp, "store_snapshot", stored)
    _score_anew(url, 0.75)
    assert retain(place, keep_days=1).left == {}
    total, n = _count(url, *(select(func.sum(column)) for column in (LiveUnitScoreRow.total, LiveUnitScoreRow.n)))
    assert total / n == pytest.approx(0.25)
    assert _stored_mean(url, live_id) == pytest.approx(0.25)


def test_a_look_that_began_before_the_last_scores_came_is_not_the_final_result(
    url: str, place: Path, file: ExperimentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores alone make no other version of the sums: a slow process stores what it has read before, right before the sums are closed."""
    live_id = _log(url, file.experiment, "t")
    roll_once(url)
    real, late = RollUp.store_snapshot, list[Callable[[RollUp], object]]()

    def slow(_self: RollUp, *what: Any, **more: Any) -> bool:
        late.append(lambda other: real(other, *what, **more))
        return True

    def overtaken(self: RollUp, *what: Any, **more: Any) -> bool:
        stored = real(self, *what, **more)
        with RollUp(url) as other:
            while late:
                late.pop()(other)
        return stored

    _score_anew(url, 0.25)
    with Rolling(url) as rolling, monkeypatch.context() as patch:
        patch.setattr(RollUp, "store_snapshot", slow)
        rolling.one(live_id, anew=True)
    assert len(late) == 1
    _score_anew(url, 0.75)
    monkeypatch.setattr(RollUp, "store_snapshot", overtaken)
    assert retain(place, keep_days=1).left == {}
    assert _stored_mean(url, live_id) == pytest.approx(0.75)


def test_a_final_result_that_another_process_was_faster_with_is_made_again(
    url: str, place: Path, file: ExperimentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_id = _log(url, file.experiment, "t")
    roll_once(url)
    real, others = RollUp.store_snapshot, [1]

    def stored(self: RollUp, *what: Any, **more: Any) -> bool:
        if others.pop() if others else 0:
            with Rolling(url) as faster:
                faster.one(live_id, anew=True)
        return real(self, *what, **more)

    monkeypatch.setattr(RollUp, "store_snapshot", stored)
    assert retain(place, keep_days=1).left == {}
    assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [0]


def test_an_experiment_that_scores_keep_coming_to_is_not_closed(
    url: str, place: Path, file: ExperimentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_id = _log(url, file.experiment, "t")
    roll_once(url)
    real = RollUp.store_snapshot

    def stored(self: RollUp, live_id: int, snapshot: StoredSnapshot, **more: Any) -> bool:
        done = real(self, live_id, snapshot, **more)
        _score_anew(url, snapshot.made_at % 1)
        return done

    monkeypatch.setattr(RollUp, "store_snapshot", stored)
    done = retain(place, keep_days=1)
    assert (done.removed, list(done.left)) == ({}, [f"{file.experiment.name} ({live_id})"])
    assert _count(url, select(func.count()).select_from(LiveTrialRow)) == [60]


def test_one_erased_unit_takes_no_planned_verdict_away_and_leaves_nothing_of_itself(url: str, place: Path, file: ExperimentFile) -> None:
    live_id = _closed(url, place, file, n=2 * (PLANNED + 10), units=PLANNED + 10)
    with LiveReader(url) as reader:
        before = reader.unit_tables(live_id, ["nDCG@10", "failed"], experiment=file.experiment)
    assert before is not None
    with erasing(url) as eraser:
        assert eraser.unit_counts("u3") == {
            "trials": 0,
            "scores": 0,
            "votes": 0,
            "signals": 0,
            "comparisons": 0,
            "preferences": 0,
            "sums": 1,
        }
        assert eraser.forget_unit("u3", actor="a")["sums"] == 1
        assert not any(eraser.unit_counts("u3").values())
    with LiveReader(url) as reader:
        after = reader.unit_tables(live_id, ["nDCG@10", "failed"], experiment=file.experiment)
    assert after is not None
    assert (after.planned_at, set(after.frozen)) == (before.planned_at, {"nDCG@10"})
    assert before.planned_at is not None
    sizes = [tables["nDCG@10"].control.totals.size + tables["nDCG@10"].treatment.totals.size for tables in (before.frozen, after.frozen)]
    assert sizes == [PLANNED, PLANNED - 1]
    assert after.exposure.units.sum() == PLANNED + 9
    assert after.exposure.erased == {"custom": 2}  # counted, as whose trials are erased from the log
    for table in (LiveUnitRow, LiveUnitScoreRow, UnitChangeRow):
        assert _count(url, select(func.count()).select_from(table).where(table.unit == pseudonym("u3"))) == [0]


def _named(file: ExperimentFile, name: str) -> Experiment:
    """The same plan under another name, which splits by another salt."""
    return dataclasses.replace(file.experiment, name=name)


def _history(url: str, live_id: int, experiment: Experiment, metric: str, *, of_sums: bool) -> list[tuple[float, ...]]:
    """Totals, counts and what was there before, of each unit of both arms."""
    with LiveReader(url) as reader:
        if of_sums:
            units = reader.unit_tables(live_id, [metric], experiment=experiment)
            assert units is not None
            table = units.tables[metric]
        else:
            table = reader.split_scores(live_id, metric, experiment=experiment)
    rows: list[tuple[float, ...]] = []
    for number, arm in enumerate((table.control, table.treatment)):
        assert arm.pre_totals is not None, metric
        assert arm.pre_counts is not None
        columns = (arm.totals, arm.counts, arm.pre_totals, arm.pre_counts)
        rows += [(number, *(round(float(value), 9) for value in row)) for row in zip(*columns, strict=True)]
    return sorted(rows)


def test_what_units_did_in_an_earlier_experiment_stays_the_covariate_when_retention_has_removed_it(
    url: str, place: Path, file: ExperimentFile
) -> None:
    earlier, metrics = _named(file, "earlier"), ("latency_ms", "nDCG@10", "up_share")
    first = _log(url, earlier, "a")
    live_id = _log(url, file.experiment, "b", begin=BEGIN + 40 * DAY, stop=False)
    by_hand = {name: _history(url, live_id, file.experiment, name, of_sums=False) for name in metrics}
    # u0 asked a0, a20 and a40 before, and as often since: 10 + 0 % 7, 10 + 20 % 7 and 10 + 40 % 7 ms, and i / 1000 each
    assert (0, 41.06, 3.0, 41.06, 3.0) in by_hand["latency_ms"]
    roll_once(url)
    done = retain(place, keep_days=1, everything=True)
    assert set(done.removed) == {f"earlier ({first})"}
    for name in metrics:
        assert _history(url, live_id, file.experiment, name, of_sums=True) == by_hand[name], name
        assert _history(url, live_id, file.experiment, name, of_sums=False) == by_hand[name], name


def test_the_covariate_of_what_had_ended_is_read_from_its_sums_and_not_from_ten_million_trials(
    url: str, place: Path, file: ExperimentFile
) -> None:
    del place
    first = _log(url, _named(file, "earlier"), "a", n=40, units=40)
    live_id = _log(url, file.experiment, "b", n=40, units=40, begin=BEGIN + 40 * DAY, stop=False)
    roll_once(url)
    engine = open_engine(url)
    with engine.begin() as connection:  # what nobody does: it shows where the covariate comes from
        connection.execute(update(LiveUnitRow).where(LiveUnitRow.live_id == first).values(waited_ms=7000.0))
    rows = _history(url, live_id, file.experiment, "latency_ms", of_sums=True)
    assert {row[3] for row in rows} == {7000.0}
    with LiveRecorder(url, _named(file, "earlier")) as recorder:  # now the sums lack something, and it went on beside the later one
        recorder.log(live_trial("late", "u1", "custom", at=BEGIN + 41 * DAY)).result(30)
    rows = _history(url, live_id, file.experiment, "latency_ms", of_sums=True)
    assert (1, 11.001, 1.0, 11.001, 1.0) in rows
    engine.dispose()


def test_trials_that_a_later_experiment_needs_stay_until_that_one_is_closed(url: str, place: Path, file: ExperimentFile) -> None:
    first = _log(url, _named(file, "earlier"), "a", n=40, units=40)
    second = _log(url, file.experiment, "b", n=40, units=40, begin=BEGIN + DAY / 2)  # twelve hours after the first one began
    roll_once(url)
    done = retain(place, keep_days=1, everything=True)
    name = file.experiment.name
    assert f"'{name}' began while it ran, and its effect takes off what the same users did" in done.left[f"earlier ({first})"]
    assert set(done.removed) == {f"{name} ({second})"}
    assert set(retain(place, keep_days=1, everything=True).removed) == {f"earlier ({first})"}
