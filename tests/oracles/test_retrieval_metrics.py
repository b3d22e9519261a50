"""Every retrieval metric equals trec_eval's, query by query, on rankings that trip implementations up."""

import ir_measures
import numpy as np
import pytest

from oracles.trec_eval import trec_eval
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Failure, Hit, Ranking, Trial
from ragtrial.scoring.retrieval import NOTHING_RELEVANT, NOTHING_RETRIEVED, RetrievalScorer, rank_arrays, retrieval_values

# By name: the judgments, and the ranking.
TRICKY: dict[str, tuple[dict[str, int], list[str]]] = {
    "first is right": ({"a": 1}, ["a", "b", "c"]),
    "last is right": ({"c": 1}, ["a", "b", "c"]),
    "none is right": ({"z": 1}, ["a", "b", "c"]),
    "graded, worst first": ({"a": 1, "b": 2, "c": 3}, ["a", "b", "c"]),
    "graded, with a gap": ({"a": 3, "c": 1, "e": 2}, ["b", "a", "d", "c", "e"]),
    "grades far apart": ({"a": 100, "b": 1}, ["b", "x", "a"]),
    "judged zero on top": ({"a": 0, "b": 0, "c": 2}, ["a", "b", "c"]),
    "judged zero not retrieved": ({"y": 0, "z": 0, "b": 1}, ["a", "b"]),
    "more relevant than any k": ({f"r{i:02}": 1 + i % 3 for i in range(30)}, [f"r{i:02}" for i in range(0, 30, 2)]),
    "more relevant than the ranking is long": ({"a": 1, "b": 1, "c": 1, "d": 1}, ["d", "a"]),
    "one passage retrieved": ({"a": 1, "b": 2}, ["b"]),
    "longer than the largest k": ({"p119": 1, "p003": 2, "p099": 1}, [f"p{i:03}" for i in range(120)]),
    "nothing judged is retrieved": ({"a": 1}, ["x", "y", "z"]),
    "ids that sort against the ranking": ({"9": 1, "10": 1, "z": 1, "A": 1}, ["z", "9", "10", "A"]),
    "ids that aren't ASCII": ({"straße": 2, "名": 1}, ["x", "名", "straße"]),
}
NAMES = [f"{measure}@{k}" for measure in ("nDCG", "R", "P", "RR", "AP", "Success") for k in (1, 3, 5, 10, 100)]


def gold_of(qrels: dict[str, dict[str, int]]) -> GoldSet:
    judgments = [Judgment(query_id=q, target_id=p, grade=grade) for q, grades in qrels.items() for p, grade in grades.items()]
    return GoldSet(name="tricky", queries=tuple(Query(query_id=q, text=q) for q in qrels), judgments=tuple(judgments))


def trial_of(query_id: str, ids: list[str], similarity: float | None = None) -> Trial:
    """A trial that ranked these passages, with falling similarities or one for all."""
    hits = tuple(Hit(passage_id=p, similarity=1 - rank / 1000 if similarity is None else similarity) for rank, p in enumerate(ids))
    return Trial(arm="baseline", query_id=query_id, ranking=Ranking(query_id=query_id, hits=hits))


