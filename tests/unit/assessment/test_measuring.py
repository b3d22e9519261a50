"""What is had without training, against calculations by hand."""

import dataclasses
import math

import numpy as np
import pytest

from ragtrial.assessment.failing import failed_queries, groups, marking_terms, slices
from ragtrial.assessment.measuring import baseline_metrics, ceilings, deeper, judged, options
from ragtrial.assessment.retrieving import Found, retrieve_all
from ragtrial.contracts import IndexParameters
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.index.exact import ExactIndex
from ragtrial.index.hybrid import Blend, blended


def gold(relevant: dict[str, list[str]], **queries: dict[str, object]) -> GoldSet:
    return GoldSet(
        name="g",
        queries=tuple(Query(query_id=name, text=f"ask {name}", **queries.get(name, {})) for name in relevant),  # type: ignore[arg-type]
        judgments=tuple(Judgment(query_id=name, target_id=target, grade=1) for name, targets in relevant.items() for target in targets),
    )


@pytest.mark.parametrize("blend", [None, Blend(rrf_k=1), Blend(fusion="weighted", dense_weight=0.9), Blend(candidates=2)])
def test_hybrid_is_what_an_arm_with_the_controls_settings_finds(blend: Blend | None) -> None:
    embedder, store = HashingEmbedder(dimension=64), ExactIndex()
    texts = ["demurrage and detention", "demurrage from the sixth day", "the sixth crane", "a manifest", "the day of the vessel"]
    passages = tuple(Passage(passage_id=f"p{i}", document_id="d", text=text, start=0, end=len(text)) for i, text in enumerate(texts))
    queries = [Query(query_id="q", text="the sixth day of demurrage"), Query(query_id="r", text="vessel")]
    asked, stored = (embedder.embed(each, kind="query") for each in ([query.text for query in queries], texts))
    found = retrieve_all(Corpus(name="c", passages=passages), queries, query_vectors=asked, passage_vectors=stored, blend=blend)
    store.create("c", model=embedder.identity, corpus="x", parameters=IndexParameters(build={}, search={}, words=True))
    store.insert("c", passages, stored)
    for method, ours in (("hybrid", found.hybrid), ("bm25", found.bm25)):
        how = dataclasses.replace(blend or Blend(), method=method)
        arm = blended(store, "c", [query.text for query in queries], asked, top_k=2, model=embedder.identity, blend=how)
        assert [ids[:2] for ids in ours] == [tuple(hit.passage_id for hit in hits) for hits in arm]
    assert found.base == found.dense


def test_the_ceiling_of_recall_at_1_is_set_by_the_number_of_relevant_passages() -> None:
    """1/1 and 1/4 make 0.625; at 5 and 10 everything could be found."""
    most = dict(ceilings(judged(gold({"q1": ["a"], "q2": ["a", "b", "c", "d"]}))))
    assert most["R@1"] == pytest.approx(0.625)
    assert (most["R@5"], most["nDCG@10"]) == (1.0, 1.0)


def test_a_perfect_reranker_reaches_what_was_found_and_no_more() -> None:
    """q1 has its passage at rank 20: found, so 1 in the best order. q2 has none in the ranking: 0."""
    known = judged(gold({"q1": ["hit"], "q2": ["gone"]}))
    other = tuple(f"p{i}" for i in range(30))
    found = Found(dense=((*other[:19], "hit"), other), bm25=((), ()), hybrid=((), ()))
    by_name = {option.name: option for option in options(found, known, alpha=0.05, index=None, index_name="")}
    assert by_name["perfect reranker over the first 100"].mean.value == pytest.approx(0.5)
    assert by_name["BM25"].mean.value == 0.0
    recall = deeper(found, known, alpha=0.05)
    assert [(each.metric, each.mean.value) for each in recall] == [("R@50", 0.5), ("R@100", 0.5)]


def test_the_best_of_the_free_methods_has_no_interval_of_a_single_one() -> None:
    """The gains are 1, 1, 1, 0 and 0: half of the interval is t(1 - 0.05 / 4, 4) times 0.5477 / sqrt 5, as two methods are asked."""
    known = judged(gold({f"q{i}": [f"a{i}"] for i in range(5)}))
    right, wrong = tuple((f"a{i}",) for i in range(5)), (("x",), ("x",), ("x",), ("a3",), ("a4",))
    first = options(Found(dense=wrong, bm25=right, hybrid=right), known, alpha=0.05, index=None, index_name="")[0].difference
    assert first.value == pytest.approx(0.6)
    assert first.low == pytest.approx(0.6 - 3.4954 * 0.54772 / math.sqrt(5), abs=1e-3)
    assert first.high == 1.0  # and no gain is above 1


def test_the_interval_of_a_share_ends_where_shares_end() -> None:
    """R@1 of 9 in 10 would reach to 0.9 + 2.262 x 0.1 = 1.126, and of 1 in 10 down to -0.126."""
    known = judged(gold({f"q{i}": [f"a{i}"] for i in range(10)}))
    right, wrong = tuple((f"a{i}",) for i in range(10)), tuple(("x",) for _ in range(10))
    for hits, ends in ((right[:9] + wrong[9:], (0.674, 1.0)), (right[:1] + wrong[1:], (0.0, 0.326))):
        found = {each.name: each for each in baseline_metrics(Found(dense=hits, bm25=wrong, hybrid=wrong), known, alpha=0.05)}
        assert (found["R@1"].low, found["R@1"].high) == pytest.approx(ends, abs=1e-3)


