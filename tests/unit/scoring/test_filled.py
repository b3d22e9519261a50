"""Holes of the judgments filled by an LLM, beside people's judgments and never in their place."""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest

from ragtrial.domain.gold import Judgment
from ragtrial.domain.metric import metric_named
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.scoring.filled import FilledRetrievalScorer, on_scale
from ragtrial.scoring.umbrela import RelevanceJudge
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.scoring.judged import CONTROL, GOLD, MODEL, PASSAGES, TREATMENT, failed_trial, fenced_in, quick_gate, trial_of

JUDGED = dataclasses.replace(GOLD, judgments=(Judgment(query_id="early", target_id="p2", grade=1),))


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm() as llm:
        llm.script = by_passage
        yield llm


@pytest.fixture
def gate() -> Iterator[Gate]:
    with quick_gate() as gate:
        yield gate


def by_passage(asked, _number) -> Reply:
    """The rule on trucks answers the question, nothing else does."""
    value = 3 if "truck" in fenced_in(user_text(asked))["PASSAGE"] else 1
    return Reply(text=json.dumps({"rationale": "because", "grade": value}))


def scorer_of(gate: Gate, url: str, *names: str) -> FilledRetrievalScorer:
    judge = RelevanceJudge(gate=gate, endpoint=Endpoint(base_url=url, model=MODEL), sampling=Sampling())
    return FilledRetrievalScorer([metric_named(name) for name in names], judge=judge, passages=PASSAGES)


def test_what_nobody_judged_counts_as_the_llm_grades_it_and_people_are_not_overruled(server, gate):
    trials = [trial_of("x", arm=CONTROL, retrieved=("p2", "p3")), trial_of("x", arm=TREATMENT, retrieved=("p1", "p2"))]
    rows = scorer_of(gate, server.url, "judge_R@2", "judge_nDCG@2").score(trials, JUDGED)
    # relevant are p2 (a person said so) and p1 (the LLM did); p3 was graded 1 of 3, which is not relevant on a scale of 0 and 1
    assert [score.value for score in rows[0]] == pytest.approx([1 / 2, 1 / (1 + 1 / np.log2(3))])
    assert [score.value for score in rows[1]] == [1.0, 1.0]
    assert sorted(fenced_in(user_text(asked))["PASSAGE"][:9] for asked in server.requests) == sorted(
        PASSAGES[key].content[:9] for key in ("p1", "p3")
    )


def test_the_opinions_stand_with_the_first_metric_only_so_that_no_call_counts_twice(server, gate):
    (row,) = scorer_of(gate, server.url, "judge_R@3", "judge_nDCG@3").score([trial_of("x")], JUDGED)
    assert [len(score.opinions) for score in row] == [2, 0]
    assert {opinion.verdict for opinion in row[0].opinions} == {"3", "1"}
    assert row[0].scorer.startswith("filled-retrieval/1 gpt-4o-mini ")


def test_no_opinion_is_lost_where_another_metric_looks_deeper_than_the_first(server, gate):
    (row,) = scorer_of(gate, server.url, "judge_nDCG@1", "judge_R@3").score([trial_of("x")], JUDGED)
    assert [len(score.opinions) for score in row] == [0, 2]
    assert len(server.requests) == 2


def test_a_passage_that_could_not_be_graded_leaves_its_rankings_without_a_score(server, gate):
    server.script = lambda asked, n: Reply(text="no idea") if "wind" in user_text(asked) else by_passage(asked, n)
    trials = [trial_of("x", retrieved=("p1", "p2")), trial_of("x", arm=TREATMENT, retrieved=("p1", "p3"))]
    (with_all,), (without,) = scorer_of(gate, server.url, "judge_nDCG@2").score(trials, JUDGED)
    assert with_all.value == 1.0
    assert (without.value, without.unscored) == (None, "judge failed: malformed")


def test_a_failed_trial_scores_as_it_does_without_the_llm(server, gate):
    (score,) = scorer_of(gate, server.url, "judge_nDCG@2").score([failed_trial()], JUDGED)[0]
    assert score.value == 0.0
    assert server.requests == []


@pytest.mark.parametrize(("highest", "grades"), [(1, [0, 0, 1, 1]), (2, [0, 0, 1, 2]), (3, [0, 1, 2, 3]), (4, [0, 1, 2, 3])])
def test_grades_of_the_llm_are_brought_to_the_scale_of_the_people(highest, grades):
    assert [on_scale(grade, highest) for grade in range(4)] == grades


def test_judged_at_k_is_of_people_alone():
    with pytest.raises(ValueError, match="unknown metric 'judge_Judged@5'"):
        metric_named("judge_Judged@5")
