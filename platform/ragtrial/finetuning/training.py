"""Fine-tuning on (query, passage) pairs: the other passages of a batch are the negatives.

Multiple negatives ranking loss (Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4)
through sentence-transformers' trainer. No batch holds a text twice, so that no negative is a positive in disguise.
"""

import datetime as dt
import random
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.sentence_transformers import prompts_of, quiet_libraries
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import InputError, MissingExtraError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.pairs import pairs_digest
from ragtrial.finetuning.registry import RegisteredModel, Registry, check_name
from ragtrial.index.exact import exact_search
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ragtrial.finetuning.trainer import Fitted

DEV_METRIC = "nDCG@10"
DEV_PASSAGES = 500
"""The dev queries are searched among their relevant passages and others up to this number: more would cost more than it tells.

Fewer passages than the corpus has make the search easier, so these scores compare checkpoints and say nothing about the corpus.
"""

MAX_STOPS = 10

MIN_DEV_QUERIES = 20
"""Below so many dev queries nothing is chosen by them: it would be chosen by noise."""

_LICENCE = re.compile(r"^license:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


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
    inherited: frozenset[str] = frozenset(),
    progress: Progress = no_progress,
) -> RegisteredModel:
    """Fine-tune, keep a checkpoint by the dev set, and register it with its lineage.

    The model is evaluated at most each half epoch (`stops`). Kept is the latest checkpoint whose dev score is within one standard error of the best one
    (`trainer.is_near`); the base itself where nothing came near it. A training that was killed goes on from its last checkpoint when it
    is started again with the same base, pairs, dev set and settings.

    Args:
        spec: Settings.
        base_folder: The model to start from: a folder or hub id.
        base: Its identity, for the lineage.
        pairs: Without leaks; at least one batch of them.
        dev: None, or one of fewer than `MIN_DEV_QUERIES`, trains all epochs and keeps the last.
        registry: Where the result goes.
        name: Its name there.
        work_folder: For checkpoints; removed at the end.
        facts: What else belongs into the lineage (where the data came from, pairs refused).
        inherited: Digests of the texts that the base was trained on.
        progress: Told the steps.

    Raises:
        InputError: Fewer pairs than one batch, or a name that can't be a folder's.
        MissingExtraError: The training packages are not installed.
        ModelError: The base can't be loaded, the training diverged, or memory ran out.
        SetupError: The registry can't be written.
    """
    check_name(name)
    if len(pairs) < spec.batch_size:
        raise InputError(
            f"{len(pairs)} training pairs are fewer than one batch of {spec.batch_size}: give more pairs or a smaller training.batch_size"
        )
    try:
        from ragtrial.finetuning.trainer import fit
    except ImportError as error:
        raise MissingExtraError(package=str(error.name), extra="train", purpose="fine-tuning") from error
    start = time.perf_counter()
    judged = 0 if dev is None else len({judgment.query_id for judgment in dev.gold.judgments if judgment.grade > 0})
    if dev is not None and judged < MIN_DEV_QUERIES:
        dev = None
    ids = [] if dev is None else [dev.gold.fingerprint, *(passage.passage_id for passage in dev.passages)]
    checkpoints = work_folder / digest([spec, base, pairs_digest(pairs), ids])
    fitted = fit(
        base=base_folder,
        pairs=pairs,
        score=None if dev is None else _scorer(dev),
        n_stops=stops(len(pairs), spec.epochs, n_passages=0 if dev is None else len(dev.passages)),
        spec=spec,
        folder=checkpoints,
        title=f"fine-tune {name} ({len(pairs):,} pairs, {spec.epochs} epochs)",
        progress=progress,
    )
    lineage = {
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **facts,
        "base": {"name": base.name, "revision": base.revision, "location": spec.base, "licence": _licence(base_folder)},
        "settings": {key: value for key, value in asdict(spec).items() if key != "data"},
        "pairs": {"used": len(pairs), "digest": pairs_digest(pairs), **facts.get("pairs", {})},
        "dev": _dev_facts(dev, judged, fitted),
        "training": {
            "loss": "MultipleNegativesRankingLoss",
            "precision": fitted.precision,
            "device": fitted.device,
            "planned_steps": fitted.planned_steps,
            "steps": fitted.steps,
            "kept_step": fitted.kept_step,
            "resumed_at": fitted.resumed_at,
        },
        "curve": fitted.watch.curve,
        "seconds": round(time.perf_counter() - start, 1),
    }
    texts = inherited | {text_digest(text) for pair in pairs for text in (pair.query, pair.passage)}
    registered = registry.register(name, save=_saver(fitted.model), lineage=lineage, training_texts=texts)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return registered


