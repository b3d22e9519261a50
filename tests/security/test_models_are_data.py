"""A model from elsewhere is weights and words: loading one runs nothing that its maker wrote."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

import tiny_model
from ragtrial.build import Surroundings, build_embedder
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.errors import ModelError, RagtrialError
from ragtrial.finetuning.registry import LINEAGE, Registry
from ragtrial.settings import read_settings


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(sound, tmp_path) -> Path:
    shutil.copytree(sound, tmp_path / "model")
    return tmp_path / "model"


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def load(model: Path, **environment: str):
    around = Surroundings(folder=model.parent, registry=model.parent / "models", settings=read_settings(environment))
    return build_embedder(EmbeddingSpec(model=str(model)), around)


def test_the_model_is_sound_to_begin_with(model):
    assert load(model).embed(["aska askb"], kind="query").shape == (1, 32)


def test_weights_in_a_pickle_are_refused_and_what_is_in_them_is_not_run(model, tmp_path):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "run"), protocol=2))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*safetensors.*RAGTRIAL_ALLOW_PICKLE_MODELS"):
        load(model)
    with pytest.raises(ModelError):  # allowed: torch reads it as weights alone, which this is not
        load(model, RAGTRIAL_ALLOW_PICKLE_MODELS="1")
    assert not (tmp_path / "run").exists()


def test_sound_weights_in_a_pickle_are_read_where_that_is_allowed(model):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickle"):
        load(model)
    assert load(model, RAGTRIAL_ALLOW_PICKLE_MODELS="1").embed(["aska"], kind="query").shape == (1, 32)


@pytest.mark.parametrize("kind", ["modeling_evil.Evil", "os.system", "antigravity.fly"])
def test_a_module_of_the_models_own_is_not_imported(model, tmp_path, kind):
    (model / "modeling_evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'run')!r}).touch()\nclass Evil: pass\n", "utf-8")
    modules = json.loads((model / "modules.json").read_text("utf-8"))
    modules.append({"idx": len(modules), "name": "evil", "path": "", "type": kind})
    (model / "modules.json").write_text(json.dumps(modules), "utf-8")
    with pytest.raises(ModelError):
        load(model)
    assert not (tmp_path / "run").exists()


def test_an_architecture_of_the_models_own_is_not_imported(model, tmp_path):
    (model / "modeling_evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'run')!r}).touch()\nclass Evil: pass\n", "utf-8")
    config = json.loads((model / "config.json").read_text("utf-8"))
    config |= {"auto_map": {"AutoConfig": "modeling_evil.Evil", "AutoModel": "modeling_evil.Evil"}, "model_type": "evil"}
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError):
        load(model)
    assert not (tmp_path / "run").exists()


def test_a_registered_version_that_is_a_link_to_elsewhere_is_not_loaded(model, tmp_path):
    registry = tmp_path / "models"
    (registry / "m").mkdir(parents=True)
    (model / LINEAGE).write_text('{"name": "m", "version": "v1", "checksum": "0", "files": {}}', "utf-8")
    (registry / "m" / "v1").symlink_to(model)
    with pytest.raises(ModelError):
        Registry(registry).get("m@v1", verify=True)


@pytest.mark.parametrize("name", ["../model", "..", ".", "a/../../model", "/etc", "a\0b", "m@../../model", "m@v1/../../x"])
def test_no_reference_leads_out_of_the_registry(tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / LINEAGE).write_text('{"checksum": "0"}', "utf-8")
    with pytest.raises(RagtrialError):
        Registry(tmp_path / "models").get(name)
