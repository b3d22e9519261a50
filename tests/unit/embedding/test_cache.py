"""The vector cache: nothing is embedded twice, nothing wrong comes back."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragtrial.contracts import Kind, Vectors
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import ModelError, StoreError

TEXTS = ["berth", "crane", "yard"]


def test_a_second_run_embeds_only_what_is_new(tmp_path: Path) -> None:
    for texts, new in ((TEXTS, 3), ([*TEXTS, "gate"], 1), (["gate", "berth"], 0)):
        with VectorCache(tmp_path) as cache:
            embedder = CachedEmbedder(HashingEmbedder(dimension=16), cache)
            np.testing.assert_array_equal(embedder.embed(texts, kind="query"), HashingEmbedder(dimension=16).embed(texts, kind="query"))
            assert embedder.embedded == new


def test_a_text_that_stands_twice_is_embedded_once(tmp_path: Path) -> None:
    with VectorCache(tmp_path) as cache:
        embedder = CachedEmbedder(HashingEmbedder(dimension=16), cache)
        vectors = embedder.embed(["berth", "crane", "berth"], kind="passage")
        assert embedder.embedded == 2
        np.testing.assert_array_equal(vectors[0], vectors[2])


def test_queries_passages_and_models_do_not_share_vectors(tmp_path: Path) -> None:
    with VectorCache(tmp_path) as cache:
        for model, kind in (("a", "query"), ("a", "passage"), ("b", "query")):
            embedder = CachedEmbedder(HashingEmbedder(model=model, dimension=16), cache)
            embedder.embed(TEXTS, kind=kind)  # type: ignore[arg-type]  # pairs of a tuple lose their literal type
            assert embedder.embedded == 3


def test_a_failure_keeps_what_was_embedded_before_it(tmp_path: Path) -> None:
    class FailsOnTheSecondPart(HashingEmbedder):
        calls = 0

        def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
            self.calls += 1
            if self.calls == 2:
                raise ModelError("the endpoint went away")
            return super().embed(texts, kind=kind, progress=progress)

    texts = [f"text {number}" for number in range(1500)]
    with VectorCache(tmp_path) as cache:
        embedder = CachedEmbedder(FailsOnTheSecondPart(dimension=16), cache)
        with pytest.raises(ModelError):
            embedder.embed(texts, kind="passage")
        again = CachedEmbedder(HashingEmbedder(dimension=16), cache)
        again.embed(texts, kind="passage")
        assert 0 < again.embedded < 1500


def test_a_full_store_grows(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(300)]
    with VectorCache(tmp_path, first_map_bytes=1 << 16) as cache:
        CachedEmbedder(HashingEmbedder(dimension=256), cache).embed(texts, kind="passage")
        again = CachedEmbedder(HashingEmbedder(dimension=256), cache)
        np.testing.assert_array_equal(again.embed(texts, kind="passage"), HashingEmbedder(dimension=256).embed(texts, kind="passage"))
        assert again.embedded == 0


GROW = """
import sys
from pathlib import Path
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.hashing import HashingEmbedder
with VectorCache(Path(sys.argv[1]), first_map_bytes=1 << 16) as cache:
    CachedEmbedder(HashingEmbedder(dimension=256), cache).embed([f"text {n}" for n in range(300)], kind="passage")
"""


@pytest.mark.parametrize("first", ["read", "write"])
def test_a_store_that_another_process_made_larger_is_read_and_written_on(tmp_path: Path, repository: Path, first: str) -> None:
    with VectorCache(tmp_path, first_map_bytes=1 << 16) as cache:
        embedder = CachedEmbedder(HashingEmbedder(dimension=256), cache)
        embedder.embed(["before"], kind="passage")
        subprocess.run([sys.executable, "-c", GROW, str(tmp_path)], check=True, env={"PYTHONPATH": str(repository / "platform")})
        if first == "write":
            cache.put([(b"key", np.ones(4, dtype=np.float32))])
        embedder.embed([f"text {number}" for number in range(300)], kind="passage")
        assert embedder.embedded == 1


def test_a_folder_that_cannot_be_a_cache_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't be opened.*stores\.vectors"):
        VectorCache(tmp_path / "file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="can't be opened"):
        VectorCache(tmp_path / "broken")
