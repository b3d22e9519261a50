import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import TypeAdapter
from sqlalchemy import Engine, event

from ragtrial.db import schema
from ragtrial.db.reader import Event, Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.score import LoggedOpinion, Opinion, Score, score_of
from ragtrial.errors import InputError, StoreError
from unit.db import samples


def _open(recorder: Recorder, evaluation_id: str = "e1", *, config_digest: str = "c1", n: int = 7) -> None:
    recorder.open_evaluation(
        samples.evaluation(evaluation_id, config_digest=config_digest),
        experiment=samples.EXPERIMENT,
        gold=samples.GOLD,
        n_trials_planned=n,
        passages=samples.PASSAGES[:3],
    )


@pytest.fixture
def recorder(url: str) -> Iterator[Recorder]:
    with Recorder(url, clock=samples.clock) as made:
        yield made


def test_an_evaluation_comes_back_as_it_was_recorded(url: str, recorder: Recorder) -> None:
    _open(recorder)
    with Reader(url) as reader:
        assert reader.evaluation("e1") == samples.evaluation()
        assert reader.n_trials_planned("e1") == 7
        gold = reader.gold("e1")
        assert gold.queries == samples.GOLD.queries
        assert gold.qrels() == samples.GOLD.qrels()
        assert (gold.name, gold.fingerprint) == (samples.GOLD.name, samples.GOLD.fingerprint)


def test_the_plan_comes_back_as_the_experiment_without_the_password_of_its_store(url: str, recorder: Recorder) -> None:
    _open(recorder)
    with Reader(url) as reader:
        plan = reader.experiment_plan("e1")
    assert "secret" not in json.dumps(plan)
    experiment = TypeAdapter(Experiment).validate_python(plan)
    masked = dataclasses.replace(samples.EXPERIMENT.stores, sql="postgresql+psycopg://ann:***@db.example/log")
    assert experiment == dataclasses.replace(samples.EXPERIMENT, stores=masked)
    assert experiment.plan_digest() == samples.EXPERIMENT.plan_digest()


def test_trials_of_every_kind_come_back_in_order_whatever_order_they_were_made_in(url: str, recorder: Recorder) -> None:
    _open(recorder)
    shuffled = [samples.EVERY_KIND[i] for i in (6, 3, 0, 5, 2, 4, 1)]
    recorder.append("e1", [(one, samples.scores_of(one)) for one in shuffled[:4]], samples.PASSAGES)
    recorder.append("e1", [(one, samples.scores_of(one)) for one in shuffled[4:]], samples.PASSAGES)
    with Reader(url) as reader:
        assert reader.trials("e1") == samples.EVERY_KIND
        assert reader.trials("e1", arm="custom") == tuple(t for t in samples.EVERY_KIND if t.arm == "custom")
        assert reader.trials("e1", query_ids=["q10", "q1"]) == samples.EVERY_KIND[2:]
        assert reader.trials("e1", arm="baseline", query_ids={"q10"}) == samples.EVERY_KIND[5:]
        assert reader.trials("e1", query_ids=[]) == ()
        assert reader.trials("e1", query_ids=[f"q{n}" for n in range(1, 40_000)]) == samples.EVERY_KIND
        assert reader.done("e1") == {(t.arm, t.query_id, t.repetition) for t in samples.EVERY_KIND}
        assert reader.counts()["hits"] == sum(len(t.ranking.hits) for t in samples.EVERY_KIND if t.ranking is not None) == 7


def test_passages_are_kept_once_for_each_corpus(url: str, recorder: Recorder) -> None:
    _open(recorder)
    recorder.append("e1", [(samples.trial("custom", "q1"), ())], samples.PASSAGES)
    _open(recorder, "e2")
    with Recorder(url) as other:  # knows nothing of what the first one stored
        other.resume("e2")
        other.append("e2", [(samples.trial("custom", "q1"), ())], samples.PASSAGES)
    with Reader(url) as reader:
        assert reader.counts()["passages"] == 4
        assert reader.passages("e1", ["p4", "p1", "p9", "p1"]) == {"p1": samples.PASSAGES[0], "p4": samples.PASSAGES[3]}
        assert reader.passages("e2", []) == {}
        assert len(reader.passages("e2", [f"p{n}" for n in range(40_000)])) == 4


