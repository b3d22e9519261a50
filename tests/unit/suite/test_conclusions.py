"""A finished evaluation is concluded once, and the dashboard reads that."""

import dataclasses
import time
from pathlib import Path

import pytest

from ragtrial.cli.experiments import evaluate_prepared, show
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.label import Label
from ragtrial.domain.trial import Trial
from ragtrial.errors import InputError
from ragtrial.formats.experiment import sql_url
from ragtrial.report.summary import CONCLUSION_FORM, Summary, as_document, read_summary
from ragtrial.suite.concluding import LABELS_WAIT_S, conclude, conclude_file, conclude_into, unconcluded
from unit.logged import log, sample
from unit.test_suite import made, prepared


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


def read(url: str, evaluation_id: str) -> Summary | None:
    with Reader(url) as reader, BoardReader(url) as board:
        return read_summary(reader, board, evaluation_id)


def test_what_is_concluded_from_sql_alone_is_read_again_as_it_was(url: str) -> None:
    made = sample(repetitions=2)
    evaluation_id = log(url, made)
    concluded = conclude_into(url, evaluation_id)
    assert read(url, evaluation_id) == concluded
    own = made.content()
    assert concluded.primary == own.primary
    assert concluded.anatomy == own.anatomy
    assert concluded.usage == own.usage
    assert concluded.evaluation.finished_at is not None


def test_every_query_has_a_row_and_a_failed_one_says_so(url: str) -> None:
    made = sample()
    evaluation_id = log(url, made)
    summary = conclude_into(url, evaluation_id)
    with BoardReader(url) as board:
        everything = board.outcomes(evaluation_id, limit=100)
        assert [row.query_id for row in everything.rows] == [query.query_id for query in made.gold.queries]
        assert [row.text for row in everything.rows] == [query.text for query in made.gold.queries]
        assert board.outcomes(evaluation_id, view="largest wins").total == summary.primary.wins
        assert board.outcomes(evaluation_id, view="largest losses").total == summary.primary.losses
        assert [row.query_id for row in board.outcomes(evaluation_id, view="failures").rows] == ["q040"]
        assert board.n_trials_done(evaluation_id) == len(made.trials)


def test_an_analysis_under_the_plan_of_the_evaluation_is_stored_with_the_reports(file_url: str) -> None:
    made = sample()
    evaluation_id = log(file_url, made)
    with Reader(file_url) as reader:
        outcome = conclude(reader, reader.evaluation(evaluation_id), made.experiment, store=file_url)
    assert outcome.not_stored is None
    found = read(file_url, evaluation_id)
    assert found is not None
    assert as_document(found) == as_document(outcome.content)
    assert found == conclude_into(file_url, evaluation_id)


def test_an_analysis_under_another_plan_is_exploratory_and_takes_nothings_place(file_url: str) -> None:
    made = sample()
    evaluation_id = log(file_url, made)
    stored = conclude_into(file_url, evaluation_id)
    changed = dataclasses.replace(made.experiment, hypothesis="thought of later")
    with Reader(file_url) as reader:
        outcome = conclude(reader, reader.evaluation(evaluation_id), changed, store=file_url)
    assert {check.name: check.state for check in outcome.analysis.checks}["plan"] == "warn"
    assert outcome.not_stored is None
    assert read(file_url, evaluation_id) == stored


