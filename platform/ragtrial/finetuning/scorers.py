"""How a model in training is scored on the dev queries: with its own encoder, or with a matrix over vectors that are known."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, Kind
from ragtrial.embedding.sentence_transformers import prompts_of
from ragtrial.finetuning.dev import DevSet, scorer
from ragtrial.finetuning.watching import Scores

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def model_scorer(dev: DevSet, check: DevSet | None) -> Callable[["SentenceTransformer"], Scores]:
    """With the model's own prompts."""
    score = scorer(dev, check)

    def scored(model: "SentenceTransformer") -> Scores:
        prompts = prompts_of(model)

        def encode(texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
            call = model.encode_query if kind == "query" else model.encode_document
            rows: NDArray[np.float32] = call(list(texts), prompt=prompts[kind], show_progress_bar=False)
            return rows

        return score(encode)

    return scored


def matrix_scorer(dev: DevSet, check: DevSet | None, embedder: Embedder) -> Callable[[NDArray[np.float32]], Scores]:
    """With the base's vectors, embedded once."""
    score = scorer(dev, check)
    known: dict[Kind, NDArray[np.float32]] = {}

    def scored(matrix: NDArray[np.float32]) -> Scores:
        def encode(texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
            if kind not in known:
                known[kind] = embedder.embed(texts, kind=kind)
            return known[kind] @ matrix.T if kind == "query" else known[kind]

        return score(encode)

    return scored
