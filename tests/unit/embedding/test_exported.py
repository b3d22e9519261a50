import json
from pathlib import Path

import numpy as np
import pytest

import tiny_model
from ragtrial.build import Surroundings, build_embedder
from ragtrial.contracts import Embedder, IndexParameters
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.embedding.exported import ExportedEmbedder
from ragtrial.embedding.exporting import Backend, verify
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, load_model
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.finetuning.linear_adapter import with_adapter
from ragtrial.index.exact import ExactIndex
from ragtrial.indexing import index_arm
from ragtrial.settings import read_settings

TEXTS = ["aska askb tella", "tellb", "askc " * 100]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def onnx(model: Path, exports: Path, **more: object) -> ExportedEmbedder:
    return ExportedEmbedder(model, backend="onnx", precision="fp32", exports=exports, **more)  # type: ignore[arg-type]


def test_an_export_gives_the_models_vectors_with_its_prompts_and_its_truncation(model: Path, tmp_path: Path) -> None:
    settings = {"query_prompt": "askd ", "max_seq_length": 16}
    torch, ours = SentenceTransformersEmbedder(model, **settings), onnx(model, tmp_path, **settings)  # type: ignore[arg-type]
    for kind in ("query", "passage"):
        np.testing.assert_allclose(ours.embed(TEXTS, kind=kind), torch.embed(TEXTS, kind=kind), atol=1e-5)  # type: ignore[arg-type]
    assert not np.allclose(ours.embed(TEXTS, kind="query"), ours.embed(TEXTS, kind="passage"), atol=1e-3)
    assert ours.count_tokens(TEXTS) == torch.count_tokens(TEXTS)


def test_an_export_never_shares_its_identity_with_the_model(model: Path, tmp_path: Path) -> None:
    torch, ours = SentenceTransformersEmbedder(model), onnx(model, tmp_path)
    assert str(ours.identity) == str(torch.identity)
    assert {"backend=onnx", "precision=fp32"} <= set(ours.identity.settings)
    assert ours.identity.key != torch.identity.key


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_an_adapter_behind_queries_alone_is_exported_with_its_route(model: Path, tmp_path: Path, backend: Backend) -> None:
    turned = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    with_adapter(load_model(model), turned).save_pretrained(str(tmp_path / "adapted"), create_model_card=False)
    torch = SentenceTransformersEmbedder(tmp_path / "adapted")
    ours = ExportedEmbedder(tmp_path / "adapted", backend=backend, precision="fp32", exports=tmp_path / "exports")
    for kind in ("query", "passage"):
        np.testing.assert_allclose(ours.embed(TEXTS, kind=kind), torch.embed(TEXTS, kind=kind), atol=1e-4)  # type: ignore[arg-type]
    assert not np.allclose(ours.embed(TEXTS, kind="query"), ours.embed(TEXTS, kind="passage"), atol=1e-2)


def test_a_static_embedding_is_refused_and_says_what_to_use(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "aska": 1}, unk_token="[UNK]"))
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")
    static.save_pretrained(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(ModelError, match=r"'static' has no transformer that could be exported: use embedding.backend torch"):
        onnx(tmp_path / "static", tmp_path / "exports")
    assert list((tmp_path / "exports").iterdir()) == []


def test_it_is_made_once_and_whole(model: Path, tmp_path: Path) -> None:
    onnx(model, tmp_path)
    (folder,) = tmp_path.iterdir()
    made = (folder / "model.onnx").stat().st_mtime_ns
    onnx(model, tmp_path)
    assert (folder / "model.onnx").stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing temporary is left"
    assert json.loads((folder / "export.json").read_text())["precision"] == "fp32"


@pytest.mark.parametrize("harm", ["changed", "missing", "no record"])
def test_a_poisoned_export_is_refused_and_says_what_to_do(model: Path, tmp_path: Path, harm: str) -> None:
    onnx(model, tmp_path)
    (folder,) = tmp_path.iterdir()
    file = folder / ("export.json" if harm == "no record" else "model.onnx")
    if harm == "changed":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with pytest.raises(ModelError, match="remove the folder, and it is made again"):
        verify(folder)
    with pytest.raises(ModelError, match="remove the folder, and it is made again"):
        onnx(model, tmp_path)


def test_a_changed_model_gets_an_export_of_its_own(model: Path, tmp_path: Path) -> None:
    onnx(model, tmp_path / "exports")
    onnx(tiny_model.build(tmp_path / "other", seed=1), tmp_path / "exports")
    assert len(list((tmp_path / "exports").iterdir())) == 2


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_dimensions_truncate_and_normalise_anew(model: Path, tmp_path: Path, backend: str) -> None:
    around = Surroundings(folder=tmp_path, registry=tmp_path / "models", settings=read_settings({}))

    def built(dimensions: int | None) -> Embedder:
        return build_embedder(EmbeddingSpec(model=str(model), backend=backend, dimensions=dimensions), around)  # type: ignore[arg-type]

    whole, short = built(None).embed(TEXTS, kind="passage"), built(8).embed(TEXTS, kind="passage")
    np.testing.assert_allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5)
    assert built(8).identity.dimension == 8
    with pytest.raises(ModelError, match=r"embedding\.dimensions is 64, but model .* has 32"):
        built(64)


def test_a_model_whose_dimension_changed_never_mixes_with_the_old_vectors(model: Path) -> None:
    passages = tuple(Passage(passage_id=f"p{i}", document_id=f"p{i}", text=text, start=0, end=len(text)) for i, text in enumerate(TEXTS))
    corpus, index, flat = Corpus(name="c", passages=passages), ExactIndex(), IndexParameters(build={}, search={})
    old, new = SentenceTransformersEmbedder(model), SentenceTransformersEmbedder(model, dimensions=8)
    first = index_arm(corpus=corpus, embedder=old, index=index, parameters=flat, alias="arm")
    with pytest.raises(StoreError, match=r"holds vectors of .*32 dimensions.* these come from .*8 dimensions.*index the corpus again"):
        index.search("arm", new.embed(["aska"], kind="query"), top_k=1, model=new.identity)
    second = index_arm(corpus=corpus, embedder=new, index=index, parameters=flat, alias="arm")
    assert first.collection != second.collection
    assert (first.bytes, second.bytes) == (3 * 32 * 4, 3 * 8 * 4)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "int8"), ("onnx", "bf16")])
def test_a_precision_that_a_backend_lacks_is_refused_before_anything_is_loaded(tmp_path: Path, backend: str, precision: str) -> None:
    around = Surroundings(folder=tmp_path, registry=tmp_path / "models", settings=read_settings({}))
    with pytest.raises(InputError, match=f"precision '{precision}' is not there for backend '{backend}'"):
        build_embedder(EmbeddingSpec(model="nowhere", backend=backend, precision=precision), around)  # type: ignore[arg-type]
