import numpy as np
import pytest

from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Hit, Ranking, Trial
from ragtrial.scoring.retrieval import RetrievalScorer, rank_arrays, retrieval_values


def gold_of(**grades: int) -> GoldSet:
    judgments = tuple(Judgment(query_id="q", target_id=p, grade=grade) for p, grade in grades.items())
    return GoldSet(name="g", queries=(Query(query_id="q", text="which"),), judgments=judgments)


def trial_of(*ids: str) -> Trial:
    hits = tuple(Hit(passage_id=p, similarity=-float(rank)) for rank, p in enumerate(ids))
    return Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=hits))


def test_rank_arrays_hold_grades_judgedness_length_and_ideal():
    ranks = rank_arrays([["x", "a", "a", "z"], []], [{"a": 2, "b": 3, "z": 0}, {"c": 1}], depth=4)
    np.testing.assert_array_equal(ranks.grade, [[0, 2, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(ranks.judged, [[False, True, True, False], [False] * 4])
    np.testing.assert_array_equal(ranks.length, [3, 0])
    np.testing.assert_array_equal(ranks.ideal, [[3, 2], [1, 0]])
    np.testing.assert_array_equal(ranks.n_relevant, [2, 1])


def test_no_queries_give_no_values():
    assert retrieval_values(metric_named("nDCG@10"), rank_arrays([], [], depth=10)).shape == (0,)
    assert RetrievalScorer([metric_named("nDCG@10")]).score([], gold_of(a=1)) == ()


def test_scores_stand_in_the_order_of_trials_and_metrics():
    scorer = RetrievalScorer([metric_named("P@2"), metric_named("RR@10")])
    scores = scorer.score([trial_of("a", "x"), trial_of("x", "a", "b")], gold_of(a=1, b=1))
    assert [[(score.metric, score.value) for score in row] for row in scores] == [
        [("P@2", 0.5), ("RR@10", 1.0)],
        [("P@2", 0.5), ("RR@10", 0.5)],
    ]


def test_a_cut_off_never_looks_further_than_its_own_k_beside_a_deeper_one():
    scorer = RetrievalScorer([metric_named(name) for name in ("nDCG@1", "R@1", "AP@1", "RR@1", "Success@1", "Judged@1", "R@5")])
    (row,) = scorer.score([trial_of("x", "a", "b")], gold_of(a=1, b=1))
    assert [score.value for score in row] == [0, 0, 0, 0, 0, 0, 1]


def test_two_arms_meet_the_same_judgments_and_another_gold_set_its_own():
    scorer = RetrievalScorer([metric_named("R@1")])
    first, second = gold_of(a=1), gold_of(b=1)
    assert [scorer.score([trial_of("a")], gold)[0][0].value for gold in (first, second, first)] == [1.0, 0.0, 1.0]


def test_a_metric_that_is_not_about_rankings_is_refused():
    with pytest.raises(ValueError, match="'answer_f1' is not a retrieval metric"):
        retrieval_values(metric_named("answer_f1"), rank_arrays([["a"]], [{"a": 1}], depth=1))
