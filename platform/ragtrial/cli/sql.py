"""`ragtrial db`: the SQL log."""

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.terminal import console, progress_bars
from ragtrial.errors import InputError

if TYPE_CHECKING:  # SQLAlchemy comes with it, and a command's start should not wait for that
    from ragtrial.db.partitions import PartitionSize

app = typer.Typer(help="The SQL log: its schema, what is in it, and erasing from it.", no_args_is_help=True)

_DAY_SECONDS = 86_400


@app.command("upgrade")
def upgrade(experiment: ExperimentPath) -> None:
    """Bring the schema to this version's; `evaluate` does it by itself."""
    from ragtrial.db.schema import current_revision
    from ragtrial.db.schema import upgrade as bring_up
    from ragtrial.formats.experiment import load_experiment, sql_url

    url = sql_url(load_experiment(experiment))
    bring_up(url)
    typer.echo(f"schema {current_revision(url)}")


@app.command("info")
def info(experiment: ExperimentPath, *, as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False) -> None:
    """Show the schema's revision, rows by table, and the experiment's evaluations."""
    from ragtrial.db.reader import Reader
    from ragtrial.db.schema import current_revision
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


Places = Annotated[list[Path] | None, typer.Option(help="A Parquet or JSON Lines file, or a folder of such; may be given several times.")]


@app.command("import")
def import_(
    experiment: ExperimentPath,
    *,
    trials: Places = None,
    scores: Places = None,
    votes: Places = None,
    signals: Places = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add live trials, scores, votes and signals from files to the log, all or nothing: by COPY on PostgreSQL.

    The columns are those that `db export` writes (docs/scaling-sql.md); `user` instead of `unit` is made a pseudonym. Trials must be new;
    scores, votes and signals that are there already stay as they are.
    """
    from ragtrial.suite.log_importing import import_log

    given = {"trials": trials, "scores": scores, "votes": votes, "signals": signals}
    with progress_bars(quiet=quiet or as_json) as progress:
        done = import_log(experiment, {name: places for name, places in given.items() if places}, progress=progress)  # type: ignore[misc]
    if as_json:
        typer.echo(json.dumps({"live_id": done.live_id, "rows": done.rows, "repeated": done.repeated}))
        return
    there = {name: n for name, n in done.repeated.items() if n}
    more = f"; there already: {', '.join(f'{n:,} {name}' for name, n in there.items())}" if there else ""
    typer.echo(f"imported {', '.join(f'{n:,} {name}' for name, n in done.rows.items())}{more}")


@app.command("export")
def export(
    experiment: ExperimentPath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder.")],
    everything: Annotated[bool, typer.Option("--all", help="All experiments of the database, under all plans.")] = False,
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="Leave out what users and models wrote: queries, answers, comments.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave files alone that are there, after an export that was stopped.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write live and offline trials, scores, votes and signals as Parquet, one folder for each experiment and day.

    DuckDB, Spark and warehouses read the folders as partitions (docs/scaling-sql.md). Units are the pseudonyms of the log.
    """
    from ragtrial.suite.log_exporting import export_log

    with progress_bars(quiet=quiet or as_json) as progress:
        done = export_log(experiment, output, everything=everything, texts=not without_texts, resume=resume, progress=progress)
    if as_json:
        typer.echo(json.dumps({"rows": done.rows, "files": done.files, "kept": done.kept, "removed": done.removed}))
        return
    rows = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in done.rows.items()) or "nothing"
    more = f"; {done.kept:,} were there" if done.kept else ""
    gone = f"; {done.removed:,} removed, as their rows have been erased" if done.removed else ""
    typer.echo(f"exported {rows} in {done.files:,} files{more}{gone}")


def _days(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*d?", text.strip())
    if match is None:
        raise InputError(f"--older-than is {text!r}: give days, as in 90d")
    return float(match[1])


@app.command("retention")
def retention(
    experiment: ExperimentPath,
    *,
    keep: Annotated[str, typer.Option("--keep", metavar="DAYS", help="Whole days (UTC) of live trials that stay, e.g. 180d.")],
    everything: Annotated[bool, typer.Option("--all", help="All experiments of the database.")] = False,
    running: Annotated[
        bool, typer.Option("--running", help="Also trials that the verdict of a running experiment needs: it is then one of the others.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove old live trials with their scores, votes and signals; what they came to stays in the sums and in the stored analysis."""
    from ragtrial.suite.retaining import days_of, retain

    def agree(question: str) -> None:
        if not yes:
            typer.confirm(question, abort=True)

    with progress_bars(quiet=quiet or as_json) as progress:
        done = retain(
            experiment,
            keep_days=days_of(keep),
            everything=everything,
            running_too=running,
            dry_run=dry_run,
            agree=agree,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps({"removed": done.removed, "left": done.left}))
        return
    for name, counts in done.removed.items():
        typer.echo(f"{name}: {'would remove' if dry_run else 'removed'} {', '.join(f'{n:,} {table}' for table, n in counts.items())}")
    for name, reason in done.left.items():
        typer.echo(f"{name}: left alone, {reason}")
    if not done.removed and not done.left:
        typer.echo("nothing is older")


@app.command("partitions")
def partitions(
    experiment: ExperimentPath,
    *,
    make_ahead: Annotated[
        bool,
        typer.Option("--make-ahead", help="First make those that will be needed next, as the service and the roll-up do by themselves."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the partitions of the live log on PostgreSQL: which trials each holds, of which months, and how large it is.

    Rows are PostgreSQL's estimates. SQLite has no partitions.
    """
    from ragtrial.db.partitions import look
    from ragtrial.formats.experiment import load_experiment, sql_url

    found, done = look(sql_url(load_experiment(experiment)), make_ahead=make_ahead)
    if as_json:
        shown = None if found is None else [dataclasses.asdict(one) for one in found]
        typer.echo(json.dumps({"partitions": shown, "done": done}))
        return
    if found is None:
        typer.echo("no partitions: this database is SQLite, which has one table of each kind")
        return
    for sentence in done:
        typer.echo(sentence)
    for one in found:
        typer.echo(_partition_line(one))


def _partition_line(one: "PartitionSize") -> str:
    part = one.partition
    numbers = "whatever no other holds" if part.end is None else f"trials {part.first:,} to {part.end - 1:,}"
    if one.first_at is None or one.last_at is None:
        return f"partition {part.name}: {numbers}; empty"
    months = [time.strftime("%Y-%m", time.gmtime(at)) for at in (one.first_at, one.last_at)]
    rows = ", ".join(f"{table} not counted yet" if n is None else f"about {n:,} {table}" for table, n in one.rows.items())
    return f"partition {part.name}: {numbers}; {' to '.join(dict.fromkeys(months))}; {rows}; {one.bytes / 2**20:,.1f} MiB"
