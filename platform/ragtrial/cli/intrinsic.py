"""`ragtrial intrinsic`: how a model's vectors lie, beside its base."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.terminal import console, progress_bars

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="As in experiment files: a folder, 'package:NAME', 'registry:NAME[@VERSION]' or a hub id; or an arm's name.",
    ),
]


def intrinsic(
    models: Models,
    *,
    experiment: Annotated[
        Path | None,
        typer.Option("--experiment", metavar="EXPERIMENT.yaml", help="Whose passages, topics and registry are used.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="BASE", help="The base. [default: the experiment's control]", show_default=False)
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option("--terms", metavar="TERMS.yaml", help="Term pairs that should be near and that should be far.", show_default=False),
    ] = None,
    general: Annotated[
        Path | None,
        typer.Option(
            "--general",
            metavar="PATH",
            help="General text: a BEIR folder, or JSON Lines of query and passage. [default: 64 bundled pairs]",
            show_default=False,
        ),
    ] = None,
    sts: Annotated[
        Path | None,
        typer.Option("--sts", metavar="FILE", help="Similarity judgments: left, right, score (CSV or TSV).", show_default=False),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", help="Topics are values of this tag of the queries. [default: topic, or the best]", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Also write report.html and intrinsic.json there.", show_default=False),
    ] = None,
    noting: Annotated[bool, typer.Option("--note/--no-note", help="Keep the result with a registered model.")] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at a model's vectors themselves, before and after training: what was gained in the domain, and what was lost elsewhere.

    Term pairs of an expert (near and far), coherence of topics, alignment and uniformity, anisotropy, similarity judgments, and regressions
    on general text. Each number has an interval, or a reason why there is none. A good result here is no better retrieval: evaluate that.

    Exit codes: 0 measured, 2 bad input or set-up.
    """
    from ragtrial.report.assessment_files import write_texts
    from ragtrial.report.intrinsic_html import as_intrinsic_html
    from ragtrial.report.intrinsic_words import as_dict, render_intrinsic
    from ragtrial.settings import read_settings
    from ragtrial.suite.folders import output_folder
    from ragtrial.suite.intrinsic import Asked, evaluate_models, note

    settings = read_settings()
    asked = Asked(models=tuple(models), against=against, experiment=experiment, terms=terms, general=general, sts=sts, tag=tag)
    folder = None if output is None else output_folder(output)
    with progress_bars(quiet=quiet or as_json) as progress:
        found = evaluate_models(asked, settings=settings, progress=progress)
    noted = [name for name, each in zip(models, found, strict=True) if noting and note(asked, each, name, settings=settings)]
    document = {"models": [as_dict(each) for each in found]}
    if folder is not None:
        written = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        files = write_texts(folder, {"report.html": as_intrinsic_html(found), "intrinsic.json": written})
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    for each in found:
        render_intrinsic(each, console())
    if folder is not None:
        console().print(f"report: {files['report.html']}", markup=False, soft_wrap=True)
    for name in noted:
        console().print(f"kept with {name} in the registry", markup=False, soft_wrap=True)
