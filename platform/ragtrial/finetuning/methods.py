"""What of a model is trained: all weights, low-rank adapters, or weights that are random at first. Imported only for training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from ragtrial.domain.training import Method, TrainingSpec
from ragtrial.embedding.sentence_transformers import load_model, quiet_libraries
from ragtrial.errors import MissingExtraError, ModelError

_ADAPTERS = "adapters.safetensors"


def rate_of(spec: TrainingSpec) -> float:
    """The peak learning rate of the method."""
    rates: Mapping[Method, float] = {"lora": spec.lora.learning_rate, "linear-adapter": spec.adapter.learning_rate}
    return rates.get(spec.method, spec.learning_rate)


def start_model(base: str | Path, spec: TrainingSpec) -> SentenceTransformer:
    """The base as the training begins with it; the same seed gives the same weights.

    Args:
        base: A folder, or a hub id.
        spec: Method and seed.

    Raises:
        ModelError: The base can't be loaded, or is none of a transformer where the method needs one.
        MissingExtraError: peft is not installed.
    """
    model = load_model(base)
    if spec.method == "scratch":
        _forget(model, seed=spec.seed)
    if spec.method == "lora":
        _add_adapters(model, spec)
    return model


def finished(model: SentenceTransformer, spec: TrainingSpec) -> SentenceTransformer:
    """The model as it is registered: adapters are merged into the weights, so that it is a plain folder."""
    if spec.method == "lora":
        with quiet_libraries():
            model[0].model = model[0].model.merge_and_unload()
    return model


def save_weights(model: SentenceTransformer, folder: Path, spec: TrainingSpec) -> None:
    """Write a checkpoint: of adapters these alone, else the whole model."""
    folder.mkdir(parents=True, exist_ok=True)
    if spec.method == "lora":
        save_file({name: value.detach().contiguous().cpu() for name, value in _trained(model).items()}, folder / _ADAPTERS)
    else:
        model.save_pretrained(str(folder), create_model_card=False)


def load_weights(model: SentenceTransformer, folder: Path, spec: TrainingSpec) -> None:
    """Put a checkpoint's weights into a started model."""
    if spec.method == "lora":
        model.load_state_dict(load_file(folder / _ADAPTERS), strict=False)
    else:
        model.load_state_dict(load_model(folder).state_dict())


def _trained(model: SentenceTransformer) -> dict[str, Any]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _transformer(model: SentenceTransformer, method: Method) -> Any:
    inner = getattr(model[0], "model", None)
    if inner is None or not hasattr(inner, "config"):
        raise ModelError(f"training.method {method!r} needs a base with a transformer, and its first module is {type(model[0]).__name__}")
    return inner


def _add_adapters(model: SentenceTransformer, spec: TrainingSpec) -> None:
    """On all linear layers of the transformer (Dettmers et al. 2023, section 4); all else is frozen."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(package="peft", extra="train", purpose="training.method lora") from error
    inner = _transformer(model, spec.method)
    config = LoraConfig(r=spec.lora.rank, lora_alpha=spec.lora.alpha, lora_dropout=0.0, target_modules="all-linear", bias="none")
    for value in model.parameters():
        value.requires_grad_(requires_grad=False)
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model[0].model = get_peft_model(inner, config)


def _forget(model: SentenceTransformer, *, seed: int) -> None:
    """Random weights for all that has any."""
    inner = _transformer(model, "scratch")
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(inner)(inner.config)
        inner.load_state_dict(fresh.state_dict())
        for module in list(model.children())[1:]:
            for part in module.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