def test_scores_become_tables_in_the_order_of_the_trials(url: str, recorder: Recorder) -> None:
    _open(recorder)
    values = {one: 0.1 * place for place, one in enumerate(reversed(samples.EVERY_KIND))}
    recorder.append("e1", [(one, samples.scores_of(one, values[one])) for one in reversed(samples.EVERY_KIND)])
    with Reader(url) as reader:
        tables = reader.scores("e1")
        only = reader.scores("e1", ["R@5", "nDCG@10"])
    assert list(tables) == ["latency_ms", "nDCG@10"]
    table = tables["nDCG@10"]
    assert table.metric.cutoff == 10
    assert table.query_ids == ("q2", "q1", "q10")
    assert table.clusters == ("d1", "d2", "query q10")
    assert table.query.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert table.arm.tolist() == ["baseline", "custom", "baseline", "custom", "bm25", "baseline", "baseline"]
    expected = [np.nan if one.failure is not None else values[one] for one in samples.EVERY_KIND]
    np.testing.assert_array_equal(table.value, expected)
    assert table.unscored.tolist() == [None, None, None, "embed failed", "generate failed", None, None]
    assert tables["latency_ms"].reasons("baseline") == {"not timed alone": 4}
    assert list(only) == ["R@5", "nDCG@10"]
    assert (only["R@5"].value.shape, only["R@5"].arm.shape, only["R@5"].query_ids) == ((0,), (0,), table.query_ids)
    np.testing.assert_array_equal(only["nDCG@10"].value, table.value)


def test_what_judges_said_comes_back_with_the_score_that_it_makes(url: str, recorder: Recorder) -> None:
    _open(recorder)
    said = (
        Opinion(
            repetition=0, key="k0", value=1.0, verdict="correct", rationale="as it stands", n_calls=1, prompt_tokens=90, cost_usd=0.0001
        ),
        Opinion(repetition=1, key="k1", unscored="judge failed: refused", rationale="I can't", n_calls=1),
        Opinion(repetition=2, key="k2", value=0.0, verdict="wrong", rationale="“no”", n_calls=1),
    )
    one, other = samples.EVERY_KIND[0], samples.EVERY_KIND[1]
    score = score_of("judge_correctness", said, scorer="judge/1 m 12345678")
    recorder.append("e1", [(other, (score_of("judge_preference", said[:1], scorer="judge/1"),)), (one, (score,))], samples.PASSAGES)
    with Reader(url) as reader:
        assert [each.opinion for each in reader.opinions("e1", ["judge_correctness"])] == list(said)
        assert reader.opinions("e1")[-1] == LoggedOpinion(
            arm="custom", query_id="q2", trial_repetition=0, metric="judge_preference", opinion=said[0]
        )
        assert reader.scorers("e1") == {"judge_correctness": "judge/1 m 12345678", "judge_preference": "judge/1"}
        assert reader.scores("e1", ["judge_correctness"])["judge_correctness"].value.tolist() == [0.5]


def test_an_opinion_that_stands_twice_is_refused_with_its_batch(url: str, recorder: Recorder) -> None:
    _open(recorder)
    one = samples.EVERY_KIND[0]
    score = score_of("judge_correctness", [Opinion(repetition=0, key="k", value=1.0)] * 2, scorer="judge/1")
    with pytest.raises(StoreError):  # the same repetition twice
        recorder.append("e1", [(one, (score,))], samples.PASSAGES)
    with Reader(url) as reader:
        assert (reader.trials("e1"), reader.opinions("e1")) == ((), ())


def test_a_trial_without_a_score_of_a_metric_has_no_row_in_its_table(url: str, recorder: Recorder) -> None:
    _open(recorder)
    scored = (Score(metric="R@5", value=1.0, scorer="retrieval/1"),)
    recorder.append("e1", [(samples.trial("custom", "q1"), scored), (samples.trial("baseline", "q1"), ())])
    with Reader(url) as reader:
        table = reader.scores("e1")["R@5"]
    assert (table.arm.tolist(), table.query.tolist(), table.value.tolist()) == (["custom"], [1], [1.0])


def test_queries_without_clusters_give_tables_without_clusters(url: str, recorder: Recorder) -> None:
    gold = GoldSet(name="g", queries=(Query(query_id="q1", text="Who?"),), judgments=())
    evaluation = dataclasses.replace(samples.evaluation(), n_queries=1, gold_fingerprint=gold.fingerprint)
    recorder.open_evaluation(evaluation, experiment=samples.EXPERIMENT, gold=gold, n_trials_planned=1)
    recorder.append("e1", [(samples.trial("custom", "q1"), (Score(metric="R@5", value=1.0, scorer="r/1"),))])
    with Reader(url) as reader:
        assert reader.scores("e1")["R@5"].clusters is None
        assert reader.gold("e1") == gold


