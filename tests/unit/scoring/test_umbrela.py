import json
from collections.abc import Iterator

import pytest

from ragtrial.domain.score import Opinion
from ragtrial.domain.trial import Hit, Ranking
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.scoring.umbrela import MachineJudgment, RelevanceJudge, holes
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.scoring.judged import GOLD, MODEL, PASSAGES, fenced_in, quick_gate

EARLY, RACK, _ = GOLD.queries
PAIRS = [(EARLY, PASSAGES["p1"]), (EARLY, PASSAGES["p2"]), (RACK, PASSAGES["p2"])]


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm() as llm:
        yield llm


@pytest.fixture
def gate() -> Iterator[Gate]:
    with quick_gate() as gate:
        yield gate


def judge_of(gate: Gate, url: str) -> RelevanceJudge:
    return RelevanceJudge(gate=gate, endpoint=Endpoint(base_url=url, model=MODEL), sampling=Sampling())


def grade(value: object) -> Reply:
    return Reply(text=json.dumps({"rationale": "because", "grade": value}))


def ranking_of(query_id: str, *ids: str) -> Ranking:
    return Ranking(query_id=query_id, hits=tuple(Hit(passage_id=each, similarity=1.0) for each in ids))


def by_text(asked, _number) -> Reply:
    found = fenced_in(user_text(asked))
    return grade(3 if "early" in found["QUESTION"] and "early" in found["PASSAGE"] else 0)


def test_each_pair_gets_its_grade_in_order(server, gate):
    server.script = by_text
    done = []

    def progress(description, total):
        assert total == 3
        return done.append

    opinions = judge_of(gate, server.url).judge(PAIRS, progress)
    assert [(each.value, each.verdict, each.rationale, each.n_calls) for each in opinions] == [
        (3.0, "3", "because", 1),
        (0.0, "0", "because", 1),
        (0.0, "0", "because", 1),
    ]
    assert sum(done) == 3


def test_the_judge_sees_query_and_passage_and_nothing_else(server, gate):
    server.script = by_text
    judge_of(gate, server.url).judge(PAIRS[:1])
    assert fenced_in(user_text(server.requests[0])) == {"QUESTION": EARLY.text, "PASSAGE": PASSAGES["p1"].content}
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["rationale", "grade"]
    assert schema["properties"]["grade"]["enum"] == [0, 1, 2, 3]


def test_a_pair_is_asked_once_however_often_it_is_given(server, gate):
    server.script = by_text
    first, again = judge_of(gate, server.url).judge([PAIRS[0], PAIRS[0]])
    assert first.key == again.key
    assert len(server.requests) == 1


def test_another_repetition_asks_anew(server, gate):
    server.script = by_text
    judge = judge_of(gate, server.url)
    keys = {judge.judge(PAIRS[:1], repetition=repetition)[0].key for repetition in range(2)}
    assert len(keys) == len(server.requests) == 2


@pytest.mark.parametrize("value", [4, -1, 1.5, True, None, "high", "3.0", [3]])
def test_a_grade_off_the_scale_is_no_grade(server, gate, value):
    server.script = lambda _asked, _number: grade(value)
    judge = judge_of(gate, server.url)
    (opinion,) = opinions = judge.judge(PAIRS[:1])
    assert (opinion.value, opinion.unscored) == (None, "judge failed: malformed")
    assert judge.judgments(PAIRS[:1], opinions) == ()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(Reply(status=500), "server"), (Reply(refusal="no"), "refused"), (Reply(text='{"rationale": "x", "grade": 3'), "malformed")],
)
def test_a_pair_that_could_not_be_judged_stays_a_hole_with_its_reason(server, gate, reply, kind):
    server.script = lambda asked, _number: reply if "early" in fenced_in(user_text(asked))["PASSAGE"] else grade("2")
    judge = judge_of(gate, server.url)
    opinions = judge.judge(PAIRS)
    assert [each.unscored for each in opinions] == [f"judge failed: {kind}", None, None]
    assert [(each.query_id, each.passage_id, each.grade, each.judge) for each in judge.judgments(PAIRS, opinions)] == [
        ("early", "p2", 2, judge.version),
        ("rack", "p2", 2, judge.version),
    ]


def test_nothing_to_judge_asks_nothing(server, gate):
    assert judge_of(gate, server.url).judge([]) == ()
    assert not server.requests


def test_a_machines_judgment_keeps_to_the_scale():
    with pytest.raises(ValueError, match="scale"):
        MachineJudgment(query_id="q", passage_id="p", grade=4, judge="umbrela/1", opinion=Opinion(repetition=0, key="k", value=4.0))


def test_holes_are_pooled_over_the_arms_without_what_people_judged():
    arms = {
        "control": [ranking_of("q1", "a", "b", "c"), ranking_of("q2", "x")],
        "treatment": [ranking_of("q1", "d", "b", "e"), ranking_of("q2", "x", "y")],
    }
    qrels = {"q1": {"a": 0, "z": 1}}
    assert holes(arms, qrels, depth=2) == (("q1", "d"), ("q1", "b"), ("q2", "x"), ("q2", "y"))
    assert holes(arms, qrels, depth=1) == (("q1", "d"), ("q2", "x"))
    assert set(holes(dict(reversed(arms.items())), qrels, depth=3)) == set(holes(arms, qrels, depth=3))
    assert holes({}, qrels, depth=3) == ()
