"""When a new candidate pays, and how far it may go by itself: the policy file of `ragtrial loop`.

The field descriptions are the reference of that file.
"""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described
from ragtrial.domain.live import LiveSpec
from ragtrial.domain.metric import metric_named
from ragtrial.domain.training import TrainingSpec

Step = Literal["prepare", "pairs", "train", "evaluate", "shadow"]
"""What a cycle does by itself, in this order; a person promotes, or rejects."""

STEPS: tuple[Step, ...] = ("prepare", "pairs", "train", "evaluate", "shadow")

Ending = Literal["promoted", "rejected"]

Source = Literal["votes", "curated", "titles", "headings", "definitions", "synthetic"]

FEEDBACK: tuple[Source, ...] = ("votes", "curated")
"""Sources that grow by themselves: what is new is counted among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldTrigger:
    """The model in production, measured on the gold set as it is now."""

    __pydantic_config__ = STRICT

    metric: str = described("E.g. R@10; a retrieval metric of which more is better.")
    below: float = described("A candidate is opened where the upper end of its interval lies below this.")

    def __post_init__(self) -> None:
        metric = metric_named(self.metric)
        if metric.kind != "retrieval" or metric.judge is not None or not metric.higher_is_better:
            raise ValueError(f"when.gold.metric is {self.metric!r}: give a retrieval metric of which more is better, e.g. R@10")
        if not 0 < self.below <= 1:
            raise ValueError(f"when.gold.below is {self.below}: give a number above 0, at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """What opens a candidate; any of them does."""

    __pydantic_config__ = STRICT

    drift: bool = described("An alert of the monitor stands (`monitor` in the experiment file says when one is raised).", default=False)
    new_pairs: int | None = described("So many pairs that no candidate was trained on; null: their number opens none.", default=None)
    gold: GoldTrigger | None = described("The model in production is too bad on the gold set; null: not looked at.", default=None)
    rest_days: float = described("Days after the end of one cycle before another is opened.", default=7.0)

    def __post_init__(self) -> None:
        if not self.drift and self.new_pairs is None and self.gold is None:
            raise ValueError("nothing in 'when' would ever open a candidate: give drift: true, new_pairs, gold, or several of them")
        if self.new_pairs is not None and self.new_pairs < 1:
            raise ValueError(f"when.new_pairs is {self.new_pairs}: give at least 1")
        if self.rest_days < 0:
            raise ValueError(f"when.rest_days is {self.rest_days}: give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSources:
    """Raw files that pairs are made of, prepared anew for each candidate; the experiment's own corpus stays as it is."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...] = described("Folders and files, relative to the policy, as `ragtrial prepare` takes them.")
    config: str | None = described("A prepare.yaml, relative to the policy; null: the defaults.", default=None)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("documents.sources is empty: give at least one folder or file, or leave documents out")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSources:
    """What candidates are trained on, besides the data of the `training` section."""

    __pydantic_config__ = STRICT

    sources: tuple[Source, ...] = described("As `ragtrial pairs build --from` takes them.", default=("votes", "curated"))
    consent: str | None = described(
        "How users agreed that their votes are used for training, e.g. 'terms of use of 2026-05, section 4'; noted with each pair. Votes are not "
        "used without it.",
        default=None,
    )
    cap: int = described("Most opinions of one user, up and down apart.", default=20)
    fewest: int = described(
        "Pairs that a training needs at least; with fewer the cycle ends, and its pairs count as new still.", default=100
    )

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("pairs.sources is empty: give at least one, e.g. [votes]")
        if self.fewest < 1 or self.cap < 1:
            raise ValueError(f"pairs.fewest is {self.fewest} and pairs.cap is {self.cap}: give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPolicy:
    """When a new candidate is made, from what, and what it has to pass before a person is asked."""

    __pydantic_config__ = STRICT

    experiment: str = described("The experiment file whose traffic is watched, relative to this file.")
    model: str = described("Name in the registry under which candidates are registered.")
    when: Triggers = described("What opens a candidate.")
    also: tuple[str, ...] = described(
        "Names of further experiments of the same database whose votes count; the shadow runs of this loop always do.", default=()
    )
    documents: DocumentSources | None = described(
        "Raw files that titles, headings, definitions and synthetic pairs are made of; null: the experiment's corpus.", default=None
    )
    pairs: PairSources = described("What candidates are trained on.", default_factory=PairSources)
    training: TrainingSpec | None = described("How they are trained; null: as the experiment's `training` says.", default=None)
    from_production: bool = described(
        "Train further from the model in production, where there is one; false: always from the training's base.", default=False
    )
    shadow: LiveSpec | None = described(
        "How the candidate runs beside the model in production; null: the experiment's `live` section in mode shadow.", default=None
    )
    command: tuple[str, ...] = described(
        "What is run when a candidate is ready for its shadow run, e.g. a deployment; {file} is its experiment file, {model} its name. "
        "Empty: nothing; `ragtrial serve` takes the file.",
        default=(),
    )
    folder: str = described("Where cycles are kept, relative to this file.", default=".ragtrial/loop")

    def __post_init__(self) -> None:
        if not self.model[:1].isalnum() or not all(c.isalnum() or c in "-_." for c in self.model):  # '..' would be another folder
            raise ValueError(f"model {self.model!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")
        if (
            "votes" in self.pairs.sources and not (self.pairs.consent or "").strip()
        ):  # here, so that it is said where 'pairs' is left out too
            raise ValueError("pairs.sources has votes, and pairs.consent is empty: say how users agreed, or leave votes out")
        if self.shadow is not None and self.shadow.mode != "shadow":
            raise ValueError(f"shadow.mode is {self.shadow.mode!r}: a candidate answers in silence first (mode: shadow)")
