"""A unit that asks to be erased is gone everywhere, and so are texts past their time; what was counted stays counted."""

import dataclasses
from pathlib import Path

import pytest
from sqlalchemy import event
from typer.testing import CliRunner

from ragtrial.cli.main import app
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_rows import ERASED
from ragtrial.db.reader import Reader
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.live import Assignment
from ragtrial.domain.score import Opinion, Score
from ragtrial.errors import StoreError, UnknownTrialError
from unit.db import live_samples
from unit.db.live_samples import START, Clock, live_trial, signal, vote

SPLIT = live_samples.experiment()
OTHER = live_samples.experiment(name="another")
SAID = Opinion(repetition=0, key="q", value=0.5, rationale="Ann asked for her own gate", n_calls=1, cost_usd=0.5)
JUDGED = Score(metric="judge_groundedness", value=0.5, scorer="judge/1", opinions=(SAID,))


@pytest.fixture
def logged(url: str) -> str:
    with LiveRecorder(url, SPLIT, clock=Clock()) as recorder:
        recorder.log(*live_samples.EVERY_KIND, live_trial("a2", "ann"), live_trial("b1", "bob", "custom")).result(10)
        override = Assignment(unit=None, arm="baseline", reason="override", bucket=1, version=1)
        recorder.log(live_trial("a3", "ann", assignment=override)).result(10)
        recorder.vote(vote("t1", "v", comment="my gate")).result(10)
        recorder.vote(vote("b1", "v", comment="his gate")).result(10)
        recorder.signal(signal("t1", "s")).result(10)
        for trial_id in ("t1", "t5", "b1"):
            recorder.score(trial_id, [JUDGED]).result(10)
    with LiveRecorder(url, OTHER, clock=Clock()) as recorder:
        recorder.log(live_trial("x1", "ann", "custom"), live_trial("x2", "bob")).result(10)
    return url


def test_a_unit_is_erased_from_all_experiments_and_only_counts_by_arm_are_left(logged: str) -> None:
    with LiveRecorder(logged, SPLIT, clock=Clock()) as recorder, LiveReader(logged) as reader:
        assert recorder.forget_unit("ann") == {
            "trials": 5,
            "scores": 2,
            "votes": 1,
            "signals": 1,
            "comparisons": 0,
            "preferences": 0,
            "sums": 0,
        }
        assert [reader.trial(trial_id) for trial_id in ("t1", "t5", "a2", "a3", "x1")] == [None] * 5
        assert reader.trial("b1") is not None
        assert reader.trial("x2") is not None
        with pytest.raises(UnknownTrialError):
            recorder.vote(vote("t1", "w")).result(10)
        assert reader.exposure(reader.live_id(OTHER), experiment=OTHER).erased == {"custom": 1}
        audit = reader.audit_log()
        assert [(entry.action, entry.subject, entry.detail["trials"]) for entry in audit] == [
            ("forget unit", "a unit", 1),
            ("forget unit", "a unit", 4),
        ]
        assert recorder.forget_unit("ann") == dict.fromkeys(
            ("trials", "scores", "votes", "signals", "comparisons", "preferences", "sums"), 0
        )
        recorder.log(live_trial("t1", "ann")).result(10)  # it may come back
    with Reader(logged) as counting:
        assert counting.counts()["erasures"] == 4  # of one experiment two arms in the split, and an override; of the other one


def test_erased_trials_are_counted_by_the_arm_that_made_them(logged: str) -> None:
    with LiveRecorder(logged, SPLIT, clock=Clock()) as recorder:
        recorder.forget_unit("ann")
    with Reader(logged) as reader, LiveReader(logged) as live:
        assert reader.counts()["live_scores"] == 1
        with live._transaction() as connection:
            rows = connection.exec_driver_sql("SELECT live_id, arm, reason, trials FROM erasures ORDER BY live_id, arm, reason").all()
    assert [tuple(row) for row in rows] == [
        (1, "baseline", "override", 1),
        (1, "baseline", "split", 2),
        (1, "custom", "split", 1),
        (2, "custom", "split", 1),
    ]


