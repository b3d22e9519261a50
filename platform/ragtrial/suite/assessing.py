"""`ragtrial assess`: is a custom model worth it? From corpus, gold set and the baseline alone."""

import dataclasses
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragtrial.assessment.costing import costs
from ragtrial.assessment.elsewhere import elsewhere
from ragtrial.assessment.failing import failed_queries, groups, no_traits, share, slices, split_terms, traits
from ragtrial.assessment.look_alikes import look_alikes
from ragtrial.assessment.measuring import CUT, HEADLINE, Judged, baseline_metrics, ceilings, deeper, judged, options
from ragtrial.assessment.recommending import Findings, recommend
from ragtrial.assessment.retrieving import Found, Ids, retrieve_all
from ragtrial.assessment.words import vocabulary
from ragtrial.build import build_embedder
from ragtrial.contracts import Embedder, Progress, Vectors, no_progress
from ragtrial.domain.assessment import Assessment, Costs, DataVolume, Probe
from ragtrial.domain.failure import Failures, LookAlike, PlottedQuery
from ragtrial.domain.gold import groups_of
from ragtrial.domain.pair import Pair
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError, NotEnoughDataError
from ragtrial.finetuning.leakage import normalise
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.pairs import read_pairs
from ragtrial.settings import Settings
from ragtrial.stats.power import mde_planned
from ragtrial.stats.projection import on_a_plane
from ragtrial.suite.arms import index_facts, open_index
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.preparing import Prepared, load, prepare
from ragtrial.suite.probing import probe_adapter
from ragtrial.suite.retrieving import blend_of

MOST_ON_MAP = 500
"""More points than these nobody tells apart."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything embedded and searched once.

    Attributes:
        embedder: The baseline's, without a cache.
        query_vectors: One row for each query of the gold set.
        found: What was retrieved.
        known: Queries that can be scored.
        index: What the configured index finds; None where search is exact.
        index_name: In words.
    """

    embedder: Embedder
    query_vectors: Vectors
    found: Found
    known: Judged
    index: tuple[Ids, ...] | None
    index_name: str


def assess_file(
    path: Path, *, settings: Settings, cost_per_hour: float | None = None, probe: bool = False, progress: Progress = no_progress
) -> Assessment:
    """Assess an experiment; its treatment need not exist yet, and nothing is logged.

    Args:
        path: The experiment file.
        settings: The environment.
        cost_per_hour: What an hour of this machine costs, in any currency.
        probe: Also train a linear adapter, cross-validated.
        progress: Told of texts embedded.

    Raises:
        InputError: A file is wrong, or the price is below 0.
        ModelError: The control's model can't be loaded.
        MissingExtraError: scikit-learn is not installed.
    """
    if cost_per_hour is not None and not cost_per_hour >= 0:
        raise InputError(f"--cost-per-hour is {cost_per_hour}: give 0 or more")
    prepared = prepare(path, settings=settings)
    experiment, plan = prepared.experiment, prepared.experiment.analysis
    embedder = build_embedder(experiment.control.embedding, prepared.around)
    with VectorCache(resolve_path(prepared.file.folder, experiment.stores.vectors)) as cache:
        cached = CachedEmbedder(embedder, cache)
        seen = _see(prepared, embedder, cached, progress)
        failures, points, no_map = _failures(prepared, seen, cached)
        pairs, volume = _volume(prepared)
        probed = probe_adapter(pairs, experiment.training, cached, alpha=plan.alpha, seed=plan.seed, progress=progress) if probe else None
    spent = costs(
        embedder,
        prepared.corpus,
        prepared.gold,
        n_pairs=volume.n_pairs,
        training=experiment.training,
        cost_per_hour=cost_per_hour,
        seed=plan.seed,
    )
    return _concluded(prepared, seen, failures, volume=volume, probed=probed, spent=spent, points=points, no_map=no_map)


