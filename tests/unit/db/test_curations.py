"""What people choose is only ever added to, and taken back by a row of its own."""

import dataclasses
import threading
from pathlib import Path

import pytest

from ragtrial.db import engine as database
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.curations import CurationRecorder
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.recorder import Recorder
from ragtrial.domain.curation import Curation, standing
from ragtrial.errors import ConflictError, InputError, StoreError
from unit.db import live_samples, samples

CHOSEN = Curation(
    experiment="handbook",
    kind="judgment",
    query_text="What opens the gate?",
    query_id="q2",
    passage_id="p4",
    passage_text="Gates Passage number 4: naïve, “quoted”.",
    grade=2,
    evaluation_id="e1",
    actor="ann",
    note="answers it word for word",
    created_at="",
)
PAIR = dataclasses.replace(CHOSEN, kind="pair", grade=None, query_id=None, evaluation_id=None, trial_id="t1", query_text="مفتاح البوابة؟")


@pytest.fixture
def recorded(url: str) -> str:
    with Recorder(url, clock=samples.clock) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=7)
    return url


def choose(url: str, *wanted: Curation) -> tuple[Curation, ...]:
    with CurationRecorder(url, clock=samples.clock) as recorder:
        return tuple(recorder.add(each) for each in wanted)


def stands(url: str, *, history: bool = False) -> tuple[Curation, ...]:
    with BoardReader(url) as reader:
        return reader.curations("handbook", history=history)


def test_what_is_chosen_comes_back_with_a_number_and_its_time(recorded: str) -> None:
    made = choose(recorded, CHOSEN, PAIR)
    assert [each.curation_id for each in made] == [1, 2]
    assert made[0] == dataclasses.replace(CHOSEN, curation_id=1, created_at=samples.NOON.isoformat())
    assert stands(recorded) == made
    with BoardReader(recorded) as reader:
        assert reader.curations("another") == ()


def test_what_stands_of_one_query_is_found_by_its_id_or_its_text(recorded: str) -> None:
    live = dataclasses.replace(CHOSEN, evaluation_id=None, trial_id="t1", query_text="what OPENS the gate?", passage_id="p1")
    other = dataclasses.replace(CHOSEN, query_id="q1", query_text="Who keeps the key?")
    gold, pair, again, _ = choose(recorded, CHOSEN, PAIR, live, other)
    with BoardReader(recorded) as reader:
        assert reader.curations_of("handbook", query_id="q2", text=CHOSEN.query_text) == (gold, again)
        assert reader.curations_of("handbook", query_id=None, text=PAIR.query_text) == (pair,)
        assert reader.curations_of("handbook", query_id=None, text=None) == ()
        assert reader.curations_of("another", query_id="q2", text=None) == ()
    with CurationRecorder(recorded) as recorder:
        recorder.take_back(gold.curation_id or 0, actor="bob")
    with BoardReader(recorded) as reader:
        assert reader.curations_of("handbook", query_id="q2", text=None) == (again,)


def test_taking_back_adds_a_row_that_repeats_what_it_takes_back(recorded: str) -> None:
    made = choose(recorded, CHOSEN, PAIR)
    with CurationRecorder(recorded, clock=samples.clock) as recorder:
        gone = recorder.take_back(1, actor="bob", note="misread")
    assert gone == dataclasses.replace(made[0], curation_id=3, actor="bob", note="misread", takes_back=1)
    assert stands(recorded) == (made[1],)
    assert stands(recorded, history=True) == (*made, gone)


def test_what_was_taken_back_can_be_chosen_again_and_nothing_is_taken_back_twice(recorded: str) -> None:
    choose(recorded, CHOSEN)
    with CurationRecorder(recorded) as recorder:
        recorder.take_back(1, actor="bob")
        with pytest.raises(ConflictError, match="bob took curation 1 back already"):
            recorder.take_back(1, actor="ann")
        with pytest.raises(InputError, match="no curation 2 to take back"):
            recorder.take_back(2, actor="ann")  # itself a taking back
        with pytest.raises(InputError, match="no curation 99"):
            recorder.take_back(99, actor="ann")
    again = choose(recorded, dataclasses.replace(CHOSEN, grade=1))
    assert stands(recorded) == again


