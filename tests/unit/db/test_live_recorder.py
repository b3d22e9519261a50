"""What is acknowledged is in the log, once, and comes back as it was."""

import dataclasses
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from ragtrial.db.engine import open_engine
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_rows import score_rows
from ragtrial.db.live_writing import Scores
from ragtrial.db.reader import Reader
from ragtrial.domain.live_trial import Outage, Vote
from ragtrial.domain.score import Opinion, Score
from ragtrial.errors import (
    ConflictError,
    DuplicateRequestError,
    InputError,
    QueueFullError,
    RecordRefusedError,
    StoreError,
    UnknownSourceError,
    UnknownTrialError,
)
from ragtrial.splitting import pseudonym
from unit.db import live_samples, samples
from unit.db.live_samples import START, live_trial, signal, vote

SPLIT = live_samples.experiment()


def _recorder(url: str, experiment=SPLIT, **options: object) -> LiveRecorder:
    return LiveRecorder(url, experiment, clock=live_samples.Clock(), **options)


def test_trials_of_every_kind_come_back_as_they_were_logged(url: str) -> None:
    with _recorder(url) as recorder:
        recorder.log(*live_samples.EVERY_KIND).result(10)
        with LiveReader(url) as reader:
            assert tuple(reader.trial(trial.trial_id) for trial in live_samples.EVERY_KIND) == live_samples.EVERY_KIND
            assert reader.recent(recorder.live_id, limit=3) == live_samples.EVERY_KIND[:-4:-1]
            assert reader.trial("t99") is None
            assert reader.by_key(recorder.live_id, caller="chat", idempotency_key="k1") == live_samples.EVERY_KIND[0]
            assert reader.by_key(recorder.live_id, caller="another", idempotency_key="k1") is None


def test_the_same_plan_is_one_experiment_and_another_plan_of_the_same_name_another(url: str) -> None:
    facts = {"parity": {"passed": True}, "models": ["a@1"]}
    with _recorder(url, facts=facts) as first, _recorder(url, facts=facts) as worker:
        assert worker.live_id == first.live_id
    other = live_samples.experiment(solicit=0.5, allow=("ann",), deny=("bob",), overrides={"cid": "custom"})
    with _recorder(url, other) as second, _recorder(url, other, facts=facts):
        assert second.live_id != first.live_id
    with LiveReader(url) as reader:
        found = reader.experiments()
        assert [(one.name, one.live_digest, one.facts, one.created_at) for one in found] == [
            ("handbook", SPLIT.live_digest(), facts, START),
            ("handbook", other.live_digest(), {}, START),
        ]
        assert (reader.live_id(SPLIT), reader.live_id(other)) == (first.live_id, second.live_id)
        plan = reader.plan(second.live_id)
        assert plan["live"]["allow"] == [pseudonym("ann")]
        assert plan["live"]["deny"] == [pseudonym("bob")]
        assert plan["live"]["overrides"] == {pseudonym("cid"): "custom"}
        assert "secret" not in str(plan)
        assert [(entry.action, entry.detail) for entry in reader.audit_log(second.live_id)] == [("start with other facts", facts)]
        with pytest.raises(InputError, match="was never served"):
            reader.live_id(live_samples.experiment(name="another"))
        with pytest.raises(InputError, match="under another plan"):
            reader.live_id(live_samples.experiment(solicit=0.9))
        with pytest.raises(InputError, match="there is no live experiment 99"):
            reader.traffic(99)


def test_an_experiment_without_a_live_section_can_not_be_recorded(url: str) -> None:
    with pytest.raises(InputError, match="has no 'live' section"):
        LiveRecorder(url, samples.EXPERIMENT)


def test_a_plan_that_was_read_back_is_an_experiment_again(url: str) -> None:
    from pydantic import TypeAdapter

    with _recorder(url) as recorder, LiveReader(url) as reader:
        read = TypeAdapter(type(SPLIT)).validate_python(reader.plan(recorder.live_id))
    assert read.live_digest() == SPLIT.live_digest()


