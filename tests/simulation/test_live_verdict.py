"""The live verdict itself under repeated looks: how often it is wrong on equal arms, what it finds, and what it refuses.

Simulated users come back, a few of them very often; after every 100 queries the whole analysis is made as if somebody looked. Seeds are
fixed; the rates are shown by `pytest tests/simulation/test_live_verdict.py --log-cli-level=INFO`.
"""

import logging

import numpy as np
import pytest

from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_comparing import compare
from ragtrial.analysis.live_deciding import decide_live
from ragtrial.analysis.live_guardrails import guardrail_alarms
from ragtrial.domain.live_scores import SplitScores, UnitSums
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import Guardrail
from unit.live_parts import DAY, START, Clock, experiment, exposure, setting

pytestmark = pytest.mark.slow

ALPHA = 0.05
RUNS = 1_000
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
        self.arm = arm_of[self.user]
        level = rng.normal(0.5, 0.2, users)
        self.value = level[self.user] + effect * self.arm + rng.normal(0, 0.2, self.user.size)
        _, first = np.unique(self.user, return_index=True)
        self.came = np.sort(first)

    def planned_at(self, units):
        """Queries until the planned number of users was there, or None."""
        return int(self.came[units - 1]) + 1 if self.came.size >= units else None

    def sums(self, values, n, arm, metric):
        users, codes = np.unique(self.user[:n][self.arm[:n] == arm], return_inverse=True)
        counts = np.bincount(codes, minlength=users.size).astype(float)
        totals = np.bincount(codes, weights=values[:n][self.arm[:n] == arm], minlength=users.size)
        return UnitSums(totals=totals, counts=counts, n_trials=int(counts.sum()))

    def table(self, n, values=None, metric=METRIC):
        values = self.value if values is None else values
        return SplitScores(metric=metric, control=self.sums(values, n, 0, metric), treatment=self.sums(values, n, 1, metric))


def seen(world, plan, n, *, planned_at):
    table = world.table(n)
    sizes = (table.control.counts.size, table.treatment.counts.size)
    reached = planned_at is not None and n >= planned_at
    return setting(
        plan,
        {"nDCG@10": table},
        frozen={"nDCG@10": world.table(planned_at)} if reached else {},
        exposure=exposure(sizes, (table.control.n_trials, table.treatment.n_trials)),
        clock=Clock(now=START + DAY, first=START, last=START, planned_at=START if reached else None),
    )


def look(world, plan, n, *, planned_at):
    return analyse_tables(seen(world, plan, n, planned_at=planned_at)).verdict.decision


def decision(world, plan, n, *, planned_at):
    """The verdict without the health checks: what they refuse is no false verdict, so this is the harder case."""
    here = seen(world, plan, n, planned_at=planned_at)
    return decide_live(here, [compare(here, "nDCG@10", "primary")], []).verdict.decision


@pytest.mark.parametrize("planned", [600, None])
def test_looking_after_every_hundred_queries_decides_falsely_at_most_at_alpha(planned):
    # Nothing is worth having below 0.0001, so that any verdict but "undecided" and "too few" on equal arms is a false one.
    rng, plan, false = np.random.default_rng(41), experiment(min_effect=0.0001, units_planned=planned), 0
    for _ in range(RUNS):
        world = World(rng)
        planned_at = None if planned is None else world.planned_at(planned)
        found = (decision(world, plan, n, planned_at=planned_at) for n in range(LOOK, QUERIES + 1, LOOK))
        false += any(each in ("adopt custom", "keep baseline") for each in found)
    assert tell(f"a verdict on equal arms, planned {planned}", false, RUNS) <= ALPHA


def test_a_planted_effect_is_found_and_before_the_planned_size_where_it_is_large():
    rng, plan = np.random.default_rng(42), experiment(min_effect=0.02, units_planned=600)
    ends = {0.08: [], 0.15: []}
    for effect, decided in ends.items():
        for _ in range(100):
            world = World(rng, effect=effect)
            planned_at = world.planned_at(600)
            looks = (n for n in range(LOOK, QUERIES + 1, LOOK) if look(world, plan, n, planned_at=planned_at) == "adopt custom")
            decided.append((next(looks, None), planned_at))
    assert tell("effect of 0.08 adopted", sum(n is not None for n, _ in ends[0.08]), 100) >= 0.75
    assert tell("effect of 0.15 adopted early", sum(n is not None and n < at for n, at in ends[0.15]), 100) >= 0.8


def test_a_planted_mismatch_is_refused_and_an_honest_split_hardly_ever():
    rng, plan, refused = np.random.default_rng(43), experiment(min_effect=0.02), {0.0: 0, 0.4: 0}
    for lost in refused:
        for _ in range(200):
            world = World(rng, effect=0.1, lost=lost)
            refused[lost] += any(look(world, plan, n, planned_at=None) == "refused" for n in range(LOOK, world.user.size + 1, LOOK))
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
            for n in range(LOOK, 2_000 + 1, LOOK):
                table = world.table(n, failed, FAILED)
                who = exposure((table.control.counts.size, table.treatment.counts.size), (n, n))
                if guardrail_alarms({"failed": table}, who, plan):
                    ends.append(n)
                    break
    assert tell("stopped at the margin", len(stopped_at[0.02]), 60) <= ALPHA
    assert tell("ten points more failures stopped", len(stopped_at[0.10]), 60) >= 0.95
    assert float(np.median(stopped_at[0.10])) <= 1_000
