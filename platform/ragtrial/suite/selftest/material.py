"""What A/A runs are made of: real trials with their scores, from the control and from an evaluation on the same stores."""

import functools
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from ragtrial.formats.experiment import sql_url
from ragtrial.suite.running import run
from ragtrial.suite.selftest.driving import Look
from ragtrial.suite.selftest.world import World

MIN_EFFECT = 0.0001
"""Nothing is worth having below it, so that any verdict on equal arms but "undecided" and "too few" is a false one."""

_TRIALS = 400
_FILE = "material.pickle"

Scored = tuple[Trial, tuple[Score, ...]]
Held = tuple[Mapping[str, Any], tuple[tuple[LiveTrial, tuple[Score, ...]], ...]]
"""Facts that a service found when it was started, and trials that it logged, with their scores."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Trials to draw from.

    Attributes:
        live: The control's experiment.
        facts: What its service found when it was started: parity, models, checks.
        trials: Of either arm, which are the same, with their scores.
        paired: The experiment of the evaluation.
        evaluation: Of two models that know nothing of each other.
        gold: What was asked.
        by_query: Both models' trials of each query; which one is the control's is drawn anew in each run, so that neither arm is better.
    """

    live: Experiment
    facts: Mapping[str, Any]
    trials: tuple[tuple[LiveTrial, tuple[Score, ...]], ...]
    paired: Experiment
    evaluation: Evaluation
    gold: GoldSet
    by_query: Mapping[str, tuple[Scored, Scored]]


def live_trials(look: Look) -> Held:
    """Facts and trials of the control, while its log can be read."""
    return _trials(look.reader, look.live_id)


def _trials(reader: LiveReader, live_id: int) -> Held:
    found = [trial for trial in reader.recent(live_id, limit=_TRIALS) if trial.trial.failure is None]
    facts = next(each.facts for each in reader.experiments() if each.live_id == live_id)
    return facts, tuple((trial, reader.scores_of(trial.trial_id)) for trial in found)


def gather(world: World, control: Held) -> Path:
    """Evaluate two models on the gold set, and put everything into one file for the processes that run.

    Args:
        world: Where the control was driven.
        control: From `live_trials`.
    """
    prepared = world.prepared(world.experiment("paired", models="ab", metrics={"primary": {"name": "nDCG@10", "min_effect": MIN_EFFECT}}))
    evaluation_id = run(prepared)
    facts, trials = control
    with Reader(sql_url(prepared.file)) as reader:
        evaluation, gold = reader.evaluation(evaluation_id), reader.gold(evaluation_id)
        by_key = {(trial.arm, trial.query_id): trial for trial in reader.trials(evaluation_id)}
        scorer = reader.scorers(evaluation_id)
        tables = reader.scores(evaluation_id)
    arms = [arm.name for arm in prepared.experiment.arms]
    by_query = {}
    values = {name: table.paired(*arms) for name, table in tables.items() if name == prepared.experiment.metrics.primary.name}
    for name, table in values.items():
        for place, query_id in enumerate(table.query_ids):
            pair = [
                (by_key[arm, query_id], (Score(metric=name, value=float(column[place]), scorer=scorer[name]),))
                for arm, column in zip(arms, (table.control, table.treatment), strict=True)
            ]
            by_query[query_id] = (pair[0], pair[1])
    material = Material(
        live=world.file(world.folder / "control.yaml").experiment,
        facts=facts,
        trials=trials,
        paired=prepared.experiment,
        evaluation=evaluation,
        gold=gold,
        by_query=by_query,
    )
    path = world.folder / _FILE
    path.write_bytes(pickle.dumps(material))
    return path


@functools.lru_cache(maxsize=1)
def read_material(path: Path) -> Material:
    """What `gather` wrote, a moment ago and in a folder that nobody else can write to."""
    found: Material = pickle.loads(path.read_bytes())  # nosec B301 # noqa: S301 - our own file of this run, in a folder of mode 0700
    return found