def test_a_request_that_is_logged_twice_fails_alone_and_the_others_of_its_batch_are_written(url: str) -> None:
    with _recorder(url) as recorder:
        recorder.log(live_trial("a", idempotency_key="k")).result(10)
        futures = [
            recorder.log(live_trial("b", idempotency_key="k")),
            recorder.log(live_trial("c", idempotency_key="k2"), live_trial("c2", arm="custom", request_id="c", idempotency_key="k2")),
            recorder.log(live_trial("a")),
            recorder.log(dataclasses.replace(live_trial("d"), waited_ms=float("nan"))),
            recorder.log(dataclasses.replace(live_trial("e", idempotency_key="k"), caller="another")),
        ]
        wait(futures, 10)
        assert futures[1].exception() is None
        assert futures[4].exception() is None
        with pytest.raises(DuplicateRequestError, match="a request of 'chat' with the key 'k' is logged already"):
            futures[0].result()
        with pytest.raises(DuplicateRequestError, match="trial 'a' is logged already"):
            futures[2].result()
        with pytest.raises(StoreError, match=r"(?i)constraint"):
            futures[3].result()
    with Reader(url) as reader:
        assert reader.counts()["live_trials"] == 4


def test_the_trials_of_one_call_are_written_together_or_not_at_all(url: str) -> None:
    with _recorder(url) as recorder:
        broken = recorder.log(live_trial("a"), dataclasses.replace(live_trial("a2", request_id="a"), waited_ms=-1.0))
        with pytest.raises(StoreError, match="waited"):
            broken.result(10)
    with Reader(url) as reader:
        assert reader.counts()["live_trials"] == 0


def test_what_a_database_says_of_a_record_that_it_refuses_never_quotes_the_query(url: str) -> None:
    """PostgreSQL quotes the whole row, and the reason is logged, in the service's log and with the outage."""
    private = dataclasses.replace(live_trial("a", waited_ms=-1.0), query=live_samples.query("a very private question"))
    with _recorder(url) as recorder:
        others = [recorder.log(live_trial("b")), recorder.log(live_trial("c"))]
        with pytest.raises(RecordRefusedError, match="waited") as refused:
            recorder.log(private).result(10)
        wait(others, 10)
        assert [other.exception() for other in others] == [None, None]
    assert "private" not in str(refused.value)


def test_texts_that_no_database_takes_are_mended_and_not_refused(url: str) -> None:
    made = live_samples.answered("baseline", text="half \ud83d and nul \0.")
    odd = dataclasses.replace(
        live_trial("a", made=made, idempotency_key="k\0"), query=live_samples.query("why\0 \udfff?"), caller="c\ud800"
    )
    with _recorder(url) as recorder:
        recorder.log(odd).result(10)
        assert recorder.vote(dataclasses.replace(vote("a", "v\0", comment="\0\ud83d"), tags=("\0",))).result(10) == "recorded"
        assert recorder.vote(vote("a", "v\0")).result(10) == "repeated"
        opinion = Opinion(repetition=0, key="q", value=0.5, rationale="be\0cause \ud83d")
        recorder.score("a", [Score(metric="judge_groundedness", value=0.5, scorer="judge/1", opinions=(opinion,))]).result(10)
        with pytest.raises(UnknownTrialError):
            recorder.vote(vote("a\0", "v")).result(10)
    with LiveReader(url) as reader:
        found = reader.by_key(1, caller="c\ud800", idempotency_key="k\0")
        assert found is not None
        assert found.query.text == "why� �?"
        assert found.trial.answer is not None
        assert found.trial.answer.text == "half � and nul �."
        assert reader.votes_of("a")[0].comment == "��"
        assert reader.scores_of("a")[0].opinions[0].rationale == "be�cause �"
        assert reader.trial("\0\ud800") is None


