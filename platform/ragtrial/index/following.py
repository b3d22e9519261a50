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
from typing import TypeVar

from ragtrial.contracts import CollectionRef, Embedder, VectorIndex
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Hit
from ragtrial.errors import MissingCollectionError, ModelError, StoreError

logger = logging.getLogger("ragtrial.index")
T = TypeVar("T")

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
    Where the alias can't be followed (its model can't be had, it is not accepted, it is gone, the store doesn't say), searching goes on in
    the collection before, as long as there is one.

    Args:
        index: The store.
        alias: Whose target is searched.
        embedder_of: Gives the embedder of a model, or raises `ModelError`; called once for each change of the model.
        every_s: How long an answer of the store about the alias holds.
        accepts: Why a collection can't be searched here, None where it can; all can where it is not given.
        begin: What is searched at first, whatever the alias points to.
    """

    def __init__(
        self,
        index: VectorIndex,
        alias: str,
        embedder_of: Callable[[ModelIdentity], Embedder],
        *,
        every_s: float = 1.0,
        accepts: Callable[[CollectionRef], str | None] | None = None,
        begin: CollectionRef | None = None,
    ) -> None:
        self._index, self._alias, self._embedder_of, self._every_s, self._accepts = index, alias, embedder_of, every_s, accepts
        self._target = None if begin is None else _Target(ref=begin, embedder=embedder_of(begin.model), asked_at=time.monotonic())
        self._refused: str | None = None
        self._asking = threading.Lock()

    def search(self, texts: Sequence[str], *, top_k: int) -> Followed:
        """The nearest passages of each query.

        Raises:
            MissingCollectionError: The alias points to nothing.
            StoreError: The store failed.
            ModelError: The collection's model can't be had, or failed.
        """

        def found(ref: CollectionRef, embedder: Embedder) -> Followed:
            vectors = embedder.embed(texts, kind="query")
            hits = self._index.search(ref.name, vectors, top_k=top_k, model=embedder.identity)
            return Followed(collection=ref.name, model=embedder.identity, hits=hits)

        return self.through(found)

    def through(self, search: Callable[[CollectionRef, Embedder], T]) -> T:
        """What `search` finds in the collection that is followed now; again in the next one where that is gone.

        Raises:
            MissingCollectionError: There is none, or none any more.
            Exception: What `search` raises.
        """
        lost: MissingCollectionError | None = None
        for _ in range(_TRIES):
            target = self._current(lost is not None)
            try:
                return search(target.ref, target.embedder)
            except MissingCollectionError as error:
                lost = error
                self._forget(target)
        raise MissingCollectionError(f"alias {self._alias!r} moves faster than it can be followed: {lost}")

    def collection(self) -> str | None:
        """The collection that was last searched, or would have been; None where there is none."""
        return None if self._target is None else self._target.ref.name

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
        try:
            found = self._index.referred(self._alias)
            if found is None:
                raise MissingCollectionError(
                    f"alias {self._alias!r} points to no collection: index the corpus first (ragtrial index EXPERIMENT.yaml)"
                )
            target = self._opened(found, before)
        except (ModelError, StoreError) as error:
            if before is None:
                raise
            if str(error) != self._refused:
                self._refused = str(error)
                logger.warning("alias %r can't be followed, going on with %r: %s", self._alias, before.ref.name, error)
            return _Target(ref=before.ref, embedder=before.embedder, asked_at=time.monotonic())
        self._refused = None
        if before is not None and before.ref.name != found.name:
            logger.info("alias %r was moved from %r to %r, which is searched from now on", self._alias, before.ref.name, found.name)
        return target

    def _opened(self, found: CollectionRef, before: _Target | None) -> _Target:
        now = time.monotonic()
        if before is not None and before.ref.name == found.name:
            return _Target(ref=found, embedder=before.embedder, asked_at=now)
        why_not = None if self._accepts is None else self._accepts(found)
        if why_not is not None:
            raise StoreError(why_not)
        if before is not None and before.ref.model == found.model:
            return _Target(ref=found, embedder=before.embedder, asked_at=now)
        return _Target(ref=found, embedder=self._embedder_of(found.model), asked_at=now)

    def _forget(self, target: _Target) -> None:
        """Its collection is gone."""
        with self._asking:
            if self._target is target:
                self._target = None