QRELS = {query: grades for query, (grades, _) in TRICKY.items()}
RANKINGS = {query: ids for query, (_, ids) in TRICKY.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_tricky_ranking_scores_as_in_trec_eval(name):
    theirs = trec_eval(name, QRELS, RANKINGS)
    scorer = RetrievalScorer([metric_named(name)])
    scores = scorer.score([trial_of(query, ids) for query, ids in RANKINGS.items()], gold_of(QRELS))
    for query, (score,) in zip(RANKINGS, scores, strict=True):
        assert score.value == pytest.approx(theirs[query], abs=1e-9), query


def test_tied_similarities_count_in_the_order_of_the_ranking():
    ids = ["z", "a", "m"]
    ((score,),) = RetrievalScorer([metric_named("RR@10")]).score([trial_of("q", ids, similarity=0.5)], gold_of({"q": {"a": 1}}))
    assert score.value == 0.5  # trec_eval would rank tied passages by descending id (z, m, a) and say 1/3
    assert trec_eval("RR@10", {"q": {"a": 1}}, {"q": ids})["q"] == 0.5


def test_near_ties_that_float32_can_not_tell_apart_keep_their_order():
    hits = (Hit(passage_id="a", similarity=0.5 + 1e-12), Hit(passage_id="z", similarity=0.5))
    trial = Trial(arm="baseline", query_id="q", ranking=Ranking(query_id="q", hits=hits))
    ((score,),) = RetrievalScorer([metric_named("P@1")]).score([trial], gold_of({"q": {"a": 1}}))
    assert score.value == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_passage_that_stands_twice_counts_at_its_first_rank_only(name):
    qrels = {"a": 2, "b": 1}
    ranks = rank_arrays([["x", "a", "a", "b", "a", "b"]], [qrels], depth=100)
    theirs = trec_eval(name, {"q": qrels}, {"q": ["x", "a", "b"]})
    assert retrieval_values(metric_named(name), ranks)[0] == pytest.approx(theirs["q"], abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_query_that_the_arm_dropped_scores_zero(name):
    failed = Trial(arm="custom", query_id="q", failure=Failure(stage="search", kind="StoreError", message="gone"))
    empty = trial_of("q", [])
    scores = RetrievalScorer([metric_named(name)]).score([failed, empty], gold_of({"q": {"a": 1}}))
    assert [score.value for (score,) in scores] == [0.0, 0.0]


@pytest.mark.parametrize("grades", [{}, {"a": 0, "b": 0}], ids=["unjudged", "all judged zero"])
@pytest.mark.parametrize("name", NAMES)
def test_a_query_with_nothing_relevant_has_a_reason_and_no_score(name, grades):
    ((score,),) = RetrievalScorer([metric_named(name)]).score([trial_of("q", ["a", "b"])], gold_of({"q": grades}))
    assert (score.value, score.unscored) == (None, NOTHING_RELEVANT)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10, 100])
def test_judged_at_k_is_the_one_of_ir_measures(k):
    measure = ir_measures.parse_measure(f"Judged@{k}")
    run = {query: {p: float(len(ids) - rank) for rank, p in enumerate(ids)} for query, ids in RANKINGS.items()}
    theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure], QRELS, run)}
    ranks = rank_arrays(list(RANKINGS.values()), list(QRELS.values()), depth=100)
    ours = retrieval_values(metric_named(f"Judged@{k}"), ranks)
    np.testing.assert_allclose(ours, [theirs[query] for query in QRELS], atol=1e-12)


def test_judged_at_k_is_unscored_where_nothing_was_retrieved():
    ((score,),) = RetrievalScorer([metric_named("Judged@10")]).score([trial_of("q", [])], gold_of({"q": {"a": 1}}))
    assert (score.value, score.unscored) == (None, NOTHING_RETRIEVED)


def test_judged_at_k_tells_that_no_retrieved_passage_is_judged_even_where_nothing_is_relevant():
    ((score,),) = RetrievalScorer([metric_named("Judged@10")]).score([trial_of("q", ["a", "b", "c", "d"])], gold_of({"q": {"a": 0}}))
    assert score.value == 0.25


def test_a_ranking_computed_by_hand():
    # Grades at ranks 1 to 4: 0, 2, 0, 1. DCG = 2/log2(3) + 1/log2(5); ideal order 2, 1, 1 (c is missed): 2 + 1/log2(3) + 1/log2(4).
    qrels = {"a": 2, "b": 1, "c": 1}
    ranks = rank_arrays([["x", "a", "y", "b"]], [qrels], depth=10)
    values = {name: float(retrieval_values(metric_named(name), ranks)[0]) for name in ("nDCG@10", "R@10", "P@10", "RR@10", "AP@10")}
    dcg, ideal = 2 / np.log2(3) + 1 / np.log2(5), 2 + 1 / np.log2(3) + 1 / 2
    assert values == pytest.approx({"nDCG@10": dcg / ideal, "R@10": 2 / 3, "P@10": 0.2, "RR@10": 0.5, "AP@10": (1 / 2 + 2 / 4) / 3})
