"""Live analyses with one of everything: what every form of live report has to show."""

import dataclasses

import numpy as np

from ragtrial.analysis.live import analyse_tables
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_scores import SplitScores, VoteCounts
from ragtrial.domain.live_trial import Outage
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.verdict import Check
from ragtrial.report.live_content import LiveContent
from unit.live_parts import DAY, START, Clock, experiment, exposure, rates, setting, split, timed, votes_by_unit, within

GUARDRAILS = (
    Guardrail(name="failed", max_increase=0.02),
    Guardrail(name="latency_ms", max_relative_increase=0.25),
    Guardrail(name="thumbs_down", max_increase=0.03),
    Guardrail(name="abstained", max_relative_increase=0.5),
)
VOTES = (
    VoteCounts(arm="baseline", solicited=False, trials=2800, up=90, down=60, withdrawn=2, late=1),
    VoteCounts(arm="baseline", solicited=True, trials=150, up=40, down=20, withdrawn=0, late=0),
    VoteCounts(arm="custom", solicited=False, trials=2850, up=200, down=100, withdrawn=1, late=3),
    VoteCounts(arm="custom", solicited=True, trials=160, up=60, down=15, withdrawn=0, late=0),
)


def build(
    *,
    effect: float = 0.06,
    n: int = 1_000,
    units_planned: int | None = 1_800,
    down: float = 0.02,
    reached: bool = True,
    lost: int = 0,
    slow: float = 0.0,
) -> LiveContent:
    """A split experiment of ten days; `lost` units are missing in the treatment, `down` is its rate of thumbs down.

    By `slow` the treatment's first units, those of the planned size, are worse on the primary metric than they are in the end.
    """
    rng = np.random.default_rng(5)
    plan = experiment(
        units_planned=units_planned, secondary=("citation_clicked",), guardrails=GUARDRAILS, exploratory=("copied",), min_effect=0.01
    )
    primary = split(rng, "nDCG@10", n, control=0.5, treatment=0.5 + effect)
    control, treatment = (
        dataclasses.replace(arm, n_trials=arm.n_trials + 40, unscored={"no gold query with this text": 30, "the trial failed": 10})
        for arm in (primary.control, primary.treatment)
    )
    primary = SplitScores(metric=primary.metric, control=control, treatment=treatment)
    counts = (control.counts, treatment.counts)
    tables = {
        "nDCG@10": primary,
        "citation_clicked": rates(rng, "citation_clicked", counts, 0.3, 0.33),
        "failed": rates(rng, "failed", counts, 0.004, 0.004),
        "latency_ms": split(rng, "latency_ms", n, control=200.0, treatment=212.0),
        "thumbs_down": rates(rng, "thumbs_down", counts, 0.02, down),
        "abstained": rates(rng, "abstained", counts, 0.05, 0.05),
        "copied": rates(rng, "copied", counts, 0.1, 0.1),
    }
    waits = {
        arm: (np.repeat(np.arange(n), 3), rng.lognormal(5.2 + shift, 0.4, 3 * n)) for arm, shift in (("baseline", 0.0), ("custom", 0.05))
    }
    changes = {
        "frozen": {
            name: _first(tables[name], (units_planned or 0) // 2, lacks=lacks)
            for name, lacks in (("nDCG@10", slow), ("citation_clicked", 0.0))
        }
        if reached
        else {},
        "exposure": exposure(
            (n, n - lost),
            (control.n_trials, treatment.n_trials),
            in_both=3,
            excluded={"no unit": 41, "override": 12, "in both arms": 17},
            failed={"baseline": n // 100, "custom": n // 90},
            erased={"custom": 4},
        ),
        "votes": VOTES,
        "votes_by_unit": votes_by_unit(VOTES),
        "latencies": waits,
        "timed": timed(primary, rng),
        "assigned": timed(tables["failed"], rng),
        "traffic": (
            TrafficState(version=1, share=0.1, treatment=0.5, at=START),
            TrafficState(version=2, share=1.0, treatment=0.5, actor="ops", reason="ramp", at=START + DAY),
        ),
        "outages": (Outage(start=START + DAY, end=START + DAY + 60, refused=7, unlogged=0, reason="the database <b>is gone</b>"),),
        "given": (Check(name="leakage", state="pass", detail="no gold query is among the training texts"),),
        "clock": Clock(
            now=START + 10 * DAY, first=START, last=START + 10 * DAY - 60, planned_at=START + 8 * DAY if reached and units_planned else None
        ),
    }
    return LiveContent(
        experiment=plan,
        analysis=analyse_tables(setting(plan, tables, **changes)),
        made_at=START + 10 * DAY,
        models={"baseline": "hashing-a@1", "custom": "hashing-b@1"},
        environment={"python": "3.12", "ragtrial": "0.1"},
    )


def _first(table: SplitScores, n: int, *, lacks: float) -> SplitScores:
    """What the first units of each arm had; the treatment's by so much less."""
    arms = (
        dataclasses.replace(
            arm, totals=arm.totals[:n] - less * arm.counts[:n], counts=arm.counts[:n], n_trials=int(arm.counts[:n].sum()), unscored={}
        )
        for arm, less in ((table.control, 0.0), (table.treatment, lacks))
    )
    return SplitScores(metric=table.metric, control=next(arms), treatment=next(arms))


def interleaved() -> LiveContent:
    """Mode interleaved: one sample of preferences."""
    rng = np.random.default_rng(6)
    plan = experiment(mode="interleaved", primary="preference", min_effect=0.05, exploratory=("failed",))
    table = within(rng, "preference", 400, difference=0.5, control=None, spread=0.6)
    return LiveContent(experiment=plan, analysis=analyse_tables(setting(plan, {"preference": table})), made_at=START + 10 * DAY)