def test_votes_keep_their_history_and_a_known_key_changes_nothing(url: str) -> None:
    history = (vote("t1", "v1"), vote("t1", "v2", "down", comment="wrong\nsource"), vote("t1", "v3", "withdrawn", source="p1"))
    with _recorder(url) as recorder:
        recorder.log(*live_samples.EVERY_KIND).result(10)
        futures = [recorder.vote(one) for one in (*history, vote("t1", "v1", "down"))]
        assert [future.result(10) for future in futures] == ["recorded", "recorded", "recorded", "repeated"]
        assert recorder.vote(vote("t1", "v2", "up")).result(10) == "repeated"
        assert recorder.vote(vote("t2", "v1")).result(10) == "recorded"
    with LiveReader(url) as reader:
        assert reader.votes_of("t1") == history
        assert reader.votes_of("t3") == ()


def test_a_vote_that_comes_too_late_is_kept_and_says_so(url: str) -> None:
    seven_days = START + 60 + 7 * live_samples.DAY
    with _recorder(url) as recorder:
        recorder.log(live_trial("t1")).result(10)
        assert recorder.vote(vote("t1", "v1", at=seven_days)).result(10) == "recorded"
        assert recorder.vote(vote("t1", "v2", at=seven_days + 1)).result(10) == "late"
        assert recorder.signal(signal("t1", "s1", at=seven_days + 1)).result(10) == "late"
        assert recorder.vote(vote("t1", "v3", at=START - 5)).result(10) == "recorded"  # the clock was set back
    with LiveReader(url) as reader:
        assert len(reader.votes_of("t1")) == 3


def test_votes_on_what_nobody_saw_are_refused_and_others_of_the_batch_are_not(url: str) -> None:
    other = live_samples.experiment(name="another")
    same_name = live_samples.experiment(solicit=0.5)
    with _recorder(url) as recorder, _recorder(url, other) as elsewhere, _recorder(url, same_name) as later:
        recorder.log(*live_samples.EVERY_KIND).result(10)
        elsewhere.log(live_trial("x1")).result(10)
        futures: list[Future] = [recorder.vote(vote(trial_id, "v")) for trial_id in ("t1", "t5", "x1", "nothing")]
        futures += [recorder.signal(signal(trial_id, "s")) for trial_id in ("t1", "t5", "nothing")]
        wait(futures, 10)
        kinds = [type(future.exception()).__name__ if future.exception() else future.result() for future in futures]
        unknown = "UnknownTrialError"
        assert kinds == ["recorded", unknown, unknown, unknown, "recorded", unknown, unknown]
        assert "has served no trial 't5'" in str(futures[1].exception())
        assert "experiment 'handbook' has served no trial 'x1'" in str(futures[2].exception())
        assert later.vote(vote("t1", "v-later")).result(10) == "recorded"  # asked before the plan was changed
    with LiveReader(url) as reader:
        assert reader.signals_of("t1") == (signal("t1", "s"),)


def test_each_metric_of_a_trial_is_scored_once(url: str) -> None:
    opinion = Opinion(repetition=0, key="q", value=0.5, verdict="partly", rationale="because", n_calls=2, cost_usd=0.25)
    judged = Score(
        metric="judge_groundedness", value=0.5, scorer="judge/1 m", opinions=(opinion, dataclasses.replace(opinion, repetition=1))
    )
    skipped = Score(metric="answer_f1", unscored="not sampled", scorer="online/1")
    with _recorder(url) as recorder:
        recorder.log(*live_samples.EVERY_KIND).result(10)
        recorder.score("t5", [judged, skipped]).result(10)
        recorder.score("t5", [dataclasses.replace(skipped, value=1.0, unscored=None), Score(metric="R@5", value=1.0, scorer="r/1")]).result(
            10
        )
        recorder.score("t1", []).result(10)
        with pytest.raises(UnknownTrialError):
            recorder.score("nothing", [skipped]).result(10)
        with LiveReader(url) as reader:
            assert reader.scores_of("t5") == (Score(metric="R@5", value=1.0, scorer="r/1"), skipped, judged)
            assert reader.judge_spend(recorder.live_id, since=START) == pytest.approx(0.5)
            assert reader.judge_spend(recorder.live_id, since=START + 1) == 0.0


