"""What A/A runs are made of: real trials with their scores, from the control and from an evaluation on the same stores."""

import functools
import json
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
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.settings import read_settings
from ragtrial.suite.running import run
from ragtrial.suite.selftest.world import World, own_settings

MIN_EFFECT = 0.0001
"""Nothing is worth having below it, so that any verdict on equal arms but "undecided" and "too few" is a false one."""

_TRIALS = 400
_FILE = "material.json"

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


def live_trials(reader: LiveReader, live_id: int) -> Held:
    """Facts and trials of a live experiment."""
    found = [trial for trial in reader.recent(live_id, limit=_TRIALS) if trial.trial.failure is None]
    facts = next(each.facts for each in reader.experiments() if each.live_id == live_id)
    return facts, tuple((trial, reader.scores_of(trial.trial_id)) for trial in found)


def gather(world: World, live_id: int) -> Path:
    """Evaluate two models on the gold set, and write where everything is for the processes that run.

    Args:
        world: Where the control was driven.
        live_id: The control's number.
    """
    prepared = world.prepared(world.experiment("paired", models="ab", metrics={"primary": {"name": "nDCG@10", "min_effect": MIN_EFFECT}}))
    path = world.folder / _FILE
    found = {"live": "control.yaml", "live_id": live_id, "paired": prepared.file.path.name, "evaluation_id": run(prepared)}
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


@functools.lru_cache(maxsize=1)
def read_material(path: Path) -> Material:
    """What the file of `gather` leads to: experiments beside it, trials in their scratch database; once for each process."""
    found, settings = json.loads(path.read_text(encoding="utf-8")), own_settings(read_settings())
    live, paired = (load_experiment(path.parent / found[name], settings) for name in ("live", "paired"))
    with LiveReader(sql_url(live)) as live_reader:
        facts, trials = live_trials(live_reader, found["live_id"])
    with Reader(sql_url(paired)) as reader:
        evaluation, gold = reader.evaluation(found["evaluation_id"]), reader.gold(found["evaluation_id"])
        by_query = _pairs(reader, paired.experiment, found["evaluation_id"])
    return Material(
        live=live.experiment, facts=facts, trials=trials, paired=paired.experiment, evaluation=evaluation, gold=gold, by_query=by_query
    )


def _pairs(reader: Reader, experiment: Experiment, evaluation_id: str) -> dict[str, tuple[Scored, Scored]]:
    """Both models' trials of each query with their scores of the primary metric."""
    arms, primary = (experiment.control.name, experiment.treatment.name), experiment.metrics.primary.name
    by_key = {(trial.arm, trial.query_id): trial for trial in reader.trials(evaluation_id)}
    table, scorer = reader.scores(evaluation_id)[primary].paired(*arms), reader.scorers(evaluation_id)[primary]

    def scored(arm: str, query_id: str, value: float) -> Scored:
        return by_key[arm, query_id], (Score(metric=primary, value=value, scorer=scorer),)

    values = zip(table.query_ids, table.control.tolist(), table.treatment.tolist(), strict=True)
    return {query_id: (scored(arms[0], query_id, left), scored(arms[1], query_id, right)) for query_id, left, right in values}
