"""One query in, one trial out; one bad query takes no other down."""

import pytest

from ragtrial.domain.trial import Failure, Ranking
from ragtrial.errors import ModelError, StoreError
from unit.parts import Failing, Quoting, dense, pipeline, world


def test_a_query_gets_its_passages_and_an_answer_from_the_first_of_them() -> None:
    corpus, gold = world()
    generator = Quoting()
    trial = pipeline(corpus, generator=generator).run(gold.queries[4])
    assert trial.failure is None
    assert trial.ranking is not None
    assert trial.answer is not None
    assert trial.ranking.passage_ids[0] == "p004"
    assert len(trial.ranking.hits) == 3  # top_k
    assert generator.calls == [("q004", trial.ranking.passage_ids[:2])]  # context_passages
    assert trial.answer.cited == ("p004",)


def test_a_query_asked_alone_is_timed_stage_by_stage() -> None:
    corpus, gold = world()
    timings = pipeline(corpus, generator=Quoting()).run(gold.queries[0]).timings
    assert timings is not None
    assert timings.latency_ms == timings.embed_ms + timings.search_ms + timings.generate_ms
    assert timings.embed_ms > 0


def test_a_query_that_breaks_its_batch_fails_alone() -> None:
    corpus, gold = world()
    retriever = Failing(inner=dense(corpus), errors={"q002": StoreError("the store hung up")})
    results = pipeline(corpus, retriever=retriever).retrieve(gold.queries)
    assert retriever.batches == [6, 1, 1, 1, 1, 1, 1]  # all at once, then each alone
    assert results[2] == Failure(stage="search", kind="StoreError", message="the store hung up")
    others = [result for i, result in enumerate(results) if i != 2]
    assert all(isinstance(result, Ranking) for result in others)
    assert [r.hits for r in others if isinstance(r, Ranking)] == [
        r.hits for i, r in enumerate(pipeline(corpus).retrieve(gold.queries)) if i != 2 and isinstance(r, Ranking)
    ]


def test_a_failure_says_at_which_stage_it_broke() -> None:
    corpus, gold = world()
    errors = {"q000": ModelError("no model"), "q001": StoreError("no store")}
    failing = Failing(inner=dense(corpus), errors=errors)
    broken = pipeline(corpus, retriever=failing, generator=Quoting(fails_on=frozenset({"q002"})))
    trials = [broken.run(query) for query in gold.queries[:4]]
    assert [trial.failure and trial.failure.stage for trial in trials] == ["embed", "search", "generate", None]
    assert [trial.failure and trial.failure.kind for trial in trials] == ["ModelError", "StoreError", "InputError", None]
    assert [trial.ranking is None for trial in trials] == [True, True, False, False]
    assert all(trial.timings is None and trial.answer is None for trial in trials[:3])


def test_without_a_generator_there_is_a_ranking_and_no_answer() -> None:
    corpus, gold = world()
    trial = pipeline(corpus).run(gold.queries[0])
    assert trial.ranking is not None
    assert trial.answer is None
    assert trial.failure is None


def test_no_queries_are_no_call() -> None:
    corpus, _gold = world()
    retriever = Failing(inner=dense(corpus), errors={})
    assert pipeline(corpus, retriever=retriever).retrieve([]) == ()
    assert retriever.batches == []


def test_an_error_that_is_not_ours_is_a_bug_and_passes_through() -> None:
    corpus, gold = world()

    class Buggy:
        def retrieve(self, queries: object, *, top_k: int) -> object:
            del queries, top_k
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pipeline(corpus, retriever=Buggy()).retrieve(gold.queries)  # type: ignore[arg-type]
