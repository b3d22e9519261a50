"""From pairs to the rows that a loss takes, by hand."""

import dataclasses
from typing import Any

import pytest

from ragtrial.domain.data import DataSpec
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.examples import check_spec, examples


def pair(number: int, *negatives: str, score: float | None = None) -> Pair:
    return Pair(query=f"q{number}", passage=f"p{number}", passage_id=f"p{number}", document_id="d", negatives=negatives, score=score)


def spec(loss: Any = "multiple-negatives") -> TrainingSpec:
    return TrainingSpec(data=DataSpec(path="data"), loss=loss)


def test_pairs_without_negatives_are_two_columns() -> None:
    rows = examples([pair(1), pair(2)], spec())
    assert rows.columns == {"query": ["q1", "q2"], "passage": ["p1", "p2"]}
    assert (len(rows), rows.scores, dict(rows.counts)) == (2, None, {})


def test_more_negatives_than_columns_are_cut_and_fewer_are_filled_from_other_queries() -> None:
    pairs = [pair(1, "a", "b", "c"), pair(2, "d", "e"), pair(3), dataclasses.replace(pair(4, "f", "g"), query="q3")]
    rows = examples(pairs, spec())
    assert list(rows.columns) == ["query", "passage", "negative_1", "negative_2"]
    assert [rows.columns["negative_1"][0], rows.columns["negative_2"][0]] == ["a", "b"]
    filled = {rows.columns["negative_1"][2], rows.columns["negative_2"][2]}
    assert filled == {"p1", "p2"}  # neither p3 nor p4, which answers the same query
    assert dict(rows.counts) == {"negatives cut": 1, "negatives filled with random passages": 2}


def test_negatives_of_a_few_pairs_are_left_out_and_counted() -> None:
    """1 of 11 pairs is less than a tenth."""
    rows = examples([pair(0, "a"), *(pair(number) for number in range(1, 11))], spec())
    assert list(rows.columns) == ["query", "passage"]
    assert dict(rows.counts) == {"negatives left out, as few pairs have any": 1}


def test_a_triplet_is_made_of_each_negative() -> None:
    rows = examples([pair(1, "a", "b"), pair(2)], spec("triplet"))
    assert rows.columns == {"query": ["q1", "q1"], "passage": ["p1", "p1"], "negative_1": ["a", "b"]}
    assert dict(rows.counts) == {"pairs without a negative": 1}


@pytest.mark.parametrize("loss", ["cosent", "cosine"])
def test_scored_rows_take_the_score_or_one_and_zero_for_negatives(loss: str) -> None:
    rows = examples([pair(1, "a"), pair(2, score=0.25)], spec(loss))
    assert rows.columns == {"query": ["q1", "q1", "q2"], "passage": ["p1", "a", "p2"]}
    assert rows.scores == (1.0, 0.0, 0.25)


def test_a_passage_that_hardly_answers_is_no_positive_of_a_ranking_loss() -> None:
    rows = examples([pair(1), pair(2, score=0.25), pair(3, score=0.5)], spec())
    assert rows.columns["query"] == ["q1", "q3"]
    assert dict(rows.counts) == {"pairs whose score is too low": 1}


def test_nothing_left_says_why() -> None:
    with pytest.raises(InputError, match="1 pairs whose score is too low"):
        examples([pair(1, "a", score=0.0)], spec("triplet"))


def test_scores_alone_are_a_contrast() -> None:
    check_spec(spec("cosine"), [pair(1), pair(2, score=0.2)], dimension=8)
    with pytest.raises(InputError, match="no pair has any"):
        check_spec(spec("cosine"), [pair(1), pair(2, score=1.0)], dimension=8)
