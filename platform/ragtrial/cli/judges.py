"""Commands on LLM judges: beside people (`calibrate`), and beside themselves (`judge-check`)."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.results import EvaluationId
from ragtrial.cli.terminal import console, error_console

if TYPE_CHECKING:
    from ragtrial.suite.calibrating import Imported, Judged, Proposal
    from ragtrial.suite.judge_checking import SelfCheck

Metric = Annotated[
    str | None,
    typer.Option("--metric", "-m", help="Which judged metric. [default: for labels the first planned one, else all]", show_default=False),
]


def calibrate(
    experiment: ExperimentPath,
    *,
    evaluation: EvaluationId = None,
    metric: Metric = None,
    propose: Annotated[
        int | None,
        typer.Option("--propose", metavar="N", min=2, help="Draw about N answers that people should label: both arms' to N / 2 queries."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="With --propose: the CSV to write; never one that is there.")] = Path(
        "to_label.csv"
    ),
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE.csv", help="Read labels in, all of them or none.")] = None,
    selection: Annotated[
        Literal["random", "volunteered"] | None,
        typer.Option("--selection", help="With --labels of your own: how these answers came to be labelled."),
    ] = None,
    labeller: Annotated[str, typer.Option("--labeller", help="With --labels: who labelled, where the file doesn't say.")] = "people",
    as_json: Json = False,
) -> None:
    """Compare the LLM judge with people, and correct its means and its difference by what they say.

    A judge's interval knows nothing of its own bias: lenient, or kinder to one arm's style, it excludes the truth, the more surely the
    more queries it scores. People label a random few answers; the gap corrects the judge on all (prediction-powered inference). Three steps:

    1. `ragtrial calibrate E.yaml --propose 60` draws 30 queries at random and writes both arms' answers to them, shuffled, without arm
       or verdict, to `to_label.csv`; fewer than 60 where the arms gave the same answer.

    2. Somebody fills in the column `label` with one of the words in the column `allowed`. Stopping early is fine, leaving out hard ones is not.

    3. `ragtrial calibrate E.yaml --labels to_label.csv --labeller ann` reads them in and prints agreement, bias and corrected estimates;
       from then on every report of the evaluation shows them.

    Labels of your own come as a CSV with the columns query_id, arm and label. Say with --selection whether the answers were drawn at random;
    labels that came by themselves (thumbs, complaints, odd cases) show in the agreement and correct nothing: people pick what they label.
    Labels hold for the judge that had scored the answers: with another model, prompt, rubric or sampling they show as stale.

    Exit codes: 0 done, 2 bad input (every fault with file, line and field, and nothing is written).
    """
    from ragtrial.db.reader import Reader
    from ragtrial.formats.experiment import load_experiment, sql_url
    from ragtrial.suite.calibrating import import_labels, metric_of, open_judged
    from ragtrial.suite.calibrating import propose as draw

    file = load_experiment(experiment)
    imported, proposed = None, None
    with Reader(sql_url(file)) as reader:
        judged = open_judged(reader, file, evaluation)
        chosen = metric_of(judged, metric)
        if labels is not None:
            imported = import_labels(judged, file, labels, chosen, selection=selection, labeller=labeller)
            judged = open_judged(reader, file, judged.setting.evaluation.evaluation_id)
        if propose is not None:
            proposed = draw(judged, chosen, n_queries=propose // 2, output=output)
    if as_json:
        typer.echo(json.dumps(_as_dict(judged, metric, imported, proposed), ensure_ascii=False, default=str))
    else:
        _say_calibration(judged, metric, imported, proposed)


def _as_dict(judged: "Judged", metric: str | None, imported: "Imported | None", proposed: "Proposal | None") -> dict[str, object]:
    from ragtrial.report.json_report import calibration_json

    return {
        "evaluation_id": judged.setting.evaluation.evaluation_id,
        "imported": None if imported is None else dataclasses.asdict(imported),
        "proposed": None if proposed is None else dataclasses.asdict(proposed),
        "calibrations": [calibration_json(found) for found in judged.calibrations(metric)],
    }


def _say_calibration(judged: "Judged", metric: str | None, imported: "Imported | None", proposed: "Proposal | None") -> None:
    from ragtrial.report.people import lines

    setting = judged.setting
    said = [f"evaluation {setting.evaluation.evaluation_id}"]
    if imported is not None:
        said += [f"warning: {warning}" for warning in imported.warnings]
        blank = f"; {imported.n_blank:,} rows are blank, which is fine where that is chance" if imported.n_blank else ""
        said.append(f"read {imported.n_rows:,} labels of {imported.metric} from {imported.path} ({imported.n_labels:,} answers{blank})")
    if proposed is None or imported is not None:
        arms = {"control": setting.experiment.control.name, "treatment": setting.experiment.treatment.name}
        for found in judged.calibrations(metric):
            said += lines(found, **arms, level=f"{100 * (1 - setting.plan.alpha):.4g}%")
    if proposed is not None:
        said += _proposal(proposed)
    for line in said:
        console().print(line, markup=False, soft_wrap=True)


def _proposal(proposed: "Proposal") -> list[str]:
    drawn = f"{proposed.n_items:,} answers to {proposed.n_queries:,} queries drawn at random"
    said = [f"wrote {drawn} to {proposed.path}: fill in the column 'label', then ragtrial calibrate ... --labels {proposed.path}"]
    if proposed.half_width is None or proposed.half_width_then is None:
        return [*said, f"how narrow the corrected interval gets can't be told before the first labels are in ({proposed.why_not})"]
    return [
        *said,
        f"the corrected interval of the difference is ±{proposed.half_width:.4f} now, and with these labels expected to be ±{proposed.half_width_then:.4f}",
    ]


def judge_check(
    experiment: ExperimentPath,
    *,
    evaluation: EvaluationId = None,
    metric: Metric = None,
    queries: Annotated[
        int, typer.Option("--queries", min=2, help="Queries whose answers, of both arms, are judged again; drawn at random.")
    ] = 30,
    repetitions: Annotated[int, typer.Option("--repetitions", min=2, help="Judgments of each answer.")] = 5,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Ask the judge again about the same answers, and see how often it contradicts itself (an A/A check of the judge).

    The same answers are judged a few times over; nothing but the judge can differ. Reports the share of answers on which it changed its
    mind, with its interval; the chance that two judgments differ; how often it gave each verdict; for judge_preference, how far it goes
    by the order in which it reads the answers; and how many judgments of each answer the experiment needs.

    Says beforehand how many calls that takes and what they cost, and keeps to llm.max_cost_usd. The calls are kept: the same check again
    costs nothing. Nothing is added to the evaluation.

    Exit codes: 0 done, however steady the judge is; 2 bad input or set-up, or the cap was reached.
    """
    from functools import partial

    from rich.console import Console

    from ragtrial.db.reader import Reader
    from ragtrial.formats.experiment import load_experiment, sql_url
    from ragtrial.settings import read_settings
    from ragtrial.suite.judge_checking import ask_again, draw, estimate_check
    from ragtrial.suite.preparing import surroundings

    file = load_experiment(experiment)
    around = surroundings(file, read_settings())
    with Reader(sql_url(file)) as reader:
        sample = draw(reader, file, evaluation, metric=metric, n_queries=queries)
    say = partial((Console(quiet=True) if quiet or as_json else error_console()).print, markup=False, soft_wrap=True)
    estimate = estimate_check(sample, around, repetitions=repetitions)
    say(
        f"judging {len(sample.trials):,} answers to {len(sample.gold.queries):,} queries again, {repetitions} times each, past repetition {sample.first - 1}"
    )
    for line in estimate.lines():
        say(line)
    found = ask_again(sample, around, repetitions=repetitions, say=say)
    if as_json:
        checks = [dataclasses.asdict(check) for check in found]
        calls = {"at_most": estimate.n_calls, "cost_usd": estimate.cost_usd}
        typer.echo(json.dumps({"evaluation_id": sample.evaluation.evaluation_id, "calls": calls, "metrics": checks}, ensure_ascii=False))
        return
    for check in found:
        for line in _self_check(check, level=f"{100 * (1 - file.experiment.analysis.alpha):.4g}%"):
            console().print(line, markup=False, soft_wrap=True)


