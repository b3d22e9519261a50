"""Searching what an alias points to while it is moved: each query goes to a collection of the very model that embedded it.

An alias alone can't promise that. Between asking what it means and searching it, it may move, and a vector of one model is then compared with
those of another: where the dimensions agree Milvus answers, and the answer is noise. So the alias is only ever asked what it means; what is
searched is the collection by its own name, with the model that was read together with that name.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragtrial.contracts import CollectionRef, Embedder, VectorIndex
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import MissingCollectionError, ModelError

logger = logging.getLogger("ragtrial.index")

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What queries were answered from.

    Attributes:
        collection: The collection that was searched, by its own name.
        model: What embedded the queries, and the collection's passages.
        hits: Best first, for each query in order.
    """

    collection: str
    model: ModelIdentity
    hits: tuple[tuple[Hit, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    ref: CollectionRef
    embedder: Embedder
    asked_at: float


class AliasFollower:
    """Searches the collection that an alias points to, for any number of threads.

    After the alias has moved, queries go on to the collection that it has left for up to `every_s`, which is why that is kept (as
    `<alias>_previous`) until the next move. Where it is dropped nevertheless, the alias is asked again and the query is embedded anew.

    Args:
        index: The store.
        alias: Whose target is searched.
        embedder_of: Gives the embedder of a model; called once for each change of the model. Where it raises `ModelError`, searching goes on
            in the collection before, as long as there is one.
        every_s: How long an answer of the store about the alias holds.
    """

    def __init__(self, index: VectorIndex, alias: str, embedder_of: Callable[[ModelIdentity], Embedder], *, every_s: float = 1.0) -> None:
        self._index, self._alias, self._embedder_of, self._every_s = index, alias, embedder_of, every_s
        self._target: _Target | None = None
        self._asking = threading.Lock()

    def search(self, texts: Sequence[str], *, top_k: int) -> Followed:
        """The nearest passages of each query.

        Raises:
            MissingCollectionError: The alias points to nothing.
            StoreError: The store failed.
            ModelError: The collection's model can't be had, or failed.
        """
        lost: MissingCollectionError | None = None
        for _ in range(_TRIES):
            target = self._current(lost is not None)
            model = target.embedder.identity
            vectors = target.embedder.embed(texts, kind="query")
            try:
                hits = self._index.search(target.ref.name, vectors, top_k=top_k, model=model)
            except MissingCollectionError as error:
                lost = error
                self._forget(target)
            else:
                return Followed(collection=target.ref.name, model=model, hits=hits)
        raise MissingCollectionError(f"alias {self._alias!r} moves faster than it can be followed: {lost}")

    def _current(self, again: bool) -> _Target:
        """What is searched now; one thread asks the store, the others meanwhile go on with what they have."""
        kept = self._target
        if kept is not None and not again and time.monotonic() - kept.asked_at <= self._every_s:
            return kept
        if kept is not None and not again and self._asking.locked():
            return kept
        with self._asking:
            if self._target is not None and self._target is not kept:  # another thread has asked meanwhile
                return self._target
            self._target = self._asked(self._target)
            return self._target

    def _asked(self, before: _Target | None) -> _Target:
        found = self._index.referred(self._alias)
        if found is None:
            raise MissingCollectionError(
                f"alias {self._alias!r} points to no collection: index the corpus first (ragtrial index EXPERIMENT.yaml)"
            )
        now = time.monotonic()
        if before is not None and before.ref.model == found.model:
            return _Target(ref=found, embedder=before.embedder, asked_at=now)
        try:
            return _Target(ref=found, embedder=self._embedder_of(found.model), asked_at=now)
        except ModelError as error:
            if before is None:
                raise
            logger.warning(
                "alias %r points to %r now, whose model can't be had: going on with %r (%s)",
                self._alias,
                found.name,
                before.ref.name,
                error,
            )
            return _Target(ref=before.ref, embedder=before.embedder, asked_at=now)

    def _forget(self, target: _Target) -> None:
        """Its collection is gone."""
        with self._asking:
            if self._target is target:
                self._target = None