@pytest.mark.parametrize("before", ["DELETE FROM live_trials", "DELETE FROM live_unit_changes"])
def test_a_trial_that_is_logged_while_its_unit_is_erased_stays_and_is_in_the_sums(postgres_url: str, before: str) -> None:
    """The service does not wait for an erasure: whatever it commits between two of its statements comes after it."""
    with LiveRecorder(postgres_url, SPLIT, clock=Clock()) as recorder, RollUp(postgres_url) as roll_up, erasing(postgres_url) as eraser:
        recorder.log(live_trial("t1", "ann"), live_trial("t2", "ann"), live_trial("b1", "bob", "custom")).result(10)
        roll_up.roll_units(recorder.live_id)
        late = iter(["t3"])

        def commit(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if statement.startswith(before) and (trial_id := next(late, None)):
                recorder.log(live_trial(trial_id, "ann")).result(10)

        event.listen(eraser._engine, "before_cursor_execute", commit)
        assert eraser.forget_unit("ann", actor="a")["trials"] == 2
        for _ in range(2):  # summed on the way, and when it is summed up
            with LiveReader(postgres_url) as reader:
                assert [reader.trial(name) is not None for name in ("t1", "t2", "t3", "b1")] == [False, False, True, True]
                exposure = reader.exposure(recorder.live_id, experiment=SPLIT)
                sums = reader.unit_tables(recorder.live_id, ["failed"], experiment=SPLIT)
            assert sums is not None
            assert (sums.exposure.trials.tolist(), sums.exposure.erased) == (exposure.trials.tolist(), exposure.erased)
            assert (exposure.trials.tolist(), exposure.erased) == ([[1, 1]], {"baseline": 2})
            roll_up.roll_units(recorder.live_id)


def test_nothing_of_an_erased_unit_is_left_in_the_sqlite_file(sqlite_url: str) -> None:
    with LiveRecorder(sqlite_url, SPLIT) as recorder:
        marked = live_samples.query("the words of somebody who wants to be forgotten")
        recorder.log(*(dataclasses.replace(live_trial(f"t{n}", "ann"), query=marked) for n in range(50)), live_trial("b", "bob")).result(10)
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        recorder.forget_unit("ann")
        left = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        assert b"wants to be forgotten" not in left
        assert b"baseline" in left


def test_texts_past_their_time_are_erased_and_numbers_stay(logged: str) -> None:
    with LiveRecorder(logged, SPLIT, clock=Clock()) as recorder, LiveReader(logged) as reader:
        recorder.log(live_trial("young", "ann", at=START + 500)).result(10)
        before = {t.trial_id: t for t in reader.recent(recorder.live_id)}
        spent = reader.judge_spend(recorder.live_id, since=0)
        assert recorder.forget_texts(before=START + 300) == len(before) - 1
        assert recorder.forget_texts(before=START + 300) == 0
        after = {t.trial_id: t for t in reader.recent(recorder.live_id)}
        assert set(after) == set(before)
        assert after["young"] == before["young"]
        for trial_id, trial in after.items():
            if trial_id == "young":
                continue
            old = before[trial_id]
            assert (trial.query.text, trial.query.stored, trial.query.digest) == (None, "hash", old.query.digest)
            assert (trial.waited_ms, trial.trial.timings, trial.trial.ranking) == (old.waited_ms, old.trial.timings, old.trial.ranking)
            if old.trial.answer is not None:
                text = ERASED if old.trial.answer.text else ""
                assert trial.trial.answer == dataclasses.replace(old.trial.answer, text=text)
            if old.trial.failure is not None:
                assert trial.trial.failure == dataclasses.replace(old.trial.failure, message="")
        assert reader.votes_of("t1")[0] == vote("t1", "v")
        (score,) = reader.scores_of("t1")
        assert score == dataclasses.replace(JUDGED, opinions=(dataclasses.replace(SAID, rationale=""),))
        assert reader.judge_spend(recorder.live_id, since=0) == spent
        untouched = reader.trial("x1")
        assert untouched is not None
        assert untouched.query.text == live_samples.query().text


def test_a_database_that_is_not_there_is_not_made_for_erasing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"), erasing(f"sqlite:///{tmp_path / 'log.db'}"):
        pass
    assert list(tmp_path.iterdir()) == []


def _file(folder: Path, **live: object) -> Path:
    import yaml

    content = {
        "name": "handbook",
        "data": {"format": "beir", "path": "seeds"},
        "arms": [
            {"name": name, "role": role, "embedding": {"provider": "hashing", "model": name}}
            for name, role in (("baseline", "control"), ("custom", "treatment"))
        ],
        "metrics": {"primary": {"name": "nDCG@10"}},
        "stores": {"sql": "sqlite:///log.db"},
        "live": {"metrics": {"primary": {"name": "nDCG@10"}}, **live},
    }
    path = folder / "handbook.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_command_says_what_it_erased_and_asks_before(tmp_path: Path) -> None:
    url, file, run = f"sqlite:///{tmp_path / 'log.db'}", str(_file(tmp_path)), CliRunner()
    with LiveRecorder(url, SPLIT, clock=Clock()) as recorder:
        recorder.log(live_trial("t1", "ann"), live_trial("t2", "bob")).result(10)
    declined = run.invoke(app, ["db", "forget", file, "--unit", "ann"], input="n\n")
    assert declined.exit_code == 1
    assert "Erase 1 trials, 0 scores, 0 votes, 0 signals, 0 comparisons, 0 preferences, 0 sums of this unit" in declined.output
    done = run.invoke(app, ["db", "forget", file, "--unit", "ann", "--yes"])
    assert (done.exit_code, done.output) == (0, "erased 1 trials, 0 scores, 0 votes, 0 signals, 0 comparisons, 0 preferences, 0 sums\n")
    unknown = run.invoke(app, ["db", "forget", file, "--unit", "Ann", "--yes"])
    assert "nothing of unit 'Ann' is in the log" in str(unknown.exception)
    with LiveReader(url) as reader:
        assert len([entry for entry in reader.audit_log() if entry.action.startswith("forget")]) == 1, "what was not there was not erased"
    young = run.invoke(app, ["db", "forget", file, "--older-than", "100000d", "--yes"])
    assert (young.exit_code, young.output) == (0, "erased the texts of 0 trials\n")
    with LiveReader(url) as reader:
        found = reader.trial("t2")
    assert found is not None
    assert found.query.text is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to erase"),
        (["--older-than", "soon"], "--older-than is 'soon': give days"),
        (["--unit", "ann", "--older-than", "9d"], "not both"),
    ],
)
def test_what_the_command_does_not_understand_erases_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(app, ["db", "forget", str(_file(tmp_path)), *arguments, "--yes"])
    assert found.exit_code != 0
    assert message in str(found.exception)