def test_what_postgresql_ends_because_two_workers_wait_for_each_other_is_written_all_the_same(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    score = (
        "INSERT INTO live_scores (trial, metric, live_id, value, scorer, n_calls, at) "
        "SELECT id, 'nDCG@10', live_id, 1, 's', 0, 0 FROM live_trials WHERE trial_id = '{}'"
    )
    with (
        LiveRecorder(postgres_url, SPLIT, clock=live_samples.Clock()) as recorder,
        engine.connect() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        recorder.log(live_trial("t1"), live_trial("t2")).result(10)
        other.exec_driver_sql(score.format("t2"))
        rows = tuple(score_rows((Score(metric="nDCG@10", value=0.5, scorer="s"),), START))
        writing = pool.submit(recorder._queue._write, [Scores(trial_id=trial_id, rows=rows) for trial_id in ("t1", "t2")])
        time.sleep(0.4)  # it has written the first one, and waits for the second; PostgreSQL looks for a circle a second after that
        other.exec_driver_sql(score.format("t1"))
        other.commit()
        assert writing.result(60) == [None, None]
        with LiveReader(postgres_url) as reader:
            assert [reader.scores_of(trial_id)[0].value for trial_id in ("t1", "t2")] == [1.0, 1.0], "the other one was first"
    engine.dispose()


def test_a_judge_without_a_price_has_no_spend(url: str) -> None:
    opinion = Opinion(repetition=0, key="q", value=0.5, n_calls=1)
    with _recorder(url) as recorder:
        recorder.log(live_trial("t1")).result(10)
        recorder.score("t1", [Score(metric="judge_groundedness", value=0.5, scorer="j/1", opinions=(opinion,))]).result(10)
        with LiveReader(url) as reader:
            assert reader.judge_spend(recorder.live_id, since=0) is None


def test_a_change_of_the_traffic_is_a_new_version_and_an_audit_entry(url: str) -> None:
    with _recorder(url) as recorder, _recorder(url) as worker, LiveReader(url) as reader:
        assert reader.traffic(recorder.live_id).version == 1
        stopped = recorder.change_traffic(expected_version=1, stopped=True, actor="ann", reason="it burns")
        assert (stopped.version, stopped.share, stopped.treatment, stopped.stopped, stopped.at) == (2, 1.0, 0.5, True, START)
        with pytest.raises(ConflictError, match="has version 2, changed by 'ann', and not 1"):
            worker.change_traffic(expected_version=1, share=0.1, actor="bob", reason="ramp")
        with pytest.raises(InputError, match="give shares from 0 to 1"):
            worker.change_traffic(expected_version=2, share=1.5, actor="bob", reason="ramp")
        resumed = worker.change_traffic(expected_version=2, share=0.1, stopped=False, actor="bob", reason="ramp")
        assert reader.traffic(recorder.live_id) == resumed
        assert [state.version for state in reader.traffic_history(recorder.live_id)] == [1, 2, 3]
        entries = reader.audit_log(recorder.live_id)
        assert [(entry.actor, entry.action) for entry in entries] == [("bob", "change traffic"), ("ann", "change traffic")]
        assert entries[0].detail["to"] == {"share": 0.1, "treatment": 0.5, "stopped": False}


def test_of_two_who_change_the_traffic_at_once_one_is_told(url: str) -> None:
    outcomes: list[str] = []

    def change(recorder: LiveRecorder, barrier: threading.Barrier) -> None:
        barrier.wait()
        try:
            recorder.change_traffic(expected_version=1, share=0.5, actor="x", reason="")
            outcomes.append("changed")
        except ConflictError:
            outcomes.append("conflict")

    with _recorder(url) as one, _recorder(url) as two:
        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=change, args=(recorder, barrier)) for recorder in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["changed", "conflict"]


def test_outages_and_what_operators_do_are_kept(url: str) -> None:
    outage = Outage(start=START, end=START + 5, refused=3, unlogged=0, reason="disk \0full")
    with _recorder(url) as recorder, LiveReader(url) as reader:
        recorder.outage(outage)
        recorder.audit(actor="ann", action="export", subject="trials", detail={"n": 7})
        assert reader.outages(recorder.live_id) == (dataclasses.replace(outage, reason="disk �full"),)
        (entry,) = reader.audit_log()
        assert (entry.live_id, entry.at, entry.actor, entry.action, entry.subject, entry.detail) == (
            recorder.live_id,
            START,
            "ann",
            "export",
            "trials",
            {"n": 7},
        )


def test_closing_commits_what_is_queued_and_refuses_what_comes_later(url: str) -> None:
    recorder = _recorder(url)
    futures = [recorder.log(live_trial(f"t{n}")) for n in range(300)]
    recorder.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreError, match="closed"):
        recorder.log(live_trial("late"))
    with Reader(url) as reader:
        assert reader.counts()["live_trials"] == 300


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(sqlite_url: str) -> None:
    with _recorder(sqlite_url, max_pending=10) as recorder:
        blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        futures = [recorder.log(live_trial(f"t{n}")) for n in range(10)]
        with pytest.raises(QueueFullError, match="10 records wait"):
            recorder.log(live_trial("too much"))
        assert recorder.pending == 10
        blocker.execute("COMMIT")
        wait(futures, 10)
        recorder.log(live_trial("again")).result(10)
    with Reader(sqlite_url) as reader:
        assert reader.counts()["live_trials"] == 11


