"""The live verdict itself under repeated looks: how often it is wrong on equal arms, what it finds, and what it refuses.

Simulated users come back, a few of them very often; after every 100 queries the whole analysis is made as if somebody looked. Seeds are
fixed; the rates are shown by `pytest tests/simulation/test_live_verdict.py --log-cli-level=INFO`.
"""

import logging

import numpy as np
import pytest

from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_comparing import adjusted, compare, effect_of, planned_roles
from ragtrial.analysis.live_deciding import decide_live
from ragtrial.analysis.live_guardrails import guardrail_alarms
from ragtrial.analysis.live_health import health_checks
from ragtrial.analysis.live_split import sample_ratios
from ragtrial.analysis.rule import evidence_of, outcome
from ragtrial.domain.live_scores import SplitScores, UnitSums
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import Guardrail
from ragtrial.errors import NotEnoughDataError
from ragtrial.report import live_words
from unit.live_parts import DAY, START, Clock, experiment, exposure, setting

pytestmark = pytest.mark.slow

ALPHA = 0.05
RUNS, POWER_RUNS, FAMILIES = 1_000, 60, 1_000
CHECKED = 10
"""Runs in which the rule's short way is compared with the whole of it at every look."""
USERS, QUERIES, LOOK = 900, 4_000, 100
METRIC = metric_named("nDCG@10")
FAILED = metric_named("failed")


def tell(name, count, runs):
    logging.getLogger(__name__).info("%s: %.1f %%", name, 100 * count / runs)
    return count / runs


class World:
    """Queries of users in the order of their arrival; a user keeps the arm, and has a level of quality of their own."""

    def __init__(self, rng, *, effect=0.0, lost=0.0, treatment=0.5, users=USERS):
        activity = rng.pareto(2.5, users) + 0.2
        self.user = rng.choice(users, size=QUERIES, p=activity / activity.sum())
        arm_of = (rng.random(users) < treatment).astype(int)
        if lost:
            kept = ~((arm_of == 1) & (rng.random(users) < lost))
            self.user = self.user[kept[self.user]]
        self.arm, self.arm_of = arm_of[self.user], arm_of
        level = rng.normal(0.5, 0.2, users)
        self.value = level[self.user] + effect * self.arm + rng.normal(0, 0.2, self.user.size)
        _, first = np.unique(self.user, return_index=True)
        self.came = np.sort(first)

    def planned_at(self, units):
        """Queries until the planned number of users was there, or None."""
        return int(self.came[units - 1]) + 1 if self.came.size >= units else None

    def tables(self, values=None, metric=METRIC, *, ends=None):
        """Both arms' sums after each number of queries in `ends`, by default after every `LOOK`, as one would read them from the log."""
        values = self.value if values is None else values
        ends = np.arange(LOOK, self.user.size + 1, LOOK) if ends is None else np.asarray(ends)
        step = np.searchsorted(ends, np.arange(self.user.size), side="right")
        place, n_users = step * self.arm_of.size + self.user, self.arm_of.size
        shape = (ends.size + 1, n_users)
        counts, totals = (np.bincount(place, weights=w, minlength=shape[0] * n_users).reshape(shape).cumsum(axis=0) for w in (None, values))
        for row, n in enumerate(ends.tolist()):
            arms = [(counts[row] > 0) & (self.arm_of == arm) for arm in (0, 1)]
            control, treatment = (
                UnitSums(totals=totals[row, mine], counts=counts[row, mine].astype(float), n_trials=int(counts[row, mine].sum()))
                for mine in arms
            )
            yield n, SplitScores(metric=metric, control=control, treatment=treatment)

    def looks(self, plan, planned_at):
        """The setting of an analysis after every `LOOK` queries."""
        frozen = None if planned_at is None else next(self.tables(ends=[planned_at]))[1]
        for n, table in self.tables():
            yield n, seen(plan, table, frozen if planned_at is not None and n >= planned_at else None)


def seen(plan, table, frozen):
    sizes = (table.control.counts.size, table.treatment.counts.size)
    return setting(
        plan,
        {"nDCG@10": table},
        frozen={} if frozen is None else {"nDCG@10": frozen},
        exposure=exposure(sizes, (table.control.n_trials, table.treatment.n_trials)),
        clock=Clock(now=START + DAY, first=START, last=START, planned_at=None if frozen is None else START),
    )


def adopted_at(world, plan, planned_at):
    """Queries after which the whole analysis says so for the first time; None where it never does."""
    return next((n for n, here in world.looks(plan, planned_at) if analyse_tables(here).verdict.decision == "adopt custom"), None)


def decides(here, *, planned):
    """Whether the rule decides for one of both arms, by the running interval, or by the planned one too where it is new.

    That is `decide_live` without its words and without the health checks: what they refuse is no false verdict, so this is the harder
    case. The planned interval is the same at every later look, so that looking at it once is looking at it always.
    """
    table, frozen, m = here.tables["nDCG@10"], here.frozen.get("nDCG@10") if planned else None, here.live.metrics.primary.min_effect
    try:
        effect = effect_of(here, table, frozen)
    except NotEnoughDataError:
        return False
    found = (
        evidence_of(METRIC, estimate=each.estimate, low=each.low, high=each.high, p_value=each.p_value, alpha=each.alpha)
        for each in effect.intervals
    )
    return any(outcome(evidence, min_effect=m, guards=()) != "open" for evidence in found)


