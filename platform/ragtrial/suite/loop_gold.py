"""How good the model in production is on the gold set as it is now: one of what may open a candidate."""

import dataclasses

import numpy as np

from ragtrial.assessment.measuring import estimated, judged
from ragtrial.build import build_embedder
from ragtrial.contracts import Progress
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.retraining import GoldTrigger
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.finetuning.leakage import text_digest
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.policy import PolicyFile
from ragtrial.index.exact import exact_search
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values
from ragtrial.settings import Settings
from ragtrial.suite.candidates import production_of, registry_of
from ragtrial.suite.preparing import Prepared, prepare


def gold_reading(file: PolicyFile, trigger: GoldTrigger, *, settings: Settings, progress: Progress) -> tuple[str, bool]:
    """What the model in production reaches by exact search, in words, and whether that opens a candidate.

    The gold set rolls: judgments that were added to its files since the last look count. Before the first promotion the experiment's
    control is what is in production. Queries that it was trained on (votes, or choices that became judgments since) are left out: it
    would look better than it is. It opens a candidate where the whole interval lies below the limit: an unlucky draw of queries does not.
    """
    prepared = prepare(file.experiment, settings=settings)
    production = production_of(registry_of(file), file.policy.model)
    control = prepared.experiment.control.embedding
    spec = control if production is None else EmbeddingSpec(model=f"registry:{production}")
    gold, n_known = _unseen(prepared.gold, file, production)
    if not gold.queries:
        return f"{trigger.metric} of {production} can't be judged: it was trained on every gold query", False
    known = judged(gold)
    metric = metric_named(trigger.metric)
    depth = metric.cutoff or 100
    rankings = _rankings(prepared, spec, gold, depth=depth, progress=progress)
    values = retrieval_values(metric, rank_arrays(known.of(rankings), known.qrels, depth=depth))
    found = estimated(trigger.metric, np.asarray(values, dtype=np.float64), known, alpha=prepared.experiment.analysis.alpha)
    who = production or prepared.experiment.control.name
    if found.value is None or found.high is None or found.low is None:
        return f"{trigger.metric} of {who} can't be judged: {found.reason}", False
    opens = found.high < trigger.below
    said = f"{trigger.metric} of {who} is {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {found.n:,} gold queries"
    said += f", without {n_known:,} that it was trained on" if n_known else ""
    return f"{said} (below {trigger.below:g} opens a candidate)", opens


def _unseen(gold: GoldSet, file: PolicyFile, production: str | None) -> tuple[GoldSet, int]:
    """The gold set without the queries that the model in production was trained on, and how many these are."""
    trained = frozenset() if production is None else registry_of(file).get(production).training_texts()
    queries = tuple(query for query in gold.queries if text_digest(query.text) not in trained)
    if len(queries) == len(gold.queries):
        return gold, 0
    kept = {query.query_id for query in queries}
    judgments = tuple(judgment for judgment in gold.judgments if judgment.query_id in kept)
    return dataclasses.replace(gold, queries=queries, judgments=judgments), len(gold.queries) - len(queries)


def _rankings(prepared: Prepared, spec: EmbeddingSpec, gold: GoldSet, *, depth: int, progress: Progress) -> tuple[tuple[str, ...], ...]:
    passages, queries = prepared.corpus.passages, gold.queries
    with VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)) as cache:
        embedder = CachedEmbedder(build_embedder(spec, prepared.around), cache)
        advance = progress("measure production on the gold set", len(passages) + len(queries))
        matrix = embedder.embed([passage.content for passage in passages], kind="passage", progress=advance)
        asked = embedder.embed([query.text for query in queries], kind="query", progress=advance)
    hits = exact_search(matrix, [passage.passage_id for passage in passages], asked, depth)
    return tuple(tuple(hit.passage_id for hit in row) for row in hits)
