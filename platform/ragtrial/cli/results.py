"""Commands on what was measured: analyse, report, compare."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet, show
from ragtrial.cli.live import LiveFormat, form_of, show_live
from ragtrial.cli.terminal import say

EvaluationId = Annotated[
    str | None, typer.Option("--evaluation", help="Which evaluation. [default: the latest finished one]", show_default=False)
]


def analyse(
    experiment: ExperimentPath,
    *,
    evaluation: EvaluationId = None,
    live: Annotated[bool, typer.Option("--live", help="Analyse its live experiment as of now; looking often is safe.")] = False,
    form: Annotated[
        LiveFormat | None, typer.Option("--format", help="With --live: how it is shown. [default: terminal]", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="With --live: write it to this file, in an existing folder; .md, .json or .html says the format.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Analyse a logged evaluation again, from SQL alone, under the analysis plan of the experiment file; with --live its live experiment.

    The plan's digest is stored with the run: where the file's plan is another one now, the result is labelled exploratory. A live
    experiment must be analysed under the plan that it was served with.

    Exit codes: 0 the gate holds, 1 it fails, 2 bad input or set-up.
    """
    if live:
        if evaluation is not None:
            raise typer.BadParameter("--evaluation names an evaluation; with --live there is none")
        raise typer.Exit(0 if show_live(experiment, form=form_of("json" if as_json else form, output), output=output, quiet=quiet) else 1)
    if form is not None or output is not None:
        raise typer.BadParameter("--format and --output go with --live; `ragtrial report` writes the reports of an evaluation")
    from ragtrial.suite.concluding import conclude_file

    outcome = conclude_file(experiment, evaluation, output=None)
    show(outcome, as_json=as_json, quiet=quiet)
    raise typer.Exit(0 if outcome.analysis.verdict.gate_passed else 1)


def report(
    experiment: ExperimentPath,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the reports. [default: reports/NAME]", show_default=False)
    ] = None,
    evaluation: EvaluationId = None,
) -> None:
    """Write the reports of a logged evaluation again, from SQL alone."""
    from ragtrial.formats.experiment import load_experiment
    from ragtrial.suite.concluding import conclude_file
    from ragtrial.suite.folders import output_folder

    folder = output_folder(output or Path("reports") / load_experiment(experiment).experiment.name)
    for path in conclude_file(experiment, evaluation, output=folder).files.values():
        typer.echo(path)


def compare(
    *,
    baseline: Annotated[str, typer.Option("--baseline", help="The baseline's run in TREC format; with --scores, the system's name.")],
    custom: Annotated[str, typer.Option("--custom", help="The custom model's run in TREC format; with --scores, the system's name.")],
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgments in TREC format.", show_default=False)] = None,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", help="Instead of rankings: a table of scores that `ragtrial import` wrote.", show_default=False),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", help="First one decides; repeat for more. [default: nDCG@10; with --scores: score]", show_default=False
        ),
    ] = None,
    min_effect: Annotated[float, typer.Option("--min-effect", help="Smallest gain worth having.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Compare two ranking files, or another program's scores, under the same statistics: no models, no Milvus, no experiment file.

    Exit codes: 0 adopt custom, 1 anything else, 2 bad input.
    """
    from ragtrial.suite.comparing import compare_runs, compare_scores, lines_of

    if (qrels is None) == (scores is None):
        raise typer.BadParameter("give --qrels with two runs, or --scores with the names of two systems")
    if scores is not None:
        analysis = compare_scores(path=scores, baseline=baseline, custom=custom, metrics=metric or ["score"], min_effect=min_effect)
    elif qrels is not None:
        analysis = compare_runs(
            qrels=qrels, baseline=Path(baseline), custom=Path(custom), metrics=metric or ["nDCG@10"], min_effect=min_effect
        )
    if as_json:
        from ragtrial.report.json_report import metrics_json

        verdict = {"decision": analysis.verdict.decision, "sentence": analysis.verdict.sentence}
        typer.echo(json.dumps({"verdict": verdict, "metrics": metrics_json(analysis)}))
    else:
        for line in lines_of(analysis):
            say(line)
    raise typer.Exit(0 if analysis.verdict.gate_passed else 1)
