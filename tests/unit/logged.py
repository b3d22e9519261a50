"""Writes the made-up evaluation of the reports to a database, as a run would."""

import dataclasses
from collections import defaultdict

from ragtrial.db.recorder import Recorder
from ragtrial.domain.score import Score
from unit.report.samples import Sample


def sample(n: int = 60, *, repetitions: int = 1) -> Sample:
    """150 queries take a second; 60 have failures, abstentions and queries without anything relevant, too."""
    return Sample(n=n, same=False, parity=True, repetitions=repetitions, guardrail=0.25, lift=0.45)


def log(url: str, made: Sample, *, finish: bool = True) -> str:
    """The evaluation's id, under which it is in the database."""
    evaluation = dataclasses.replace(made.evaluation, finished_at=None)
    scores: defaultdict[tuple[str, str], list[list[Score]]] = defaultdict(lambda: [[] for _ in range(made.experiment.repetitions)])
    for name, table in made.tables.items():
        seen: defaultdict[tuple[str, str], int] = defaultdict(int)
        for query, arm, value, unscored in zip(table.query, table.arm, table.value, table.unscored, strict=True):
            key = (str(arm), table.query_ids[query])
            score = Score(metric=name, value=None if unscored else float(value), unscored=unscored, scorer="made-up/1")
            scores[key][seen[key]].append(score)
            seen[key] += 1
    with Recorder(url) as recorder:
        recorder.open_evaluation(evaluation, experiment=made.experiment, gold=made.gold, n_trials_planned=len(made.trials))
        batch = [(trial, tuple(scores[trial.arm, trial.query_id][trial.repetition])) for trial in made.trials]
        recorder.append(evaluation.evaluation_id, batch, list(made.passages.values()))
        if finish:
            recorder.finish(evaluation.evaluation_id)
    return evaluation.evaluation_id
