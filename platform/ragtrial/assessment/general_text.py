"""General text in a model beside its base: what a training on one domain may have ruined."""

from collections.abc import Mapping, Sequence

import numpy as np

from ragtrial.assessment.sides import Floats, Sides, compared, estimate
from ragtrial.contracts import Vectors
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.intrinsic import Measured
from ragtrial.domain.metric import metric_named
from ragtrial.errors import NotEnoughDataError
from ragtrial.formats.terms import Everyday
from ragtrial.index.exact import exact_search
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values
from ragtrial.stats.geometry import MOST_ROWS, neighbour_overlap

NEIGHBOURS = 5


def measure_everyday(pairs: Sequence[Everyday], sides: Sides) -> tuple[Measured, ...]:
    """Each query against all passages, and how many neighbours both models share: what a training on one domain may have ruined."""
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    queries, texts = sides.queries([pair.query for pair in pairs]), sides.passages(passages)
    qrels = [{str(passages.index(pair.passage)): 1} for pair in pairs]
    clusters = [pair.topic or f"pair {number}" for number, pair in enumerate(pairs)]
    return _retrieval(queries, texts, [str(i) for i in range(len(passages))], qrels, ("R@1", "RR@10"), sides, clusters=clusters)


def measure_general(gold: GoldSet, passages: Mapping[str, str], sides: Sides) -> tuple[Measured, ...]:
    """A whole gold set of general text.

    Args:
        gold: Judged on these passages.
        passages: Their texts by id.
        sides: The models.
    """
    table = gold.qrels()
    kept = [query for query in gold.queries if any(grade > 0 for grade in table[query.query_id].values())]
    qrels = [table[query.query_id] for query in kept]
    queries, texts = sides.queries([query.text for query in kept]), sides.passages(list(passages.values()))
    clusters = [query.cluster or f"query {query.query_id}" for query in kept]
    return _retrieval(queries, texts, list(passages), qrels, ("nDCG@10", "R@10"), sides, clusters=clusters)


def _retrieval(
    queries: tuple[Vectors, Vectors | None],
    texts: tuple[Vectors, Vectors | None],
    ids: Sequence[str],
    qrels: Sequence[Mapping[str, int]],
    metrics: Sequence[str],
    sides: Sides,
    *,
    clusters: Sequence[str],
) -> tuple[Measured, ...]:
    ranked = [None if q is None or p is None else exact_search(p, ids, q, 10) for q, p in zip(queries, texts, strict=True)]
    made = []
    for name in metrics:
        values = [
            None
            if hits is None
            else retrieval_values(metric_named(name), rank_arrays([[hit.passage_id for hit in row] for row in hits], qrels, depth=10))
            for hits in ranked
        ]
        first = values[0]
        assert first is not None  # noqa: S101 - for mypy
        made.append(
            compared(
                f"general text, {name}", first, values[1], sides, clusters=clusters, better="same", note="must not get worse", share=True
            )
        )
    if texts[1] is not None:
        made.append(_neighbours(texts[0], texts[1], sides))
    return tuple(made)


def _neighbours(model: Vectors, base: Vectors, sides: Sides) -> Measured:
    rows = np.sort(sides.rng().permutation(len(model))[:MOST_ROWS])
    name = f"general text, neighbours kept ({NEIGHBOURS} nearest)"
    found: Floats | str
    try:
        found = neighbour_overlap(base[rows], model[rows], k=NEIGHBOURS)
    except NotEnoughDataError as error:
        found = str(error)
    return Measured(
        name=name,
        value=estimate(name, found, sides, None),
        before=None,
        change=None,
        better="none",
        note="share of each passage's nearest passages in the base that are still nearest in the model; 1 where nothing moved",
    )
