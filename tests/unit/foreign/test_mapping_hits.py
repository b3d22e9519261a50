"""What other libraries return, known again in the corpus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document as LangchainDocument
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.retriever import RetrieverSpec
from ragtrial.domain.trial import Ranking
from ragtrial.foreign.known import Acquaintance
from ragtrial.foreign.reading import ForeignHit, read_result


def passage(passage_id: str, text: str, document_id: str | None = None, title: str = "") -> Passage:
    return Passage(passage_id=passage_id, document_id=document_id or passage_id, title=title, text=text, start=0, end=len(text))


CORPUS = Corpus(
    name="c",
    passages=(
        passage("a", "first"),
        passage("b", "second words", title="Title"),
        passage("d#0", "one part", "d"),
        passage("d#1", "another part", "d"),
        passage("a2", "first"),
    ),
)


def spec(**more: object) -> RetrieverSpec:
    return RetrieverSpec(**({"provider": "shop.rag:find", "version": "1"} | more))  # type: ignore[arg-type]


def hits(result: object, **more: object) -> list[tuple[str, float]]:
    wanted = spec(**more)
    mapped = Acquaintance(CORPUS, wanted.match_by).mapped(read_result(result, wanted).hits, top_k=10)
    return [(hit.passage_id, hit.similarity) for hit in mapped.hits]


def test_langchains_documents_are_known_by_their_id_or_by_a_key_of_their_metadata() -> None:
    assert hits([LangchainDocument(id="b", page_content="x"), LangchainDocument(id="a", page_content="y")]) == [("b", 1.0), ("a", 0.5)]
    keyed = [LangchainDocument(id="uuid-1", page_content="x", metadata={"doc": "b", "relevance": 0.25})]
    assert hits(keyed) == []
    assert hits(keyed, id_key="doc", score_key="relevance") == [("b", 0.25)]


def test_llama_indexs_nodes_are_known_by_their_id_or_by_their_source_documents() -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="b")}
    node = NodeWithScore(node=TextNode(id_="uuid", text="x", relationships=source), score=0.75)
    assert hits([node, NodeWithScore(node=TextNode(id_="a", text="y"), score=0.5)]) == [("b", 0.75), ("a", 0.5)]


def test_a_document_of_several_passages_is_told_apart_by_text() -> None:
    assert hits([{"id": "d", "text": "another\npart"}, {"id": "d", "text": "no part of it"}]) == [("d#1", 1.0)]


def test_texts_are_matched_white_space_aside_with_or_without_the_title_and_the_first_of_equal_ones_counts() -> None:
    found = hits([{"text": "second  words"}, {"text": "Title second words "}, {"text": " first"}], match_by="text")
    assert [name for name, _ in found] == ["b", "a"]
    assert Acquaintance(CORPUS, "text").n_ambiguous == 2


def test_an_unmapped_hit_takes_its_place_among_the_top_k_and_is_left_out_and_the_ranks_of_others_stay_in_their_similarity() -> None:
    mapped = Acquaintance(CORPUS, "id").mapped([ForeignHit(ids=(name,)) for name in ("a", "old", "a", "b", "d#0")], top_k=3)
    assert [(hit.passage_id, hit.similarity) for hit in mapped.hits] == [("a", 1.0), ("b", 0.25)]
    assert (mapped.n_returned, mapped.n_looked_at, mapped.n_unmapped, mapped.n_repeated, mapped.stranger) == (5, 3, 1, 1, "old")
    assert mapped.unmapped_share == pytest.approx(1 / 3)


def test_distances_and_missing_scores_give_similarities_by_rank() -> None:
    assert hits([("a", 0.1), ("b", 0.9)]) == [("a", 1.0), ("b", 0.5)]
    assert hits([("a", 0.9), ("b", None)]) == [("a", 1.0), ("b", 0.5)]
    assert hits([("a", float("nan")), ("b", 0.1)]) == [("a", 1.0), ("b", 0.5)]
    assert hits([("a", 0.9), ("b", 0.9)]) == [("a", 0.9), ("b", 0.9)]


def test_chains_and_responses_bring_their_answer() -> None:
    chain = read_result({"input": "q", "context": [LangchainDocument(id="a", page_content="x")], "answer": "It is so."}, spec())
    assert (chain.answer, chain.hits[0].ids) == ("It is so.", ("a",))
    older = read_result({"query": "q", "result": "So.", "source_documents": []}, spec())
    assert (older.answer, older.hits) == ("So.", ())


@pytest.mark.parametrize("result", [7, "a text", {"answer": "no context"}, [object()], None])
def test_what_is_no_list_of_hits_is_said_to_be_none(result: object) -> None:
    with pytest.raises(TypeError, match=r"expected|none of"):
        read_result(result, spec())


NAMES = st.sampled_from(["a", "b", "d#0", "d#1", "a2", "d", "old", ""])
SCORES = st.none() | st.floats() | st.integers(-3, 3) | st.text(max_size=2)


@given(st.lists(st.tuples(NAMES, SCORES), max_size=30), st.integers(1, 8))
def test_whatever_is_returned_keeps_a_rankings_invariants_and_nothing_is_lost_uncounted(
    found: list[tuple[str, object]], top_k: int
) -> None:
    mapped = Acquaintance(CORPUS, "id").mapped(read_result(found, spec()).hits, top_k=top_k)
    Ranking(query_id="q", hits=mapped.hits)
    assert len(mapped.hits) + mapped.n_unmapped == mapped.n_looked_at <= top_k
    assert mapped.n_looked_at + mapped.n_repeated <= mapped.n_returned == len(found)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"provider": "langchain"}, "object is None"),
        ({"provider": "langchain", "object": "no_colon"}, "import path"),
        ({"provider": "haystack"}, "is unknown"),
        ({"provider": "a.b:c", "object": "a.b:c"}, "leave object out"),
        ({"version": " "}, "version is blank"),
        ({"call": "batch"}, "langchain objects have"),
        ({"match_by": "text", "id_key": "x"}, "match_by: id"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"concurrency": 0}, "at least 1"),
        ({"input_key": "q"}, "is for langchain"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(given_: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**given_)
