"""What every reranker must keep, on every shipped provider."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny_cross_encoder
from ragtrial.contracts import Reranker
from ragtrial.embedding.cache import VectorCache
from ragtrial.reranking.cache import CachedReranker
from ragtrial.reranking.cross_encoder import CrossEncoderReranker
from ragtrial.reranking.endpoint import EndpointReranker
from ragtrial.reranking.overlap import OverlapReranker
from servers import rerank_server

WORDS = tuple(
    "the reefer at slot 12 lost its power demurrage is charged from sixth day crane works on shore when does begin x".split()  # noqa: SIM905
)
QUERY = "when does demurrage begin"
PASSAGES = [
    "The reefer at slot 12 lost its power.",
    "x",
    "Demurrage is charged from the sixth day. " * 60,
    "混雑した港の岸壁",
    "???",
    "Demurrage begin",
    "The reefer at slot 12 lost its power.",
]


@pytest.fixture(scope="module", params=["sentence-transformers", "cohere-compatible", "in-parts", "tei", "overlap", "cached"])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
    match request.param:
        case "sentence-transformers":
            folder = tiny_cross_encoder.build(tmp_path_factory.mktemp("model"), WORDS)
            yield CrossEncoderReranker(folder, batch_size=3)
        case "cohere-compatible" | "tei" as shape:
            with (
                rerank_server.running() as server,
                EndpointReranker("test", shape=shape, base_url=server.base_url, api_key=None) as found,
            ):
                yield found
        case "in-parts":
            with (
                rerank_server.running() as server,
                EndpointReranker("test", shape="cohere-compatible", base_url=server.base_url, api_key=None, batch_size=2) as found,
            ):
                yield found
        case "overlap":
            yield OverlapReranker("test")
        case _:
            with VectorCache(tmp_path_factory.mktemp("scores")) as cache:
                yield CachedReranker(OverlapReranker("test"), cache)


def test_there_is_a_finite_float32_score_for_each_passage(reranker: Reranker) -> None:
    (scores,) = reranker.score([(QUERY, PASSAGES)])
    assert scores.dtype == np.float32
    assert scores.shape == (len(PASSAGES),)
    assert np.isfinite(scores).all()


def test_nothing_asked_is_nothing_scored(reranker: Reranker) -> None:
    assert reranker.score([]) == ()
    rows = reranker.score([(QUERY, []), (QUERY, PASSAGES[:2]), ("power", [])])
    assert [row.shape for row in rows] == [(0,), (2,), (0,)]
    assert all(row.dtype == np.float32 for row in rows)


def test_scores_are_in_the_order_of_the_passages_and_the_same_in_any_batch(reranker: Reranker) -> None:
    (together,) = reranker.score([(QUERY, PASSAGES)])
    alone = [reranker.score([(QUERY, [passage])])[0][0] for passage in PASSAGES]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    other, turned = reranker.score([("power", PASSAGES[:3]), (QUERY, PASSAGES[::-1])])
    np.testing.assert_allclose(turned, together[::-1], atol=1e-5)
    np.testing.assert_allclose(other, reranker.score([("power", PASSAGES[:3])])[0], atol=1e-5)


def test_equal_pairs_get_equal_scores_and_a_query_matters(reranker: Reranker) -> None:
    (scores,) = reranker.score([(QUERY, PASSAGES)])
    assert scores[0] == pytest.approx(scores[6], abs=1e-6)
    (others,) = reranker.score([("reefer power", PASSAGES)])
    assert not np.allclose(scores, others, atol=1e-6)


def test_odd_texts_are_scored_too(reranker: Reranker) -> None:
    rows = reranker.score([("", ["", " "]), ("\0", ["a\nb"]), ("?" * 500, ["!" * 500])])
    assert [len(row) for row in rows] == [2, 1, 1]
    assert all(np.isfinite(row).all() for row in rows)


def test_the_identity_is_exact_and_stays(reranker: Reranker) -> None:
    identity = reranker.identity
    assert identity == reranker.identity
    assert (identity.dimension, bool(identity.name), bool(identity.revision)) == (1, True, True)
    assert all("=" in setting for setting in identity.settings)


def test_the_cache_gives_what_the_reranker_gave_and_asks_once(tmp_path: Path) -> None:
    class Counting(OverlapReranker):
        asked = 0

        def score(self, asked):  # type: ignore[no-untyped-def]
            self.asked += sum(len(passages) for _, passages in asked)
            return super().score(asked)

    inner = Counting("counted")
    with VectorCache(tmp_path / "scores") as cache:
        first = CachedReranker(inner, cache).score([(QUERY, PASSAGES), ("power", PASSAGES[:1])])
        assert inner.asked == len(PASSAGES), "7 and 1 pairs, of which one stands there twice"
        again = CachedReranker(inner, cache)
        second = again.score([("power", PASSAGES[:1]), (QUERY, PASSAGES)])
        assert (inner.asked, again.scored) == (len(PASSAGES), 0)
        other = CachedReranker(OverlapReranker("other"), cache)
        other.score([(QUERY, PASSAGES[:1])])
        assert other.scored == 1, "another reranker's scores are not this one's"
    np.testing.assert_array_equal(first[0], second[1])
    np.testing.assert_array_equal(first[1], second[0])