def _self_check(check: "SelfCheck", *, level: str) -> list[str]:
    quality = check.quality
    said = [f"{quality.metric}, judged by {quality.scorer}: {quality.n_opinions:,} judgments, {quality.n_unscored:,} of them unusable"]
    if check.judged_before is not None:
        said.append(f"  the evaluation was judged by another one: {check.judged_before}")
    if quality.flipped is not None:
        said.append(
            f"  changed its mind on {quality.flipped:.0%} of {quality.n_repeated:,} answers ({level} interval {quality.flipped_low:.0%} to "
            f"{quality.flipped_high:.0%}); two judgments of an answer differ with a chance of {quality.disagreement:.1%}"
        )
    if check.verdicts:
        said.append("  verdicts: " + ", ".join(f"{verdict} {n:,}" for verdict, n in check.verdicts.items()))
    if check.failures:
        said.append("  without a value: " + ", ".join(f"{reason} {n:,}" for reason, n in check.failures.items()))
    if quality.n_pairs:
        first = (
            "nothing was won" if quality.first_share is None else f"{quality.first_share:.0%} of all wins went to the answer shown first"
        )
        said.append(f"  position: {quality.n_inconsistent:,} of {quality.n_pairs:,} pairs were decided by their order; {first}")
    return [*said, f"  {check.advice}"]