def _concluded(
    prepared: Prepared,
    seen: Seen,
    failures: Failures,
    *,
    volume: DataVolume,
    probed: Probe | None,
    spent: Costs,
    points: tuple[PlottedQuery, ...],
    no_map: str | None,
) -> Assessment:
    experiment, plan = prepared.experiment, prepared.experiment.analysis
    known, alpha = seen.known, plan.alpha
    baseline = baseline_metrics(seen.found, known, alpha=alpha)
    most, table = ceilings(known), elsewhere(*_names(prepared))
    cheap = options(seen.found, known, alpha=alpha, index=seen.index, index_name=seen.index_name)
    depth = deeper(seen.found, known, alpha=alpha)
    mde, no_mde = _mde(len(known.places), plan.assumed_sd, alpha, plan.power)
    min_effect = experiment.metrics.primary.min_effect
    findings = Findings(
        baseline={each.name: each for each in baseline},
        ceilings=dict(most),
        options=cheap,
        deeper=depth,
        failures=failures,
        volume=volume,
        probe=probed,
        mde=mde,
        min_effect=min_effect,
        min_queries=plan.min_queries,
        assumed_sd=plan.assumed_sd,
        alpha=alpha,
        power=plan.power,
    )
    return Assessment(
        experiment=experiment.name,
        model=_named(prepared, seen.embedder),
        level=1 - alpha,
        min_effect=min_effect,
        metric=HEADLINE,
        mde=mde,
        no_mde=no_mde,
        baseline=baseline,
        ceilings=most,
        options=cheap,
        deeper=depth,
        failures=failures,
        points=points,
        no_map=no_map,
        volume=volume,
        elsewhere=table,
        costs=spent,
        probe=probed,
        recommendation=recommend(findings, table),
    )


def _see(prepared: Prepared, embedder: Embedder, cached: CachedEmbedder, progress: Progress) -> Seen:
    corpus, gold = prepared.corpus, prepared.gold
    advance = progress(f"embed {embedder.identity}", len(corpus.passages) + len(gold.queries))
    passage_vectors = cached.embed([passage.content for passage in corpus.passages], kind="passage", progress=advance)
    query_vectors = cached.embed([query.text for query in gold.queries], kind="query", progress=advance)
    retrieval = prepared.experiment.retrieval_of(prepared.experiment.control)
    blend = blend_of(retrieval) if retrieval.method == "hybrid" else None
    found = retrieve_all(
        corpus,
        gold.queries,
        query_vectors=query_vectors,
        passage_vectors=passage_vectors,
        method=retrieval.method,
        blend=blend,
        groups=groups_of(gold.queries, retrieval.index.partition_tag),
    )
    index, name = _configured(prepared, cached, query_vectors, progress)
    return Seen(embedder=embedder, query_vectors=query_vectors, found=found, known=judged(gold), index=index, index_name=name)


def _configured(
    prepared: Prepared, cached: CachedEmbedder, query_vectors: Vectors, progress: Progress
) -> tuple[tuple[Ids, ...] | None, str]:
    """What the control's own index finds, where it is not exact; of the vectors alone, where it fuses them with BM25 it isn't measured."""
    retrieval = prepared.experiment.retrieval_of(prepared.experiment.control)
    spec = retrieval.index
    if retrieval.method != "dense" or (spec.type == "FLAT" and spec.vectors == "fp32"):
        return None, ""
    with closing(open_index(prepared)) as store:
        facts = index_facts(prepared, prepared.experiment.control, embedder=cached, index=store, progress=progress)
        confined = groups_of(prepared.gold.queries, spec.partition_tag)
        hits = store.search(facts.collection, query_vectors, top_k=CUT, model=cached.identity, groups=confined)
    stored = "" if spec.vectors == "fp32" else f", {spec.vectors} vectors"
    return tuple(tuple(hit.passage_id for hit in row) for row in hits), f"index as configured ({facts.index_type}{stored})"


