"""What people say is kept with its history, and belongs to a trial."""

import dataclasses

import pytest

from ragtrial.db import engine as database
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.label import LABEL_WORDS, Label
from ragtrial.errors import StoreError
from ragtrial.scoring.rubrics import CORRECTNESS
from unit.db import samples

LABEL = Label(
    evaluation_id="e1",
    arm="custom",
    query_id="q2",
    metric="judge_correctness",
    word="partly",
    value=0.5,
    scorer="judge/1 m abc",
    selection="random",
    probability=0.25,
    labeller="ann",
    note="naïve",
)


@pytest.fixture
def recorded(url: str) -> str:
    with Recorder(url, clock=samples.clock) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=7)
        recorder.append("e1", [(trial, ()) for trial in samples.EVERY_KIND], samples.PASSAGES)
        recorder.finish("e1")
    return url


def test_labels_come_back_as_they_were_given_also_of_a_finished_evaluation(recorded: str) -> None:
    others = (dataclasses.replace(LABEL, labeller="bob", probability=None, note=""), dataclasses.replace(LABEL, arm="baseline"))
    with Recorder(recorded) as recorder:
        recorder.add_labels([LABEL, *others])
        recorder.add_labels([])
    with Reader(recorded) as reader:
        assert reader.labels("handbook") == (LABEL, *others)
        assert reader.labels("another") == ()
        assert reader.counts()["labels"] == 3


def test_the_last_label_of_a_labeller_counts_and_the_earlier_ones_stay(recorded: str) -> None:
    second = dataclasses.replace(LABEL, word="wrong", value=0.0)
    of_bob = dataclasses.replace(LABEL, labeller="bob")
    with Recorder(recorded) as recorder:
        recorder.add_labels([LABEL, of_bob])
        recorder.add_labels([second])
    with Reader(recorded) as reader:
        assert reader.labels("handbook") == (of_bob, second)
        assert reader.labels("handbook", history=True) == (LABEL, of_bob, second)


def test_a_label_that_was_given_freely_does_not_take_the_place_of_one_that_was_drawn(recorded: str) -> None:
    freely = dataclasses.replace(LABEL, word="wrong", value=0.0, selection="volunteered", probability=None)
    with Recorder(recorded) as recorder:
        recorder.add_labels([LABEL, freely])
    with Reader(recorded) as reader:
        assert reader.labels("handbook") == (LABEL, freely)


def test_a_label_of_a_trial_that_is_not_there_writes_nothing_of_its_batch(recorded: str) -> None:
    with Recorder(recorded) as recorder, pytest.raises(StoreError, match=r"(?i)foreign key"):
        recorder.add_labels([LABEL, dataclasses.replace(LABEL, query_id="never asked")])
    with Reader(recorded) as reader:
        assert reader.counts()["labels"] == 0


@pytest.mark.parametrize(("field", "value"), [("selection", "'thumb'"), ("probability", "0"), ("probability", "1.5"), ("value", "1e999")])
def test_the_database_itself_refuses_what_no_label_can_be(recorded: str, field: str, value: str) -> None:
    with Recorder(recorded) as recorder:
        recorder.add_labels([LABEL])
    engine = database.open_engine(recorded)
    try:
        with pytest.raises(StoreError), database.transaction(engine, "log") as connection:
            connection.exec_driver_sql(f"UPDATE labels SET {field} = {value}")  # noqa: S608  # constants
    finally:
        engine.dispose()


@pytest.mark.parametrize("change", [{"value": float("nan")}, {"selection": "thumb"}, {"probability": 0.0}, {"probability": 1.1}])
def test_a_label_refuses_what_it_can_not_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="q2"):
        dataclasses.replace(LABEL, **change)


def test_people_choose_from_the_words_that_the_judge_chooses_from() -> None:
    assert LABEL_WORDS["judge_correctness"] == CORRECTNESS