def test_the_latest_evaluation_is_found_by_digest_and_by_whether_it_is_finished(url: str, recorder: Recorder) -> None:
    for evaluation_id, digest in (("z-first", "c1"), ("a-second", "c1"), ("other", "c2")):
        _open(recorder, evaluation_id, config_digest=digest)
    recorder.finish("z-first", {"seconds": 1.5})
    with Reader(url) as reader:
        assert [e.evaluation_id for e in reader.evaluations()] == ["z-first", "a-second", "other"]
        assert reader.evaluations("handbook") == reader.evaluations()
        assert reader.evaluations("another") == ()
        found = {finished: reader.find("c1", finished) for finished in (None, True, False)}
        assert {key: one and one.evaluation_id for key, one in found.items()} == {None: "a-second", True: "z-first", False: "a-second"}
        assert reader.find("c2", True) is None
        assert reader.find("c3") is None
        assert reader.evaluation("z-first").finished_at == "2026-11-01T12:00:00+00:00"
        assert reader.evaluation("a-second").finished_at is None
        assert reader.counts()["experiments"] == 1
        assert reader.counts()["arms"] == 2


def test_a_resumed_evaluation_keeps_its_history_and_goes_on(url: str, recorder: Recorder) -> None:
    _open(recorder)
    recorder.append("e1", [(samples.EVERY_KIND[0], ())])
    with Recorder(url, clock=samples.clock) as second:
        second.resume("e1")
        second.append("e1", [(samples.EVERY_KIND[1], ())])
        second.finish("e1", {"n_trials": 2})
    with Reader(url) as reader:
        assert reader.trials("e1") == samples.EVERY_KIND[:2]
        assert reader.events("e1") == (
            Event(kind="started", at="2026-11-01T11:00:00+00:00", payload={}),
            Event(kind="resumed", at="2026-11-01T12:00:00+00:00", payload={}),
            Event(kind="finished", at="2026-11-01T12:00:00+00:00", payload={"n_trials": 2}),
        )


def test_a_finished_evaluation_is_not_resumed_or_finished_again(recorder: Recorder) -> None:
    _open(recorder)
    recorder.finish("e1")
    for again in (recorder.resume, recorder.finish):
        with pytest.raises(InputError, match=r"evaluation 'e1' was finished at 2026-11-01T12:00:00\+00:00"):
            again("e1")
    with pytest.raises(ValueError, match="not open in this recorder"):
        recorder.append("e1", [(samples.EVERY_KIND[0], ())])


def test_an_unknown_evaluation_is_named(url: str, recorder: Recorder) -> None:
    with pytest.raises(InputError, match="there is no evaluation 'nope' in database"):
        recorder.resume("nope")
    with Reader(url) as reader:
        for read in (reader.evaluation, reader.gold, reader.done, reader.trials, reader.scores, reader.events, reader.experiment_plan):
            with pytest.raises(InputError, match="there is no evaluation 'nope' in database"):
                read("nope")


def test_a_second_process_on_the_same_evaluation_can_not_double_a_trial(url: str, recorder: Recorder) -> None:
    _open(recorder)
    with Recorder(url) as second:
        second.resume("e1")
        recorder.append("e1", [(samples.EVERY_KIND[0], samples.scores_of(samples.EVERY_KIND[0]))])
        with pytest.raises(
            StoreError, match=r"query 'q2' in arm 'baseline', repetition 0, of evaluation 'e1' is already recorded.*only one go on"
        ):
            second.append("e1", [(one, samples.scores_of(one)) for one in samples.EVERY_KIND])
        second.append("e1", [(one, samples.scores_of(one)) for one in samples.EVERY_KIND[1:]])
    with Reader(url) as reader:
        assert reader.trials("e1") == samples.EVERY_KIND


def test_a_batch_that_holds_a_trial_twice_is_refused_as_a_whole(url: str, recorder: Recorder) -> None:
    _open(recorder)
    batch = [(one, ()) for one in (*samples.EVERY_KIND, samples.EVERY_KIND[3])]
    with pytest.raises(StoreError, match=r"query 'q1' in arm 'custom', repetition 0, .* stands 2 times in one batch"):
        recorder.append("e1", batch, samples.PASSAGES)
    with Reader(url) as reader:
        assert reader.done("e1") == set()
        assert reader.counts()["passages"] == 3


