"""The traffic of an experiment that was served, changed by its number: on SQLite and on PostgreSQL."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import event

from ragtrial.db.bulk_import import bulk_import
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.traffic import TrafficStore
from ragtrial.domain.score import Score
from ragtrial.errors import ConflictError, InputError, OverloadedError, StoreError
from unit.db.live_samples import START, Clock, experiment, live_trial


@pytest.fixture
def live_id(url: str) -> int:
    """An experiment that was served, and another one before it."""
    for name in ("other", "handbook"):
        with LiveRecorder(url, experiment(name=name), clock=Clock()) as recorder:
            found = recorder.live_id
    return found


def test_a_change_by_number_touches_no_other_experiment_and_registers_none(url: str, live_id: int) -> None:
    with TrafficStore(url, clock=Clock(START + 60)) as store, LiveReader(url) as reader:
        state = store.change(live_id, expected_version=1, actor="ann", reason="ramp", share=0.25)
        assert (state.version, state.share, state.treatment, state.stopped, state.at) == (2, 0.25, 0.5, False, START + 60)
        assert reader.traffic(live_id) == state
        assert [each.name for each in reader.experiments()] == ["other", "handbook"]
        assert [reader.traffic(each.live_id).version for each in reader.experiments()] == [1, 2]
        entry = reader.audit_log(live_id)[0]
        assert (entry.live_id, entry.at, entry.actor, entry.action, entry.subject) == (
            live_id,
            START + 60,
            "ann",
            "change traffic",
            "handbook",
        )
        assert entry.detail == {
            "from": {"share": 1.0, "treatment": 0.5, "stopped": False},
            "to": {"share": 0.25, "treatment": 0.5, "stopped": False},
            "version": 2,
            "reason": "ramp",
        }


def test_the_service_and_a_page_change_the_same_versions(url: str, live_id: int) -> None:
    with LiveRecorder(url, experiment(), clock=Clock()) as service, TrafficStore(url, clock=Clock()) as page:
        service.change_traffic(expected_version=1, actor="guardrail", reason="failed: it is worse", stopped=True)
        with pytest.raises(ConflictError, match="'handbook' has version 2, changed by 'guardrail', and not 1: look at it again"):
            page.change(live_id, expected_version=1, actor="ann", reason="more", share=1.0)
        page.change(live_id, expected_version=2, actor="ann", reason="known", stopped=False)
        with pytest.raises(ConflictError, match="has version 3, changed by 'ann'"):
            service.change_traffic(expected_version=2, actor="guardrail", reason="failed: still", stopped=True)


def test_of_two_pages_that_change_the_same_version_at_once_one_is_told(url: str, live_id: int) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def change() -> None:
        with TrafficStore(url) as store:
            barrier.wait()
            try:
                store.change(live_id, expected_version=1, actor="x", reason="y", share=0.5)
                outcomes.append("changed")
            except ConflictError:
                outcomes.append("conflict")

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["changed", "conflict"]
    with LiveReader(url) as reader:
        assert len(reader.traffic_history(live_id)) == 2


def test_a_refused_change_leaves_neither_a_version_nor_an_audit_entry(url: str, live_id: int) -> None:
    with TrafficStore(url) as store, LiveReader(url) as reader:
        with pytest.raises(InputError, match="give shares from 0 to 1"):
            store.change(live_id, expected_version=1, actor="ann", reason="more", share=2.0)
        with pytest.raises(InputError, match="there is no live experiment 99"):
            store.change(99, expected_version=1, actor="ann", reason="more", share=0.5)
        assert (reader.traffic(live_id).version, reader.audit_log()) == (1, ())


def test_texts_that_a_database_refuses_are_kept_as_far_as_they_can_be(url: str, live_id: int) -> None:
    with TrafficStore(url) as store:
        state = store.change(live_id, expected_version=1, actor="a\0b", reason="why\ud800", stopped=True)
    assert (state.actor, state.reason) == ("a\ufffdb", "why\ufffd")


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        TrafficStore(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


def test_traffic_is_stopped_while_an_import_goes_on(postgres_url: str) -> None:
    with LiveRecorder(postgres_url, experiment(), clock=Clock()) as recorder:
        live_id = recorder.live_id
    with bulk_import(postgres_url, live_id, late_days=7, actor="a"), TrafficStore(postgres_url) as store:  # minutes, of ten million rows
        assert store.change(live_id, expected_version=1, actor="ann", reason="it burns", stopped=True).stopped
        with LiveRecorder(postgres_url, experiment()) as other:  # and a service that starts just now learns of it
            assert other.live_id == live_id


def test_neither_records_nor_traffic_wait_for_the_first_roll_up(postgres_url: str) -> None:
    """It looks up every unit of the log, which takes minutes where there are a million."""
    with LiveRecorder(postgres_url, experiment(), clock=Clock()) as recorder, RollUp(postgres_url) as roll_up:
        recorder.log(live_trial("t1", "ann")).result(10)
        done: list[int] = []

        def meanwhile(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if statement.startswith(("INSERT INTO live_unit_changes", "INSERT INTO live_units")) and len(done) < 2:
                number = len(done) + 2
                recorder.log(live_trial(f"t{number}", "ann")).result(10)
                done.append(recorder.change_traffic(expected_version=number - 1, actor="a", reason="r", share=0.5).version)

        event.listen(roll_up._writing, "after_cursor_execute", meanwhile)
        roll_up.roll_units(recorder.live_id)
        assert done == [2, 3]
        roll_up.roll_units(recorder.live_id)
        with LiveReader(postgres_url) as reader:
            sums = reader.unit_tables(recorder.live_id, ["failed"], experiment=experiment())
            assert sums is not None
            assert (sums.exposure.trials.sum(), sums.summed) == (3, 0)


def test_users_wait_for_no_score_that_an_import_is_about_to_bring(postgres_url: str) -> None:
    """PostgreSQL keeps whoever inserts a key waiting for the transaction that has inserted it: of an import, minutes."""
    with LiveRecorder(postgres_url, experiment(), clock=Clock()) as recorder:
        recorder.log(live_trial("t1", "ann")).result(10)
        mine = [Score(metric="nDCG@10", value=0.5, scorer="mine")]
        row = {"trial_id": "t1", "metric": "nDCG@10", "value": 0.25, "unscored": None, "scorer": "theirs", "n_calls": 0, "at": START}
        with bulk_import(postgres_url, recorder.live_id, late_days=7, actor="a") as importing:
            importing.about_trials("live_scores", [pa.Table.from_pylist([row])], place="scores")
            scored, logged = recorder.score("t1", mine), recorder.log(live_trial("t2", "bob"))
            logged.result(10)
            with pytest.raises(OverloadedError, match="an import writes scores"):
                scored.result(10)
        recorder.score("t1", mine).result(10)
        with LiveReader(postgres_url) as reader:
            assert [score.scorer for score in reader.scores_of("t1")] == ["theirs"]
