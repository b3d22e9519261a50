"""Exports of sentence-transformers models to ONNX and OpenVINO: made once, written whole or not at all, verified whenever they are read.

Own code, because `sentence-transformers[onnx]` and `optimum` can't be installed beside the transformers release that the rest needs. The
graph is the model's own modules (transformer, pooling, dense layers, normalisation), traced; tokenizing stays outside. A model that treats
queries and passages differently (a `Router`, as linear adapters have it) has one graph for each.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ragtrial.domain.fingerprint import digest
from ragtrial.embedding.sentence_transformers import quiet_libraries
from ragtrial.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Backend = Literal["onnx", "openvino"]
Precision = Literal["fp32", "bf16", "int8"]
Task = Literal["query", "document"]
"""What a model with routes is asked for, as sentence-transformers calls it."""

_FORM = 1
_RECORD = "export.json"
_OPSET = 17
_MOST_OFF = 1e-3
_PROBES = ("x", "The reefer at slot 12 lost its power.", "Demurrage is charged from the sixth day. " * 30)
_PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime"), "openvino": ("torch", "onnx", "openvino")}


def exported(
    loaded: "SentenceTransformer",
    *,
    name: str,
    revision: str,
    backend: Backend,
    precision: Precision,
    folder: Path,
    task: Task | None = None,
) -> Path:
    """The file of a model's export, made where it is not there yet.

    Args:
        loaded: The model.
        name: For people, in the folder's name.
        revision: Of the model: another one has an export of its own.
        backend: What will run it.
        precision: int8 quantizes the weights; bf16 is fp32's file, computed otherwise.
        folder: Of all exports.
        task: The route, of a model that has several; None of one that has none.

    Raises:
        MissingExtraError: What makes or runs it is not installed.
        ModelError: The model can't be exported, the folder can't be written, or the export is not what was written.
    """
    kind = "int8" if precision == "int8" else "fp32"
    packages = (*_PACKAGES[backend], *(("nncf",) if (backend, kind) == ("openvino", "int8") else ()))
    versions = {package: _version(package, backend) for package in packages}
    depends = [_FORM, revision, backend, kind, versions, *([] if task is None else [task])]
    made = folder / "-".join([_slug(name), *([] if task is None else [task]), backend, kind, digest(depends, length=12)])
    if not made.is_dir():

        def write(target: Path) -> None:
            if (backend, kind) == ("onnx", "fp32"):
                _trace(loaded, target / "model.onnx", name=name, task=task)
                return
            plain = exported(loaded, name=name, revision=revision, backend="onnx", precision="fp32", folder=folder, task=task)
            if backend == "onnx":
                _quantize(plain, target / "model.onnx")
            else:
                _convert(plain, target / "model.xml", int8=kind == "int8")

        about = {"model": name, "revision": revision, "task": task, "backend": backend, "precision": kind, "versions": versions}
        _write(made, write, about)
    verify(made)
    return made / ("model.onnx" if backend == "onnx" else "model.xml")


def verify(folder: Path) -> None:
    """Refuse an export whose files are not those that were written.

    Raises:
        ModelError: A file is missing, or its SHA-256 is another one.
    """
    again = "remove the folder, and it is made again from the model"
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
        sums: dict[str, str] = record["sha256"]
        for file, expected in sums.items():
            found = _sha256(folder / file)
            if found != expected:
                raise ModelError(
                    f"{file!r} in export {str(folder)!r} was changed since it was made "
                    f"(SHA-256 {found[:12]}..., expected {expected[:12]}...): {again}"
                )

    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"export {str(folder)!r} is not whole ({error}): {again}") from error


def _write(final: Path, write: Callable[[Path], None], about: dict[str, Any]) -> None:
    """A folder under its own name only once all of it is there."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=final.parent))
    except OSError as error:
        raise ModelError(f"folder {str(final.parent)!r} for exports of models can't be written: {error.strerror or error}") from error
    try:
        write(temporary)
        sums = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / _RECORD).write_text(json.dumps({**about, "sha256": sums}, indent=1, sort_keys=True), "utf-8")
        temporary.chmod(0o755)
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # another process was first, with the same content
                raise
    except OSError as error:
        raise ModelError(f"export {str(final)!r} can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def tasks_of(loaded: "SentenceTransformer") -> tuple[Task | None, Task | None]:
    """The routes of queries and of passages; None twice where the model treats both alike."""
    from sentence_transformers.base.modules import Router

    return ("query", "document") if any(isinstance(module, Router) for module in loaded.modules()) else (None, None)


def inputs_of(loaded: "SentenceTransformer", texts: Sequence[str]) -> dict[str, Any]:
    """What the graph is fed with: int64 arrays of shape (n, tokens), cut where the model cuts."""
    tokenizer: Any = loaded.tokenizer
    fed = tokenizer(list(texts), padding=True, truncation=True, max_length=loaded.max_seq_length, return_tensors="np")
    return {
        key: np.asarray(value, dtype=np.int64) for key, value in fed.items() if key in ("input_ids", "attention_mask", "token_type_ids")
    }


def _trace(loaded: "SentenceTransformer", path: Path, *, name: str, task: Task | None) -> None:
    import torch

    if not callable(loaded.tokenizer):
        raise ModelError(f"model {name!r} has no transformer that could be exported: use embedding.backend torch")
    if any(getattr(module, "include_prompt", True) is False for module in loaded):
        raise ModelError(f"model {name!r} leaves its prompt out of the pooling, which an export can't: use embedding.backend torch")

    names = list(inputs_of(loaded, _PROBES))
    route = {} if task is None else {"task": task}

    class Graph(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = loaded

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.model(dict(zip(names, tensors, strict=True)), **route)["sentence_embedding"]
            return found

    device = next(iter(loaded.parameters())).device
    tensors = tuple(torch.from_numpy(value) for value in inputs_of(loaded, _PROBES).values())
    axes = {**{key: {0: "texts", 1: "tokens"} for key in names}, "sentence_embedding": {0: "texts"}}
    loaded.eval().to("cpu")
    try:
        with quiet_libraries(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(  # the tracing exporter: the newer one takes three times as long and needs onnxscript
                Graph(), tensors, str(path), input_names=names, output_names=["sentence_embedding"], dynamic_axes=axes,
                opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
            _check_alike(loaded, path, name=name, task=task)
    except (RuntimeError, ValueError, TypeError, torch.onnx.OnnxExporterError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {name!r} can't be exported to ONNX: {first}; use embedding.backend torch") from error
    finally:
        loaded.to(device)


def _check_alike(loaded: "SentenceTransformer", path: Path, *, name: str, task: Task | None) -> None:
    """The export says what the model says, for texts of other lengths and numbers than those that were traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for texts in (_PROBES[:1], (*_PROBES, "two more", "of other lengths")):
        raw = np.asarray(session.run(None, inputs_of(loaded, texts))[0])
        asked = loaded.encode(list(texts), prompt="", task=task, convert_to_numpy=True, show_progress_bar=False)
        off = float(np.abs(raw - asked).max())
        if not off <= _MOST_OFF:
            raise ModelError(
                f"the ONNX export of model {name!r} gives other vectors than the model (off by {off:.2g}): use embedding.backend torch"
            )


def _quantize(plain: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(str(plain), str(path), weight_type=QuantType.QInt8, per_channel=True, extra_options={"DefaultTensorType": 1})


def _convert(plain: Path, path: Path, *, int8: bool) -> None:
    import openvino

    # read, not `convert_model`: that one reports its use over the network
    model = openvino.Core().read_model(str(plain))
    if int8:
        os.environ["NNCF_CI"] = "1"  # what nncf has to keep its own report of use off
        import nncf

        with _quiet():
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(model, str(path), compress_to_fp16=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _version(package: str, backend: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(package=package, extra="export", purpose=f"embedding.backend {backend!r}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:60]
