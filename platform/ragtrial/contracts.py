"""The Protocols behind which parts can be exchanged, and what every part of a kind must keep.

Each has a conformance suite under `tests/conformance/` that runs on every shipped provider.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.corpus import Document, Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import Metric
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Hit, Trial
from ragtrial.errors import CallError

Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]
Kind = Literal["query", "passage"]
Reading = tuple[Query, Sequence[Passage]]
"""What a generator is given."""
VectorKind = Literal["fp32", "int8", "binary"]
"""How vectors are stored."""


class Progress(Protocol):
    """How long work tells how far it is."""

    def __call__(self, description: str, total: int) -> Callable[[int], None]:
        """Begin a bar of `total` units; the function returned is called with the units done since the last call."""
        ...


def no_progress(description: str, total: int) -> Callable[[int], None]:
    """A `Progress` that shows nothing."""
    del description, total
    return lambda _done: None


class Chunker(Protocol):
    """Cuts documents into passages."""

    def split(self, document: Document) -> tuple[Passage, ...]:
        """At least one passage, in order, each a verbatim run of the document's text with its offsets."""
        ...


class Embedder(Protocol):
    """Turns text into unit vectors."""

    @property
    def identity(self) -> ModelIdentity:
        """What makes the vectors; equal identities give equal vectors."""
        ...

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """Rows of length 1, shape (len(texts), dimension), float32, in the order of the texts, the same in any batch.

        Args:
            texts: May be empty (shape (0, dimension)).
            kind: Whether the query or the passage prompt goes before each text.
            progress: Called with the number of texts done since its last call.

        Raises:
            ModelError: The model or endpoint failed, or returned vectors that are not finite or of another dimension.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Tokens of all texts together as the model counts them, after truncation; None where it can't be known."""
        ...


