import numpy as np
import pytest

from ragtrial.contracts import Vectors
from ragtrial.errors import StoreError
from ragtrial.index.codes import in_metric, packed, passage_codes, query_codes, ranges_from, ranges_of, vector_bytes, written


def unit(seed: int, n: int, dimension: int = 64) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_codes_are_those_of_sentence_transformers_up_to_rounding() -> None:
    from sentence_transformers.util import quantize_embeddings

    rows = unit(0, 50)
    ranges = ranges_of(rows)
    theirs = quantize_embeddings(rows[:20], precision="int8", ranges=np.stack([ranges.low, ranges.high]))
    assert np.abs(passage_codes("int8", rows[:20], ranges) - theirs).max() <= 1
    np.testing.assert_array_equal(packed(passage_codes("binary", rows, None)), quantize_embeddings(rows, precision="ubinary"))


def test_int8_similarities_are_near_those_of_the_vectors() -> None:
    passages, queries = unit(1, 200), unit(2, 30)
    ranges = ranges_of(passages)
    asked, codes = query_codes("int8", queries, ranges), passage_codes("int8", passages, ranges)
    found = (asked.codes @ codes.T) * asked.scale[:, None] + asked.offset[:, None]
    # half a level of at most 0.9 / 255 in each of 64 dimensions of a query of length 1, and the query's own rounding
    assert np.abs(found - queries @ passages.T).max() < 0.02


def test_codes_are_whole_numbers_that_eight_bits_hold_also_outside_of_the_ranges() -> None:
    ranges = ranges_of(unit(3, 10))
    for codes, least, most in (
        (passage_codes("int8", 3 * unit(4, 100), ranges), -128, 127),
        (query_codes("int8", unit(4, 100), ranges).codes, -127, 127),
    ):
        np.testing.assert_array_equal(codes, np.rint(codes))
        assert (codes.min(), codes.max()) == (least, most)


def test_a_dimension_that_never_varies_is_no_division_by_zero() -> None:
    rows = unit(5, 20)
    rows[:, 3] = 0.25
    ranges = ranges_of(rows)
    assert np.isfinite(passage_codes("int8", rows, ranges)).all()
    assert np.isfinite(query_codes("int8", rows, ranges).scale).all()


def test_binary_similarity_is_the_cosine_of_the_signs() -> None:
    rows = unit(6, 12)
    asked = query_codes("binary", rows, None)
    found = (asked.codes @ passage_codes("binary", rows, None).T) * asked.scale[:, None]
    bits = np.unpackbits(packed(rows), axis=1)
    hamming = (bits[:, None, :] != bits[None, :, :]).sum(axis=2)
    np.testing.assert_allclose(found, 1 - 2 * hamming / 64, atol=1e-6)
    np.testing.assert_allclose(in_metric(found, "L2"), -(4 * hamming / 64), atol=1e-5)


def test_ranges_survive_being_written_and_need_passages() -> None:
    ranges = ranges_of(unit(7, 9))
    again = ranges_from(written(ranges))
    np.testing.assert_array_equal(again.low, ranges.low)
    np.testing.assert_array_equal(again.high, ranges.high)
    with pytest.raises(StoreError, match="there are none"):
        ranges_of(unit(7, 0))
    with pytest.raises(StoreError, match="index the corpus again"):
        passage_codes("int8", unit(7, 1), None)


def test_bytes_of_a_vector() -> None:
    assert [vector_bytes(kind, 384) for kind in ("fp32", "int8", "binary")] == [1536, 384, 48]
