"""One variant of a model measured: every query scored, and its speed taken in turns with the reference."""

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ragtrial.build import build_embedder, build_reranker, check_index, index_parameters
from ragtrial.contracts import Embedder, Kind, Progress, Reranker, VectorIndex, Vectors
from ragtrial.domain.experiment import EmbeddingSpec, RetrievalSpec
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.metric import Metric
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.quantization import REFERENCE, Costs, Variant
from ragtrial.domain.score import Score
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.formats.experiment import milvus_uri
from ragtrial.index.codes import vector_bytes
from ragtrial.indexing import alias_of, index_arm
from ragtrial.pipeline import Pipeline
from ragtrial.reranking.cache import CachedReranker
from ragtrial.scoring.choosing import build_scorers
from ragtrial.suite.environment import environment
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.retrieving import build_retriever, reordering_of

_FORM = 2
_TIMED_PASSAGES, _TIMED_QUERIES, _TURNS = 64, 40, 3
_BLOCK = 10
_QUERY_BATCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one variant: each query's score or the reason for none, and what it took."""

    scores: Mapping[str, float | str]
    costs: Costs


class Truncated:
    """The first dimensions of another embedder's vectors, so that all truncations share what is embedded once.

    Args:
        inner: Embeds.
        dimensions: Kept of its vectors.
    """

    def __init__(self, inner: Embedder, dimensions: int) -> None:
        self._inner = inner
        self._identity = dataclasses.replace(inner.identity, dimension=dimensions)

    @property
    def identity(self) -> ModelIdentity:
        """The inner embedder's, shorter: as one that was built with `embedding.dimensions`."""
        return self._identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`."""
        whole = self._inner.embed(texts, kind=kind, progress=progress)
        width = self._identity.dimension
        return unit_rows(whole[:, :width], n=len(texts), dimension=width, model=self._identity.name)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """The inner embedder's count."""
        return self._inner.count_tokens(texts)


def embedding_of(spec: EmbeddingSpec, variant: Variant) -> EmbeddingSpec:
    """The arm's embedding, run as the variant says."""
    return dataclasses.replace(spec, backend=variant.backend, precision=variant.precision, dimensions=variant.dimensions)


def retrieval_of(retrieval: RetrievalSpec, variant: Variant) -> RetrievalSpec:
    """The arm's retrieval, with vectors stored as the variant says."""
    return dataclasses.replace(retrieval, index=dataclasses.replace(retrieval.index, vectors=variant.vectors))


class Bench:
    """Builds variants, asks them all queries, and times them in turns with the reference.

    Where the arm reranks, scores are those of the reranked passages, for that is what a user would lose; times are those of embedding and
    search alone, which is all that a variant changes.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        metric: Metric,
        spec: EmbeddingSpec,
        retrieval: RetrievalSpec,
        index: VectorIndex,
        cache: VectorCache,
        output: Path,
        progress: Progress,
    ) -> None:
        self._prepared, self._metric, self._spec, self._retrieval = prepared, metric, spec, retrieval
        self._index, self._cache, self._output, self._progress = index, cache, output, progress
        self._embedders: dict[tuple[str, str], Embedder] = {}
        self._passages: dict[tuple[str, str], tuple[float, float, float]] = {}
        self._collections: dict[Variant, str] = {}
        self._reranker: Reranker | None = None
        self._rng_seed = prepared.experiment.analysis.seed

    def reranker(self) -> Reranker | None:
        """The arm's, loaded once; None where nothing is reranked."""
        if self._reranker is None and self._retrieval.rerank is not None:
            self._reranker = CachedReranker(build_reranker(self._retrieval.rerank, self._prepared.around), self._cache)
        return self._reranker

    def bare(self, variant: Variant) -> Embedder:
        """The whole model, without a cache."""
        key = (variant.backend, variant.precision)
        if key not in self._embedders:
            whole = embedding_of(self._spec, dataclasses.replace(variant, dimensions=None))
            self._embedders[key] = build_embedder(whole, self._prepared.around)
        return self._embedders[key]

    def measured(self, variant: Variant) -> Measured:
        """What was measured before of the same, or measures it now."""
        bare = self.bare(variant)
        if variant.dimensions is not None and variant.dimensions > bare.identity.dimension:
            raise ModelError(f"variant {variant.name!r} keeps more dimensions than the model has ({bare.identity.dimension})")
        depends = [
            _FORM,
            self._prepared.corpus.fingerprint,
            self._prepared.corpus.chunking,
            self._prepared.gold.fingerprint,
            [query.query_id for query in self._prepared.gold.queries],
            self._metric.name,
            self._retrieval,
            bare.identity,
            variant,
            milvus_uri(self._prepared.file),
            environment(("onnx", "onnxruntime", "openvino", "nncf")),
        ]
        reranker = self.reranker()
        if reranker is not None:
            depends.append(reranker.identity)
        path = self._output / "variants" / f"{variant.name}-{digest(depends, length=12)}.json"
        kept = _read(path)
        if kept is not None:
            return kept
        made = self._measure(variant)
        _keep(path, made)
        return made

    def _measure(self, variant: Variant) -> Measured:
        retrieval = retrieval_of(self._retrieval, variant)
        parameters = index_parameters(retrieval)
        check_index(parameters, milvus_uri(self._prepared.file))
        self._index.check(parameters)
        collection = self._collection(variant)
        pipeline = Pipeline(
            arm=variant.name,
            retriever=build_retriever(
                retrieval,
                embedder=self._cached(variant),
                index=self._index,
                collection=collection,
                reordering=reordering_of(retrieval, self.reranker(), self._prepared.corpus.by_id),
            ),
            generator=None,
            passages=self._prepared.corpus.by_id,
            top_k=retrieval.top_k,
            context_passages=1,
        )
        queries = self._prepared.gold.queries
        trials = []
        for start in range(0, len(queries), _QUERY_BATCH):
            batch = queries[start : start + _QUERY_BATCH]
            found = pipeline.retrieve(batch)
            trials += [pipeline.trial(query, ranking, None) for query, ranking in zip(batch, found, strict=True)]
        failed = [trial.failure.message for trial in trials if trial.failure is not None]
        if failed:  # kept, a moment's trouble would stand for the variant; so the next run asks again
            raise StoreError(f"{len(failed)} of {len(queries)} queries could not be searched ({failed[0]}): run it again")
        (scorer,) = build_scorers([self._metric], corpus=self._prepared.corpus, similarity=None)
        scores = scorer.score(trials, self._prepared.gold)
        by_query = {trial.query_id: _number_or_reason(score) for trial, (score,) in zip(trials, scores, strict=True)}
        return Measured(scores=by_query, costs=self._costs(variant, collection))

    def _collection(self, variant: Variant) -> str:
        """Where the variant's vectors are, indexed where they are not there; also what was measured in an earlier run may be gone since."""
        if variant not in self._collections:
            facts = index_arm(
                corpus=self._prepared.corpus,
                embedder=self._cached(variant),
                index=self._index,
                parameters=index_parameters(retrieval_of(self._retrieval, variant)),
                alias=alias_of(self._prepared.experiment.name, f"quantize-{variant.name}"),
                progress=self._progress,
            )
            self._collections[variant] = facts.collection
        return self._collections[variant]

    def _cached(self, variant: Variant) -> Embedder:
        return self._shortened(CachedEmbedder(self.bare(variant), self._cache), variant)

    def _shortened(self, embedder: Embedder, variant: Variant) -> Embedder:
        return embedder if variant.dimensions is None else Truncated(embedder, variant.dimensions)

    def _costs(self, variant: Variant, collection: str) -> Costs:
        dimension = variant.dimensions or self.bare(variant).identity.dimension
        passage_ratio, passage_s, passage_cpu = self._passage_times(variant)
        query_ratio, query_s, query_cpu = self._query_times(variant, collection)
        return Costs(
            query_ratio=query_ratio,
            passage_ratio=passage_ratio,
            query_p50_ms=query_s * 1000,
            passages_per_s=1 / passage_s,
            query_cpu_s=query_cpu,
            passage_cpu_s=passage_cpu,
            vector_bytes=vector_bytes(variant.vectors, dimension),
        )

    def _passage_times(self, variant: Variant) -> tuple[float, float, float]:
        """Ratio to the reference, seconds and CPU seconds a passage; truncating and storing cost nothing that could be measured."""
        key = (variant.backend, variant.precision)
        if key not in self._passages:
            rng = np.random.default_rng(self._rng_seed)
            passages = self._prepared.corpus.passages
            chosen = rng.choice(len(passages), size=min(_TIMED_PASSAGES, len(passages)), replace=False)
            texts = [passages[int(place)].content for place in chosen]
            mine, base = self.bare(variant), self.bare(REFERENCE)
            work = (lambda: mine.embed(texts, kind="passage"), lambda: base.embed(texts, kind="passage"))
            ratio, seconds, cpu = in_turns(*work, turns=_TURNS)
            self._passages[key] = (1.0 if key == ("torch", "fp32") else ratio, seconds / len(texts), cpu / len(texts))
        return self._passages[key]

    def _query_times(self, variant: Variant, collection: str) -> tuple[float, float, float]:
        """Ratio of the medians, median seconds, and CPU seconds of a query alone: embedded past the cache, and searched."""
        rng = np.random.default_rng(self._rng_seed)
        queries = self._prepared.gold.queries
        chosen = [queries[int(place)] for place in rng.choice(len(queries), size=min(_TIMED_QUERIES, len(queries)), replace=False)]
        base_retrieval, base_name = retrieval_of(self._retrieval, REFERENCE), self._collection(REFERENCE)
        sides = [
            build_retriever(
                retrieval_of(self._retrieval, variant),
                embedder=self._shortened(self.bare(variant), variant),
                index=self._index,
                collection=collection,
            ),
            build_retriever(base_retrieval, embedder=self.bare(REFERENCE), index=self._index, collection=base_name),
        ]
        taken: list[list[float]] = [[], []]
        cpu = 0.0
        asked = [*chosen[:_BLOCK], *chosen]
        for turn, first in enumerate(range(0, len(asked), _BLOCK)):  # in blocks: one engine's threads still spin when the other begins
            for side in (0, 1) if turn % 2 else (1, 0):
                for place, query in enumerate(asked[first : first + _BLOCK], start=first):
                    start, began = time.perf_counter(), time.process_time()
                    sides[side].retrieve([query], top_k=self._retrieval.depth)
                    if place >= len(asked) - len(chosen):  # what stands before warms up
                        taken[side].append(time.perf_counter() - start)
                        cpu += (time.process_time() - began) if side == 0 else 0.0
        mine, base = statistics.median(taken[0]), statistics.median(taken[1])
        return (1.0 if variant == REFERENCE else mine / base), mine, cpu / len(chosen)


def in_turns(mine: Callable[[], object], base: Callable[[], object], *, turns: int) -> tuple[float, float, float]:
    """The median ratio of seconds, with who is first alternating; the median seconds of `mine`, and its CPU seconds. Both warm up once."""
    mine()
    base()
    ratios, seconds, cpus = [], [], []
    for turn in range(turns):
        taken = {}
        for side in ("mine", "base") if turn % 2 else ("base", "mine"):
            start, began = time.perf_counter(), time.process_time()
            (mine if side == "mine" else base)()
            taken[side] = time.perf_counter() - start
            if side == "mine":
                cpus.append(time.process_time() - began)
        ratios.append(taken["mine"] / taken["base"])
        seconds.append(taken["mine"])
    return statistics.median(ratios), statistics.median(seconds), statistics.median(cpus)


def _number_or_reason(score: Score) -> float | str:
    return str(score.unscored) if score.value is None else float(score.value)


def _read(path: Path) -> Measured | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return Measured(scores=found["scores"], costs=Costs(**found["costs"]))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _keep(path: Path, measured: Measured) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"scores": dict(measured.scores), "costs": dataclasses.asdict(measured.costs)}), "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"output folder {str(path.parent)!r} can't be written ({error.strerror}): give another one with --output"
        ) from error