def test_a_log_that_can_not_be_written_to_is_no_reason_to_have_no_result(file_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = sample()
    evaluation_id = log(file_url, made)
    with Reader(file_url) as reader:
        outcome = conclude(
            reader, reader.evaluation(evaluation_id), made.experiment, store="postgresql+psycopg://nobody@127.0.0.1:1/nothing"
        )
    assert outcome.analysis.verdict.sentence
    assert "out of reach" in str(outcome.not_stored)
    show(outcome, as_json=False, quiet=True)
    assert "the dashboard does not show this result: database" in capsys.readouterr().err


def test_labels_that_came_while_it_was_concluded_make_it_anew(file_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sample()
    evaluation_id = log(file_url, made)
    real = Reader.labels

    def labels(self: Reader, experiment: str) -> tuple[Label, ...]:
        found = real(self, experiment)
        with Recorder(file_url) as recorder:
            recorder.add_labels([label_of(made.trials[0], evaluation_id)])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "labels", labels)
        conclude_into(file_url, evaluation_id)
    assert unconcluded(file_url, now=time.time() + LABELS_WAIT_S + 1) == (evaluation_id,)


def test_an_evaluation_in_progress_has_no_conclusion(file_url: str) -> None:
    evaluation_id = log(file_url, sample(), finish=False)
    with pytest.raises(InputError, match="is not finished"):
        conclude_into(file_url, evaluation_id)
    assert read(file_url, evaluation_id) is None
    assert unconcluded(file_url) == ()
    with pytest.raises(InputError, match="there is no evaluation 'other'"):
        conclude_into(file_url, "other")


def test_what_is_finished_and_has_no_conclusion_of_this_form_is_still_to_do(url: str) -> None:
    first = log(url, sample())
    second_sample = sample()
    second_sample.evaluation = dataclasses.replace(second_sample.evaluation, evaluation_id="later")
    second = log(url, second_sample)
    assert unconcluded(url) == (first, second)
    conclude_into(url, first)
    assert unconcluded(url) == (second,)
    store_conclusion(url, first, form=CONCLUSION_FORM - 1, made_at=1.0, document={}, outcomes=())
    assert unconcluded(url) == (first, second)


def label_of(trial: Trial, evaluation_id: str) -> Label:
    return Label(
        evaluation_id=evaluation_id,
        arm=trial.arm,
        query_id=trial.query_id,
        metric="judge_correctness",
        word="correct",
        value=1.0,
        scorer="judge/1",
        selection="random",
        labeller="somebody",
    )


def test_labels_make_a_conclusion_anew_once_people_have_stopped_labelling(url: str) -> None:
    made = sample()
    evaluation_id = log(url, made)
    conclude_into(url, evaluation_id)
    with Recorder(url) as recorder:
        recorder.add_labels([label_of(made.trials[0], evaluation_id)])
    assert unconcluded(url) == ()  # somebody may be in the middle of it
    assert unconcluded(url, now=time.time() + LABELS_WAIT_S + 1) == (evaluation_id,)
    conclude_into(url, evaluation_id)
    assert unconcluded(url, now=time.time() + LABELS_WAIT_S + 1) == ()


def test_a_plan_of_any_characters_is_the_one_that_was_stored_before_the_first_query(url: str) -> None:
    made = sample()
    made.experiment = dataclasses.replace(made.experiment, hypothesis="\N{ROCKET} \x7f \x85 \u2028 'so' \"it\" is: #1")
    made.evaluation = dataclasses.replace(made.evaluation, plan_digest=made.experiment.plan_digest())
    summary = conclude_into(url, log(url, made))
    assert summary.experiment.hypothesis == made.experiment.hypothesis
    assert summary.experiment.plan_digest() == summary.evaluation.plan_digest
    assert {check.name: check.state for check in summary.analysis.checks}["plan"] == "pass"


def test_an_evaluation_that_was_run_and_reported_is_concluded(tmp_path: Path) -> None:
    file = prepared(tmp_path)
    outcome = evaluate_prepared(file, tmp_path / "reports", resume=False, training=True, quiet=True)
    url = sql_url(file.file)
    assert unconcluded(url) == ()
    found = read(url, outcome.evaluation.evaluation_id)
    assert found is not None
    assert found.analysis == outcome.analysis
    store_conclusion(url, outcome.evaluation.evaluation_id, form=0, made_at=1.0, document={}, outcomes=())
    conclude_file(made(tmp_path), None, output=None)  # as ragtrial analyse and ragtrial report do
    assert unconcluded(url) == ()
