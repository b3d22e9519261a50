"""`ragtrial assess`: is a custom model worth it?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.terminal import console, progress_bars, say


def assess(
    experiment: ExperimentPath,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the reports. [default: reports/NAME-assessment]", show_default=False
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also train a linear adapter on the training pairs, cross-validated: can anything be learnt?")
    ] = False,
    cost_per_hour: Annotated[
        float | None, typer.Option("--cost-per-hour", help="What an hour of this machine costs, to price training and embedding.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Is a custom model worth it? Answered before any training, from corpus, gold set and the baseline's model.

    Measures the baseline, looks at the queries that it fails and what they share, at what is to be had without training (BM25, hybrid, more
    passages), at the data and at the cost, and recommends: train, try hybrid first, collect more first, or don't. The treatment need not
    exist. Writes report.html and assessment.json.

    Exit codes: 0 whatever is recommended, 2 bad input or set-up.
    """
    from ragtrial.report.assessment_files import as_dict, write_assessment
    from ragtrial.report.assessment_terminal import render_assessment
    from ragtrial.settings import read_settings
    from ragtrial.suite.assessing import assess_file
    from ragtrial.suite.folders import output_folder

    if output is not None:
        output_folder(output)
    with progress_bars(quiet=quiet or as_json) as progress:
        found = assess_file(experiment, settings=read_settings(), cost_per_hour=cost_per_hour, probe=probe, progress=progress)
    folder = output_folder(output or Path("reports") / f"{found.experiment}-assessment")
    files = write_assessment(folder, found)
    if as_json:
        typer.echo(json.dumps(as_dict(found), ensure_ascii=False))
    elif quiet:
        say(found.recommendation.sentence)
    else:
        render_assessment(found, console())
        console().print(f"report: {files['report.html'].resolve()}", markup=False, soft_wrap=True)
