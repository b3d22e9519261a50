"""`ragtrial db`: the SQL log."""

import json
import re
import time
from typing import Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath
from ragtrial.cli.terminal import console
from ragtrial.errors import InputError

app = typer.Typer(help="The SQL log: its schema, what is in it, and erasing from it.", no_args_is_help=True)

_DAY_SECONDS = 86_400


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


@app.command("forget")
def forget(
    experiment: ExperimentPath,
    *,
    unit: Annotated[
        str | None,
        typer.Option("--unit", help="Erase all live trials, comparisons, scores, votes and signals of this unit, in all experiments."),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            help="Erase the texts of this experiment's live trials that are older, e.g. 90d; numbers stay. Default: live.retention_days.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Erase a unit (a user) from the live log, or texts past their time; how many trials were erased of each arm is kept.

    The unit is named as callers of the service do. The audit log says that a unit was erased, and not which.
    """
    from ragtrial.db.live_erasing import erasing
    from ragtrial.formats.experiment import load_experiment, sql_url

    file = load_experiment(experiment)
    if unit is not None and older_than is not None:
        raise InputError("give --unit or --older-than, not both")
    live = file.experiment.live
    days = _days(older_than) if older_than is not None else None if live is None else live.retention_days
    if unit is None and days is None:
        raise InputError("say what to erase: --unit UNIT, --older-than 90d, or live.retention_days in the experiment file")
    with erasing(sql_url(file)) as eraser:
        if unit is not None:
            counts = eraser.unit_counts(unit)
            what = ", ".join(f"{n:,} {table}" for table, n in counts.items())
            if not any(counts.values()):
                raise InputError(
                    f"nothing of unit {unit!r} is in the log, so nothing was erased; units are compared as they are, case and spaces included"
                )
            if not yes:
                typer.confirm(f"Erase {what} of this unit, in all experiments? It can't be undone.", abort=True)
            counts = eraser.forget_unit(unit, actor="command line")
            typer.echo(f"erased {', '.join(f'{n:,} {table}' for table, n in counts.items())}")
            return
        days = days or 0
        if not yes:
            typer.confirm(
                f"Erase the texts of live trials of {file.experiment.name!r} older than {days:g} days? It can't be undone.", abort=True
            )
        n = eraser.forget_texts(before=time.time() - days * _DAY_SECONDS, experiment=file.experiment.name, actor="command line")
        typer.echo(f"erased the texts of {n:,} trials")


def _days(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*d?", text.strip())
    if match is None:
        raise InputError(f"--older-than is {text!r}: give days, as in 90d")
    return float(match[1])