def said(here):
    """The same by `decide_live` itself."""
    return decide_live(here, [compare(here, "nDCG@10", "primary")], []).verdict.decision in ("adopt custom", "keep baseline")


@pytest.mark.parametrize("planned", [600, pytest.param(None, marks=pytest.mark.long)])
def test_looking_after_every_hundred_queries_decides_falsely_at_most_at_alpha(planned):
    # Nothing is worth having below 0.0001, so that any verdict but "undecided" and "too few" on equal arms is a false one.
    rng, plan, false = np.random.default_rng(41), experiment(min_effect=0.0001, units_planned=planned), 0
    for run in range(RUNS):
        world, found, new = World(rng), False, True
        for _, here in world.looks(plan, None if planned is None else world.planned_at(planned)):
            found = found or decides(here, planned=new)
            new = new and not here.frozen
            if run < CHECKED:
                assert said(here) == decides(here, planned=True)
            elif found:
                break
        false += found
    assert tell(f"a verdict on equal arms, planned {planned}", false, RUNS) <= ALPHA


def test_a_planted_effect_is_found_and_before_the_planned_size_where_it_is_large():
    rng, plan = np.random.default_rng(42), experiment(min_effect=0.02, units_planned=600)
    ends = {0.08: [], 0.15: []}
    for effect, decided in ends.items():
        for _ in range(POWER_RUNS):
            world = World(rng, effect=effect)
            decided.append((adopted_at(world, plan, world.planned_at(600)), world.planned_at(600)))
    assert tell("effect of 0.08 adopted", sum(n is not None for n, _ in ends[0.08]), POWER_RUNS) >= 0.7
    assert tell("effect of 0.15 adopted early", sum(n is not None and n < at for n, at in ends[0.15]), POWER_RUNS) >= 0.8


def families(rng, plan):
    """An experiment looked at five times, the fourth time at the planned size: is an equal secondary metric called different at any look?

    The primary metric is better and two of three secondary ones are equal, so that the gate is open and Holm's family has something to find.
    The third one's scores at the planned size come late.
    """
    names = ("nDCG@10", "R@5", "RR@10", "answer_f1")
    unit = rng.normal(0, 0.3, (2, 500))
    whole = {
        name: [0.5 + (gain if arm else 0.0) + 0.5 * unit[arm] + rng.normal(0, 0.25, 500) for arm in (0, 1)]
        for name, gain in zip(names, (0.12, 0.0, 0.0, 0.12), strict=True)
    }
    frozen, false = {}, False
    for n in (120, 200, 280, 400, 500):
        tables = {name: table_of(name, arms, n) for name, arms in whole.items()}
        if n >= 400:
            frozen = {name: table_of(name, arms, 400) for name, arms in whole.items() if n == 500 or name != "answer_f1"}
        here = setting(plan, tables, frozen=frozen)
        found = adjusted(here, [compare(here, name, role) for name, role in planned_roles(here)])
        false = false or any(live_words.beyond_chance(each) for each in found if each.metric.name in ("R@5", "RR@10"))
    return false


def table_of(name, arms, n):
    control, treatment = (UnitSums(totals=values[:n], counts=np.ones(n), n_trials=n) for values in arms)
    return SplitScores(metric=metric_named(name), control=control, treatment=treatment)


def test_equal_secondary_metrics_are_called_different_at_any_look_at_most_at_alpha():
    rng, plan = np.random.default_rng(45), experiment(secondary=("R@5", "RR@10", "answer_f1"), units_planned=800)
    false = sum(families(rng, plan) for _ in range(FAMILIES))
    assert 0 < tell("an equal secondary metric called different", false, FAMILIES) <= ALPHA


def refuses(here):
    """Whether a health check refuses the verdict."""
    found = health_checks(here, [compare(here, "nDCG@10", "primary")], sample_ratios(here))
    return any(check.state == "fail" for check in found)


def test_a_planted_mismatch_is_refused_and_an_honest_split_hardly_ever():
    rng, plan, refused = np.random.default_rng(43), experiment(min_effect=0.02), {0.0: 0, 0.4: 0}
    for lost in refused:
        for _ in range(200):
            world = World(rng, effect=0.1, lost=lost)
            refused[lost] += any(refuses(here) for _, here in world.looks(plan, None))
    assert tell("honest split refused", refused[0.0], 200) <= 0.03
    assert tell("40 % of the treatment's users lost, refused", refused[0.4], 200) >= 0.95


def test_the_automatic_stop_is_silent_at_the_margin_and_stops_a_regression_in_time():
    rng = np.random.default_rng(44)
    plan = experiment(guardrails=(Guardrail(name="failed", max_increase=0.02),), units_planned=600)
    stopped_at = {0.02: [], 0.10: []}
    for worse, ends in stopped_at.items():
        for _ in range(60):
            world = World(rng)
            failed = (rng.random(world.user.size) < 0.01 + worse * world.arm).astype(float)
            for n, table in world.tables(failed, FAILED, ends=range(LOOK, 2_000 + 1, LOOK)):
                who = exposure((table.control.counts.size, table.treatment.counts.size), (n, n))
                if guardrail_alarms({"failed": table}, who, plan):
                    ends.append(n)
                    break
    assert tell("stopped at the margin", len(stopped_at[0.02]), 60) <= ALPHA
    assert tell("ten points more failures stopped", len(stopped_at[0.10]), 60) >= 0.95
    assert float(np.median(stopped_at[0.10])) <= 1_000
