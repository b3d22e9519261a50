"""The order that a reranker makes, and what becomes of one that fails."""

from collections.abc import Sequence

import numpy as np
import pytest

from ragtrial.contracts import Scores
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Failure, Hit, Ranking
from ragtrial.errors import RerankError
from ragtrial.pipeline import Pipeline
from ragtrial.reranking.overlap import OverlapReranker
from ragtrial.reranking.reordering import Reordering, RerankedRetriever
from unit.parts import dense

TEXTS = {"a": "berth crane", "b": "crane yard", "c": "yard yard gate", "d": "demurrage starts on day six", "e": "tariff"}
PASSAGES = {i: Passage(passage_id=i, document_id=i, text=text, start=0, end=len(text)) for i, text in TEXTS.items()}


class Scripted:
    """Gives each passage the score of the table; a query in `broken` has none."""

    identity = ModelIdentity(name="scripted", revision="1", dimension=1)

    def __init__(self, table: dict[str, float], broken: str = "") -> None:
        self.table, self.broken = table, broken
        self.asked: list[list[str]] = []

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        if self.broken and any(query == self.broken for query, _ in asked):
            raise RerankError("the scripted reranker broke")
        self.asked += [[query, *texts] for query, texts in asked]
        by_text = {TEXTS[i]: score for i, score in self.table.items()}
        return tuple(np.array([by_text[text] for text in texts], dtype=np.float32) for _, texts in asked)


def hits(ids: str) -> tuple[Hit, ...]:
    return tuple(Hit(passage_id=i, similarity=1 - place / 10) for place, i in enumerate(ids))


def reordering(reranker: object, candidates: int = 3) -> Reordering:
    return Reordering(reranker=reranker, passages=PASSAGES, candidates=candidates)  # type: ignore[arg-type]


def test_hits_stand_by_the_rerankers_scores_which_become_their_similarities() -> None:
    how = reordering(Scripted({"a": -4.0, "b": 7.5, "c": 0.25, "d": 0.0, "e": 0.0}))
    (found,) = how.reordered([("q", hits("abc"))], top_k=2)
    assert [(hit.passage_id, hit.similarity) for hit in found] == [("b", 7.5), ("c", 0.25)]
    Ranking(query_id="q", hits=how.reordered([("q", hits("abcde"))], top_k=5)[0])  # refuses what is not in order


def test_scores_that_tie_stand_by_passage_id_whatever_the_search_said() -> None:
    how = reordering(Scripted({"a": 1.0, "b": 1.0 + 4e-7, "c": 1.0, "d": 2.0, "e": 0.0}))
    (found,) = how.reordered([("q", hits("cbad"))], top_k=4)
    assert [hit.passage_id for hit in found] == ["d", "a", "b", "c"]


def test_a_query_without_hits_is_not_asked_about() -> None:
    reranker = Scripted(dict.fromkeys("abcde", 1.0))
    assert reordering(reranker).reordered([("none", ()), ("q", hits("a")), ("none", ())], top_k=3)[::2] == ((), ())
    assert [row[0] for row in reranker.asked] == ["q"]
    assert reordering(reranker).reordered([("none", ())], top_k=3) == ((),)
    assert len(reranker.asked) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((np.array([1.0, np.nan]),), "not finite"),
        ((np.array([1.0, np.inf]),), "not finite"),
        ((np.array([1.0]),), r"shape \(1,\) for 2 passages"),
        ((np.array([[1.0], [2.0]]),), r"shape \(2, 1\) for 2 passages"),
        ((), "scores of 0 queries for 1"),
    ],
)
def test_scores_that_are_no_scores_are_an_error_and_no_ranking(rows: tuple[Scores, ...], said: str) -> None:
    class Odd(Scripted):
        def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
            return rows

    with pytest.raises(RerankError, match=said):
        reordering(Odd({})).reordered([("q", hits("ab"))], top_k=2)


def pipeline(reranker: object) -> Pipeline:
    corpus = Corpus(name="c", passages=tuple(PASSAGES.values()))
    retriever = RerankedRetriever(dense(corpus), reordering(reranker, candidates=5))  # type: ignore[arg-type]
    return Pipeline(arm="x", retriever=retriever, generator=None, passages=PASSAGES, top_k=2, context_passages=1)


def test_the_search_is_asked_for_the_candidates_and_the_arm_gets_top_k() -> None:
    reranker = Scripted({"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0})
    (found,) = pipeline(reranker).retrieve([Query(query_id="q", text="berth crane")])
    assert isinstance(found, Ranking)
    assert found.passage_ids == ("e", "d"), "what the search had last, the reranker has first"
    assert len(reranker.asked[0]) == 1 + 5


def test_a_query_that_cant_be_reranked_is_a_counted_failure_and_takes_no_other_down() -> None:
    arm = pipeline(Scripted(dict.fromkeys("abcde", 1.0), broken="yard"))
    found = arm.retrieve([Query(query_id="q0", text="berth"), Query(query_id="q1", text="yard"), Query(query_id="q2", text="gate")])
    assert [type(each) for each in found] == [Ranking, Failure, Ranking]
    assert found[1] == Failure(stage="rerank", kind="RerankError", message="the scripted reranker broke")
    trial = arm.run(Query(query_id="q1", text="yard"))
    assert (trial.ranking, trial.timings) == (None, None)
    assert trial.failure == found[1]


def test_reranking_is_a_part_of_the_search_and_shown_apart() -> None:
    timings = pipeline(OverlapReranker("o")).run(Query(query_id="q", text="crane")).timings
    assert timings is not None
    assert timings.rerank_ms is not None
    assert 0 < timings.rerank_ms < timings.search_ms
    assert timings.latency_ms == timings.embed_ms + timings.search_ms + timings.generate_ms
