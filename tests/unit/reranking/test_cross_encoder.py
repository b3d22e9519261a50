"""Cross-encoders of sentence-transformers, tiny and trained on the spot."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import tiny_cross_encoder
import tiny_model
from ragtrial.errors import ModelError
from ragtrial.reranking.cross_encoder import CrossEncoderReranker

ASKED = [f"ask{letter}" for letter in "abcdef"]
TOLD = [f"tell{letter}" for letter in "abcdef"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder.build(tmp_path_factory.mktemp("tiny"), [*ASKED, *TOLD])


def firsts(reranker: CrossEncoderReranker) -> int:
    """Queries whose own passage has the best score."""
    return sum(int(np.argmax(row)) == place for place, row in enumerate(reranker.score([(query, TOLD) for query in ASKED])))


def test_a_trained_cross_encoder_puts_first_what_answers(folder: Path, tmp_path: Path) -> None:
    fresh = CrossEncoderReranker(folder)
    trained = tiny_cross_encoder.build(tmp_path, [*ASKED, *TOLD])
    tiny_cross_encoder.train(trained, ASKED, TOLD)
    better = CrossEncoderReranker(trained, name="better")
    assert firsts(fresh) < 4
    assert firsts(better) == 6
    assert (better.identity.name, fresh.identity.name) == ("better", "model")
    assert better.identity.revision != fresh.identity.revision, "the revision is that of the weights"


def test_scores_are_the_models_own_and_not_squeezed_into_0_to_1(folder: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch import nn

    pairs = list(itertools.product(ASKED[:2], TOLD))
    theirs = CrossEncoder(str(folder), local_files_only=True).predict(pairs, activation_fn=nn.Identity())
    ours = CrossEncoderReranker(folder, batch_size=5).score([(query, TOLD) for query in ASKED[:2]])
    np.testing.assert_allclose(np.concatenate(ours), theirs, atol=1e-6)
    assert (np.concatenate(ours) < 0).any()


def test_where_a_pair_is_cut_is_part_of_the_identity(folder: Path) -> None:
    whole, cut = CrossEncoderReranker(folder), CrossEncoderReranker(folder, max_length=4)
    assert (whole.identity.settings, cut.identity.settings) == (("max_length=64",), ("max_length=4",))
    asked = [("aska", ["tella tellb tellc"])]
    assert abs(whole.score(asked)[0][0] - cut.score(asked)[0][0]) > 1e-5
    with pytest.raises(ModelError, match=r"rerank.max_length is 65, but model .* takes 64 tokens"):
        CrossEncoderReranker(folder, max_length=65)


def test_an_embedding_model_is_refused_because_its_scores_would_be_random(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no cross-encoder \(its config names 'BertModel'\)"):
        CrossEncoderReranker(tiny_model.build(tmp_path))


def test_a_model_with_several_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has 3 outputs"):
        CrossEncoderReranker(tiny_cross_encoder.build(tmp_path, ASKED, n_labels=3))


def test_weights_that_are_no_safetensors_are_never_read(folder: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    pickled = shutil.copytree(folder, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no safetensors file"):
        CrossEncoderReranker(pickled)


def test_a_folder_that_is_missing_or_broken_says_so(folder: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(ModelError, match="can't be loaded"):
        CrossEncoderReranker(tmp_path / "nowhere")
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match=r"reranker .*broken.* can't be loaded"):
        CrossEncoderReranker(broken)
