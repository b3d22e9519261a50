"""From the SQL log to analysis and reports: the same whether the evaluation was just run, resumed, or is a year old."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.analysis import label_rounds
from ragtrial.analysis.analysing import analyse
from ragtrial.analysis.outcomes import outcomes_of
from ragtrial.analysis.setting import Setting
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.label import LABEL_WORDS
from ragtrial.domain.score import LoggedOpinion, ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis
from ragtrial.errors import InputError, StoreError
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import load_experiment, logged_experiment, resolve_path, sql_url
from ragtrial.formats.trec import write_qrels, write_run
from ragtrial.report.content import ReportContent, build_content
from ragtrial.report.files import write_reports
from ragtrial.report.summary import CONCLUSION_FORM, Summary, as_document, summarise
from ragtrial.suite.model_records import note_evaluation

LABELS_WAIT_S = 30.0
"""How long nobody must have labelled an answer before conclusions take the new labels in."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation came to.

    Attributes:
        evaluation: The run.
        analysis: What was concluded.
        content: What every form of report says.
        files: Written reports by name; empty where none were asked for.
        not_stored: Why the conclusion could not be stored for the dashboard; None where it was, and where it was not to be.
    """

    evaluation: Evaluation
    analysis: Analysis
    content: ReportContent
    files: dict[str, Path]
    not_stored: str | None = None


def find_evaluation(reader: Reader, experiment: str, evaluation_id: str | None) -> Evaluation:
    """The evaluation of this id, or the experiment's latest finished one.

    Raises:
        InputError: There is none.
    """
    if evaluation_id is not None:
        known = [evaluation.evaluation_id for evaluation in reader.evaluations(experiment)]
        if evaluation_id not in known:
            raise InputError(
                f"no evaluation {evaluation_id!r} of {experiment!r} is in the database: there are {', '.join(known) or 'none'}"
            )
        return reader.evaluation(evaluation_id)
    finished = [evaluation for evaluation in reader.evaluations(experiment) if evaluation.finished_at is not None]
    if not finished:
        raise InputError(f"no finished evaluation of {experiment!r} is in the database: run ragtrial evaluate first, or resume one")
    return finished[-1]


def conclude_file(path: Path, evaluation_id: str | None, *, output: Path | None) -> Outcome:
    """`conclude` for the experiment of a file, under the plan that the file holds now.

    Raises:
        InputError: There is no such evaluation, or it is of another experiment.
    """
    file = load_experiment(path)
    with Reader(sql_url(file)) as reader:
        evaluation = find_evaluation(reader, file.experiment.name, evaluation_id)
        registry = resolve_path(file.folder, file.experiment.stores.registry)
        return conclude(reader, evaluation, file.experiment, output=output, store=sql_url(file), registry=registry)


def conclude(
    reader: Reader,
    evaluation: Evaluation,
    experiment: Experiment,
    *,
    output: Path | None = None,
    store: str | None = None,
    registry: Path | None = None,
) -> Outcome:
    """Analyse an evaluation from what is in SQL, and write the reports where an output folder is given.

    Args:
        reader: Of the log.
        evaluation: Finished.
        experiment: The plan to analyse it under.
        output: Folder for the reports.
        store: URL of the log; the conclusion is stored there for the dashboard where the plan is the evaluation's own. A log that can't be
            written to is no reason to have no result: `Outcome.not_stored` says so.
        registry: Folder of the model registry, where the verdict is noted on the models that ran, under the same condition. One that can't be
            written to is no reason to have no result either.

    Raises:
        InputError: The evaluation is not finished.
    """
    logged = _Logged.of(reader, evaluation)
    analysis = logged.analysis(reader, experiment)
    shown = {hit.passage_id for trial in logged.trials if trial.ranking is not None for hit in trial.ranking.hits}
    judged = {judgment.target_id for judgment in logged.gold.judgments}
    content = build_content(
        evaluation=evaluation,
        experiment=experiment,
        analysis=analysis,
        gold=logged.gold,
        tables=logged.tables,
        trials=logged.trials,
        passages=reader.passages(evaluation.evaluation_id, sorted(shown | judged)),
        opinions=logged.opinions,
    )
    not_stored = None
    if store is not None and experiment.plan_digest() == evaluation.plan_digest:
        try:
            logged.store(store, content)
        except StoreError as error:
            not_stored = str(error)
    if registry is not None and experiment.plan_digest() == evaluation.plan_digest:
        note_evaluation(Registry(registry), evaluation, analysis, alpha=experiment.analysis.alpha)
    files = {} if output is None else write_reports(output, content)
    if output is not None:
        files |= _trec_files(output, evaluation, logged.trials, logged.gold.qrels())
    return Outcome(evaluation=evaluation, analysis=analysis, content=content, files=files, not_stored=not_stored)


def conclude_into(url: str, evaluation_id: str) -> Summary:
    """Conclude a finished evaluation from SQL alone, under the plan in the log, and store that for the dashboard.

    Raises:
        InputError: There is no such evaluation, it is not finished, or its plan is none that this version understands.
        StoreError: The database is out of reach or refuses.
    """
    with Reader(url) as reader:
        evaluation = reader.evaluation(evaluation_id)
        logged = _Logged.of(reader, evaluation)
        experiment = logged_experiment(reader.experiment_plan(evaluation_id), f"the plan of evaluation {evaluation_id!r}")
        summary = summarise(
            evaluation=evaluation,
            experiment=experiment,
            analysis=logged.analysis(reader, experiment),
            gold=logged.gold,
            tables=logged.tables,
            trials=logged.trials,
        )
    logged.store(url, summary)
    return summary


def unconcluded(url: str, *, failed_too: bool = False, now: float | None = None) -> tuple[str, ...]:
    """The finished evaluations whose conclusion is missing, of another form, or older than labels of their experiment; oldest first.

    While people are labelling, their labels wait: a conclusion for each of them would be made in vain.

    Args:
        url: SQLAlchemy URL.
        failed_too: Also those that could not be concluded before from the same data.
        now: Seconds since 1970; default: the present.

    Raises:
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
    """
    quiet = (time.time() if now is None else now) - LABELS_WAIT_S
    with Reader(url) as reader, BoardReader(url) as board:
        made, labelled = board.made(), board.labelled_at()
        finished = [evaluation for evaluation in reader.evaluations() if evaluation.finished_at is not None]

    def is_stale(evaluation: Evaluation) -> bool:
        found = made.get(evaluation.evaluation_id)
        if found is None or found.form != CONCLUSION_FORM or (failed_too and found.problem is not None):
            return True
        return found.at < labelled.get(evaluation.experiment, 0.0) < quiet

    return tuple(evaluation.evaluation_id for evaluation in finished if is_stale(evaluation))


@dataclass(frozen=True, kw_only=True)
class _Logged:
    """What the log holds of a finished evaluation, as of `read_at`: what was logged later may not be in it."""

    read_at: float
    evaluation: Evaluation
    gold: GoldSet
    tables: Mapping[str, ScoreTable]
    trials: tuple[Trial, ...]
    opinions: tuple[LoggedOpinion, ...]
    scorers: Mapping[str, str]

    @classmethod
    def of(cls, reader: Reader, evaluation: Evaluation) -> "_Logged":
        if evaluation.finished_at is None:
            raise InputError(f"evaluation {evaluation.evaluation_id!r} is not finished: ragtrial evaluate ... --resume goes on with it")
        return cls(
            read_at=time.time(),
            evaluation=evaluation,
            gold=reader.gold(evaluation.evaluation_id),
            tables=reader.scores(evaluation.evaluation_id, None),
            trials=reader.trials(evaluation.evaluation_id),
            opinions=reader.opinions(evaluation.evaluation_id),
            scorers=reader.scorers(evaluation.evaluation_id),
        )

    def analysis(self, reader: Reader, experiment: Experiment) -> Analysis:
        return analyse(
            evaluation=self.evaluation,
            experiment=experiment,
            gold=self.gold,
            tables=self.tables,
            failures=failures(self.trials),
            opinions=self.opinions,
            trials=self.trials,
            scorers=self.scorers,
            labels=reader.labels(self.evaluation.experiment),
        )

    def store(self, url: str, summary: Summary) -> None:
        store_conclusion(
            url,
            self.evaluation.evaluation_id,
            form=CONCLUSION_FORM,
            made_at=self.read_at,
            document=as_document(summary),
            outcomes=outcomes_of(
                experiment=summary.experiment, analysis=summary.analysis, gold=self.gold, tables=self.tables, trials=self.trials
            ),
            queues=self._queues(summary.experiment),
        )

    def _queues(self, experiment: Experiment) -> dict[str, dict[str, Any]]:
        """What people are asked, by judged metric: nothing of it depends on what they said."""
        plan = experiment.analysis
        setting = Setting(evaluation=self.evaluation, experiment=experiment, plan=plan, tables=self.tables, failures={})
        found = {}
        for metric in (name for name in experiment.metrics.names if name in LABEL_WORDS and name in self.tables):
            said = [each for each in self.opinions if each.metric == metric]
            found[metric] = label_rounds.as_document(label_rounds.draw(setting, metric, said, self.scorers[metric]))
        return found


def failures(trials: tuple[Trial, ...]) -> dict[str, dict[str, int]]:
    """Failed trials of each arm, counted by stage and kind."""
    counted: dict[str, Counter[str]] = {}
    for trial in trials:
        counts = counted.setdefault(trial.arm, Counter())
        if trial.failure is not None:
            counts[f"{trial.failure.stage}: {trial.failure.kind}"] += 1
    return {arm: dict(counts) for arm, counts in counted.items()}


def _trec_files(folder: Path, evaluation: Evaluation, trials: tuple[Trial, ...], qrels: dict[str, dict[str, int]]) -> dict[str, Path]:
    """Each line's ranking and the judgments in TREC format, for any other evaluator to check."""
    files = {"qrels.txt": folder / "qrels.txt"}
    write_qrels(files["qrels.txt"], qrels)
    for facts in evaluation.arms:
        rankings = {
            trial.query_id: [(hit.passage_id, hit.similarity) for hit in trial.ranking.hits]
            for trial in trials
            if trial.arm == facts.arm and trial.repetition == 0 and trial.ranking is not None
        }
        if facts.arm != "shuffled-context":
            files[f"{facts.arm}.run"] = folder / f"{facts.arm}.run"
            write_run(files[f"{facts.arm}.run"], rankings, facts.arm)
    return files
