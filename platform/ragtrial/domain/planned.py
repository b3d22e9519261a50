"""What decides, and what must not get worse: planned for an evaluation as for live traffic."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.domain.described import STRICT, described
from ragtrial.domain.metric import metric_named


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryMetric:
    """The one metric that decides."""

    __pydantic_config__ = STRICT

    name: str = described("E.g. nDCG@10.")
    min_effect: float = described("Smallest gain that is worth a custom model, in the metric's unit.", default=0.01)

    def __post_init__(self) -> None:
        metric_named(self.name)
        if self.min_effect <= 0:
            raise ValueError(f"min_effect is {self.min_effect}: the smallest gain worth having is above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A metric that must not get worse by more than a margin; give exactly one margin."""

    __pydantic_config__ = STRICT

    name: str = described("E.g. latency_ms.")
    max_increase: float | None = described("Largest tolerated increase, in the metric's unit.", default=None)
    max_decrease: float | None = described("Largest tolerated decrease, in the metric's unit.", default=None)
    max_relative_increase: float | None = described("Largest tolerated relative increase; 0.25 is 25 %.", default=None)
    max_relative_decrease: float | None = described("Largest tolerated relative decrease; 0.05 is 5 %.", default=None)

    def __post_init__(self) -> None:
        metric_named(self.name)
        margins = [self.max_increase, self.max_decrease, self.max_relative_increase, self.max_relative_decrease]
        given = [margin for margin in margins if margin is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(f"guardrail {self.name!r}: give exactly one margin above 0 (max_increase, max_decrease, max_relative_...)")
        increase = self.max_increase is not None or self.max_relative_increase is not None
        if increase == metric_named(self.name).higher_is_better:
            better, margin = ("higher", "max_decrease") if increase else ("lower", "max_increase")
            raise ValueError(f"guardrail {self.name!r}: {better} is better, so give {margin} or {margin.replace('_', '_relative_')}")
        if self.max_relative_decrease is not None and self.max_relative_decrease >= 1:
            raise ValueError(f"guardrail {self.name!r}: max_relative_decrease is {self.max_relative_decrease}: give a number below 1")


def check_roles(primary: PrimaryMetric, secondary: Sequence[str], guardrails: Sequence[Guardrail], exploratory: Sequence[str]) -> None:
    """Whether each metric exists and has one role; a guardrail may be any of them besides.

    Raises:
        ValueError: No such metric, or one that stands twice.
    """
    names = [primary.name, *secondary, *exploratory]
    for name in names:
        metric_named(name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice among primary, secondary and exploratory")
    guarded = [guardrail.name for guardrail in guardrails]
    if len(set(guarded)) < len(guarded):
        raise ValueError(f"guardrails are {', '.join(guarded)}: give each metric one guardrail")


def names_of(
    primary: PrimaryMetric, secondary: Sequence[str], guardrails: Sequence[Guardrail], exploratory: Sequence[str]
) -> tuple[str, ...]:
    """Every metric asked for, once, the primary first."""
    return tuple(dict.fromkeys((primary.name, *secondary, *(guardrail.name for guardrail in guardrails), *exploratory)))
