"""The baseline's metrics with intervals, and what is to be had without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.assessment.retrieving import DEPTH, Found, Ids
from ragtrial.domain.assessment import Option, Purpose
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values
from ragtrial.stats.paired import paired_t

HEADLINE = "nDCG@10"
BASELINE_METRICS = (HEADLINE, "R@1", "R@5", "R@10", "RR@10")
DEEPER = (50, 100)
CUT = 10

Floats = NDArray[np.float64]
Labels = NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The gold queries that a ranking can succeed or fail on.

    Attributes:
        places: Their positions in the gold set.
        qrels: Grades of each.
        clusters: Label of each, or None where no two share one.
        n_unjudged: Queries left out: nothing is relevant for them.
    """

    places: tuple[int, ...]
    qrels: tuple[Mapping[str, int], ...]
    clusters: Labels | None
    n_unjudged: int

    def of(self, rankings: Sequence[Ids]) -> tuple[Ids, ...]:
        """The rankings of these queries, out of those of the whole gold set."""
        return tuple(rankings[place] for place in self.places)


def judged(gold: GoldSet) -> Judged:
    """Queries with at least one relevant passage; a query without a cluster among others that have one is a cluster of its own."""
    table = gold.qrels()
    places = tuple(i for i, query in enumerate(gold.queries) if any(grade > 0 for grade in table[query.query_id].values()))
    kept = [gold.queries[place] for place in places]
    clusters = None
    labels = [f"query {query.query_id}" if query.cluster is None else f"cluster {query.cluster}" for query in kept]
    if len(set(labels)) < len(labels):
        clusters = np.array(labels)
    return Judged(
        places=places,
        qrels=tuple(table[query.query_id] for query in kept),
        clusters=clusters,
        n_unjudged=len(gold.queries) - len(kept),
    )


def values_of(metric: str, rankings: Sequence[Ids], known: Judged) -> Floats:
    """The metric of each judged query, shape (n,); `rankings` are those of the whole gold set."""
    parsed = metric_named(metric)
    ranks = rank_arrays(known.of(rankings), known.qrels, depth=max(DEPTH, parsed.cutoff or 0))
    return retrieval_values(parsed, ranks)


def estimated(name: str, values: Floats, known: Judged, *, alpha: float, least: float = 0.0) -> Estimate:
    """The mean with its t interval, cluster-robust where queries share a document.

    The interval ends where the metric does: no mean lies beyond, so that cutting it there loses no coverage. A logit or Wilson interval
    would not reach beyond either, but holds for yes and no, and neither nDCG nor clusters of queries are that.

    Args:
        name: The metric.
        values: Of each judged query.
        known: Their clusters.
        alpha: 1 minus the coverage.
        least: The least that the mean can be: 0 of a metric, -1 of a difference of two; the most is 1.
    """
    if not values.size:
        return Estimate(name=name, n=0, reason="no query has a relevant passage")
    try:
        found = paired_t(values, alpha=alpha, clusters=known.clusters)
    except NotEnoughDataError as error:
        return Estimate(name=name, n=values.size, value=float(values.mean()), reason=str(error).replace(" difference", " value"))
    low, high = max(found.low, least), min(found.high, 1.0)
    return Estimate(name=name, n=found.n, value=found.estimate, low=low, high=high, n_clusters=found.n_clusters)


def baseline_metrics(found: Found, known: Judged, *, alpha: float) -> tuple[Estimate, ...]:
    """What the baseline reaches, metric by metric."""
    return tuple(estimated(metric, values_of(metric, found.base, known), known, alpha=alpha) for metric in BASELINE_METRICS)


def ceilings(known: Judged) -> tuple[tuple[str, float], ...]:
    """The most that any ranking reaches: recall can't be 1 where more passages are relevant than are looked at."""
    if not known.qrels:
        return ()
    n_relevant = np.array([sum(grade > 0 for grade in grades.values()) for grades in known.qrels])
    most = []
    for name in BASELINE_METRICS:
        metric = metric_named(name)
        reach = np.minimum(n_relevant, metric.cutoff or 1) / n_relevant if metric.measure == "R" else np.ones(len(n_relevant))
        most.append((name, float(reach.mean())))
    return tuple(most)


def options(found: Found, known: Judged, *, alpha: float, index: Sequence[Ids] | None, index_name: str) -> tuple[Option, ...]:
    """Alternatives to training, the best that a reranker could make of the baseline's first hundred, and the index as configured.

    The best of the alternatives is recommended by the same queries, so their intervals hold together (Bonferroni).

    Args:
        found: Rankings of the whole gold set.
        known: Its judged queries.
        alpha: 1 minus the coverage.
        index: What the configured approximate index finds; None where search is exact anyway.
        index_name: In words.
    """
    base = values_of(HEADLINE, found.base, known)

    def option(name: str, purpose: Purpose, values: Floats, takes: str) -> Option:
        together = len(free) - 1 if purpose == "alternative" else 1
        return Option(
            name=name,
            purpose=purpose,
            metric=HEADLINE,
            mean=estimated(HEADLINE, values, known, alpha=alpha),
            difference=estimated(HEADLINE, values - base, known, alpha=alpha / together, least=-1.0),
            takes=takes,
        )

    free = {
        "bm25": ("BM25", found.bm25, "no model at all: retrieval.method bm25"),
        "dense": ("the model alone", found.dense, "retrieval.method dense"),
        "hybrid": ("hybrid (dense + BM25)", found.hybrid, "no training: retrieval.method hybrid, a sparse index beside the vectors"),
    }
    made = [
        *(
            option(name, "alternative", values_of(HEADLINE, rankings, known), takes)
            for method, (name, rankings, takes) in free.items()
            if method != found.method
        ),
        option(
            f"perfect reranker over the first {DEPTH}",
            "ceiling",
            _ideal(found.base, known),
            f"a reranker, {DEPTH} passages a query through it; no real one is perfect",
        ),
    ]
    if index is not None:
        made.append(option(index_name, "index", values_of(HEADLINE, index, known), "what the arm is configured to use"))
    return tuple(made)


def deeper(found: Found, known: Judged, *, alpha: float) -> tuple[Option, ...]:
    """Recall when more than ten passages are retrieved: what training can't be needed for where a larger k would do."""
    base = values_of(f"R@{CUT}", found.base, known)
    made = []
    for k in DEEPER:
        name = f"R@{k}"
        values = values_of(name, found.base, known)
        made.append(
            Option(
                name=f"{k} passages instead of {CUT}",
                purpose="ceiling",
                metric=name,
                mean=estimated(name, values, known, alpha=alpha),
                difference=estimated(name, values - base, known, alpha=alpha, least=-1.0),
                takes=f"a reader or reranker that takes {k} passages",
            )
        )
    return tuple(made)


def _ideal(rankings: Sequence[Ids], known: Judged) -> Floats:
    """nDCG@10 if what was found in the first hundred stood in the best order."""
    best = []
    for ranking, grades in zip(known.of(rankings), known.qrels, strict=True):
        best.append(tuple(sorted(ranking, key=lambda passage_id: -grades.get(passage_id, 0))))
    ranks = rank_arrays(best, known.qrels, depth=DEPTH)
    return retrieval_values(metric_named(HEADLINE), ranks)


def first_ranks(rankings: Sequence[Ids], known: Judged) -> list[int | None]:
    """Rank of each judged query's first relevant passage, from 1; None where there is none in the ranking."""
    return [
        next((rank for rank, passage_id in enumerate(ranking, start=1) if grades.get(passage_id, 0) > 0), None)
        for ranking, grades in zip(known.of(rankings), known.qrels, strict=True)
    ]
