"""The training loop: sentence-transformers' trainer, watched, resumable and silent. Imported only where something is trained."""

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from ragtrial.contracts import Progress
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.sentence_transformers import autocast, prompts_of, quiet_libraries
from ragtrial.errors import ModelError
from ragtrial.finetuning.distilling import Targets
from ragtrial.finetuning.examples import Examples
from ragtrial.finetuning.losses import loss_of, name_of
from ragtrial.finetuning.methods import finished, load_weights, rate_of, save_weights, start_model
from ragtrial.finetuning.processes import is_main, join, same
from ragtrial.finetuning.watching import Scores, Watch

Score = Callable[[SentenceTransformer], Scores]
"""The scores of the dev queries and of training queries."""

Seen = Callable[[Watch], None]
"""Told after each evaluation; what it raises ends the training."""

BATCH_IS_NEGATIVES = ("multiple-negatives", "cached-multiple-negatives")
"""Losses for which a text that stands twice in a batch would be a negative that is none."""

_STATE = "ragtrial-watch.json"
_LOSSES = 40
"""Points of the loss curve."""


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
        loss: Its classes, the outermost first.
        n_processes: That trained together.
    """

    model: SentenceTransformer
    watch: Watch
    planned_steps: int
    steps: int
    kept_step: int
    resumed_at: int | None
    precision: str
    device: str
    loss: str
    n_processes: int = 1


def steps_of(n_rows: int, spec: TrainingSpec, n_stops: int) -> tuple[int, tuple[int, ...]]:
    """Steps of the whole training, and the `n_stops` steps (or all, where these are fewer) at which it is evaluated and saved."""
    total = math.ceil(n_rows / spec.batch_size) * spec.epochs
    times = min(n_stops, total)
    return total, tuple(round(total * part / times) for part in range(1, times + 1))


def fit(
    *,
    base: str | Path,
    rows: Examples,
    score: Score | None,
    n_stops: int,
    spec: TrainingSpec,
    folder: Path,
    title: str,
    progress: Progress,
    targets: Targets | None = None,
    seen: Seen | None = None,
) -> Fitted:
    """Train the base as the settings say.

    AdamW, linear warm-up and decay, dropout off (each example is seen a few times only, and a CPU is twice as fast without). Losses that
    take the batch for negatives see no text twice in one. Processes of an `accelerate launch` share a batch; the first one evaluates,
    saves, and tells the others.

    Args:
        base: A folder, or a hub id.
        rows: At least two.
        score: Stops the training early and chooses the checkpoint; None trains to the end and keeps the last.
        n_stops: How often to evaluate and save, evenly spread, the end included; at least 1.
        spec: Method, loss, epochs, batch size, learning rate and so on.
        folder: Checkpoints; a training that was killed goes on from the last one in it. Of this training alone.
        title: Of the progress bar.
        progress: Told of each step.
        targets: What a teacher says of the rows; None without one.
        seen: Told after each evaluation.

    Raises:
        ModelError: The base can't be loaded, the training diverged, or memory ran out.
    """
    n_processes = join()
    model = start_model(base, spec)
    own_length = model.max_seq_length
    precision = _precision(spec)
    total, evaluated = steps_of(len(rows), spec, n_stops)
    checkpoint, watch = _last_checkpoint(folder)
    measure = None if score is None else _measurer(model, score, length=own_length, precision=precision)
    with quiet_libraries(), _translated():
        if measure is not None and checkpoint is None:
            scores = measure()
            watch.see(0, scores.dev.tolist(), scores.train.tolist())
        _switch_dropout_off(model)
        model.max_seq_length = spec.max_seq_length if own_length is None else min(spec.max_seq_length, own_length)
        watcher = _Watcher(
            watch=watch, measure=measure, evaluated=evaluated, patience=spec.patience, advance=progress(title, total), seen=seen
        )
        loss = loss_of(model, spec, rows, targets, n_processes=n_processes)
        trainer = _trainer(model, rows, spec, folder, precision=precision, total=total, loss=loss, n_processes=n_processes)
        trainer.add_callback(watcher)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    steps = int(trainer.state.global_step)
    kept = steps if score is None else watch.kept_step
    if kept != steps:
        model = start_model(base, spec)
        if kept:
            load_weights(model, folder / f"checkpoint-{kept}", spec)
    model.max_seq_length = own_length
    return Fitted(
        model=finished(model.to("cpu").eval(), spec),
        watch=watch,
        planned_steps=total,
        steps=steps,
        kept_step=kept,
        resumed_at=None if checkpoint is None else _step(checkpoint),
        precision=precision,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        loss=name_of(loss),
        n_processes=n_processes,
    )


def _measurer(model: SentenceTransformer, score: Score, *, length: int | None, precision: str) -> Callable[[], Scores]:
    """Scores with the truncation and the precision that the model is used with; of the main process in all of them."""

    def measure() -> Scores:
        trained, model.max_seq_length = model.max_seq_length, length
        with autocast(precision):
            scores = score(model) if is_main() else None
        model.max_seq_length = trained
        found: Scores = same(scores)
        return found

    return measure


class _Watcher(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Progress, loss curve, evaluation, early stopping, and checkpoints with what was seen so far."""

    def __init__(
        self,
        *,
        watch: Watch,
        measure: Callable[[], Scores] | None,
        evaluated: Sequence[int],
        patience: int,
        advance: Callable[[int], None],
        seen: Seen | None,
    ) -> None:
        self._watch, self._measure, self._evaluated, self._patience = watch, measure, frozenset(evaluated), patience
        self._advance, self._seen = advance, seen

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
            scores = self._measure()
            self._watch.see(state.global_step, scores.dev.tolist(), scores.train.tolist())
            if self._seen is not None:
                self._seen(self._watch)
        if self._watch.without_gain >= self._patience:
            control.should_training_stop = True
        elif state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Mark the checkpoint as whole, and remove those that are neither the last nor the kept one."""
        del control, more
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        part = folder / f"{_STATE}.part"
        part.write_text(json.dumps(asdict(self._watch)), "utf-8")
        part.rename(folder / f"checkpoint-{state.global_step}" / _STATE)
        for checkpoint in folder.glob("checkpoint-*"):
            if _step(checkpoint) not in (state.global_step, self._watch.kept_step):
                shutil.rmtree(checkpoint)


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # sentence-transformers is not typed here
    """Without model cards, which cost seconds at each checkpoint and look for the base on the hub; checkpoints are `methods`'."""

    spec: TrainingSpec

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        save_weights(self.model, Path(output_dir or self.args.output_dir), self.spec)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        load_weights(self.model, Path(checkpoint_path), self.spec)


