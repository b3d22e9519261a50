from dataclasses import replace

import pytest

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.index.bm25 import Bm25Retriever


def passage(passage_id: str, text: str, title: str = "") -> Passage:
    return Passage(passage_id=passage_id, document_id=passage_id, title=title, text=text, start=0, end=len(text))


def ids(retriever: Bm25Retriever, *texts: str, top_k: int = 10) -> list[list[str]]:
    queries = [Query(query_id=str(i), text=text) for i, text in enumerate(texts)]
    return [[hit.passage_id for hit in hits] for hits in retriever.retrieve(queries, top_k=top_k).hits]


def test_passages_that_share_no_word_are_no_hits() -> None:
    retriever = Bm25Retriever([passage("a", "crane hoist"), passage("b", "gate lane")])
    assert ids(retriever, "crane", "the of and", "zebra", "crane gate") == [["a"], [], [], ["a", "b"]]


def test_ties_stand_in_corpus_order_even_across_the_cut() -> None:
    retriever = Bm25Retriever([passage(name, "reefer plug") for name in "zyxwvutsr"])
    assert ids(retriever, "reefer", top_k=4) == [["z", "y", "x", "w"]]


def test_the_title_is_searched_too() -> None:
    assert ids(Bm25Retriever([passage("a", "see below", title="Demurrage"), passage("b", "see above")]), "demurrage") == [["a"]]


def test_scores_are_those_of_lucene() -> None:
    # idf = ln(1 + (N - n + 0.5) / (n + 0.5)); tf part = tf / (tf + k1 * (1 - b + b * length / mean length)), k1 1.2, b 0.75:
    # N = 2, n = 1, tf = 1, length 2, mean length 3
    retriever = Bm25Retriever([passage("a", "crane hoist"), passage("b", "gate lane gate lane")])
    (hits,) = retriever.retrieve([Query(query_id="q", text="crane")], top_k=1).hits
    assert hits[0].similarity == pytest.approx(0.6931472 * 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * 2 / 3)), abs=1e-6)


def test_a_corpus_without_a_word_is_never_hit() -> None:
    assert ids(Bm25Retriever([passage("a", "?"), passage("b", "the")]), "crane", "?") == [[], []]


def test_no_queries_are_no_rankings() -> None:
    found = Bm25Retriever([passage("a", "crane")]).retrieve([], top_k=3)
    assert (found.hits, found.embed_ms) == ((), 0.0)


def test_a_query_with_a_group_finds_that_group_alone_as_arms_do() -> None:
    passages = [replace(passage(f"{group}{i}", f"crane {i}"), group=group) for group in ("acme", "beta") for i in range(3)]
    queries = [
        Query(query_id="1", text="crane", tags={"tenant": "beta"}),
        Query(query_id="2", text="crane"),
        Query(query_id="3", text="crane", tags={"tenant": "x"}),
    ]
    for tag, expected in (("tenant", [{"beta"}, {"acme", "beta"}, set()]), (None, [{"acme", "beta"}] * 3)):
        found = Bm25Retriever(passages, group_tag=tag).retrieve(queries, top_k=6).hits
        assert [{hit.passage_id[:4] for hit in hits} for hits in found] == expected
