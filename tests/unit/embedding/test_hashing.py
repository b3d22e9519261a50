"""The fake and the gate that all vectors pass."""

import numpy as np
import pytest

from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import ModelError


def test_two_names_behave_like_two_models() -> None:
    one = HashingEmbedder(model="a", dimension=64).embed(["the yard crane"], kind="query")
    other = HashingEmbedder(model="b", dimension=64).embed(["the yard crane"], kind="query")
    assert not np.allclose(one, other)


def test_words_that_cancel_out_still_give_a_vector() -> None:
    embedder = HashingEmbedder(dimension=1)
    vectors = embedder.embed([f"word{a} word{b}" for a in range(6) for b in range(6)], kind="query")
    np.testing.assert_array_equal(np.abs(vectors), 1)


def test_vectors_are_scaled_to_length_1() -> None:
    np.testing.assert_allclose(unit_rows([[3, 4], [0, 2]], n=2, dimension=None, model="m"), [[0.6, 0.8], [0, 1]], atol=1e-7)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([[1.0, np.nan]], "length nan for text 0 of 1"),
        ([[np.inf, 1.0]], "length inf for text 0 of 1"),
        ([[0.0, 0.0]], "length 0.0 for text 0 of 1"),
        ([[1.0, 2.0, 3.0]], r"shape \(1, 3\) for 1 texts, expected \(1, 2\)"),
        ([[1.0, 2.0], [1.0, 2.0]], r"shape \(2, 2\) for 1 texts"),
        ([1.0, 2.0], r"shape \(2,\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(raw: list[object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        unit_rows(raw, n=1, dimension=2, model="m")
