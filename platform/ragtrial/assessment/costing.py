"""What a custom model would take, estimated from how fast the baseline runs on this machine."""

import os
import statistics
import time

import numpy as np

from ragtrial.contracts import Embedder
from ragtrial.domain.assessment import Costs
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.training import TrainingSpec

_PASSAGES, _QUERIES, _TIMES = 64, 20, 3
_STEP = 3.0
"""A step forward and back costs three times a step forward (Kaplan et al. 2020, section 2.1)."""
_DOUBT = 2.0
"""The guess of training may be off by this factor either way: precision, truncation and padding differ from embedding."""

NOTE = "machine time alone: neither people's time nor the judging of queries is in it"


def costs(
    embedder: Embedder,
    corpus: Corpus,
    gold: GoldSet,
    *,
    n_pairs: int | None,
    training: TrainingSpec | None,
    cost_per_hour: float | None,
    seed: int,
) -> Costs:
    """Time a sample past the cache, and multiply.

    Of three times the fastest counts: what else runs on the machine only makes it slower. How busy that is stands beside it, because a
    machine that is busy throughout has no fast time.

    Args:
        embedder: The baseline, without a cache.
        corpus: What would be embedded again.
        gold: Queries to time.
        n_pairs: Training pairs; None where there are none.
        training: How they would be used.
        cost_per_hour: Of this machine, as the user gives it.
        seed: Of the sample.
    """
    rng = np.random.default_rng(seed)
    passages = [corpus.passages[place].content for place in rng.permutation(len(corpus.passages))[:_PASSAGES]]
    queries = [gold.queries[place].text for place in rng.permutation(len(gold.queries))[:_QUERIES]]
    embedder.embed(passages[:2], kind="passage")  # the first call of a process pays for more than itself
    per_passage = min(_seconds(embedder, passages) for _ in range(_TIMES)) / len(passages)
    took = []
    for text in queries:
        begin = time.perf_counter()
        embedder.embed([text], kind="query")
        took.append(time.perf_counter() - begin)
    per_query = statistics.median(took)
    train = _training(n_pairs, training, per_passage=per_passage, per_query=min(per_query, per_passage))
    dimension = embedder.identity.dimension
    return Costs(
        passages_per_s=1.0 / max(per_passage, 1e-9),
        n_timed=len(passages),
        query_ms=per_query * 1000,
        reembed_s=per_passage * len(corpus.passages),
        train_low_s=None if train is None else train / _DOUBT,
        train_high_s=None if train is None else train * _DOUBT,
        index_bytes=len(corpus.passages) * dimension * np.dtype(np.float32).itemsize,
        dimension=dimension,
        cost_per_hour=cost_per_hour,
        currency_note=NOTE,
        busy=_busy(),
    )


def _seconds(embedder: Embedder, passages: list[str]) -> float:
    begin = time.perf_counter()
    embedder.embed(passages, kind="passage")
    return time.perf_counter() - begin


def _busy() -> float | None:
    """The last minute's load over the cores, this process itself among it; None where that leaves no core short, or can't be told."""
    cores = os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") and cores else 0.0
    return load / cores if cores and load > cores else None


def _training(n_pairs: int | None, training: TrainingSpec | None, *, per_passage: float, per_query: float) -> float | None:
    if not n_pairs or training is None:
        return None
    once = n_pairs * (per_passage + per_query)
    return once if training.method == "linear-adapter" else once * training.epochs * _STEP
