"""What is searched and what is asked: refused where it is blank or contradicts itself, and named by its content."""

import dataclasses

import pytest

from ragtrial.domain.corpus import Corpus, Document, Passage
from ragtrial.domain.fingerprint import digest, digest_lines
from ragtrial.domain.gold import GoldSet, Judgment, Query


def passage(passage_id: str = "p1", text: str = "The crane lifts.", **more: object) -> Passage:
    return Passage(**{"passage_id": passage_id, "document_id": "d1", "text": text, "start": 0, "end": len(text), **more})  # type: ignore[arg-type]


def gold(*judgments: Judgment, name: str = "g", n: int = 2) -> GoldSet:
    return GoldSet(name=name, queries=tuple(Query(query_id=f"q{i}", text=f"question {i}") for i in range(n)), judgments=judgments)


def judgment(query_id: str = "q0", target_id: str = "p1", grade: int = 1, start: int | None = None, end: int | None = None) -> Judgment:
    return Judgment(query_id=query_id, target_id=target_id, grade=grade, start=start, end=end)


def test_blank_ids_and_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="a document needs an id"):
        Document(document_id=" ", text="x")
    with pytest.raises(ValueError, match="document 'd1' has no text"):
        Document(document_id="d1", text=" \n")
    with pytest.raises(ValueError, match="query 'q1' has no text"):
        Query(query_id="q1", text="")
    with pytest.raises(ValueError, match="passage 'p1' has no text"):
        passage(text="  ")


@pytest.mark.parametrize(("start", "end"), [(0, 5), (-1, 15), (3, 3)])
def test_offsets_that_do_not_fit_the_text_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="don't fit its 16 characters"):
        passage(start=start, end=end)


def test_the_title_is_searched_in_front_of_the_text() -> None:
    assert passage(title="Cranes").content == "Cranes The crane lifts."
    assert passage().content == "The crane lifts."


def test_a_corpus_has_passages_and_each_of_them_once() -> None:
    with pytest.raises(ValueError, match="corpus 'c' has no passages"):
        Corpus(name="c", passages=())
    with pytest.raises(ValueError, match="has 1 passage ids twice"):
        Corpus(name="c", passages=(passage(), passage(text="Another text.")))


def test_a_corpus_is_named_by_its_content_and_not_by_its_name() -> None:
    one = Corpus(name="one", passages=(passage(),))
    assert Corpus(name="other", passages=(passage(),)).fingerprint == one.fingerprint
    for changed in (passage(text="The crane lowers."), passage(title="Cranes"), passage(passage_id="p2"), passage(document_id="d2")):
        assert Corpus(name="one", passages=(changed,)).fingerprint != one.fingerprint


def test_text_that_moves_from_one_field_to_the_next_changes_the_fingerprint() -> None:
    left, right = passage(title="a b", text="c"), passage(title="a", text="b c")
    assert left.content == right.content
    assert Corpus(name="c", passages=(left,)).fingerprint != Corpus(name="c", passages=(right,)).fingerprint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grade": -1}, "grade -1 is below 0"),
        ({"start": 3}, "needs both start and end"),
        ({"end": 3}, "needs both start and end"),
        ({"start": 3, "end": 3}, "3..3 is no span"),
        ({"start": -1, "end": 3}, "-1..3 is no span"),
    ],
)
def test_a_judgment_that_cannot_be_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judgment(**values)  # type: ignore[arg-type]


def test_a_gold_set_has_each_query_once_and_judges_no_other() -> None:
    query = Query(query_id="q0", text="x")
    with pytest.raises(ValueError, match="has 1 query ids twice"):
        GoldSet(name="g", queries=(query, query), judgments=())
    with pytest.raises(ValueError, match=r"judges 1 unknown queries, e\.g\. 'q9'"):
        gold(judgment("q9"))


def test_qrels_hold_every_query_and_the_highest_grade_of_a_target() -> None:
    table = gold(judgment(grade=1), judgment(grade=3), judgment(grade=2), judgment(target_id="p2", grade=0)).qrels()
    assert table == {"q0": {"p1": 3, "p2": 0}, "q1": {}}


def test_a_gold_set_is_named_by_its_content_whatever_the_order_of_judgments() -> None:
    one, two = judgment(), judgment(target_id="p2")
    assert gold(one, two).fingerprint == gold(two, one, name="other").fingerprint
    assert gold(one).fingerprint != gold(one, two).fingerprint
    assert gold(one).fingerprint != gold(judgment(grade=2)).fingerprint
    with_answer = dataclasses.replace(gold(), queries=(Query(query_id="q0", text="question 0", answers=("yes",)), gold().queries[1]))
    assert with_answer.fingerprint != gold().fingerprint


def test_digests_are_those_of_sha_256_over_canonical_json() -> None:
    # printf '{"a":1,"b":[2,3]}' | sha256sum
    assert digest({"b": (2, 3), "a": 1}) == "efbd0040190fb087"
    assert digest({"a": 1, "b": [2, 3]}, length=6) == "efbd00"


def test_what_has_no_canonical_form_is_not_hashed() -> None:
    with pytest.raises(TypeError, match="object has no canonical form"):
        digest(object())
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_sets_are_hashed_without_their_order_and_lines_with_their_ends() -> None:
    assert digest({"x", "y", "z"}) == digest(frozenset({"z", "y", "x"})) == digest(["x", "y", "z"])
    assert digest_lines(["ab", "c"]) != digest_lines(["a", "bc"])
    assert digest_lines([]) != digest_lines([""])