@pytest.mark.parametrize(
    "other", [CHOSEN, dataclasses.replace(CHOSEN, grade=0), dataclasses.replace(CHOSEN, kind="hard negative", grade=None)]
)
def test_one_passage_of_a_query_is_chosen_for_one_thing_at_a_time(recorded: str, other: Curation) -> None:
    choose(recorded, CHOSEN)
    with pytest.raises(ConflictError, match=r"ann chose passage 'p4' of this query as judgment with grade 2 already \(number 1\)"):
        choose(recorded, dataclasses.replace(other, actor="bob"))
    assert len(stands(recorded, history=True)) == 1


def test_two_who_choose_the_same_at_once_write_one_row(recorded: str) -> None:
    outcomes: list[str] = []

    def one(name: str) -> None:
        try:
            choose(recorded, dataclasses.replace(CHOSEN, actor=name))
            outcomes.append("written")
        except ConflictError:
            outcomes.append("refused")

    threads = [threading.Thread(target=one, args=(f"operator {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "written"]
    assert len(stands(recorded, history=True)) == 1


def test_an_evaluation_that_is_not_there_can_not_have_been_its_source(recorded: str) -> None:
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        choose(recorded, dataclasses.replace(CHOSEN, evaluation_id="never run"))
    assert stands(recorded) == ()


def test_what_no_database_takes_is_replaced_and_not_lost(recorded: str) -> None:
    (made,) = choose(recorded, dataclasses.replace(CHOSEN, note="a\0b\ud800c"))
    assert made.note == "a\ufffdb\ufffdc"
    assert stands(recorded) == (made,)


def test_choosing_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        CurationRecorder(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "'maybe'"), ("grade", "NULL"), ("evaluation_id", "NULL"), ("trial_id", "'t1'"), ("takes_back", "77")]
)
def test_the_database_itself_refuses_what_no_curation_can_be(recorded: str, field: str, value: str) -> None:
    choose(recorded, CHOSEN)
    engine = database.open_engine(recorded)
    try:
        with pytest.raises(StoreError), database.transaction(engine, "log") as connection:
            connection.exec_driver_sql(f"UPDATE curations SET {field} = {value}")  # noqa: S608  # constants
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "maybe"},
        {"grade": None},
        {"grade": -1},
        {"kind": "pair"},
        {"trial_id": "t1"},
        {"evaluation_id": None},
        {"query_text": " "},
        {"actor": ""},
    ],
)
def test_a_curation_refuses_what_it_can_not_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="p4"):
        dataclasses.replace(CHOSEN, **change)


def test_what_stands_is_neither_taken_back_nor_a_taking_back() -> None:
    first = dataclasses.replace(CHOSEN, curation_id=1)
    gone = dataclasses.replace(CHOSEN, curation_id=2, takes_back=1)
    again = dataclasses.replace(CHOSEN, curation_id=3)
    assert standing((first, gone, again)) == (again,)


@pytest.mark.parametrize("how", ["unit", "texts"])
def test_erasing_takes_the_text_of_what_was_chosen_from_the_erased_trials_and_of_nothing_else(recorded: str, how: str) -> None:
    with LiveRecorder(recorded, live_samples.experiment(), clock=live_samples.Clock()) as recorder:
        recorder.log(
            live_samples.live_trial("t1", "ann"), live_samples.live_trial("t2", "bob", at=live_samples.START + 9 * live_samples.DAY)
        ).result(10)
    other = dataclasses.replace(PAIR, trial_id="t2", passage_id="p3")
    choose(recorded, dataclasses.replace(PAIR, note="she asked for the key"), other, CHOSEN)
    with erasing(recorded) as eraser:
        if how == "unit":
            eraser.forget_unit("ann", actor="test")
        else:
            eraser.forget_texts(before=live_samples.START + live_samples.DAY, experiment="handbook", actor="test")
    assert [(each.query_text, each.note) for each in stands(recorded)] == [
        ("[erased]", ""),
        (PAIR.query_text, PAIR.note),
        (CHOSEN.query_text, CHOSEN.note),
    ]
