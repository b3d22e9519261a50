"""The recall of a collection whose vectors are at hand, by the barrier that an arm must pass."""

from collections.abc import Callable, Sequence

import numpy as np

from ragtrial.contracts import IndexParameters, Kind, VectorIndex, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.index.recall import RecallBarrier


class Rows:
    """An embedder whose text `17` is row 17: of the passages, or of the queries."""

    def __init__(self, model: ModelIdentity, passages: Vectors, queries: Vectors) -> None:
        self.identity, self._rows = model, {"passage": passages, "query": queries}

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        del progress
        return self._rows[kind][[int(text) for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        del texts
        return None


def recall_of(index: VectorIndex, collection: str, model: ModelIdentity, queries: Vectors, matrix: Vectors, *, top_k: int) -> float:
    """Recall of a collection whose passage `p<i>` has row i of the matrix."""
    passages = [Passage(passage_id=f"p{i}", document_id="d", text=str(i), start=0, end=len(str(i))) for i in range(len(matrix))]
    barrier = RecallBarrier(
        embedder=Rows(model, matrix, queries),
        passages={passage.passage_id: passage for passage in passages},
        queries=[str(i) for i in range(len(queries))],
        top_k=top_k,
        least=0,
        parameters=IndexParameters(build={}, search={}),
    )
    return barrier.measure(index, collection)


def plain_recall(index: VectorIndex, collection: str, model: ModelIdentity, queries: Vectors, matrix: Vectors, *, top_k: int) -> float:
    """The same as anybody would count it: hits that are among the nearest rows; there must be no ties."""
    found = index.search(collection, queries, top_k=top_k, model=model)
    nearest = [{f"p{i}" for i in np.argsort(-(matrix @ query))[:top_k]} for query in queries]
    return float(np.mean([len({hit.passage_id for hit in hits} & best) / top_k for hits, best in zip(found, nearest, strict=True)]))