def test_a_waiter_that_gave_up_before_its_turn_leaves_no_record(sqlite_url: str) -> None:
    with _recorder(sqlite_url) as recorder:
        blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        first = recorder.log(live_trial("first"))
        time.sleep(0.1)  # it is being written by now
        gone = recorder.log(live_trial("gone"))
        assert gone.cancel()
        blocker.execute("COMMIT")
        first.result(10)
        recorder.log(live_trial("after")).result(10)
        with LiveReader(sqlite_url) as reader:
            assert reader.trial("gone") is None


@pytest.mark.parametrize(("durability", "level"), [("power", 2), ("process", 1)])
def test_durability_is_sqlite_s_synchronous(tmp_path: Path, durability: str, level: int) -> None:
    with _recorder(f"sqlite:///{tmp_path / 'log.db'}", durability=durability) as recorder, recorder._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level


def test_votes_on_sources_know_the_team_of_the_passage(url: str) -> None:
    teams = {"p3": "control", "p1": "treatment"}
    with _recorder(url, live_samples.experiment("interleaved")) as recorder:
        recorder.log(live_trial("t1", arm="interleaved", teams=teams)).result(10)
        for key, source in (("a", "p3"), ("b", "p1"), ("c", None)):
            recorder.vote(Vote(trial_id="t1", key=key, thumb="up", passage_id=source, at=START)).result(10)
        with recorder._engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT team FROM live_votes ORDER BY id").scalars().all()
    assert found == ["control", "treatment", None]


def test_a_vote_or_click_on_what_is_no_source_of_the_answer_is_refused_and_those_beside_it_are_kept(url: str) -> None:
    with _recorder(url) as recorder:
        recorder.log(live_trial("t1")).result(10)
        votes = [recorder.vote(vote("t1", key, source=source)) for key, source in (("a", "p1"), ("b", "nope"), ("c", "p3"))]
        click = recorder.signal(dataclasses.replace(signal("t1", "d", "citation_clicked"), passage_id="nope"))
        assert votes[0].result(10) == votes[2].result(10) == "recorded"
        for refused in (votes[1], click):
            with pytest.raises(UnknownSourceError, match="the answer has no source 'nope': give the passage_id of one of its sources"):
                refused.result(10)
        with LiveReader(url) as reader:
            assert [one.passage_id for one in reader.votes_of("t1")] == ["p1", "p3"]
            assert reader.signals_of("t1") == ()


def test_a_failed_trial_whose_user_saw_the_baselines_sources_and_an_erased_one_take_votes_on_any_source(url: str) -> None:
    with _recorder(url) as recorder:
        recorder.log(live_trial("failed", made=live_samples.failed("baseline")), live_trial("erased")).result(10)
        recorder.forget_texts(before=START + 3600)
        for trial_id in ("failed", "erased"):
            assert recorder.vote(vote(trial_id, "v", source="p9")).result(10) == "recorded"
