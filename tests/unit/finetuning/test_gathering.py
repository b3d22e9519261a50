"""All sources together: each pair once, train and dev apart, nothing both right and wrong."""

from ragtrial.domain.pair import Pair
from ragtrial.finetuning.gathering import CONTRADICTED, IN_DEV, TWICE, tidied


def pair(query: str, answer: str, **more: object) -> Pair:
    return Pair(query=query, passage=answer, passage_id=answer, document_id=answer, **more)  # type: ignore[arg-type]


def test_equal_pairs_become_the_first_of_them_with_the_negatives_of_all() -> None:
    found = tidied([pair("Q one?", "a", negatives=("n1",)), pair("q ONE", "A", origin="vote", negatives=("n2", "n1"))])
    assert found.pairs == (pair("Q one?", "a", negatives=("n1", "n2")),)
    assert found.left_out == {TWICE: 1}


def test_a_training_pair_that_shares_a_text_with_dev_goes() -> None:
    dev = pair("asked in dev", "dev passage", split="dev")
    found = tidied([pair("asked in dev", "x"), pair("other", "Dev  passage"), dev, pair("other", "y")])
    assert found.pairs == (dev, pair("other", "y"))
    assert found.left_out == {IN_DEV: 2}


def test_what_answers_a_query_is_no_negative_of_it_and_may_be_one_of_another() -> None:
    found = tidied([pair("q", "a", negatives=("B", "c")), pair("q", "b"), pair("r", "c", negatives=("a",))])
    assert [each.negatives for each in found.pairs] == [("c",), (), ("a",)]
    assert found.left_out == {CONTRADICTED: 1}
