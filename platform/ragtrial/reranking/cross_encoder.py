"""Cross-encoders of sentence-transformers: query and passage go through the model together."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragtrial.contracts import Scores
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.sentence_transformers import exact_revision, quiet_libraries
from ragtrial.errors import MissingExtraError, ModelError, RerankError
from ragtrial.reranking.reordering import checked

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

BATCH_SIZE = 32
_THAT_SCORE = ("ForSequenceClassification", "ForCausalLM")
"""Ends of the architectures that sentence-transformers makes a cross-encoder of without inventing weights."""


class CrossEncoderReranker:
    """Scores pairs with a cross-encoder that has one output; its raw output, not squeezed into 0 to 1, where good pairs would tie.

    Args:
        model: A folder, or a hub id.
        name: For people; None: the folder's name or the id.
        revision: The hub's commit or tag.
        max_length: Tokens of a pair after which it is truncated; None is the model's own.
        batch_size: Pairs per forward pass.
        threads: Of torch, for the whole process; None leaves it.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: There is no such cross-encoder, or it can't be loaded.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self._model, self._batch_size = load_cross_encoder(model, revision), batch_size
        own = int(self._model.max_seq_length or 0)
        if max_length is not None:
            if own and max_length > own:
                raise ModelError(f"rerank.max_length is {max_length}, but model {str(model)!r} takes {own} tokens: give at most that")
            self._model.max_seq_length = max_length
        self._identity = ModelIdentity(
            name=name or (Path(model).name if Path(model).is_dir() else str(model)),
            revision=exact_revision(self._model, model, revision),
            settings=(f"max_length={self._model.max_seq_length}",),
            dimension=1,
        )

    @property
    def identity(self) -> ModelIdentity:
        """Model, exact revision, and where it truncates."""
        return self._identity

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        """See `contracts.Reranker`; all pairs go through together, the longest first, as `CrossEncoder.predict` sorts them."""
        from torch import nn

        pairs: list[Any] = [(query, passage) for query, passages in asked for passage in passages]
        if not pairs:
            return tuple(np.empty(0, dtype=np.float32) for _ in asked)
        try:
            flat = self._model.predict(pairs, batch_size=self._batch_size, activation_fn=nn.Identity(), show_progress_bar=False)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise RerankError(
                f"reranker {self._identity.name!r} failed: {(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error
        scores = np.asarray(flat, dtype=np.float32).reshape(-1)
        ends = itertools.accumulate(len(passages) for _, passages in asked)
        rows = [scores[end - len(passages) : end] for end, (_, passages) in zip(ends, asked, strict=True)]
        return checked(rows, asked, name=str(self._identity))


def load_cross_encoder(model: str | Path, revision: str | None = None) -> "CrossEncoder":
    """Load a cross-encoder from safetensors files, without any code of its own.

    Args:
        model: A folder, or a hub id.
        revision: The hub's commit or tag.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: There is no such model, it has no safetensors file, it is no cross-encoder, or it has several outputs.
    """
    try:
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(package="sentence_transformers", extra="local", purpose=f"reranker {str(model)!r}") from error
    folder, shown = Path(model), str(model)
    if folder.is_dir() and not any(folder.rglob("*.safetensors")):
        raise ModelError(f"reranker folder {shown!r} has no safetensors file: save the model as safetensors, no other weights are read")
    try:
        with quiet_libraries():
            loaded = CrossEncoder(
                shown,
                revision=revision,
                trust_remote_code=False,
                local_files_only=folder.is_dir(),
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"reranker {shown!r} can't be loaded: {first}") from error
    kinds = getattr(loaded.config, "architectures", None) or []
    if not any(kind.endswith(_THAT_SCORE) for kind in kinds):
        found = kinds[0] if kinds else "no architecture"
        raise ModelError(
            f"reranker {shown!r} is no cross-encoder (its config names {found!r}): its scores would come from random weights; an embedding "
            "model belongs in 'embedding'"
        )
    if loaded.num_labels != 1:
        raise ModelError(
            f"reranker {shown!r} has {loaded.num_labels} outputs, and a reranker needs one score: use a cross-encoder with 1 label"
        )
    return loaded
