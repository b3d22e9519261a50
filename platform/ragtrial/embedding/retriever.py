"""Dense retrieval: embed the queries, search the arm's collection."""

import time
from collections.abc import Callable, Sequence

from ragtrial.contracts import Embedder, Retrieved, VectorIndex
from ragtrial.domain.gold import Query, groups_of


class DenseRetriever:
    """An embedder in front of a collection that was built with the same model.

    Args:
        embedder: Embeds the queries.
        index: The store.
        collection: A collection, or an alias.
        group_tag: The tag that names the group a query is searched in; None searches everywhere.
    """

    def __init__(self, *, embedder: Embedder, index: VectorIndex, collection: str, group_tag: str | None = None) -> None:
        self._embedder, self._index, self._collection, self._group_tag = embedder, index, collection, group_tag

    def embed_ahead(self, queries: Sequence[Query], *, progress: Callable[[int], None]) -> None:
        """Embed all queries in one go, for which more of them are of like length; pays where the embedder has a cache.

        Args:
            queries: That will be asked.
            progress: Told how many more are embedded.

        Raises:
            ModelError: A query can't be embedded.
        """
        self._embedder.embed([query.text for query in queries], kind="query", progress=progress)

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """See `contracts.Retriever`."""
        start = time.perf_counter()
        vectors = self._embedder.embed([query.text for query in queries], kind="query")
        embedded = time.perf_counter()
        groups = groups_of(queries, self._group_tag)
        hits = self._index.search(self._collection, vectors, top_k=top_k, model=self._embedder.identity, groups=groups)
        done = time.perf_counter()
        return Retrieved(hits=hits, embed_ms=(embedded - start) * 1000, search_ms=(done - embedded) * 1000)
