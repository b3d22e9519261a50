"""The command that hands results to other programs."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.results import EvaluationId
from ragtrial.cli.terminal import console, progress_bars

if TYPE_CHECKING:
    from ragtrial.suite.export_live import Service
    from ragtrial.suite.exporting import Tracker

_Target = Literal["mlflow", "wandb", "growthbook", "statsig"]


def export(
    experiment: ExperimentPath,
    *,
    to: Annotated[_Target, typer.Option("--to", help="mlflow and wandb take an evaluation; growthbook and statsig a live experiment.")],
    evaluation: EvaluationId = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the files; else a new one in exports/, for wandb this one.", show_default=False),
    ] = None,
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="mlflow, wandb: also queries, passages and answers, which stay here otherwise.")
    ] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="mlflow: its server or database; else as its own variable says.", show_default=False),
    ] = None,
    project: Annotated[str, typer.Option("--project", help="wandb: the project.")] = "ragtrial",
    online: Annotated[bool, typer.Option("--online/--offline", help="wandb: send the run now, or write it for `wandb sync`.")] = False,
    datasource: Annotated[str, typer.Option("--datasource", help="growthbook: id of the data source.")] = "DATASOURCE_ID",
    assignment_query: Annotated[str, typer.Option("--query-id", help="growthbook: id of the assignment query.")] = "QUERY_ID",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hand a result to MLflow or Weights & Biases, or a live experiment's rows to GrowthBook or Statsig.

    An evaluation becomes one run, however often it is exported. A live experiment becomes files (exposures and metric values as CSV and
    Parquet, SQL and definitions) with units as pseudonyms and without any text.
    """
    if to in ("growthbook", "statsig"):
        _live(
            experiment,
            "growthbook" if to == "growthbook" else "statsig",
            output,
            (datasource, assignment_query),
            quiet=quiet,
            as_json=as_json,
        )
        return
    from ragtrial.suite.exporting import export_evaluation

    tracker: Tracker = "mlflow" if to == "mlflow" else "wandb"
    done = export_evaluation(
        experiment,
        tracker,
        evaluation_id=evaluation,
        with_texts=with_texts,
        tracking_uri=tracking_uri,
        folder=output,
        project=project,
        online=online,
    )
    if as_json:
        typer.echo(json.dumps({"to": to, **dataclasses.asdict(done)}))
        return
    how = "exported" if done.is_new else "was exported before, nothing was done"
    out = console()
    out.print(f"evaluation {done.evaluation_id} {how}: {done.run}", markup=False, soft_wrap=True)
    if to == "wandb" and not online:
        out.print(f"next: wandb sync {done.run}", markup=False, soft_wrap=True)


def _live(experiment: Path, service: "Service", output: Path | None, ids: tuple[str, str], *, quiet: bool, as_json: bool) -> None:
    from ragtrial.formats.experiment import load_experiment
    from ragtrial.suite.export_live import export_live

    folder = output or Path("exports") / f"{load_experiment(experiment).experiment.name}-{service}"
    with progress_bars(quiet=quiet or as_json) as progress:
        done = export_live(experiment, service, folder, datasource=ids[0], assignment_query=ids[1], progress=progress)
    if as_json:
        typer.echo(json.dumps({"to": service, **dataclasses.asdict(done)}, default=str))
        return
    out = console()
    out.print(f"{done.n_exposures:,} exposures and {sum(done.n_values.values()):,} values in {done.folder}", markup=False, soft_wrap=True)
    for metric, n in done.n_left_out.items():
        if n:
            out.print(f"{metric}: {n:,} trials have no value and are left out; manifest.json says why", markup=False, soft_wrap=True)
