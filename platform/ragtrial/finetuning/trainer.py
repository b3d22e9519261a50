"""The training loop: sentence-transformers' trainer, watched, resumable and silent. Imported only where something is trained."""

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from ragtrial.contracts import Progress
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.sentence_transformers import autocast, load_model, prompts_of, quiet_libraries
from ragtrial.errors import ModelError

Score = Callable[[SentenceTransformer], NDArray[np.float64]]
"""The dev score of each query."""

_STATE = "ragtrial-watch.json"
_LOSSES = 40
"""Points of the loss curve."""


@dataclass(kw_only=True)
class Watch:
    """What was seen of a training so far; saved with each checkpoint.

    Attributes:
        curve: `{"step", "loss"}` or `{"step", "nDCG@10"}`, in order.
        before: Dev nDCG@10 before the first step; None without a dev set.
        best: Best dev scores so far, one for each query.
        best_step: Their step; 0 is the base model.
        kept_step: The latest step within one standard error of the best.
        without_gain: Evaluations since `best_step`.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    before: float | None = None
    best: list[float] = field(default_factory=list)
    best_step: int = 0
    kept_step: int = 0
    without_gain: int = 0

    def see(self, step: int, scores: Sequence[float]) -> None:
        """Take in an evaluation."""
        values, best = np.asarray(scores, dtype=np.float64), np.asarray(self.best)
        self.curve.append({"step": step, "nDCG@10": float(values.mean())})
        if step == 0:
            self.before, self.best = float(values.mean()), values.tolist()
        elif values.mean() > best.mean():
            self.best, self.best_step, self.kept_step, self.without_gain = values.tolist(), step, step, 0
        else:
            self.without_gain += 1
            if is_near(values, best):
                self.kept_step = step

    def score_at(self, step: int) -> float | None:
        """Dev nDCG@10 at a step; None where it wasn't evaluated."""
        return next((point["nDCG@10"] for point in self.curve if point["step"] == step and "nDCG@10" in point), None)


