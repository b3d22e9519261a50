"""What a larger model says of the training texts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, Kind, Progress, Vectors
from ragtrial.finetuning.examples import Examples


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The teacher's vectors of a training set.

    Attributes:
        vectors: One row for each text, queries before passages, shape (n_texts, dimension of the teacher).
        places: Which row is meant by a row and column of the training set, shape (n_rows, n_columns).
    """

    vectors: Vectors
    places: NDArray[np.int64]


def targets(rows: Examples, teacher: Embedder, *, progress: Progress) -> Targets:
    """Embed each text of a training set once.

    Raises:
        ModelError: A text can't be embedded.
    """
    kinds: dict[str, Kind] = {name: "query" if name == "query" else "passage" for name in rows.columns}
    texts: dict[tuple[Kind, str], int] = {}
    for kind in ("query", "passage"):
        for name, column in rows.columns.items():
            if kinds[name] == kind:
                for text in column:
                    texts.setdefault((kinds[name], text), len(texts))
    advance = progress(f"embed with the teacher {teacher.identity.name}", len(texts))
    queries, passages = ([text for own, text in texts if own == kind] for kind in ("query", "passage"))
    vectors = np.concatenate(
        [teacher.embed(queries, kind="query", progress=advance), teacher.embed(passages, kind="passage", progress=advance)]
    )
    places = np.array([[texts[kinds[name], text] for text in column] for name, column in rows.columns.items()], dtype=np.int64).T
    return Targets(vectors=vectors, places=places)
