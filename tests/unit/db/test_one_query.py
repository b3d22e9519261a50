"""What a page about one query reads: its own rows, and no other query's."""

import dataclasses

import pytest

from ragtrial.db.board_reader import BoardReader, Missed
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.outcome import QueryOutcome
from ragtrial.domain.score import Opinion, Score
from ragtrial.errors import InputError
from unit.db import samples

OPINION = Opinion(repetition=0, key="k", value=0.5, verdict="partly", rationale="naïve")


@pytest.fixture
def recorded(url: str) -> str:
    judged = Score(metric="judge_correctness", value=0.5, scorer="judge/1", opinions=(OPINION,))
    batch = [(trial, (*samples.scores_of(trial), *(() if trial.answer is None else (judged,)))) for trial in samples.EVERY_KIND]
    with Recorder(url, clock=samples.clock) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=7)
        recorder.append("e1", batch, samples.PASSAGES)
    return url


def test_the_scores_of_a_query_are_those_of_its_trials_each_a_number_or_a_reason(recorded: str) -> None:
    with Reader(recorded) as reader:
        found = reader.scores_of("e1", "q10")
        assert set(found) == {("baseline", "q10", 0), ("baseline", "q10", 1)}
        assert [(score.metric, score.value, score.unscored) for score in found["baseline", "q10", 1]] == [
            ("latency_ms", None, "not timed alone"),
            ("nDCG@10", 0.5, None),
        ]
        assert reader.scores_of("e1", "never asked") == {}
        with pytest.raises(InputError, match="there is no evaluation 'e9'"):
            reader.scores_of("e9", "q10")


def test_the_opinions_of_a_query_are_the_same_as_among_all(recorded: str) -> None:
    with Reader(recorded) as reader:
        everything = reader.opinions("e1")
        assert [(each.arm, each.query_id) for each in everything] == [("baseline", "q2"), ("custom", "q2"), ("baseline", "q10")]
        assert reader.opinions("e1", query_ids=["q2"]) == tuple(each for each in everything if each.query_id == "q2")
        assert reader.opinions("e1", ["answer_f1"], ["q2"]) == ()
        assert reader.opinions("e1", ["judge_correctness"], {"q2", "q10"}) == everything


def test_a_gold_query_alone_comes_with_its_judgments_alone(recorded: str) -> None:
    with Reader(recorded) as reader:
        found = reader.gold("e1", ["q2"])
        assert found.queries == (samples.GOLD.queries[0],)
        assert found.qrels() == {"q2": {"p1": 2, "p3": 0}}
        assert reader.gold("e1", ["never asked"]).queries == ()
        assert reader.gold("e1").queries == samples.GOLD.queries


def _outcome(position: int, relevant: int, baseline: int, custom: int) -> QueryOutcome:
    found = {"baseline_found": baseline, "custom_found": custom, "overlap": None, "unjudged": 0, "failed": 0}
    unknown = dict.fromkeys(("baseline", "custom", "gain", "baseline_answer", "custom_answer", "answer_gain"))
    query = samples.GOLD.queries[position]
    return QueryOutcome(position=position, query_id=query.query_id, text=query.text, words=3, relevant=relevant, **found, **unknown)  # type: ignore[arg-type]


def test_queries_that_an_arm_misses_are_counted_where_there_is_something_to_find(recorded: str) -> None:
    outcomes = [_outcome(0, 2, 0, 1), _outcome(1, 0, 0, 0), _outcome(2, 1, 0, 0)]
    store_conclusion(recorded, "e1", form=1, made_at=1.0, document={}, outcomes=outcomes)
    with BoardReader(recorded) as board:
        assert board.missed("e1") == Missed(judged=2, baseline=2, custom=1, both=1)
        assert board.missed("never run") == Missed(judged=0, baseline=0, custom=0, both=0)
    store_conclusion(recorded, "e1", form=1, made_at=1.0, document={}, outcomes=[dataclasses.replace(outcomes[0], baseline_found=1)])
    with BoardReader(recorded) as board:
        assert board.missed("e1") == Missed(judged=1, baseline=0, custom=0, both=0)
