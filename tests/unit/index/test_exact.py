import numpy as np
import pytest

from ragtrial.contracts import IndexParameters, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import StoreError
from ragtrial.index import exact
from ragtrial.index.exact import ExactIndex, exact_search
from ragtrial.index.rules import cuts_a_tie, ranked


def unit(rng: np.random.Generator, n: int) -> Vectors:
    rows = rng.normal(size=(n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_the_nearest_are_those_of_a_plain_loop(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_CHUNK_CELLS", 100)  # several chunks
    rng = np.random.default_rng(0)
    matrix, queries = unit(rng, 40), unit(rng, 7)
    ids = [f"p{i}" for i in rng.permutation(40)]
    for query, hits in zip(queries, exact_search(matrix, ids, queries, 5, metric=metric), strict=True):
        similarity = [-float(((row - query) ** 2).sum()) if metric == "L2" else float(row @ query) for row in matrix]
        expected = sorted(zip(ids, similarity, strict=True), key=lambda pair: -pair[1])[:5]
        assert [hit.passage_id for hit in hits] == [name for name, _ in expected]
        assert [hit.similarity for hit in hits] == pytest.approx([value for _, value in expected], abs=1e-5)


def test_ties_are_cut_by_id() -> None:
    matrix = np.tile(unit(np.random.default_rng(1), 1), (6, 1))
    (hits,) = exact_search(matrix, list("fbdace"), matrix[:1], 3)
    assert [hit.passage_id for hit in hits] == ["a", "b", "c"]


def test_nothing_to_search_finds_nothing() -> None:
    queries = unit(np.random.default_rng(2), 2)
    assert exact_search(queries[:0], [], queries, 3) == ((), ())
    assert exact_search(queries, ["a", "b"], queries[:0], 3) == ()


def test_impossible_calls_are_refused() -> None:
    queries = unit(np.random.default_rng(3), 2)
    with pytest.raises(ValueError, match="top_k is 0"):
        exact_search(queries, ["a", "b"], queries, 0)
    with pytest.raises(ValueError, match="2 rows have 1 ids"):
        exact_search(queries, ["a"], queries, 1)


def test_a_closed_store_says_so() -> None:
    index = ExactIndex()
    index.close()
    with pytest.raises(StoreError, match="closed"):
        index.create(
            "x", model=ModelIdentity(name="m", revision="1", dimension=8), corpus="c", parameters=IndexParameters(build={}, search={})
        )


def test_what_differs_by_rounding_alone_is_a_tie_and_stands_by_id() -> None:
    # 0.6 and its neighbours in float32: another order of adding up gives the one or the other
    near = [("b", 0.6), ("c", 0.5999999), ("a", 0.5999998), ("d", 0.5)]
    assert [hit.passage_id for hit in ranked("c", near, top_k=4)] == ["a", "b", "c", "d"]
    assert [hit.passage_id for hit in ranked("c", near, top_k=2)] == ["a", "b"]
    assert [hit.similarity for hit in ranked("c", near, top_k=4)] == [0.6, 0.6, 0.6, 0.5]
    assert cuts_a_tie([0.7, 0.6, 0.5999999], top_k=2)
    assert not cuts_a_tie([0.7, 0.6, 0.5], top_k=2)
    assert exact_search(np.eye(3, dtype=np.float32), ["z", "y", "x"], np.full((1, 3), 3**-0.5, np.float32), 2)[0][0].passage_id == "x"
