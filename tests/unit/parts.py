"""A little world for pipeline and evaluation: every passage has a word of its own, and parts that fail or count on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragtrial.contracts import Generator, IndexParameters, Retrieved, Retriever
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.trial import Answer
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.retriever import DenseRetriever
from ragtrial.errors import InputError, RagtrialError
from ragtrial.index.exact import ExactIndex
from ragtrial.pipeline import Pipeline


def world(n: int = 6, *, clusters: Sequence[str | None] | None = None) -> tuple[Corpus, GoldSet]:
    """`n` passages, and `n` queries of which the i-th asks for the word that only the i-th passage has."""
    texts = [f"quay number{i} lies north" for i in range(n)]
    passages = tuple(Passage(passage_id=f"p{i:03}", document_id=f"d{i:03}", text=t, start=0, end=len(t)) for i, t in enumerate(texts))
    queries = tuple(
        Query(query_id=f"q{i:03}", text=f"where is number{i}", cluster=clusters[i] if clusters else None, answers=(texts[i],))
        for i in range(n)
    )
    judgments = tuple(Judgment(query_id=f"q{i:03}", target_id=f"p{i:03}", grade=1) for i in range(n))
    return Corpus(name="world", passages=passages), GoldSet(name="world", queries=queries, judgments=judgments)


def dense(corpus: Corpus, *, model: str = "a", dimension: int = 512) -> DenseRetriever:
    """Exact search in memory with a hashing embedder."""
    embedder, index = HashingEmbedder(model=model, dimension=dimension), ExactIndex()
    index.create("c", model=embedder.identity, corpus=corpus.fingerprint, parameters=IndexParameters(build={}, search={}))
    index.insert("c", corpus.passages, embedder.embed([passage.content for passage in corpus.passages], kind="passage"))
    index.finish("c")
    return DenseRetriever(embedder=embedder, index=index, collection="c")


@dataclass(kw_only=True)
class Quoting:
    """A generator that quotes the first passage it is given, and keeps what it was asked."""

    version: str = "quoting/1"
    settings: Mapping[str, str] = field(default_factory=dict)
    fails_on: frozenset[str] = frozenset()
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        self.calls.append((query.query_id, tuple(passage.passage_id for passage in passages)))
        if query.query_id in self.fails_on:
            raise InputError(f"no answer to {query.query_id}")
        if not passages:
            return Answer(text="", finish_reason="abstained", generator=self.version)
        return Answer(text=passages[0].text, cited=(passages[0].passage_id,), generator=self.version)


@dataclass(kw_only=True)
class Failing:
    """A retriever that fails on every batch with one of these queries in it; keeps the sizes of the batches it was given."""

    inner: Retriever
    errors: Mapping[str, RagtrialError]
    batches: list[int] = field(default_factory=list)

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        self.batches.append(len(queries))
        for query in queries:
            if query.query_id in self.errors:
                raise self.errors[query.query_id]
        return self.inner.retrieve(queries, top_k=top_k)


def pipeline(
    corpus: Corpus, *, arm: str = "baseline", retriever: Retriever | None = None, generator: Generator | None = None, top_k: int = 3
) -> Pipeline:
    """What an arm does with a query; the generator reads the first two passages."""
    return Pipeline(
        arm=arm,
        retriever=retriever or dense(corpus),
        generator=generator,
        passages=corpus.by_id,
        top_k=top_k,
        context_passages=2,
    )