def test_a_batch_with_one_bad_score_leaves_nothing_and_may_be_given_again(url: str, recorder: Recorder) -> None:
    _open(recorder)
    one, two = samples.EVERY_KIND[:2]
    twice = (Score(metric="R@5", value=1.0, scorer="r/1"),) * 2
    with pytest.raises(StoreError, match=r"(?i)refused.*scores"):
        recorder.append("e1", [(one, samples.scores_of(one)), (two, twice)], samples.PASSAGES)
    with Reader(url) as reader:
        assert {table: n for table, n in reader.counts().items() if table in ("trials", "hits", "scores")} == {
            "trials": 0,
            "hits": 0,
            "scores": 0,
        }
    recorder.append("e1", [(one, samples.scores_of(one)), (two, twice[:1])], samples.PASSAGES)
    with Reader(url) as reader:
        assert len(reader.passages("e1", ["p1", "p2", "p3", "p4"])) == 4
        assert reader.trials("e1") == (one, two)


def test_two_evaluations_may_be_written_by_turns(url: str, recorder: Recorder) -> None:
    _open(recorder, "e1")
    with Recorder(url) as second:
        _open(second, "e2")
        for one in samples.EVERY_KIND:
            recorder.append("e1", [(one, samples.scores_of(one))])
            second.append("e2", [(one, samples.scores_of(one))])
    with Reader(url) as reader:
        assert reader.trials("e1") == reader.trials("e2") == samples.EVERY_KIND


def test_an_evaluation_is_opened_once_and_only_with_its_own_plan_and_queries(recorder: Recorder) -> None:
    _open(recorder)
    with pytest.raises(StoreError, match="evaluation 'e1' is already in database"):
        _open(recorder)
    other = dataclasses.replace(samples.evaluation("e2"), plan_digest="0000")
    with pytest.raises(ValueError, match="is of plan 'handbook' 0000, not of"):
        recorder.open_evaluation(other, experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=1)
    fewer = dataclasses.replace(samples.evaluation("e2"), n_queries=2)
    with pytest.raises(ValueError, match="asks 2 queries, but the gold set given has 3"):
        recorder.open_evaluation(fewer, experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=1)
    spans = GoldSet(name="g", queries=samples.GOLD.queries, judgments=(Judgment(query_id="q1", target_id="d1", grade=1, start=0, end=5),))
    with pytest.raises(ValueError, match="judges a span of 'd1': resolve"):
        recorder.open_evaluation(samples.evaluation("e2"), experiment=samples.EXPERIMENT, gold=spans, n_trials_planned=1)


def test_an_unknown_metric_is_named(url: str, recorder: Recorder) -> None:
    _open(recorder)
    with Reader(url) as reader, pytest.raises(InputError, match="unknown metric 'nDGC@10'"):
        reader.scores("e1", ["nDGC@10"])


def test_a_recorder_never_changes_or_removes_a_row(url: str) -> None:
    schema.upgrade(url)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with Recorder(url, clock=samples.clock) as recorder:
            _open(recorder)
            recorder.append("e1", [(one, samples.scores_of(one)) for one in samples.EVERY_KIND[:4]], samples.PASSAGES)
            with pytest.raises(StoreError):
                recorder.append("e1", [(samples.EVERY_KIND[0], ())])
            recorder.resume("e1")
            recorder.append("e1", [(one, samples.scores_of(one)) for one in samples.EVERY_KIND[4:]], samples.PASSAGES)
            recorder.finish("e1", {})
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    verbs = {statement.split()[0].upper() for statement in statements}
    assert verbs - {"PRAGMA", "BEGIN"} == {"SELECT", "INSERT"}
    assert not [s for s in statements if "DO UPDATE" in s.upper() or "OR REPLACE" in s.upper()]


def test_a_reader_sees_whole_batches_while_a_recorder_writes(url: str, recorder: Recorder) -> None:
    _open(recorder)
    with Reader(url) as reader:
        for n, one in enumerate(samples.EVERY_KIND, 1):
            recorder.append("e1", [(one, samples.scores_of(one))])
            assert len(reader.done("e1")) == n