def stops(n_pairs: int, epochs: int, *, n_passages: int) -> int:
    """How often a training is evaluated and saved after its start: each half epoch, at most `MAX_STOPS` times, and no more than is cheap.

    To embed a passage costs about a quarter of training on a pair (33 against 135 ms of one core: MiniLM, 180 tokens, bf16). So that all
    evaluations, that of the base included, add about a quarter to the training, they embed about as many passages as it sees pairs.
    Two at least, or early stopping would have nothing to choose from: they add more to a training on few pairs.

    Args:
        n_pairs: Pairs of one epoch.
        epochs: Passes over them.
        n_passages: Dev passages; 0 where nothing is evaluated.
    """
    affordable = MAX_STOPS if n_passages == 0 else n_pairs * epochs // n_passages - 1
    return min(max(2, affordable), 2 * epochs, MAX_STOPS)


def _dev_facts(dev: DevSet | None, judged: int, fitted: "Fitted") -> dict[str, Any]:
    """Dev scores before and after, or why there are none."""
    if dev is None:
        reason = f"{judged} dev queries with a relevant passage, {MIN_DEV_QUERIES} are needed to choose by" if judged else "no dev set"
        return {"metric": DEV_METRIC, "before": None, "after": None, "n_queries": None, "reason": reason}
    return {
        "metric": DEV_METRIC,
        "before": fitted.watch.before,
        "after": fitted.watch.score_at(fitted.kept_step),
        "n_queries": judged,
        "n_passages": len(dev.passages),
    }


def _licence(base: Path | str) -> str | None:
    """What the base's model card gives as its licence; None where it has none."""
    card = Path(base) / "README.md"
    found = _LICENCE.search(card.read_text("utf-8", errors="replace")) if card.is_file() else None
    return None if found is None else found[1]


def _saver(model: "SentenceTransformer") -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        with quiet_libraries():
            model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)

    return save


def _scorer(dev: DevSet) -> Callable[["SentenceTransformer"], NDArray[np.float64]]:
    """nDCG@10 of each dev query with something relevant, among the dev passages, by exact search with the model's own prompts."""
    metric = metric_named(DEV_METRIC)
    ids = [passage.passage_id for passage in dev.passages]
    qrels = {query_id: grades for query_id, grades in dev.gold.qrels().items() if any(grade > 0 for grade in grades.values())}
    asked = [query.text for query in dev.gold.queries if query.query_id in qrels]
    contents = [passage.content for passage in dev.passages]

    def score(model: "SentenceTransformer") -> NDArray[np.float64]:
        prompts = prompts_of(model)
        queries = model.encode_query(asked, prompt=prompts["query"], show_progress_bar=False)
        passages = model.encode_document(contents, prompt=prompts["passage"], show_progress_bar=False)
        vectors = unit_rows(queries, n=len(asked), dimension=None, model="in training")
        matrix = unit_rows(passages, n=len(ids), dimension=vectors.shape[1], model="in training")
        hits = exact_search(matrix, ids, vectors, metric.cutoff or 0)
        ranks = rank_arrays([[hit.passage_id for hit in row] for row in hits], list(qrels.values()), depth=metric.cutoff or 0)
        return retrieval_values(metric, ranks)

    return score
