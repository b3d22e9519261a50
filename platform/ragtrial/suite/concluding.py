"""From the SQL log to analysis and reports: the same whether the evaluation was just run, resumed, or is a year old."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ragtrial.analysis.analysing import analyse
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.formats.trec import write_qrels, write_run
from ragtrial.report.content import ReportContent, build_content
from ragtrial.report.files import write_reports


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation came to.

    Attributes:
        evaluation: The run.
        analysis: What was concluded.
        content: What every form of report says.
        files: Written reports by name; empty where none were asked for.
    """

    evaluation: Evaluation
    analysis: Analysis
    content: ReportContent
    files: dict[str, Path]


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
        return conclude(reader, evaluation, file.experiment, output=output)


def conclude(reader: Reader, evaluation: Evaluation, experiment: Experiment, *, output: Path | None = None) -> Outcome:
    """Analyse an evaluation from what is in SQL, and write the reports where an output folder is given.

    Raises:
        InputError: The evaluation is not finished.
    """
    if evaluation.finished_at is None:
        raise InputError(f"evaluation {evaluation.evaluation_id!r} is not finished: ragtrial evaluate ... --resume goes on with it")
    gold = reader.gold(evaluation.evaluation_id)
    tables = reader.scores(evaluation.evaluation_id, None)
    trials = reader.trials(evaluation.evaluation_id)
    opinions = reader.opinions(evaluation.evaluation_id)
    analysis = analyse(
        evaluation=evaluation,
        experiment=experiment,
        gold=gold,
        tables=tables,
        failures=failures(trials),
        opinions=opinions,
        trials=trials,
        scorers=reader.scorers(evaluation.evaluation_id),
        labels=reader.labels(evaluation.experiment),
    )
    shown = {hit.passage_id for trial in trials if trial.ranking is not None for hit in trial.ranking.hits}
    judged = {judgment.target_id for judgment in gold.judgments}
    content = build_content(
        evaluation=evaluation,
        experiment=experiment,
        analysis=analysis,
        gold=gold,
        tables=tables,
        trials=trials,
        passages=reader.passages(evaluation.evaluation_id, sorted(shown | judged)),
        opinions=opinions,
    )
    files = {} if output is None else {**write_reports(output, content), **_trec_files(output, evaluation, trials, gold.qrels())}
    return Outcome(evaluation=evaluation, analysis=analysis, content=content, files=files)


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