def _trainer(
    model: SentenceTransformer,
    rows: Examples,
    spec: TrainingSpec,
    folder: Path,
    *,
    precision: str,
    total: int,
    loss: torch.nn.Module,
    n_processes: int = 1,
) -> _Trainer:
    own, columns = prompts_of(model), dict(rows.columns)
    kinds = {name: "query" if name == "query" else "passage" for name in columns}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=max(1, spec.batch_size // n_processes),
        learning_rate=rate_of(spec),
        warmup_steps=math.ceil(spec.warmup_ratio * total),
        prompts={name: own[kind] for name, kind in kinds.items() if own[kind]} or None,  # type: ignore[index]
        router_mapping={name: "query" if kind == "query" else "document" for name, kind in kinds.items()} if _has_routes(model) else {},
        batch_sampler=BatchSamplers.NO_DUPLICATES if spec.loss in BATCH_IS_NEGATIVES else BatchSamplers.BATCH_SAMPLER,
        seed=spec.seed,
        bf16=precision == "bf16",
        **_checkpointing(spec),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        logging_steps=max(1, total // _LOSSES),
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    labels: list[Any] | None = (
        list(range(len(rows))) if spec.distillation is not None else None if rows.scores is None else list(rows.scores)
    )
    data = Dataset.from_dict({**columns, **({} if labels is None else {"label": labels})})
    trainer = _Trainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.spec = spec
    trainer.remove_callback(PrinterCallback)
    return trainer


def _checkpointing(spec: TrainingSpec) -> dict[str, Any]:
    """Activations computed twice instead of kept; under the name that transformers has for it, which changed in its version 5."""
    if not spec.gradient_checkpointing:
        return {}
    known = {field.name for field in fields(SentenceTransformerTrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _has_routes(model: SentenceTransformer) -> bool:
    return any(isinstance(module, Router) for module in model.modules())


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