def _failures(prepared: Prepared, seen: Seen, cached: CachedEmbedder) -> tuple[Failures, tuple[PlottedQuery, ...], str | None]:
    gold, known, plan = prepared.gold, seen.known, prepared.experiment.analysis
    queries = [gold.queries[place] for place in known.places]
    vectors = seen.query_vectors[list(known.places)]
    rows, failed = failed_queries(gold, seen.found, known)
    grouped, numbers, no_groups = groups(queries, vectors, failed, alpha=plan.alpha, seed=plan.seed)
    words = vocabulary(prepared.corpus, queries, cached)
    pairs: tuple[LookAlike, ...] = ()
    no_pairs = None
    try:
        pairs = look_alikes(prepared.corpus, queries, known, failed, seen.found.base, cached)
    except NotEnoughDataError as error:
        no_pairs = str(error)
    of_query = dict(zip((row.query_id for row in rows), numbers, strict=True))
    failures = Failures(
        n=len(queries),
        n_unjudged=known.n_unjudged,
        failing=share("failing", int(failed.sum()), len(queries), alpha=plan.alpha),
        nowhere=sum(row.rank is None and row.bm25_rank is None for row in rows),
        queries=tuple(dataclasses.replace(row, group=of_query[row.query_id]) for row in rows),
        groups=grouped,
        no_groups=no_groups,
        slices=slices(queries, failed, alpha=plan.alpha),
        traits=traits(queries, known, failed, words, alpha=plan.alpha),
        no_traits=no_traits(words),
        split_terms=split_terms(queries, failed, words),
        look_alikes=pairs,
        no_look_alikes=no_pairs,
    )
    rng = np.random.default_rng(plan.seed)
    shown = np.sort(rng.permutation(len(queries))[:MOST_ON_MAP])
    try:
        plane = on_a_plane(vectors[shown], seed=plan.seed)
    except NotEnoughDataError as error:
        return failures, (), str(error)
    points = tuple(
        PlottedQuery(
            query_id=queries[i].query_id,
            text=queries[i].text,
            x=float(x),
            y=float(y),
            failed=bool(failed[i]),
            group=of_query.get(queries[i].query_id),
        )
        for i, (x, y) in zip(shown.tolist(), plane.points, strict=True)
    )
    return failures, points, None


def _named(prepared: Prepared, embedder: Embedder) -> str:
    retrieval = prepared.experiment.retrieval_of(prepared.experiment.control)
    searched = {"dense": f"{embedder.identity}", "hybrid": f"hybrid of {embedder.identity} and BM25", "bm25": "BM25"}[retrieval.method]
    return searched if retrieval.rerank is None else f"{searched}, before its reranker"


def _names(prepared: Prepared) -> tuple[str, ...]:
    """What the assessed data are called."""
    return prepared.corpus.name, prepared.experiment.name, Path(prepared.experiment.data.path).name


def _mde(n: int, sd: float, alpha: float, power: float) -> tuple[float | None, str | None]:
    try:
        return mde_planned(sd, n, alpha=alpha, power=power), None
    except NotEnoughDataError as error:
        return None, str(error)


def _volume(prepared: Prepared) -> tuple[tuple[Pair, ...], DataVolume]:
    """The training pairs that don't touch the gold set, and what else there is."""
    volume = DataVolume(
        n_documents=len({passage.document_id for passage in prepared.corpus.passages}),
        n_passages=len(prepared.corpus.passages),
        n_queries=len(prepared.gold.queries),
        n_judgments=len(prepared.gold.judgments),
    )
    spec = prepared.experiment.training
    if spec is None:
        return (), dataclasses.replace(volume, no_pairs="the experiment has no training section")
    found: list[Pair] = []
    try:
        if spec.data is not None:
            corpus, gold, _ = load(spec.data, prepared.file)
            found += training_pairs(corpus, gold)
        for path in spec.pairs:
            found += [pair for pair in read_pairs(prepared.file.folder / path) if pair.split == "train"]
    except InputError as error:
        return (), dataclasses.replace(volume, no_pairs=f"its training data can't be read ({str(error).splitlines()[0]})")
    leaks = Gold.of(prepared).leaks(found)
    kept = tuple(pair for position, pair in enumerate(found) if position not in leaks)
    return kept, dataclasses.replace(
        volume,
        n_pairs=len(kept),
        n_training_queries=len({normalise(pair.query) for pair in kept}),
        refused=tuple(Counter(leaks.values()).items()),
    )
