"""Where an arm's passages are found while users are served."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.contracts import Embedder, VectorIndex, Vectors
from ragtrial.domain.trial import Hit
from ragtrial.index.following import AliasFollower
from ragtrial.index.hybrid import Blend, blended
from ragtrial.reranking.reordering import Reordering


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchArm:
    """Where an arm's passages are found.

    Attributes:
        name: The arm.
        embedder: The model itself, without a cache: what users say is kept in one place, the log.
        index: The store.
        collection: Searched at first. Not an alias, which may move to another corpus while users are served.
        top_k: Passages retrieved.
        alias: That pointed to the collection at the start; only watched. Empty: none.
        follower: Says which collection is searched, where the alias is followed to others of the same model and passages.
        blend: How BM25 comes into the search; None: dense vectors alone.
        reordering: How what was found is put in a new order; None: not at all.
    """

    name: str
    embedder: Embedder
    index: VectorIndex
    collection: str
    top_k: int
    alias: str = ""
    follower: AliasFollower | None = None
    blend: Blend | None = None
    reordering: Reordering | None = None

    @property
    def searched(self) -> str:
        """The collection that is searched now."""
        return self.collection if self.follower is None else self.follower.collection() or self.collection

    def look_where(self) -> str:
        """The collection that the next query is searched in: the alias is asked, if that was not done within the last seconds.

        Raises:
            StoreError: There is none, or the store does not say.
        """
        return self.collection if self.follower is None else self.follower.through(lambda ref, _embedder: ref.name)

    def found(self, texts: Sequence[str], vectors: Vectors) -> list[tuple[Hit, ...]]:
        """What the search finds, before it is put in another order.

        Raises:
            StoreError: See `contracts.VectorIndex`.
        """
        depth = self.top_k if self.reordering is None else self.reordering.depth(self.top_k)
        model = self.embedder.identity

        def within(name: str) -> list[tuple[Hit, ...]]:
            return list(blended(self.index, name, texts, vectors, top_k=depth, model=model, blend=self.blend))

        return within(self.collection) if self.follower is None else self.follower.through(lambda ref, _embedder: within(ref.name))
