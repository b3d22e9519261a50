"""What every step of one live analysis needs."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.experiment import AnalysisPlan, Experiment
from ragtrial.domain.live import LiveSpec, TrafficState
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.live_scores import Exposure, SplitScores, UnitSums, VoteCounts, VotesByUnit, WithinScores
from ragtrial.domain.live_trial import Outage
from ragtrial.domain.live_verdict import Levels, Look
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.verdict import Check
from ragtrial.errors import InputError

Table = SplitScores | WithinScores

RUNNING_SHARE = 0.2
"""Share of alpha that is spent on looking before the planned verdict; the rest is spent on that verdict."""

TUNED_FOR = 2_000
"""Units that running intervals are tightest at where no number was planned: it has to be fixed before the data."""

EVERY_TRIAL = "failed"
"""The metric that every trial has a value for: what counts trials by unit."""


def levels_of(experiment: Experiment) -> Levels:
    """How the plan's alpha is spent.

    With a planned number of units there are two chances to be wrong, so alpha is divided between them (Bonferroni): looking all the time
    gets a fifth, the planned verdict four fifths. Without one, looking gets it all.
    """
    alpha, planned = experiment.analysis.alpha, live_of(experiment).units_planned
    if planned is None:
        return Levels(running=alpha, planned=None, tuned_for=TUNED_FOR, units_planned=None)
    return Levels(running=RUNNING_SHARE * alpha, planned=(1 - RUNNING_SHARE) * alpha, tuned_for=planned, units_planned=planned)


def live_of(experiment: Experiment) -> LiveSpec:
    """The plan of the live experiment.

    Raises:
        InputError: The experiment file has no section `live`.
    """
    if experiment.live is None:
        raise InputError(f"experiment {experiment.name!r} has no section 'live': write one to split live traffic")
    return experiment.live


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What the log says of time.

    Attributes:
        now: When the analysis is made, seconds since 1970.
        first: First trial; None where there is none.
        last: Last one.
        backwards: Trials that are stamped more than a minute before one logged earlier.
        planned_at: When the planned number of units was there; None before, and where none is planned.
    """

    now: float
    first: float | None = None
    last: float | None = None
    backwards: int = 0
    planned_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class LiveSetting:
    """Everything that a live analysis looks at; no database behind it.

    Attributes:
        experiment: The plan, with a section `live`.
        stored_digest: Digest of the plan under which the trials were logged.
        tables: Scores by metric; every planned metric has one, and in mode split `failed` too.
        frozen: The decision metrics' scores of the trials until `clock.planned_at`; empty before that.
        exposure: Who was exposed.
        votes: Thumbs by arm and solicitation.
        votes_by_unit: The same by arm and unit; without it they are counted, and not compared.
        latencies: By arm, the unit's number and the waiting time in milliseconds of each served trial.
        drawn: Of how many units `latencies` are, and of how many they were drawn at random; None: of all.
        timed: The primary metric by unit and time; None where no picture is wanted.
        assigned: `failed` likewise: when each unit came.
        looked: What was seen at earlier looks, oldest first, where the log is too large to be read by time; else None.
        traffic: Versions of the traffic's state, oldest first.
        outages: Times without a log.
        parity: Whether the arms differ only in what is under test; None where nothing was recorded.
        given: Checks that were made when the service was started.
        clock: What the log says of time.
    """

    experiment: Experiment
    stored_digest: str
    tables: Mapping[str, Table]
    frozen: Mapping[str, Table] = field(default_factory=dict)
    exposure: Exposure
    votes: Sequence[VoteCounts] = ()
    votes_by_unit: Mapping[str, VotesByUnit] = field(default_factory=dict)
    latencies: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=dict)
    drawn: tuple[int, int] | None = None
    timed: TimedSums | None = None
    assigned: TimedSums | None = None
    looked: Sequence[Look] | None = None
    traffic: Sequence[TrafficState]
    outages: Sequence[Outage] = ()
    parity: ParityCertificate | None = None
    given: tuple[Check, ...] = ()
    clock: Clock

    @property
    def live(self) -> LiveSpec:
        """The plan of the live experiment."""
        return live_of(self.experiment)

    @property
    def plan(self) -> AnalysisPlan:
        """How the verdict is reached."""
        return self.experiment.analysis

    @property
    def levels(self) -> Levels:
        """How alpha is spent."""
        return levels_of(self.experiment)

    @property
    def arms(self) -> tuple[str, str]:
        """Names of control and treatment."""
        return self.experiment.control.name, self.experiment.treatment.name

    @property
    def trials_by_unit(self) -> tuple[UnitSums, UnitSums] | None:
        """Both arms' trials by unit; None in modes without a split."""
        table = self.tables.get(EVERY_TRIAL)
        return (table.control, table.treatment) if isinstance(table, SplitScores) else None

    @property
    def n_units(self) -> int:
        """Units that belong to the analysis; in modes without a split they stand in the first column."""
        units = self.exposure.units
        return int(units.sum() if self.live.mode == "split" else units[:, 0].sum())

    @property
    def n_trials(self) -> int:
        """Queries that belong to the analysis; silent twins are not counted beside the served answers."""
        trials = self.exposure.trials
        return int(trials.sum() if self.live.mode == "split" else trials[:, 0].sum())

    def rng(self, *key: str) -> np.random.Generator:
        """A generator of its own for each use, so that adding a metric changes no other number."""
        return np.random.default_rng([self.plan.seed, *(zlib.crc32(part.encode()) for part in key)])