def test_the_control_s_own_method_is_the_baseline_and_no_alternative_to_itself() -> None:
    known = judged(gold({"q1": ["a"], "q2": ["b"], "q3": ["c"]}))
    right, wrong = (("a",), ("b",), ("c",)), (("x",), ("b",), ("y",))
    found = Found(dense=wrong, bm25=wrong, hybrid=right, method="hybrid")
    assert baseline_metrics(found, known, alpha=0.05)[0].value == 1.0
    names = [option.name for option in options(found, known, alpha=0.05, index=None, index_name="") if option.purpose == "alternative"]
    assert names == ["BM25", "the model alone"]


def test_the_metrics_are_those_of_the_definition() -> None:
    """Ranks 1, 2, 3: nDCG 1, 1/log2(3), 1/2; RR 1, 1/2, 1/3."""
    known = judged(gold({"q1": ["a"], "q2": ["b"], "q3": ["c"]}))
    found = Found(dense=(("a",), ("x", "b"), ("x", "y", "c")), bm25=((),) * 3, hybrid=((),) * 3)
    means = {each.name: each.value for each in baseline_metrics(found, known, alpha=0.05)}
    assert means["nDCG@10"] == pytest.approx((1 + 1 / math.log2(3) + 0.5) / 3)
    assert means["RR@10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert means["R@1"] == pytest.approx(1 / 3)


def test_queries_of_one_document_share_a_cluster_and_others_stand_alone() -> None:
    known = judged(gold({"q1": ["a"], "q2": ["b"], "q3": ["c"]}, q1={"cluster": "d"}, q2={"cluster": "d"}))
    assert known.clusters is not None
    assert len(set(known.clusters.tolist())) == 2
    assert judged(gold({"q1": ["a"], "q2": ["b"]})).clusters is None


def test_a_query_with_nothing_relevant_is_counted_and_neither_fails_nor_succeeds() -> None:
    data = gold({"q1": ["a"], "q2": []})
    known = judged(data)
    found = Found(dense=((), ()), bm25=(("z", "a"), ()), hybrid=((), ()))
    rows, failed = failed_queries(data, found, known)
    assert (known.n_unjudged, len(rows), failed.tolist()) == (1, 1, [True])
    assert (rows[0].rank, rows[0].bm25_rank) == (None, 2)


def test_nothing_to_score_is_a_reason_and_no_number() -> None:
    known = judged(gold({"q1": []}))
    found = Found(dense=((),), bm25=((),), hybrid=((),))
    for each in baseline_metrics(found, known, alpha=0.05):
        assert each.value is None
        assert each.reason == "no query has a relevant passage"


def test_a_baseline_that_always_succeeds_has_a_mean_and_a_reason_why_there_is_no_interval() -> None:
    known = judged(gold({"q1": ["a"], "q2": ["b"]}))
    found = Found(dense=(("a",), ("b",)), bm25=((), ()), hybrid=((), ()))
    first = baseline_metrics(found, known, alpha=0.05)[0]
    assert (first.value, first.low) == (1.0, None)
    assert first.reason is not None
    assert "without variance" in first.reason


def test_words_that_mark_a_group_are_those_it_has_more_of_than_the_others() -> None:
    own = [["reefer", "plug", "alarm"], ["reefer", "plug"], ["reefer", "cold"]] * 3
    other = [["gate", "lane"], ["gate", "truck"], ["crane", "alarm"]] * 6
    assert marking_terms(own, other)[0] == "reefer"
    assert "gate" not in marking_terms(own, other)
    assert "alarm" not in marking_terms(own, other)


def test_failed_queries_that_lie_apart_come_into_groups_of_their_own() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8)[[0, 1]]
    rows = np.concatenate([centres[0] + 0.05 * rng.normal(size=(20, 8)), centres[1] + 0.05 * rng.normal(size=(12, 8))])
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    queries = [Query(query_id=f"q{i}", text="reefer plug" if i < 20 else "gate lane") for i in range(32)]
    failed = np.ones(32, dtype=bool)
    failed[18:20] = False
    made, numbers, reason = groups(queries, vectors, failed, alpha=0.05, seed=1)
    assert reason is None
    assert [group.n_failed for group in made] == [18, 12]
    assert (made[0].n_near, made[0].failing.value) == (20, pytest.approx(0.9))
    assert made[1].terms == ("gate", "lane")
    assert numbers == [0] * 18 + [1] * 12


def test_too_few_failed_queries_make_no_groups_and_say_so() -> None:
    queries = [Query(query_id=f"q{i}", text="x y") for i in range(15)]
    made, numbers, reason = groups(queries, np.eye(15, dtype=np.float32), np.ones(15, dtype=bool), alpha=0.05, seed=1)
    assert (made, set(numbers), reason) == ((), {None}, "15 queries fail: groups need at least 16")


def test_a_tag_value_of_few_queries_is_no_slice() -> None:
    queries = [Query(query_id=f"q{i}", text="x", tags={"area": "gate" if i < 12 else "yard" if i < 30 else "quay"}) for i in range(33)]
    found = slices(queries, np.array([i < 6 for i in range(33)]), alpha=0.05)
    assert [(each.value, each.failing.value) for each in found] == [("gate", 0.5), ("yard", 0.0)]
