"""Fine-tuning on (query, passage) pairs: the other passages of a batch are the negatives.

Multiple negatives ranking loss (Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4)
through sentence-transformers' trainer. No batch holds a text twice, so that no negative is a positive in disguise.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import TrainingSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import InputError, MissingExtraError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.pairs import Pair, pairs_digest
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEV_METRIC = "nDCG@10"
DEV_PASSAGES = 500
"""The dev queries are searched among their relevant passages and others up to this number: more would cost more than it tells."""


@dataclass(frozen=True, kw_only=True)
class DevSet:
    """What early stopping watches.

    Attributes:
        gold: Dev queries, judged on passages.
        passages: What they are searched in: the relevant ones and a random sample of others.
    """

    gold: GoldSet
    passages: tuple[Passage, ...]


def dev_set(gold: GoldSet, passages: Sequence[Passage], *, seed: int) -> DevSet | None:
    """The dev split among at most `DEV_PASSAGES` passages (or all relevant ones, where these are more); None without a dev query."""
    relevant = {judgment.target_id for judgment in gold.judgments if judgment.grade > 0}
    if not relevant:
        return None
    others = [passage for passage in passages if passage.passage_id not in relevant]
    sample = random.Random(seed).sample(others, min(len(others), max(0, DEV_PASSAGES - len(relevant))))  # noqa: S311 - a sample, no secret
    chosen = {passage.passage_id for passage in sample} | relevant
    return DevSet(gold=gold, passages=tuple(passage for passage in passages if passage.passage_id in chosen))


def train(
    *,
    spec: TrainingSpec,
    base_folder: Path | str,
    base: ModelIdentity,
    pairs: Sequence[Pair],
    dev: DevSet | None,
    registry: Registry,
    name: str,
    work_folder: Path,
    facts: Mapping[str, Any],
    progress: Progress = no_progress,
) -> RegisteredModel:
    """Fine-tune, keep the epoch that is best on the dev set, and register it with its lineage.

    A training that was killed goes on from its last whole epoch when it is started again with the same pairs and settings.

    Args:
        spec: Settings.
        base_folder: The model to start from: a folder or hub id.
        base: Its identity, for the lineage.
        pairs: Without leaks; at least one batch of them.
        dev: None trains all epochs and keeps the last.
        registry: Where the result goes.
        name: Its name there.
        work_folder: For checkpoints; removed at the end.
        facts: What else belongs into the lineage (where the data came from, pairs refused).
        progress: Told the steps.

    Raises:
        InputError: Fewer pairs than one batch.
        MissingExtraError: The training packages are not installed.
    """
    if len(pairs) < spec.batch_size:
        raise InputError(
            f"{len(pairs)} training pairs are fewer than one batch of {spec.batch_size}: give more pairs or a smaller training.batch_size"
        )
    try:
        from ragtrial.finetuning.trainer import fit, load
    except ImportError as error:
        raise MissingExtraError(package=str(error.name), extra="train", purpose="fine-tuning") from error
    start = time.perf_counter()
    model = load(str(base_folder))
    own_length = model.max_seq_length
    measure = None if dev is None else _measure(dev, spec.max_seq_length)
    before = None if measure is None else measure(model)
    model.max_seq_length = spec.max_seq_length
    curve = fit(model, spec=spec, pairs=pairs, measure=measure, work_folder=work_folder, progress=progress)
    model.max_seq_length = own_length
    scores = [point[DEV_METRIC] for point in curve if DEV_METRIC in point]
    lineage = {
        **facts,
        "base": {"name": base.name, "revision": base.revision, "location": spec.base},
        "settings": {key: value for key, value in asdict(spec).items() if key != "data"},
        "pairs": {"used": len(pairs), "digest": pairs_digest(pairs), **facts.get("pairs", {})},
        "dev": {
            "metric": DEV_METRIC,
            "before": before,
            "after": max(scores, default=None),
            "n_queries": None if dev is None else len(dev.gold.queries),
        },
        "curve": curve,
        "seconds": round(time.perf_counter() - start, 1),
    }
    texts = frozenset(text_digest(text) for pair in pairs for text in (pair.query, pair.passage))
    return registry.register(name, save=_saver(model), lineage=lineage, training_texts=texts)


def _saver(model: "SentenceTransformer") -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)

    return save


def _measure(dev: DevSet, max_seq_length: int) -> Callable[["SentenceTransformer"], float]:
    """Mean nDCG@10 of the dev queries among the dev passages, by exact search."""
    metric = metric_named(DEV_METRIC)
    ids = [passage.passage_id for passage in dev.passages]
    qrels = dev.gold.qrels()

    def measure(model: "SentenceTransformer") -> float:
        with _truncating(model, max_seq_length):
            queries = model.encode_query([query.text for query in dev.gold.queries], normalize_embeddings=True, show_progress_bar=False)
            passages = model.encode_document([p.content for p in dev.passages], normalize_embeddings=True, show_progress_bar=False)
        order = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, : metric.cutoff]
        rankings = [[ids[i] for i in row] for row in order]
        ranks = rank_arrays(rankings, [qrels[query.query_id] for query in dev.gold.queries], depth=metric.cutoff or 0)
        return float(np.nanmean(retrieval_values(metric, ranks)))

    return measure


@contextlib.contextmanager
def _truncating(model: "SentenceTransformer", length: int) -> Iterator[None]:
    before = model.max_seq_length
    model.max_seq_length = min(length, before)
    try:
        yield
    finally:
        model.max_seq_length = before
