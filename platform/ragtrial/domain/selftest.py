"""What a self-test found: each planted fault with what caught it, and false alarms where there was nothing to find."""

from dataclasses import dataclass
from typing import Literal

Design = Literal["live", "paired"]

SELF_TEST_LEVEL = 0.01
"""How often A/A runs whose every rate is exactly what was promised are called not in order, at most."""
N_RATES = 5
"""Rates with a promise: false verdicts, refusals and stops of live runs, false verdicts and refusals of paired ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInfo:
    """A fault that the self-test plants.

    Attributes:
        name: As `--only` takes it.
        planted: What goes wrong, in a few words.
        guard: What has to catch it.
    """

    name: str
    planted: str
    guard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One planted fault.

    Attributes:
        fault: What was planted.
        sentence: What a user saw, as the product says it; None where nothing was said.
        after: What had passed when it was caught, in `counted`; None where it was not.
        asked: What passed in all.
        counted: What is counted: queries, labels, pairs, runs.
        also: What else was seen that tells how well it was caught; may be empty.
        told: Whether it could be told at all; False where too little was asked for either answer, so it is neither caught nor missed.
        seconds: How long it took.
    """

    fault: FaultInfo
    sentence: str | None
    after: int | None
    asked: int
    counted: str = "queries"
    also: str = ""
    told: bool = True
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether anything was said."""
        return self.sentence is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFound:
    """The same experiment without a fault: nothing may be raised.

    Attributes:
        asked: Queries.
        looks: How often every check was looked at.
        alarms: What was raised all the same, by the name of the fault whose guard raised it.
        sentence: Its verdict at the end.
        seconds: How long it took.
    """

    asked: int
    looks: int
    alarms: tuple[str, ...]
    sentence: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened, with its exact two-sided 95 % interval (Clopper and Pearson 1934).

    Attributes:
        n: So often.
        of: In so many runs.
        low: Lower end of the interval.
        high: Upper end.
        fails_from: The smallest count that shows more than alpha, by an exact binomial test at this rate's part of `SELF_TEST_LEVEL`;
            `of` + 1 where so few runs can't show it.
    """

    n: int
    of: int
    low: float
    high: float
    fails_from: int

    @property
    def ok(self) -> bool:
        """Whether nothing shows that it is more than alpha."""
        return self.n < self.fails_from


@dataclass(frozen=True, slots=True, kw_only=True)
class NullRuns:
    """A/A runs of the whole chain: both arms are the same, so that whatever is concluded is wrong.

    Attributes:
        design: `live`: split by unit, looked at all the time. `paired`: an evaluation on a gold set.
        looks: Looks at each run.
        verdicts: Runs that decided for an arm.
        refused: Runs that a health check refused.
        stopped: Runs that a guardrail stopped; None where the design has no automatic stop.
        naive: Runs in which a test for one look was below alpha at any look; of the primary metric.
        alpha: What the plan allows of false verdicts.
    """

    design: Design
    looks: int
    verdicts: Rate
    refused: Rate
    stopped: Rate | None
    naive: Rate
    alpha: float

    @property
    def ok(self) -> bool:
        """Whether no error rate is shown to be above what was promised; see `SELF_TEST_LEVEL` for how often that is a false alarm."""
        return all(rate.ok for rate in (self.verdicts, self.refused, self.stopped) if rate is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Everything that a self-test found.

    Attributes:
        seed: Where every random step comes from.
        stores: Where it ran: SQL and Milvus, in words, without secrets.
        tried: Each fault.
        control: The experiment without a fault.
        null_runs: A/A runs, by design; empty where none were asked for.
        seconds: All of it.
    """

    seed: int
    stores: tuple[str, str]
    tried: tuple[Tried, ...]
    control: ControlFound
    null_runs: tuple[NullRuns, ...]
    seconds: float

    @property
    def missed(self) -> tuple[str, ...]:
        """Faults that nobody caught though it could be told, and what was raised without one."""
        rates = [f"A/A ({runs.design})" for runs in self.null_runs if not runs.ok]
        control = ["control"] if self.control.alarms else []
        return (*(each.fault.name for each in self.tried if each.told and not each.caught), *control, *rates)

    @property
    def untold(self) -> tuple[str, ...]:
        """Faults of which too little was asked to say whether they are caught."""
        return tuple(each.fault.name for each in self.tried if not each.told)
