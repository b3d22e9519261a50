"""The queries that a training is watched by, and how a model in training is scored on them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Kind
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.pair import Pair
from ragtrial.embedding.vectors import unit_rows
from ragtrial.finetuning.leakage import normalise, text_digest
from ragtrial.finetuning.watching import DEV_METRIC, Scores
from ragtrial.index.exact import exact_search
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values

DEV_PASSAGES = 500
"""The dev queries are searched among their relevant passages and others up to this number: more would cost more than it tells.

Fewer passages than the corpus has make the search easier, so these scores compare checkpoints and say nothing about the corpus.
"""

MIN_DEV_QUERIES = 20
"""Below so many dev queries nothing is chosen by them: it would be chosen by noise."""

Encode = Callable[[Sequence[str], Kind], NDArray[np.float32]]
"""Vectors of queries or passages as the model in training makes them."""


@dataclass(frozen=True, kw_only=True)
class DevSet:
    """What early stopping watches.

    Attributes:
        gold: Dev queries, judged on passages.
        passages: What they are searched in: the relevant ones and a random sample of others.
    """

    gold: GoldSet
    passages: tuple[Passage, ...]

    @property
    def relevant(self) -> frozenset[str]:
        """Ids of the passages that answer a query."""
        return frozenset(judgment.target_id for judgment in self.gold.judgments if judgment.grade > 0)

    @property
    def n_judged(self) -> int:
        """Queries with a relevant passage."""
        return len({judgment.query_id for judgment in self.gold.judgments if judgment.grade > 0})


def dev_set(gold: GoldSet, passages: Sequence[Passage], *, seed: int) -> DevSet | None:
    """The dev split among at most `DEV_PASSAGES` passages (or all relevant ones, where these are more); None without a dev query."""
    relevant = {judgment.target_id for judgment in gold.judgments if judgment.grade > 0}
    if not relevant:
        return None
    others = [passage for passage in passages if passage.passage_id not in relevant]
    sample = random.Random(seed).sample(others, min(len(others), max(0, DEV_PASSAGES - len(relevant))))  # noqa: S311 - a sample, no secret
    chosen = {passage.passage_id for passage in sample} | relevant
    return DevSet(gold=gold, passages=tuple(passage for passage in passages if passage.passage_id in chosen))


def gold_of_pairs(pairs: Sequence[Pair], *, name: str) -> tuple[GoldSet, tuple[Passage, ...]]:
    """Each query of the pairs once, judged on the passages of its pairs; the passages are known by their text."""
    passages: dict[str, Passage] = {}
    queries: dict[str, Query] = {}
    judged: dict[tuple[str, str], Judgment] = {}
    for pair in pairs:
        query_id, passage_id = text_digest(pair.query)[:16], text_digest(pair.passage)[:16]
        queries.setdefault(query_id, Query(query_id=query_id, text=pair.query))
        passages.setdefault(passage_id, _passage(passage_id, pair))
        judged.setdefault((query_id, passage_id), Judgment(query_id=query_id, target_id=passage_id, grade=1))
    gold = GoldSet(name=name, queries=tuple(queries.values()), judgments=tuple(judged.values()))
    return gold, tuple(passages.values())


def dev_set_of_pairs(pairs: Sequence[Pair], *, others: Sequence[Passage], seed: int) -> DevSet | None:
    """Dev queries of files of pairs, among the passages of their pairs and a sample of others; None without a pair.

    Args:
        pairs: Of the split dev.
        others: Passages of the other pairs or of a corpus; copies of what answers a dev query are left out.
        seed: Of the sample.
    """
    gold, passages = gold_of_pairs(pairs, name="dev pairs")
    known = {normalise(passage.content) for passage in passages}
    return dev_set(gold, [*passages, *_unlike(others, known)], seed=seed)


def train_check(pairs: Sequence[Pair], dev: DevSet, *, seed: int) -> DevSet:
    """A fixed random sample of training queries, as many as there are dev queries, searched in as many passages of the same kind.

    Beside what answers them stand the passages that the dev queries are searched in and that answer none: they are embedded anyway.

    Args:
        pairs: That are trained on.
        dev: What the sample is put beside.
        seed: Of the sample.
    """
    by_query: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_query.setdefault(pair.query, []).append(pair)
    texts = random.Random(seed).sample(sorted(by_query), min(len(by_query), dev.n_judged))  # noqa: S311 - a sample, no secret
    gold, own = gold_of_pairs([pair for text in texts for pair in by_query[text]], name="training queries")
    known, relevant = {normalise(passage.content) for passage in own}, dev.relevant
    others = _unlike([passage for passage in dev.passages if passage.passage_id not in relevant], known)
    return DevSet(gold=gold, passages=(*own, *others[: max(0, len(dev.passages) - len(own))]))


def scorer(dev: DevSet, check: DevSet | None) -> Callable[[Encode], Scores]:
    """nDCG@10 of each query with something relevant, by exact search among the passages of its own set.

    Args:
        dev: The dev queries.
        check: The training queries, or None.
    """
    sets = [dev] if check is None else [dev, check]
    texts = {
        "query": sorted({query.text for each in sets for query in _asked(each)}),
        "passage": sorted({passage.content for each in sets for passage in each.passages}),
    }

    def score(encode: Encode) -> Scores:
        vectors = {"query": encode(texts["query"], "query"), "passage": encode(texts["passage"], "passage")}
        rows = {
            kind: dict(zip(texts[kind], unit_rows(found, n=len(texts[kind]), dimension=None, model="in training"), strict=True))
            for kind, found in vectors.items()
        }
        values = [_values(each, rows) for each in sets]
        return Scores(dev=values[0], train=values[1] if check is not None else np.empty(0))

    return score


def _passage(passage_id: str, pair: Pair) -> Passage:
    return Passage(passage_id=passage_id, document_id=pair.document_id or passage_id, text=pair.passage, start=0, end=len(pair.passage))


def _unlike(passages: Sequence[Passage], known: set[str]) -> list[Passage]:
    return [passage for passage in passages if normalise(passage.content) not in known]


def _asked(each: DevSet) -> list[Query]:
    judged = {judgment.query_id for judgment in each.gold.judgments if judgment.grade > 0}
    return [query for query in each.gold.queries if query.query_id in judged]


def _values(each: DevSet, rows: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> NDArray[np.float64]:
    metric, qrels = metric_named(DEV_METRIC), each.gold.qrels()
    asked, ids = _asked(each), [passage.passage_id for passage in each.passages]
    vectors = np.stack([rows["query"][query.text] for query in asked])
    matrix = np.stack([rows["passage"][passage.content] for passage in each.passages])
    hits = exact_search(matrix, ids, vectors, metric.cutoff or 0)
    found = [[hit.passage_id for hit in row] for row in hits]
    ranks = rank_arrays(found, [qrels[query.query_id] for query in asked], depth=metric.cutoff or 0)
    return retrieval_values(metric, ranks)
