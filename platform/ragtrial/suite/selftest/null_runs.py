"""A/A runs of the whole chain: assigned, logged to SQL, scored, read, analysed, decided; with equal arms, so that every finding is false.

Trials are drawn from real ones (`material`), for a run that embeds and searches anew would take a hundred times as long and say the same:
where arms are equal it does not matter what answers are. Everything behind the answers is the product's own.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ragtrial.analysis.analysing import analyse
from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_comparing import fit_of
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.db.scratch import scratch_database
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Score
from ragtrial.domain.selftest import Design
from ragtrial.errors import NotEnoughDataError
from ragtrial.splitting import Split, initial_state, pseudonym
from ragtrial.stats.paired import paired_t
from ragtrial.suite.concluding import failures
from ragtrial.suite.live_analysis import live_setting
from ragtrial.suite.selftest.material import MIN_EFFECT, Material, read_material

USERS, VISITS, LOOK_EVERY, PLANNED = 500, 700, 100, 300
"""At about 450 visits the planned number of units is there, so that both kinds of interval have their say."""
FAVOURITES = 6
ASKED = 120
LOOKS: dict[Design, int] = {"live": VISITS // LOOK_EVERY, "paired": 1}

_LIVE, _PAIRED = 21, 22  # streams of the seed
_SECONDS_BETWEEN = 60.0
_DECIDED = ("adopt custom", "keep baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class NullRun:
    """One A/A run.

    Attributes:
        design: Live or paired.
        run: Its number.
        verdict: It decided for an arm, at any look.
        refused: A health check refused the verdict, at any look.
        stopped: A guardrail was broken, at any look.
        naive: A test that is valid for one look was below alpha, at any look.
    """

    design: Design
    run: int
    verdict: bool = False
    refused: bool = False
    stopped: bool = False
    naive: bool = False


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Runs that share a scratch database.

    Attributes:
        design: Live or paired.
        runs: Their numbers.
        seed: Where every random step comes from.
        material: The file that holds it.
        beside: URL beside which the scratch database is made.
        name: Of that.
        folder: For files.
    """

    design: Design
    runs: tuple[int, ...]
    seed: int
    material: Path
    beside: str
    name: str
    folder: Path


def run_chunk(chunk: Chunk) -> tuple[NullRun, ...]:
    """Do these runs.

    Raises:
        RagtrialError: A store refused.
    """
    material = read_material(chunk.material)
    with scratch_database(chunk.beside, chunk.name, folder=chunk.folder) as url:
        if chunk.design == "paired":
            return tuple(_paired(url, material, chunk.seed, number) for number in chunk.runs)
        return tuple(_live(url, material, chunk.seed, number) for number in chunk.runs)


def _live(url: str, material: Material, seed: int, number: int) -> NullRun:
    """Users come back, are split by the product's hash, and after every 100 queries somebody looks."""
    rng = np.random.default_rng([seed, _LIVE, number])
    experiment = _live_experiment(material.live, seed, number)
    found = NullRun(design="live", run=number)
    trials = _coming(experiment, material, rng, number)
    begin = material.trials[0][0].at
    with (
        LiveRecorder(url, experiment, facts=material.facts, clock=lambda: begin, durability="process") as recorder,
        LiveReader(url) as reader,
    ):
        for look in range(LOOKS["live"]):
            _record(recorder, [next(trials) for _ in range(LOOK_EVERY)])
            now = begin + (look + 1) * LOOK_EVERY * _SECONDS_BETWEEN
            found = _looked(found, experiment, reader, recorder.live_id, now)
    return found


def _live_experiment(control: Experiment, seed: int, number: int) -> Experiment:
    if control.live is None:
        raise ValueError("the control has no section 'live'")
    metrics = replace(control.live.metrics, primary=PrimaryMetric(name=control.live.metrics.primary.name, min_effect=MIN_EFFECT))
    live = replace(control.live, metrics=metrics, salt=f"selftest-{seed}-aa-{number}", units_planned=PLANNED)
    return replace(control, name=f"{control.name}-aa-{number}", live=live)


def _coming(
    experiment: Experiment, material: Material, rng: np.random.Generator, number: int
) -> Iterator[tuple[LiveTrial, tuple[Score, ...]]]:
    """Visits in order of arrival: a few users come often, and each has favourite questions, so that users differ in their level."""
    split, state = Split.of(experiment), initial_state(experiment)
    activity = rng.lognormal(0.0, 1.0, USERS)
    favourites = rng.integers(len(material.trials), size=(USERS, FAVOURITES))
    users = rng.choice(USERS, size=VISITS, p=activity / activity.sum())
    picks = rng.integers(FAVOURITES, size=VISITS)
    waited = rng.integers(len(material.trials), size=VISITS)
    begin = material.trials[0][0].at
    for place, (user, pick) in enumerate(zip(users.tolist(), picks.tolist(), strict=True)):
        unit = f"aa-{number}-{user}"
        assignment = split.assign(unit, state)
        template, scores = material.trials[favourites[user, pick]]
        trial_id = f"aa-{number}-{place}"
        yield (
            replace(
                template,
                trial_id=trial_id,
                request_id=trial_id,
                experiment=experiment.name,
                unit=pseudonym(unit),
                assignment=assignment,
                trial=replace(template.trial, arm=assignment.arm),
                waited_ms=material.trials[waited[place]][0].waited_ms,
                idempotency_key=None,
                at=begin + place * _SECONDS_BETWEEN,
            ),
            scores,
        )


