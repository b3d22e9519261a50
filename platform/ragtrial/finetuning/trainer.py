"""sentence-transformers' trainer, set up to be reproducible, quiet, resumable, and as fast as a CPU allows."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from ragtrial.contracts import Progress
from ragtrial.domain.experiment import TrainingSpec
from ragtrial.domain.fingerprint import digest
from ragtrial.finetuning.pairs import Pair, pairs_digest

_DEV = "dev_ndcg"


def load(model: str) -> SentenceTransformer:
    """The base, with dropout off: on so few pairs it buys nothing, and it doubles the time of a step on a CPU."""
    loaded = SentenceTransformer(model, trust_remote_code=False)
    for module in loaded.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return loaded


def bf16_is_fast() -> bool:
    """Whether this machine computes in bfloat16 itself rather than emulating it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - torch has no public question


def fit(
    model: SentenceTransformer,
    *,
    spec: TrainingSpec,
    pairs: Sequence[Pair],
    measure: Callable[[SentenceTransformer], float] | None,
    work_folder: Path,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train in place; the curve: loss by step, and the dev metric after each epoch where there is one.

    Args:
        model: Ends as the epoch with the best dev metric, or as the last one.
        spec: Settings.
        pairs: Query and passage.
        measure: The dev metric of a model, or None.
        work_folder: Holds the checkpoints while it runs.
        progress: Told the steps.
    """
    disable_progress_bar()
    folder = work_folder / digest([spec, pairs_digest(pairs)])
    steps = -(-len(pairs) // spec.batch_size) * spec.epochs
    advance = progress(f"fine-tune ({len(pairs)} pairs, {spec.epochs} epochs)", steps)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(spec, folder, steps, watched=measure is not None),
        train_dataset=Dataset.from_dict({"anchor": [pair.query for pair in pairs], "positive": [pair.passage for pair in pairs]}),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=None if measure is None else _DevEvaluator(measure),
        callbacks=[_Steps(advance)] + ([] if measure is None else [EarlyStoppingCallback(spec.patience)]),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=any(folder.glob("checkpoint-*")))
    shutil.rmtree(folder, ignore_errors=True)
    return [_point(entry) for entry in trainer.state.log_history if "loss" in entry or f"eval_{_DEV}" in entry]


def _arguments(spec: TrainingSpec, folder: Path, steps: int, *, watched: bool) -> SentenceTransformerTrainingArguments:
    fast = spec.precision == "bf16" or (spec.precision == "auto" and bf16_is_fast())
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        warmup_steps=round(spec.warmup_ratio * steps),
        seed=spec.seed,
        bf16=fast,
        use_cpu=not torch.cuda.is_available(),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="epoch" if watched else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=watched,
        metric_for_best_model=f"eval_{_DEV}" if watched else None,
        greater_is_better=True if watched else None,
        logging_steps=max(1, steps // 20),
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _point(entry: dict[str, Any]) -> dict[str, float]:
    names = {"epoch": "epoch", "step": "step", "loss": "loss", f"eval_{_DEV}": "nDCG@10"}
    return {shown: float(entry[name]) for name, shown in names.items() if name in entry}


class _DevEvaluator(SentenceEvaluator):  # type: ignore[misc]  # its package has no types here
    """Our own measure in the trainer's shape."""

    def __init__(self, measure: Callable[[SentenceTransformer], float]) -> None:
        super().__init__()
        self.primary_metric = _DEV
        self._measure = measure

    def __call__(self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> dict[str, float]:
        del output_path, epoch, steps
        return {_DEV: self._measure(model)}


class _Steps(TrainerCallback):  # type: ignore[misc]  # its package has no types here
    """Tells how many steps are done, those of an earlier, killed run included."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._told = advance, 0

    def on_step_end(self, args: object, state: Any, control: object, **_more: object) -> None:
        del args, control
        self._advance(state.global_step - self._told)
        self._told = state.global_step