def is_near(values: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether scores are within one standard error of the best ones, paired by query (Breiman et al. 1984, section 3.4.3).

    Some hundred queries can't tell checkpoints apart that differ by less, and the later of two such checkpoints has seen more data:
    it is kept.

    Args:
        values: Scores of one checkpoint, shape (n,), n at least 2.
        best: Scores of the best one on the same queries.
    """
    deficit = best - values
    error = deficit.std(ddof=1) / np.sqrt(len(deficit))
    return bool(deficit.mean() <= error)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained model and how it came about.

    Attributes:
        model: With the kept weights and the base's own truncation.
        watch: Curve and choice.
        planned_steps: Of all epochs.
        steps: Done when it ended; fewer than planned where it stopped early.
        kept_step: The step whose weights these are.
        resumed_at: Step of the checkpoint that it went on from, or None.
        precision: `bf16` or `fp32`, as really used.
        device: `cpu`, or the GPU's name.
    """

    model: SentenceTransformer
    watch: Watch
    planned_steps: int
    steps: int
    kept_step: int
    resumed_at: int | None
    precision: str
    device: str


def steps_of(n_pairs: int, spec: TrainingSpec, n_stops: int) -> tuple[int, tuple[int, ...]]:
    """Steps of the whole training, and the `n_stops` steps (or all, where these are fewer) at which it is evaluated and saved."""
    total = math.ceil(n_pairs / spec.batch_size) * spec.epochs
    times = min(n_stops, total)
    return total, tuple(round(total * part / times) for part in range(1, times + 1))


def fit(
    *,
    base: str | Path,
    pairs: Sequence[Pair],
    score: Score | None,
    n_stops: int,
    spec: TrainingSpec,
    folder: Path,
    title: str,
    progress: Progress,
) -> Fitted:
    """Fine-tune the base on the pairs with in-batch negatives.

    MultipleNegativesRankingLoss (Henderson et al. 2017, section 4.4), no query or passage twice in a batch, AdamW, linear warm-up and
    decay, dropout off (each example is seen a few times only, and a CPU is twice as fast without).

    Args:
        base: A folder, or a hub id.
        pairs: At least two.
        score: Stops the training early and chooses the checkpoint; None trains to the end and keeps the last.
        n_stops: How often to evaluate and save, evenly spread, the end included; at least 1.
        spec: Epochs, batch size, learning rate and so on.
        folder: Checkpoints; a training that was killed goes on from the last one in it. Of this training alone.
        title: Of the progress bar.
        progress: Told of each step.

    Raises:
        ModelError: The base can't be loaded, the training diverged, or memory ran out.
    """
    model = load_model(base)
    own_length = model.max_seq_length
    precision = _precision(spec)
    total, evaluated = steps_of(len(pairs), spec, n_stops)
    checkpoint, watch = _last_checkpoint(folder)

    def measure() -> list[float]:
        """With the truncation and the precision that the model is used with."""
        if score is None:
            return []
        length, model.max_seq_length = model.max_seq_length, own_length
        with autocast(precision):
            scores = [float(value) for value in score(model)]
        model.max_seq_length = length
        return scores

    with quiet_libraries(), _translated():
        if score is not None and checkpoint is None:
            watch.see(0, measure())
        _switch_dropout_off(model)
        model.max_seq_length = spec.max_seq_length if own_length is None else min(spec.max_seq_length, own_length)
        watcher = _Watcher(
            watch=watch,
            measure=None if score is None else measure,
            evaluated=evaluated,
            patience=spec.patience,
            advance=progress(title, total),
        )
        trainer = _trainer(model, pairs, spec, folder, precision=precision, total=total)
        trainer.add_callback(watcher)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    steps = int(trainer.state.global_step)
    kept = steps if score is None else watch.kept_step
    if kept != steps:
        model = load_model(base if kept == 0 else folder / f"checkpoint-{kept}")
    model.max_seq_length = own_length
    return Fitted(
        model=model.to("cpu").eval(),
        watch=watch,
        planned_steps=total,
        steps=steps,
        kept_step=kept,
        resumed_at=None if checkpoint is None else _step(checkpoint),
        precision=precision,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    )


class _Watcher(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Progress, loss curve, evaluation, early stopping, and checkpoints with what was seen so far."""

    def __init__(
        self,
        *,
        watch: Watch,
        measure: Callable[[], list[float]] | None,
        evaluated: Sequence[int],
        patience: int,
        advance: Callable[[int], None],
    ) -> None:
        self._watch, self._measure, self._evaluated, self._patience, self._advance = watch, measure, frozenset(evaluated), patience, advance

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Count what a checkpoint brings."""
        del args, control, more
        if state.global_step:
            self._advance(state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, float], **more: Any) -> None:
        """Write down the loss.

        Raises:
            ModelError: It is not finite.
        """
        del args, control, more
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise ModelError(f"training diverged at step {state.global_step}: the loss is {logs['loss']}; lower training.learning_rate")
        self._watch.curve.append({"step": state.global_step, "loss": logs["loss"]})

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Evaluate, and stop or save."""
        del args, more
        self._advance(1)
        if state.global_step not in self._evaluated:
            return
        if self._measure is not None:
            self._watch.see(state.global_step, self._measure())
        if self._watch.without_gain >= self._patience:
            control.should_training_stop = True
            self._advance(state.max_steps - state.global_step)
        elif state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Mark the checkpoint as whole, and remove those that are neither the last nor the kept one."""
        del control, more
        folder = Path(args.output_dir)
        part = folder / f"{_STATE}.part"
        part.write_text(json.dumps(asdict(self._watch)), "utf-8")
        part.rename(folder / f"checkpoint-{state.global_step}" / _STATE)
        for checkpoint in folder.glob("checkpoint-*"):
            if _step(checkpoint) not in (state.global_step, self._watch.kept_step):
                shutil.rmtree(checkpoint)


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # sentence-transformers is not typed here
    """Without model cards, which cost seconds at each checkpoint and look for the base on the hub."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


def _trainer(
    model: SentenceTransformer, pairs: Sequence[Pair], spec: TrainingSpec, folder: Path, *, precision: str, total: int
) -> _Trainer:
    own = prompts_of(model)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        warmup_steps=math.ceil(spec.warmup_ratio * total),
        prompts={column: own[kind] for column, kind in (("query", "query"), ("passage", "passage")) if own[kind]} or None,  # type: ignore[index]
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=spec.seed,
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        logging_steps=max(1, total // _LOSSES),
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    columns = {"query": [pair.query for pair in pairs], "passage": [pair.passage for pair in pairs]}
    trainer = _Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=MultipleNegativesRankingLoss(model))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _switch_dropout_off(model: SentenceTransformer) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _precision(spec: TrainingSpec) -> str:
    """bf16 where the hardware multiplies it; emulated it would be slower than fp32."""
    if spec.precision != "auto":
        return spec.precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text("utf-8", errors="replace") if cpuinfo.is_file() else ""
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "fp32"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _last_checkpoint(folder: Path) -> tuple[Path | None, Watch]:
    """The latest checkpoint that was written to its end, with what was seen until then; None and nothing where there is none."""
    whole = sorted((path.parent for path in folder.glob(f"checkpoint-*/{_STATE}")), key=_step)
    if not whole:
        return None, Watch()
    return whole[-1], Watch(**json.loads((whole[-1] / _STATE).read_text("utf-8")))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError("memory ran out in training: lower training.batch_size or training.max_seq_length") from error
