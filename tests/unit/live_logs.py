"""Live experiments that are large enough to conclude something from, logged as a service would, in each mode."""

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert

from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow
from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveScoreRow
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import Assignment, LiveMetrics, LiveSpec, Mode
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.planned import Guardrail, PrimaryMetric
from ragtrial.domain.trial import Trial
from unit.db import live_samples, samples
from unit.db.live_samples import START, answered, failed, live_trial, taking, vote
from unit.db.rolling_samples import Log

ARMS = ("baseline", "custom")
FACTS = {
    "parity": {"ok": True, "digest": "d", "declared": ["embedding"], "undeclared": []},
    "arms": [{"arm": "custom", "model": {"name": "hashing-b", "revision": "1"}}],
    "environment": {"python": "3.12"},
}
GUARDRAILS = (
    Guardrail(name="failed", max_increase=0.02),
    Guardrail(name="latency_ms", max_relative_increase=0.25),
    Guardrail(name="thumbs_down", max_increase=0.05),
    Guardrail(name="abstained", max_relative_increase=0.5),
    Guardrail(name="nDCG@10", max_decrease=0.02),
)


def experiment(mode: Mode = "split", *, name: str = "handbook", guardrails: tuple[Guardrail, ...] | None = None, **live: Any) -> Experiment:
    """Decided by nDCG@10, or by the preference, with guardrails that the mode can have."""
    fitting = {"split": GUARDRAILS, "shadow": (*GUARDRAILS[:2], *GUARDRAILS[3:]), "interleaved": ()}[mode]
    primary = PrimaryMetric(name="preference" if mode == "interleaved" else "nDCG@10")
    secondary = () if mode == "interleaved" else ("abstained",) if guardrails is None else ()
    metrics = LiveMetrics(primary=primary, secondary=secondary, guardrails=fitting if guardrails is None else guardrails)
    return dataclasses.replace(samples.EXPERIMENT, name=name, live=LiveSpec(mode=mode, metrics=metrics, **live))


def registered(url: str, plan: Experiment, *, facts: Mapping[str, Any] = FACTS, start: float = START) -> int:
    with LiveRecorder(url, plan, facts=facts, clock=live_samples.Clock(start)) as recorder:
        return recorder.live_id


def fill(
    url: str, plan: Experiment, *, n_units: int = 260, seed: int = 3, first: int = 1, begin: float = START, scored: bool = True
) -> int:
    """Three days of users who come back; the treatment is better and slower. Returns the experiment's number."""
    assert plan.live is not None
    live_id, chance = registered(url, plan, start=begin), random.Random(seed)
    moments = sorted(begin + 86_400 * 3 * chance.random() for _ in range(3 * n_units))
    trials: list[LiveTrial] = []
    for place, at in enumerate(moments):
        trials += _asked(plan.live.mode, f"{plan.name}-{first + place}", chance.randrange(n_units), at, chance)
    log = Log(url, live_id)
    log.trials(list(enumerate(trials, start=first)))
    for number, trial in enumerate(trials, start=first):
        if trial.served and chance.random() < 0.25:
            thumb = chance.choice(["up", "up", "down", "withdrawn"])
            source = "p1" if trial.teams else None
            log.vote(number, vote(trial.trial_id, f"v{number}", thumb, source=source, at=trial.at + 5))
    log.close()
    if scored:
        _score(url, live_id, trials, first, chance)
    return live_id


def _asked(mode: Mode, trial_id: str, unit: int, at: float, chance: random.Random) -> list[LiveTrial]:
    """The trials of one query."""
    name, waited = f"u{unit}", chance.uniform(20, 60)
    if mode == "interleaved":
        teams = {"p3": "control", "p1": chance.choice(["treatment", "treatment", "control", "both"])}
        assignment = Assignment(unit=None, arm="interleaved", reason="split", bucket=0, propensity=1.0, version=1)
        made = answered("interleaved")
        return [live_trial(trial_id, name, made=made, teams=teams, assignment=assignment, waited_ms=waited, at=at)]  # type: ignore[arg-type]
    arm = ARMS[unit % 2] if mode == "split" else "baseline"
    found = [live_trial(trial_id, name, arm, made=_made(arm, chance), waited_ms=waited * (1.1 if arm == "custom" else 1), at=at)]
    if mode == "shadow" and chance.random() < 0.9:
        twin = _made("custom", chance)
        found.append(live_trial(f"{trial_id}-twin", name, "custom", request_id=trial_id, made=twin, waited_ms=waited, at=at))
    return found


def _made(arm: str, chance: random.Random) -> Trial:
    kind = chance.random()
    if kind < 0.02:
        return failed(arm)
    return answered(arm, text="") if kind < 0.1 else taking(arm, chance.uniform(5, 50))


def _score(url: str, live_id: int, trials: list[LiveTrial], first: int, chance: random.Random) -> None:
    rows = []
    for number, trial in enumerate(trials, start=first):
        if trial.trial.failure is None and chance.random() < 0.8:
            value = min(1.0, max(0.0, chance.gauss(0.6 if trial.trial.arm == "custom" else 0.5, 0.2)))
            row = {"trial": number, "metric": "nDCG@10", "live_id": live_id, "value": value, "unscored": None, "scorer": "r/1"}
            rows.append({**row, "n_calls": 0, "cost_usd": None, "at": trial.at, "opinions": None})
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(LiveScoreRow), rows)
    engine.dispose()


def prefer(url: str, live_id: int, choices: list[tuple[str, str, str]], *, left: int, right: int, left_arm: str) -> None:
    """Comparisons of two logged trials: an id, whose it is, and what was chosen."""
    engine = open_engine(url)
    with engine.begin() as connection:
        for name, unit, choice in choices:
            row = {"comparison_id": name, "live_id": live_id, "left_trial": left, "right_trial": right, "left_arm": left_arm}
            connection.execute(insert(LiveComparisonRow), {**row, "unit": unit, "caller": "page", "idempotency_key": None, "at": START})
            said = {"comparison_id": name, "key": "k", "choice": choice, "comment": "", "at": START}
            connection.execute(insert(LivePreferenceRow), said)
    engine.dispose()
