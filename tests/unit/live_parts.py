"""Live experiments without a database: plans, and tables of users whose truth is known."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.live_setting import Clock, LiveSetting, Table
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import AnalysisPlan, Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.live import LiveMetrics, LiveSpec, TrafficState
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.live_scores import Exposure, SplitScores, UnitSums, VoteCounts, VotesByUnit, WithinScores
from ragtrial.domain.metric import metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import Guardrail, PrimaryMetric

MODEL = EmbeddingSpec(provider="hashing", model="a")
PARITY = ParityCertificate(ok=True, digest="d", declared=("embedding.model: 'a' / 'b'",))
DAY = 86_400.0
START = 1_800_000_000.0
VOTES_BY_UNIT = ("asked", "up", "down", "asked_solicited", "up_solicited", "down_solicited")


def experiment(
    *,
    mode: str = "split",
    primary: str = "nDCG@10",
    min_effect: float = 0.01,
    secondary: tuple[str, ...] = (),
    guardrails: tuple[Guardrail, ...] = (),
    exploratory: tuple[str, ...] = (),
    units_planned: int | None = None,
    **plan: object,
) -> Experiment:
    metrics = LiveMetrics(
        primary=PrimaryMetric(name=primary, min_effect=min_effect), secondary=secondary, guardrails=guardrails, exploratory=exploratory
    )
    return Experiment(
        name="live",
        hypothesis="Users find more.",
        data=DataSpec(path="somewhere"),
        arms=(Arm(name="baseline", role="control", embedding=MODEL), Arm(name="custom", role="treatment", embedding=MODEL)),
        metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@10")),
        analysis=AnalysisPlan(resamples=1000, **plan),  # type: ignore[arg-type]  # forwarded by keyword
        live=LiveSpec(mode=mode, metrics=metrics, units_planned=units_planned),  # type: ignore[arg-type]  # one of the three modes
    )


def users(
    rng: np.random.Generator, n: int, *, mean: float, per_query: float = 0.25, per_user: float = 0.15, queries: float = 3.0
) -> UnitSums:
    """Users with geometrically many queries each, a level of their own, and a history of about three more queries."""
    counts = rng.geometric(1 / queries, n).astype(float)
    level = rng.normal(mean, per_user, n)
    before = rng.geometric(1 / 3, n).astype(float)
    return UnitSums(
        totals=counts * level + np.sqrt(counts) * rng.normal(0, per_query, n),
        counts=counts,
        pre_totals=before * level + np.sqrt(before) * rng.normal(0, per_query, n),
        pre_counts=before,
        n_trials=int(counts.sum()),
    )


def without_history(sums: UnitSums) -> UnitSums:
    return UnitSums(totals=sums.totals, counts=sums.counts, n_trials=sums.n_trials, unscored=sums.unscored)


def split(rng: np.random.Generator, name: str, n: int, *, control: float, treatment: float, history: bool = False) -> SplitScores:
    arms = [users(rng, n, mean=mean) for mean in (control, treatment)]
    if not history:
        arms = [without_history(arm) for arm in arms]
    return SplitScores(metric=metric_named(name), control=arms[0], treatment=arms[1])


def rates(
    rng: np.random.Generator, name: str, counts: tuple[NDArray[np.float64], NDArray[np.float64]], control: float, treatment: float
) -> SplitScores:
    """A metric that is 0 or 1 for each query of the users."""
    sums = [
        UnitSums(totals=rng.binomial(n.astype(int), rate).astype(float), counts=n, n_trials=int(n.sum()))
        for n, rate in zip(counts, (control, treatment), strict=True)
    ]
    return SplitScores(metric=metric_named(name), control=sums[0], treatment=sums[1])


def within(
    rng: np.random.Generator, name: str, n: int, *, difference: float, control: float | None = 0.5, spread: float = 0.2
) -> WithinScores:
    counts = rng.geometric(1 / 3, n).astype(float)
    totals = counts * difference + np.sqrt(counts) * rng.normal(0, spread, n)
    if control is None:
        totals = np.sign(np.round(totals / counts))
        counts = np.ones(n)
    sums = UnitSums(totals=totals, counts=counts, n_trials=int(counts.sum()))
    mean = float(totals.sum() / counts.sum())
    return WithinScores(
        metric=metric_named(name),
        differences=sums,
        control_mean=control,
        treatment_mean=None if control is None else control + mean,
    )


def exposure(units: tuple[int, int], trials: tuple[int, int], *, days: int = 10, **changes: object) -> Exposure:
    given = {
        "state_versions": (1,),
        "units": np.array([units]),
        "trials": np.array([trials]),
        "expected": np.array([[0.5, 0.5]]),
        "in_both": 0,
        "excluded": {},
        "failed": {},
        "erased": {},
        "new_units": np.full(days, sum(units) // days),
    }
    return Exposure(**{**given, **changes})  # type: ignore[arg-type]  # forwarded by keyword


def setting(plan: Experiment, tables: Mapping[str, Table], **changes: object) -> LiveSetting:
    """Everything is well, unless `changes` say otherwise."""
    primary = tables[plan.live.metrics.primary.name]  # type: ignore[union-attr]  # every plan here is live
    tables = dict(tables)
    if isinstance(primary, SplitScores):
        arms = (primary.control, primary.treatment)
        sizes = tuple(arm.counts.size for arm in arms)
        trials = tuple(int(arm.n_trials) for arm in arms)
        nothing = [UnitSums(totals=np.zeros(arm.counts.size), counts=arm.counts, n_trials=arm.n_trials) for arm in arms]
        tables.setdefault("failed", SplitScores(metric=metric_named("failed"), control=nothing[0], treatment=nothing[1]))
        seen = exposure(sizes, trials)  # type: ignore[arg-type]  # two of each
    else:
        seen = exposure((primary.differences.counts.size, 0), (primary.differences.n_trials, 0))
    given = {
        "experiment": plan,
        "stored_digest": plan.live_digest(),
        "tables": tables,
        "exposure": seen,
        "traffic": (TrafficState(version=1, share=1.0, treatment=0.5, at=START),),
        "parity": PARITY,
        "clock": Clock(now=START + 10 * DAY, first=START, last=START + 10 * DAY - 60),
    }
    return LiveSetting(**{**given, **changes})  # type: ignore[arg-type]  # forwarded by keyword


def timed(table: SplitScores, rng: np.random.Generator, *, steps: int = 20) -> TimedSums:
    """The same totals, each unit's queries spread over the steps from its own first one on."""
    rows = []
    for arm, sums in enumerate((table.control, table.treatment)):
        for unit, (total, count) in enumerate(zip(sums.totals, sums.counts, strict=True)):
            first = int(rng.integers(0, steps))
            rows.append((unit + arm * 1_000_000, arm, first, total, count))
    unit, arm_of, step, total, count = (np.array(column) for column in zip(*rows, strict=True))
    _, numbers = np.unique(unit, return_inverse=True)
    ends = START + DAY * np.arange(1, steps + 1) / 2
    return TimedSums(
        metric=table.metric, ends=ends, unit=numbers, arm=arm_of, step=step, total=total.astype(float), count=count.astype(float)
    )


def votes_by_unit(votes: tuple[VoteCounts, ...]) -> dict[str, VotesByUnit]:
    """Each answer of another unit."""
    found = {}
    for arm in dict.fromkeys(each.arm for each in votes):
        mine = [each for each in votes if each.arm == arm]
        columns = [
            np.concatenate(
                [(np.arange(each.trials) >= low) & (np.arange(each.trials) < high) for each, (low, high) in zip(mine, ends, strict=True)]
            )
            for ends in (
                [(0, each.trials) for each in mine],
                [(0, each.up) for each in mine],
                [(each.up, each.up + each.down) for each in mine],
            )
        ]
        asked = np.concatenate([np.full(each.trials, each.solicited) for each in mine])
        found[arm] = VotesByUnit(
            **dict(zip(VOTES_BY_UNIT, [c.astype(float) for c in (*columns, *(c & asked for c in columns))], strict=True))
        )
    return found
