"""Training by pairs of queries and passages, from the settings to a registered model with its lineage."""

import datetime as dt
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtrial.contracts import Embedder, Progress, no_progress
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.sentence_transformers import load_model, quiet_libraries
from ragtrial.errors import InputError, MissingExtraError
from ragtrial.finetuning.dev import DEV_PASSAGES, MIN_DEV_QUERIES, DevSet, dev_set, train_check
from ragtrial.finetuning.distilling import Targets, targets
from ragtrial.finetuning.examples import Examples, check_spec, examples
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.pairs import pairs_digest
from ragtrial.finetuning.processes import is_main, join, same, wait
from ragtrial.finetuning.registry import RegisteredModel, Registry, check_name
from ragtrial.finetuning.scorers import matrix_scorer, model_scorer
from ragtrial.finetuning.watching import DEV_METRIC, TRAIN_METRIC, Watch, overfitting

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ragtrial.finetuning.searching import Found
    from ragtrial.finetuning.trainer import Fitted

__all__ = ["DEV_PASSAGES", "MIN_DEV_QUERIES", "DevSet", "dev_set", "stops", "train"]

MAX_STOPS = 10

_LICENCE = re.compile(r"^license:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)

SCRATCH_WARNING = (
    "trained from random weights: without the base's pre-training a model needs some hundred thousand pairs or more to get near it; "
    "compare with method full"
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a training needs beside its settings.

    Attributes:
        base_folder: The model to start from: a folder or hub id.
        base: Its identity.
        pairs: Without leaks, with their negatives.
        dev: None, or of at least `MIN_DEV_QUERIES` queries.
        check: Training queries to watch beside them; None without a dev set.
        embedder: The base, through the cache of vectors; for method linear-adapter.
        teacher: For distillation.
        work_folder: For checkpoints.
        name: Of the model.
    """

    base_folder: Path | str
    base: ModelIdentity
    pairs: tuple[Pair, ...]
    dev: DevSet | None
    check: DevSet | None
    embedder: Embedder | None
    teacher: Embedder | None
    work_folder: Path
    name: str

    def folder(self, spec: TrainingSpec, kind: str = "training") -> Path:
        """Where the checkpoints of these settings lie: others for another base, other pairs or another dev set."""
        ids = [] if self.dev is None else [self.dev.gold.fingerprint, *(passage.passage_id for passage in self.dev.passages)]
        return self.work_folder / digest([kind, spec, self.base, pairs_digest(self.pairs), ids])


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
    base_licence: str | None = None,
    embedder: Embedder | None = None,
    teacher: Embedder | None = None,
    progress: Progress = no_progress,
) -> RegisteredModel:
    """Train, keep a checkpoint by the dev set, and register it with its lineage.

    The model is evaluated at most each half epoch (`stops`), on the dev queries and on as many training queries. Kept is the checkpoint with
    the best dev score, of equal ones the last; the base itself where none scored as high. A training that was killed goes on from its last
    checkpoint when it is started again with the same base, pairs, dev set and settings.

    Args:
        spec: Settings.
        base_folder: The model to start from: a folder or hub id.
        base: Its identity, for the lineage.
        pairs: Without leaks, with their negatives; at least one batch of examples.
        dev: None, or one of fewer than `MIN_DEV_QUERIES`, trains all epochs and keeps the last.
        registry: Where the result goes.
        name: Its name there.
        work_folder: For checkpoints; removed at the end.
        facts: What else belongs into the lineage (where the data came from, pairs refused).
        inherited: Digests of the texts that the base was trained on.
        base_licence: Of the base; None: what the card in its folder gives.
        embedder: The base as an embedder, for method linear-adapter.
        teacher: The larger model, where the settings ask for distillation.
        progress: Told the steps.

    Raises:
        InputError: Fewer examples than one batch, settings that can't be combined, or a name that can't be a folder's.
        MissingExtraError: The training packages are not installed.
        ModelError: The base can't be loaded, the training diverged, or memory ran out.
        SetupError: The registry can't be written.
    """
    check_name(name)
    check_spec(spec, pairs, dimension=base.dimension, is_final=True)
    check_size(spec, pairs)
    start, cpu = time.perf_counter(), time.process_time()
    judged = 0 if dev is None else dev.n_judged
    if judged < MIN_DEV_QUERIES:
        dev = None
    task = Task(
        base_folder=base_folder,
        base=base,
        pairs=tuple(pairs),
        dev=dev,
        check=None if dev is None else train_check(pairs, dev, seed=spec.seed),
        embedder=embedder,
        teacher=teacher,
        work_folder=work_folder,
        name=name,
    )
    try:
        found = _search(task, spec, progress)
        used = spec if found is None else found.spec
        fitted = _fit(task, used, progress=progress)
    except ImportError as error:
        raise MissingExtraError(package=str(error.name), extra="train", purpose="training") from error
    lineage = {
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **facts,
        "base": {"name": base.name, "revision": base.revision, "location": spec.base, "licence": base_licence or _licence(base_folder)},
        "method": spec.method,
        "settings": {key: value for key, value in asdict(used).items() if key != "data"},
        "seed": spec.seed,
        "pairs": {"used": len(pairs), "digest": pairs_digest(pairs), **facts.get("pairs", {})},
        "dev": _dev_facts(task, judged, fitted),
        "training": _training_facts(task, used, fitted),
        "search": None if found is None else {"sentence": found.sentence, "trials": list(found.trials)},
        "curve": fitted.watch.curve,
        "overfitting": overfitting(fitted.watch),
        "warnings": [*([SCRATCH_WARNING] if spec.method == "scratch" else []), *unused(spec)],
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    texts = inherited | {text_digest(text) for pair in pairs for text in (pair.query, pair.passage, *pair.negatives)}
    return _registered(task, used, fitted, registry, lineage, texts, searched=None if found is None else spec)


def unused(spec: TrainingSpec) -> list[str]:
    """What is set and has no effect on the method, with the setting that has."""
    own: dict[str, Any] = {"linear-adapter": asdict(spec.adapter), "lora": {"learning_rate": spec.lora.learning_rate}}.get(spec.method, {})
    section = "adapter" if spec.method == "linear-adapter" else "lora"
    plain = TrainingSpec()
    return [
        f"training.{name} is {getattr(spec, name):g} and not used by method {spec.method}: its own is training.{section}.{name}, {own[name]:g}"
        for name in ("epochs", "batch_size", "learning_rate")
        if name in own and getattr(spec, name) != getattr(plain, name)
    ]


def check_size(spec: TrainingSpec, pairs: Sequence[Pair]) -> None:
    """Refuse fewer pairs than one batch of the method.

    Raises:
        InputError: They are fewer.
    """
    is_adapter = spec.method == "linear-adapter"
    least, setting = (spec.adapter.batch_size, "adapter.batch_size") if is_adapter else (spec.batch_size, "batch_size")
    if len(pairs) < least:
        raise InputError(
            f"{len(pairs)} training pairs are fewer than one batch of {least}: give more pairs or a smaller training.{setting}"
        )


def _registered(
    task: Task,
    used: TrainingSpec,
    fitted: "Fitted",
    registry: Registry,
    lineage: Mapping[str, Any],
    texts: frozenset[str],
    *,
    searched: TrainingSpec | None,
) -> RegisteredModel:
    """Written by the main process; the others learn its name."""
    version = None
    if is_main():
        version = registry.register(task.name, save=_saver(fitted.model), lineage=lineage, training_texts=texts).version
        shutil.rmtree(task.folder(used), ignore_errors=True)
        if searched is not None:
            shutil.rmtree(task.folder(searched, "search"), ignore_errors=True)
    version = same(version)
    wait()
    return registry.get(f"{task.name}@{version}")


def _search(task: Task, spec: TrainingSpec, progress: Progress) -> "Found | None":
    """The search that the settings ask for; None where they ask for none."""
    if spec.search is None:
        return None
    from ragtrial.finetuning.searching import Found, search

    plain = replace(spec, search=None)
    if task.dev is None:
        return Found(spec=plain, trials=(), sentence="not searched, the given settings are used: there is no dev set to choose by")
    if join() > 1:
        raise InputError("training.search runs in one process: search first, then launch several with what it found and search: null")

    def attempt(candidate: TrainingSpec, told: Progress, seen: Callable[[Watch], None]) -> float:
        fitted = _fit(task, candidate, progress=told, seen=seen)
        shutil.rmtree(task.folder(candidate), ignore_errors=True)
        return float(fitted.watch.score_at(fitted.kept_step) or 0.0)

    return search(
        plain, limits=spec.search, attempt=attempt, n_pairs=len(task.pairs), folder=task.folder(spec, "search"), progress=progress
    )


def _fit(task: Task, spec: TrainingSpec, *, progress: Progress, seen: Callable[[Watch], None] | None = None) -> "Fitted":
    """One training with the negatives that the settings ask for."""
    pairs = task.pairs
    if spec.mining.per_pair:
        pairs = tuple(replace(pair, negatives=pair.negatives[: spec.mining.per_pair]) for pair in pairs)
    if spec.method == "linear-adapter":
        return _fit_adapter(task, spec, pairs, progress=progress, seen=seen)
    from ragtrial.finetuning.trainer import fit

    rows = examples(pairs, spec)
    if len(rows) < spec.batch_size:
        raise InputError(f"{len(rows)} examples are fewer than one batch of {spec.batch_size}: give more pairs or a smaller batch_size")
    return fit(
        base=task.base_folder,
        rows=rows,
        score=None if task.dev is None else model_scorer(task.dev, task.check),
        n_stops=stops(len(pairs), spec.epochs, n_passages=0 if task.dev is None else len(task.dev.passages)),
        spec=spec,
        folder=task.folder(spec),
        title=f"train {task.name} ({spec.method}, {len(rows):,} examples, {spec.epochs} epochs)",
        progress=progress,
        targets=_targets(task, spec, rows, progress),
        seen=seen,
    )


def _targets(task: Task, spec: TrainingSpec, rows: Examples, progress: Progress) -> Targets | None:
    if spec.distillation is None:
        return None
    if task.teacher is None:
        raise InputError(f"training.distillation: there is no teacher {spec.distillation.teacher!r}")
    return targets(rows, task.teacher, progress=progress)


def _fit_adapter(
    task: Task, spec: TrainingSpec, pairs: Sequence[Pair], *, progress: Progress, seen: Callable[[Watch], None] | None
) -> "Fitted":
    """On vectors that are embedded once, by the cache."""
    from ragtrial.finetuning.linear_adapter import fit_matrix, lesson, texts_of, with_adapter
    from ragtrial.finetuning.trainer import Fitted

    embedder = task.embedder
    if embedder is None:
        raise InputError("training.method 'linear-adapter' needs the base as an embedder")
    if join() > 1:
        raise InputError("training.method 'linear-adapter' takes seconds in one process: don't launch several")
    asked, texts = texts_of(pairs)
    advance = progress(f"embed for the adapter with {task.base.name}", len(asked) + len(texts))
    vectors = {kind: embedder.embed(some, kind=kind, progress=advance) for kind, some in (("query", asked), ("passage", texts))}  # type: ignore[arg-type]
    given = lesson(pairs, vectors["query"], vectors["passage"])
    epochs = spec.adapter.epochs
    matrix, watch, done, kept = fit_matrix(
        given,
        spec=spec,
        score=None if task.dev is None else matrix_scorer(task.dev, task.check, embedder),
        seen=seen or (lambda _watch: None),
        advance=progress(f"train {task.name} (linear adapter, {len(pairs):,} pairs, may stop early), epochs", epochs),
    )
    steps = -(-len(pairs) // spec.adapter.batch_size)
    with quiet_libraries():
        model = with_adapter(load_model(task.base_folder), matrix)
    watch.curve = [{**point, "step": int(point["step"]) * steps} for point in watch.curve]
    watch.gaps = [{**gap, "step": int(gap["step"]) * steps} for gap in watch.gaps]
    watch.best_step, watch.kept_step = watch.best_step * steps, watch.kept_step * steps
    return Fitted(
        model=model.to("cpu").eval(),
        watch=watch,
        planned_steps=epochs * steps,
        steps=done * steps,
        kept_step=kept * steps,
        resumed_at=None,
        precision="fp32",
        device="cpu",
        loss="softmax over all passages of the training set",
    )


def stops(n_pairs: int, epochs: int, *, n_passages: int) -> int:
    """How often a training is evaluated and saved after its start: each half epoch, at most `MAX_STOPS` times, and no more than is cheap.

    To embed a passage costs about a quarter of training on a pair (33 against 135 ms of one core: MiniLM, 180 tokens, bf16). So that all
    evaluations, that of the base included, add about a quarter to the training, they embed about as many passages as it sees pairs (the
    passages of the training queries that are watched beside come on top: about a third as many again).
    Two at least, or early stopping would have nothing to choose from: they add more to a training on few pairs.

    Args:
        n_pairs: Pairs of one epoch.
        epochs: Passes over them.
        n_passages: Dev passages; 0 where nothing is evaluated.
    """
    affordable = MAX_STOPS if n_passages == 0 else n_pairs * epochs // n_passages - 1
    return min(max(2, affordable), 2 * epochs, MAX_STOPS)


def _dev_facts(task: Task, judged: int, fitted: "Fitted") -> dict[str, Any]:
    """Dev scores before and after beside those of training queries, or why there are none."""
    if task.dev is None:
        reason = f"{judged} dev queries with a relevant passage, {MIN_DEV_QUERIES} are needed to choose by" if judged else "no dev set"
        return {"metric": DEV_METRIC, "before": None, "after": None, "n_queries": None, "reason": reason}
    watch, kept = fitted.watch, fitted.kept_step
    beside: dict[str, Any] = {}
    if task.check is not None:
        before, after = watch.score_at(0, TRAIN_METRIC), watch.score_at(kept, TRAIN_METRIC)
        beside = {"before": before, "after": after, "n_queries": task.check.n_judged}
    return {
        "metric": DEV_METRIC,
        "before": watch.before,
        "after": watch.score_at(kept),
        "n_queries": judged,
        "n_passages": len(task.dev.passages),
        "training_queries": beside,
    }


def _training_facts(task: Task, spec: TrainingSpec, fitted: "Fitted") -> dict[str, Any]:
    counts = {} if spec.method == "linear-adapter" else dict(examples(task.pairs, spec).counts)
    return {
        "loss": fitted.loss,
        "precision": fitted.precision,
        "device": fitted.device,
        "processes": fitted.n_processes,
        "planned_steps": fitted.planned_steps,
        "steps": fitted.steps,
        "kept_step": fitted.kept_step,
        "resumed_at": fitted.resumed_at,
        "examples": counts,
        "teacher": None if task.teacher is None else asdict(task.teacher.identity),
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
