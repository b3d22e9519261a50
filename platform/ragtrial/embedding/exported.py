"""Models that run in ONNX Runtime or OpenVINO instead of torch, from an export of their own."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.exporting import Backend, Precision, exported, inputs_of, tasks_of
from ragtrial.embedding.sentence_transformers import batches_by_length, chosen_prompts, identity_of, load_model, token_counts
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import ModelError

_Run = Callable[[dict[str, Any]], Any]


class ExportedEmbedder:
    """A sentence-transformers model, exported when it is first needed; prompts and truncation are the model's, as with torch.

    Args:
        model: A folder, or a hub id.
        backend: `onnx` (ONNX Runtime) or `openvino`.
        precision: `int8` quantizes the weights (ONNX: activations too, as they come; OpenVINO: weights alone). `bf16` (OpenVINO) computes in
            bfloat16 where the CPU can; where it can't, OpenVINO computes in float32.
        exports: Folder of all exports.
        name: For people; default: the folder's name or the id.
        revision: The hub's commit or tag to pin.
        query_prompt: Instead of the model's own query prompt.
        passage_prompt: Instead of the model's own passage prompt.
        max_seq_length: Instead of the model's own truncation, in tokens.
        dimensions: Truncate vectors to so many; None leaves them whole.
        batch_size: Texts per forward pass, at most; int8 in ONNX Runtime takes one at a time.
        threads: None leaves the engine's choice.

    Raises:
        MissingExtraError: sentence-transformers, or what exports or runs the model, is not installed.
        ModelError: There is no such model, it can't be exported, or its export was changed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        backend: Backend,
        precision: Precision,
        exports: Path,
        name: str | None = None,
        revision: str | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        max_seq_length: int | None = None,
        dimensions: int | None = None,
        batch_size: int = 64,
        threads: int | None = None,
    ) -> None:
        # ONNX Runtime's dynamic int8 scales activations over the whole batch: a text's vector would depend on its neighbours
        self._batch_size = 1 if (backend, precision) == ("onnx", "int8") else batch_size
        self._model = load_model(model, revision)
        if max_seq_length is not None:
            self._model.max_seq_length = max_seq_length
        self._prompts = chosen_prompts(self._model, query=query_prompt, passage=passage_prompt)
        self._identity = identity_of(
            self._model,
            model,
            name=name,
            revision=revision,
            prompts=self._prompts,
            dimensions=dimensions,
            settings={"backend": backend, "precision": precision},
        )
        export = partial(exported, self._model, name=self._identity.name, revision=self._identity.revision, folder=exports)
        tasks = tasks_of(self._model)
        opened = {
            task: _opened(export(backend=backend, precision=precision, task=task), backend, precision, threads) for task in set(tasks)
        }
        self._runs: dict[Kind, _Run] = {"query": opened[tasks[0]], "passage": opened[tasks[1]]}
        for module in self._model.modules():  # the tokenizer is all that is needed from here on
            if hasattr(module, "auto_model"):
                module.auto_model.to("meta")

    @property
    def identity(self) -> ModelIdentity:
        """Name, content hash or commit, backend and precision, and what else changes the vectors."""
        return self._identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`."""
        rows = np.empty((len(texts), self._identity.dimension), dtype=np.float32)
        prompted = [self._prompts[kind] + text for text in texts]
        lengths = np.array(token_counts(self._model, prompted), dtype=np.int64)
        for places in batches_by_length(lengths, most=self._batch_size):
            raw = self._forward(self._runs[kind], [prompted[i] for i in places])
            rows[places] = unit_rows(raw, n=len(places), dimension=self._identity.dimension, model=self._identity.name)
            if progress is not None:
                progress(len(places))
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Tokens after truncation, special tokens included."""
        return sum(token_counts(self._model, texts))

    def _forward(self, run: _Run, texts: list[str]) -> Vectors:
        try:
            raw: Vectors = np.asarray(run(inputs_of(self._model, texts)), dtype=np.float32)
        except RuntimeError as error:  # what both engines raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the export of model {self._identity.name!r} failed: {first}") from error
        return raw[:, : self._identity.dimension]


def _opened(path: Path, backend: Backend, precision: Precision, threads: int | None) -> _Run:
    try:
        return _onnx(path, threads) if backend == "onnx" else _openvino(path, precision, threads)
    except RuntimeError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"export {str(path)!r} can't be loaded: {first}") from error


def _onnx(path: Path, threads: int | None) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda fed: session.run(None, fed)[0]


def _openvino(path: Path, precision: Precision, threads: int | None) -> _Run:
    import openvino

    core = openvino.Core()
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(core.read_model(str(path)), "CPU", config).create_infer_request()
    return lambda fed: np.array(request.infer(fed)[0])