def _record(recorder: LiveRecorder, batch: Sequence[tuple[LiveTrial, tuple[Score, ...]]]) -> None:
    recorder.log(*(trial for trial, _ in batch)).result()
    written: list[Future[None]] = [recorder.score(trial.trial_id, scores) for trial, scores in batch]
    for each in written:
        each.result()


def _looked(found: NullRun, experiment: Experiment, reader: LiveReader, live_id: int, now: float) -> NullRun:
    """What somebody would have seen, beside what was seen before."""
    setting = live_setting(experiment, reader, pictures=False, live_id=live_id, now=now)
    analysis = analyse_tables(setting)
    decision = analysis.verdict.decision
    broken = any(each.guardrail is not None and each.guardrail.state == "broken" for each in analysis.comparisons)
    try:
        naive = fit_of(setting.tables[experiment.metrics.primary.name], alpha=setting.plan.alpha).p_value < setting.plan.alpha
    except NotEnoughDataError:
        naive = False
    return dataclasses.replace(
        found,
        verdict=found.verdict or (decision in _DECIDED and not broken),
        refused=found.refused or decision == "refused",
        stopped=found.stopped or broken,
        naive=found.naive or naive,
    )


def _paired(url: str, material: Material, seed: int, number: int) -> NullRun:
    """Some of the queries; which of the two models is the control's is tossed for each, so that the arms differ by chance alone."""
    rng = np.random.default_rng([seed, _PAIRED, number])
    asked = sorted(rng.choice(list(material.by_query), size=min(ASKED, len(material.by_query)), replace=False).tolist())
    kept = set(asked)
    gold = replace(
        material.gold,
        queries=tuple(query for query in material.gold.queries if query.query_id in kept),
        judgments=tuple(judgment for judgment in material.gold.judgments if judgment.query_id in kept),
    )
    experiment, arms = material.paired, (material.paired.control.name, material.paired.treatment.name)
    evaluation_id = f"aa-{number}"
    evaluation = replace(
        material.evaluation,
        evaluation_id=evaluation_id,
        config_digest=f"aa-{number}",
        gold_fingerprint=gold.fingerprint,
        n_queries=len(asked),
        finished_at=None,
    )
    batch = []
    for query_id, turned in zip(asked, rng.integers(2, size=len(asked)).tolist(), strict=True):
        pair = material.by_query[query_id]
        batch += [(replace(trial, arm=arm), scores) for arm, (trial, scores) in zip(arms, pair[::-1] if turned else pair, strict=True)]
    with Recorder(url) as recorder, Reader(url) as reader:
        recorder.open_evaluation(evaluation, experiment=experiment, gold=gold, n_trials_planned=len(batch))
        recorder.append(evaluation_id, batch)
        recorder.finish(evaluation_id)
        trials, tables = reader.trials(evaluation_id), reader.scores(evaluation_id)
        analysis = analyse(
            evaluation=reader.evaluation(evaluation_id),
            experiment=experiment,
            gold=reader.gold(evaluation_id),
            tables=tables,
            failures=failures(trials),
            trials=trials,
            scorers=reader.scorers(evaluation_id),
        )
    differences = tables[experiment.metrics.primary.name].paired(*arms).differences
    return NullRun(
        design="paired",
        run=number,
        verdict=analysis.verdict.decision in _DECIDED,
        refused=analysis.verdict.decision == "refused",
        naive=bool(paired_t(differences, alpha=experiment.analysis.alpha).p_value < experiment.analysis.alpha),
    )


def chunks_of(
    design: Design, missing: Sequence[int], *, seed: int, material: Path, beside: str, token: str, folder: Path, size: int
) -> list[Chunk]:
    """The runs that are still to do, in parts of about equal size."""
    n = math.ceil(len(missing) / size)
    parts = [tuple(int(each) for each in part) for part in np.array_split(np.array(missing, dtype=int), n)] if n else []
    return [
        Chunk(
            design=design,
            runs=part,
            seed=seed,
            material=material,
            beside=beside,
            name=f"ragtrial_selftest_{token}_{design}_{part[0]}",
            folder=folder,
        )
        for part in parts
    ]
