"""Maps of the corpus and the queries as both arms' models see them, stored for the dashboard."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, Progress, no_progress
from ragtrial.db.embedding_maps import store_maps
from ragtrial.db.reader import Reader
from ragtrial.domain.corpus import Passage
from ragtrial.domain.embedding_map import EmbeddingMap, Plotted
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment, resolve_path, sql_url
from ragtrial.settings import Settings
from ragtrial.stats.projection import on_a_plane
from ragtrial.suite.arms import load_models
from ragtrial.suite.concluding import find_evaluation
from ragtrial.suite.foreign_arms import refuse_own
from ragtrial.suite.preparing import Prepared, prepare

_Text = TypeVar("_Text", Query, Passage)

MOST_VALUES = 7
"""Of a tag that colours a map: more colours nobody tells apart."""

MOST_QUERIES, MOST_PASSAGES = 400, 800
"""More points than these nobody tells apart."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The texts of a map.

    Attributes:
        queries: A random sample where there are many.
        passages: Those relevant for these queries, then others at random.
        topics: By passage id; of a query that it is relevant for.
        tag: The tag that topics are values of.
    """

    queries: tuple[Query, ...]
    passages: tuple[Passage, ...]
    topics: dict[str, str]
    tag: str | None


def map_file(
    path: Path, evaluation_id: str | None = None, *, settings: Settings, tag: str | None = None, progress: Progress = no_progress
) -> tuple[EmbeddingMap, EmbeddingMap]:
    """Draw the maps of both arms and store them with an evaluation; vectors that were embedded before come from the cache.

    Args:
        path: The experiment file.
        evaluation_id: Of a finished evaluation of it; None: the latest.
        settings: The environment.
        tag: Colours the map; None: `topic`, or the tag with most values, if they can be told apart.
        progress: Told of texts embedded.

    Raises:
        InputError: There is no such evaluation or tag, or the evaluation was of another corpus, other queries or other models than the file
            names now.
        NotEnoughDataError: There are too few texts for a map.
        MissingExtraError: scikit-learn is not installed.
    """
    file = load_experiment(path)
    url = sql_url(file)
    with Reader(url) as reader:
        evaluation = find_evaluation(reader, file.experiment.name, evaluation_id)
    prepared = prepare(path, settings=settings, limit=evaluation.n_queries)
    _require("another corpus", evaluation, evaluation.corpus_fingerprint == prepared.corpus.fingerprint, path)
    _require("other queries or judgments", evaluation, evaluation.gold_fingerprint == prepared.gold.fingerprint, path)
    chosen = choose(prepared, tag=tag)
    refuse_own(prepared.experiment, "ragtrial has no vectors of it to draw a map of")
    for arm in prepared.experiment.arms:
        if prepared.experiment.retrieval_of(arm).method == "bm25":
            raise InputError(f"arm {arm.name!r} searches by words alone (retrieval.method bm25): it has no vectors to draw a map of")
    embedders = load_models(prepared, progress=progress)
    measured = {facts.arm: facts.model for facts in evaluation.arms if facts.model is not None}
    _require("other models", evaluation, measured == {arm: embedder.identity for arm, embedder in embedders.items()}, path)
    advance = progress("embed the texts of the map", 2 * (len(chosen.queries) + len(chosen.passages)))
    with VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)) as cache:
        vectors = {}
        for arm in prepared.experiment.arms:
            vectors[arm.name] = _vectors(chosen, CachedEmbedder(embedders[arm.name], cache))
            advance(len(vectors[arm.name]))
    seed, control, treatment = prepared.experiment.analysis.seed, prepared.experiment.control.name, prepared.experiment.treatment.name
    first = on_a_plane(vectors[control], seed=seed)
    second = on_a_plane(vectors[treatment], seed=seed, like=first.points)
    made = tuple(
        EmbeddingMap(
            arm=arm,
            made_at=time.time(),
            method=plane.method,
            trustworthiness=plane.trustworthiness,
            tag=chosen.tag,
            n_queries=len(prepared.gold.queries),
            n_passages=len(prepared.corpus.passages),
            points=_points(chosen, plane.points),
        )
        for arm, plane in ((control, first), (treatment, second))
    )
    store_maps(url, evaluation.evaluation_id, made)
    return made[0], made[1]


def _require(other: str, evaluation: Evaluation, same: bool, path: Path) -> None:
    if not same:
        raise InputError(f"evaluation {evaluation.evaluation_id!r} was of {other} than {str(path)!r} names now: evaluate again")


def choose(prepared: Prepared, *, tag: str | None) -> Chosen:
    """The texts that go on the map; always the same for the same data and seed.

    Raises:
        InputError: No query has the tag.
    """
    rng = np.random.default_rng(prepared.experiment.analysis.seed)
    gold, passages = prepared.gold, prepared.corpus.by_id
    queries = _some(gold.queries, MOST_QUERIES, rng)
    tag = _tag(gold, tag)
    asked = {query.query_id: query for query in queries}
    topics: dict[str, str] = {}
    for judgment in gold.judgments:
        query = asked.get(judgment.query_id)
        if query is not None and judgment.grade > 0 and judgment.target_id in passages:
            topics.setdefault(judgment.target_id, query.tags.get(tag, "") if tag else "")
    relevant = [passages[passage_id] for passage_id in topics]
    others = [passage for passage in prepared.corpus.passages if passage.passage_id not in topics]
    shown = relevant[:MOST_PASSAGES]
    shown += _some(others, MOST_PASSAGES - len(shown), rng)
    return Chosen(queries=tuple(queries), passages=tuple(shown), topics={key: topic for key, topic in topics.items() if topic}, tag=tag)


def _some(texts: Sequence[_Text], most: int, rng: np.random.Generator) -> list[_Text]:
    if len(texts) <= most:
        return list(texts)
    return [texts[place] for place in sorted(rng.choice(len(texts), size=most, replace=False))]


def _tag(gold: GoldSet, tag: str | None) -> str | None:
    """The tag that is asked for; else `topic`, or the one with most values, of those that most queries have and that can be told apart."""
    values: dict[str, set[str]] = {}
    holders: Counter[str] = Counter()
    for query in gold.queries:
        for name, value in query.tags.items():
            values.setdefault(name, set()).add(value)
            holders[name] += 1
    if tag is not None:
        if tag not in values:
            raise InputError(f"--tag {tag!r}: the queries have {', '.join(sorted(values)) or 'no tags'}")
        return tag
    common = [name for name in values if len(values[name]) > 1 and 2 * holders[name] >= len(gold.queries)]
    few = [name for name in common if len(values[name]) <= MOST_VALUES]
    return min(few or common, key=lambda name: (name != "topic", -len(values[name]), name), default=None)


def _vectors(chosen: Chosen, embedder: Embedder) -> NDArray[np.float32]:
    queries = embedder.embed([query.text for query in chosen.queries], kind="query")
    passages = embedder.embed([passage.content for passage in chosen.passages], kind="passage")
    return np.concatenate([queries, passages])


def _points(chosen: Chosen, plane: NDArray[np.float64]) -> tuple[Plotted, ...]:
    n = len(chosen.queries)
    queries = [
        Plotted(
            kind="query",
            key=query.query_id,
            x=float(x),
            y=float(y),
            topic=query.tags.get(chosen.tag) if chosen.tag else None,
        )
        for query, (x, y) in zip(chosen.queries, plane[:n], strict=True)
    ]
    passages = [
        Plotted(kind="passage", key=passage.passage_id, x=float(x), y=float(y), topic=chosen.topics.get(passage.passage_id))
        for passage, (x, y) in zip(chosen.passages, plane[n:], strict=True)
    ]
    return (*queries, *passages)
