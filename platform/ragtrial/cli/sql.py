"""`ragtrial db`: the SQL log."""

import json
from typing import Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath
from ragtrial.cli.terminal import console

app = typer.Typer(help="The SQL log: its schema and what is in it.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(experiment: ExperimentPath) -> None:
    """Bring the schema to this version's; `evaluate` does it by itself."""
    from ragtrial.db.engine import current_revision
    from ragtrial.db.engine import upgrade as bring_up
    from ragtrial.formats.experiment import load_experiment, sql_url

    url = sql_url(load_experiment(experiment))
    bring_up(url)
    typer.echo(f"schema {current_revision(url)}")


@app.command("info")
def info(experiment: ExperimentPath, *, as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False) -> None:
    """Show the schema's revision, rows by table, and the experiment's evaluations."""
    from ragtrial.db.engine import current_revision
    from ragtrial.db.reader import Reader
    from ragtrial.formats.experiment import load_experiment, sql_url

    file = load_experiment(experiment)
    url = sql_url(file)
    with Reader(url) as reader:
        counts, evaluations = reader.counts(), reader.evaluations(file.experiment.name)
    if as_json:
        rows = [{"evaluation_id": e.evaluation_id, "started_at": e.started_at, "finished_at": e.finished_at} for e in evaluations]
        typer.echo(json.dumps({"schema": current_revision(url), "rows": counts, "evaluations": rows}))
        return
    out = console()
    out.print(
        f"schema {current_revision(url)}; rows: {', '.join(f'{table} {n:,}' for table, n in counts.items())}", markup=False, soft_wrap=True
    )
    for evaluation in evaluations:
        state = f"finished {evaluation.finished_at}" if evaluation.finished_at else "not finished: ragtrial evaluate ... --resume"
        out.print(f"{evaluation.evaluation_id}: started {evaluation.started_at}, {state}", markup=False, soft_wrap=True)