IndexType = Literal["FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "SCANN", "DISKANN"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexParameters:
    """Which index to build and how to search it.

    Attributes:
        type: Of the vectors' index.
        metric: Vectors have length 1, so all rank alike.
        build: Its build parameters.
        search: Its search parameters.
        vectors: How they are stored.
        words: Passages can be searched by BM25 too.
        shards: Channels that a server writes a collection through.
        partition: Digest of the passages' groups where the store keeps them apart, so that a search can be confined to one; else empty.
    """

    type: IndexType = "FLAT"
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"
    build: Mapping[str, int]
    search: Mapping[str, int]
    vectors: VectorKind = "fp32"
    words: bool = False
    shards: int = 1
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """What a collection says about itself.

    Attributes:
        name: Its name.
        model: Identity of the model that its vectors were made with, as written at creation.
        corpus: Fingerprint of the passages.
        parameters: The index asked for at creation.
        index_type: The index really used, as far as the store tells; `FLAT` where it searches exactly.
        n_passages: Rows that a search can see.
        complete: Whether `finish` was called after the last insert.
        loaded: Whether it was in the store's memory when this was asked; asking loads it.
        recalls: What of exact search it was found to find, by what that was measured on (`index.recall.RecallBarrier.key`).
    """

    name: str
    model: ModelIdentity
    corpus: str
    parameters: IndexParameters
    index_type: str
    n_passages: int
    complete: bool
    loaded: bool = field(default=True, compare=False)
    recalls: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRef:
    """What a name or an alias meant at one moment; both were read in one answer of the store.

    Attributes:
        name: The collection's own name.
        model: What its vectors were made with.
        metric: Of its similarities.
        corpus: Fingerprint of its passages.
        complete: Whether all of them are there.
        words: It can be searched by BM25 too.
        index: How it was built and is searched, as one text; equal texts, equal indexes.
    """

    name: str
    model: ModelIdentity
    metric: str = "COSINE"
    corpus: str = ""
    complete: bool = True
    words: bool = False
    index: str = ""


class VectorIndex(Protocol):
    """Collections of passages with their vectors, and aliases that point to them. One writer."""

    @property
    def counts_words_by_opening(self) -> bool:
        """Whether BM25 is right only where all passages of a collection were stored between one opening of the store and its closing."""
        ...

    def indexed_from(self, parameters: IndexParameters) -> int:
        """Passages from which on the store surely builds the index asked for; with fewer it may search in a way of its own. 0: always."""
        ...

    def check(self, parameters: IndexParameters) -> None:
        """Whether this store can build and search such an index, asked before any work.

        Raises:
            StoreError: It can't, and why.
        """
        ...

    def create(self, name: str, *, model: ModelIdentity, corpus: str, parameters: IndexParameters, sample: Vectors | None = None) -> None:
        """Make an empty collection; nothing happens where one of this name, model, corpus and parameters exists.

        Args:
            name: Of the collection.
            model: What its vectors are made with; one of dimension 0 where it is searched by words alone.
            corpus: Fingerprint of the passages.
            parameters: The index.
            sample: Vectors of passages that int8 codes are calibrated on; their ranges are kept with the collection.

        Raises:
            StoreError: One of that name exists with another model, corpus or parameters, or the store refused.
        """
        ...

    def insert(self, name: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Store passages with their vectors; the same passage again replaces the old one.

        Raises:
            StoreError: Vectors are not finite, not of length 1, or of another dimension; or the store refused.
        """
        ...

    def stored_ids(self, name: str) -> set[str]:
        """Ids of the passages that are already stored (to resume an interrupted indexing)."""
        ...

    def finish(self, name: str) -> None:
        """Build the index, make every stored row searchable, wait until it is, and mark the collection complete.

        A collection that an alias points to is searched all the while.
        """
        ...

    def keep_recall(self, name: str, key: str, recall: float) -> None:
        """Keep with a complete collection what it was found to find of exact search; an insert forgets it.

        Args:
            name: Of the collection.
            key: Names what it was measured on.
            recall: From 0 to 1.
        """
        ...

    def describe(self, name: str) -> CollectionInfo | None:
        """What the collection (or the one an alias points to) says about itself; None where there is none."""
        ...

    def referred(self, name: str) -> CollectionRef | None:
        """What a name or an alias means now, asked of the store itself and cheap enough to ask often; None where there is none."""
        ...

    def search(
        self, name: str, vectors: Vectors, *, top_k: int, model: ModelIdentity, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """The nearest passages of each vector, best first, similarity ties by passage id; `name` may be an alias.

        Args:
            name: Of the collection.
            vectors: Shape (n_queries, dimension).
            top_k: Passages wanted.
            model: What the vectors were made with.
            groups: The group that each query is searched in; None among them, or in their place, is the whole collection.

        Raises:
            MissingCollectionError: There is no such collection, or there is none any more.
            StoreError: It was built with another model than `model`, groups are given and it has none, a vector is not finite
                or of another dimension, or the store failed.
        """
        ...

    def search_words(
        self, name: str, texts: Sequence[str], *, top_k: int, groups: Sequence[str | None] | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """The passages with the highest BM25 of each text, best first, ties by passage id; `name` may be an alias; `groups` as for `search`.

        A passage that shares no word with the text is no hit. Scores are above 0.

        Raises:
            StoreError: No such collection, it was made without `words`, or the store failed.
        """
        ...

    def keep_searched(self, name: str, at: float) -> None:
        """Keep with a collection that somebody searched it at this moment (seconds since 1970) though no alias may point to it."""
        ...

    def drop(self, name: str, *, force: bool = False) -> None:
        """Remove a collection; nothing happens where there is none.

        Args:
            name: Of the collection.
            force: Also one that a service may still search.

        Raises:
            StoreError: An alias points to it; or one did, or a service searched it, in the last minutes, see `index.rules.SEARCHED_SECONDS`.
        """
        ...

    def collections(self) -> tuple[str, ...]:
        """Names of ragtrial's collections in the store, sorted."""
        ...

    def point(self, alias: str, name: str) -> str | None:
        """Let `alias` point to a complete collection, at once; the collection that it pointed to before, or None.

        The collection is loaded first, so that no search waits for that.

        Raises:
            StoreError: The collection is missing, not complete, or can't be loaded.
        """
        ...

    def resolve(self, alias: str) -> str | None:
        """The collection that the alias points to, or None."""
        ...

    def close(self) -> None:
        """Let go of the store; further calls are errors."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What a retriever found for several queries.

    Attributes:
        hits: Best first, for each query in order.
        embed_ms: Wall-clock milliseconds spent embedding all of them.
        search_ms: Wall-clock milliseconds spent searching for all of them, reranking included.
        rerank_ms: The part of `search_ms` that reranking took; None where nothing is reranked.
    """

    hits: tuple[tuple[Hit, ...], ...]
    embed_ms: float
    search_ms: float
    rerank_ms: float | None = None


class Retriever(Protocol):
    """Finds passages for queries: dense vectors, BM25, or anything that ranks."""

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """The best passages of each query, in the order of the queries.

        Raises:
            RagtrialError: Embedding, search or reranking failed (`ModelError` from embedding, `StoreError` from search, `RerankError`).
        """
        ...


class Reranker(Protocol):
    """Reads a query and a passage together, and says how well one answers the other."""

    @property
    def identity(self) -> ModelIdentity:
        """What makes the scores; equal identities give equal scores. Its dimension is 1."""
        ...

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        """For each query a score of each of its passages, float32, shape (n_passages,), in their order; the higher, the better.

        A pair's score is the same whatever else is asked with it, but for float rounding.

        Args:
            asked: Each query with the contents of its passages; either may be empty.

        Raises:
            RerankError: The model or endpoint failed, or returned scores that are not finite, too few or too many.
        """
        ...


class Generator(Protocol):
    """Makes an answer from passages."""

    @property
    def version(self) -> str:
        """Name and version, e.g. `extractive/1`; changes whenever the same input may give another answer."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """Everything that changes its answers, for the parity certificate."""
        ...

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """An answer that cites passages it was given, or an abstention; no passages is an abstention.

        Raises:
            RagtrialError: The generator failed; the pipeline records it as a failure.
        """
        ...


@runtime_checkable
class ManyAtOnce(Generator, Protocol):
    """A generator that answers several queries side by side, as one that waits for a server does."""

    def generate_many(self, readings: Sequence[Reading], *, repetition: int = 0) -> tuple[Answer | CallError, ...]:
        """An answer, or why there is none, for each query with its passages, in order.

        Args:
            readings: Each query with the passages to read.
            repetition: From 0; a further one is asked anew.

        Raises:
            StoppedError: The run has to stop.
        """
        ...


class Scorer(Protocol):
    """Computes metrics of trials. Total: never raises on a failed trial, and never leaves a metric out."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it computes."""
        ...

    @property
    def version(self) -> str:
        """Name and version, stored with each score."""
        ...

    @property
    def deterministic(self) -> bool:
        """Whether the same trial always gets the same scores."""
        ...

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """One tuple of scores, one for each metric in the order of `metrics`, for each trial in order.

        Args:
            trials: Of any arms together, so that what both arms share is judged once, and pairs can be compared.
            gold: With judgments on passages.

        Raises:
            StoppedError: A scorer that asks an LLM has to stop the run.
        """
        ...
