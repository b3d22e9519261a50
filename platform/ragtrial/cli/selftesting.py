"""`ragtrial selftest`: would this installation notice what ruins experiments?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.terminal import console, progress_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragtrial.domain.selftest import SelfTest

_INTERRUPTED = 130
_WIDE = 150
"""Columns of a table that goes into a file or a log."""
_ALARMS = ("NOT CAUGHT", "NOTHING MAY BE RAISED")


def selftest(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.yaml",
            help="Take this experiment's stores and alpha. [default: SQLite and Milvus Lite in a temporary folder]",
            show_default=False,
        ),
    ] = None,
    *,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FAULT", help="Plant this fault alone; may be given several times.")
    ] = None,
    list_faults: Annotated[bool, typer.Option("--list", help="List the faults, and stop.")] = False,
    aa_runs: Annotated[
        int | None,
        typer.Option(
            "--aa-runs",
            min=0,
            help="A/A runs of the whole chain, live and offline each; 0: none. [default: 200; with --only, as peeking needs]",
            show_default=False,
        ),
    ] = None,
    aa_file: Annotated[
        Path | None,
        typer.Option("--aa-file", help="Keep each A/A run in this file, and go on with those of the same seed, alpha, stores and version."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Processes for A/A runs. [default: one a core, at most 4]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same corpus, users, faults and A/A runs.")] = 7,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report there as well: a name that ends in .html or .md.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Plant the faults that ruin experiments into a simulated one, on your own stores, and show what catches each.

    Simulated users ask the real service in this process: assignment, retrieval, SQL, scoring, guardrails, analysis. Into that a fault is
    planted (users' records are lost, votes doubled, an arm is slow, a judge is charmed, a gold query is trained on, ...), and what you
    would read is shown with the number of queries that it took. The same experiment without a fault must raise nothing, and A/A runs say
    how often it is wrong where there is nothing to find.

    Your data are not touched: it works in scratch collections, a scratch database and a scratch folder, and removes them at the end.

    Exit codes: 0 nothing was missed and nothing raised for nothing, 1 not so, 2 bad input or set-up.
    """
    from ragtrial.errors import InputError
    from ragtrial.settings import read_settings
    from ragtrial.suite.selftest.running import DEFAULT_AA_RUNS, FAULTS, SelfTestPlan, self_test

    if list_faults:
        if as_json:
            typer.echo(json.dumps([{"name": each.name, "planted": each.planted, "guard": each.guard} for each in FAULTS]))
        else:
            _show_table(("fault", "what is planted", "what has to catch it"), [(each.name, each.planted, each.guard) for each in FAULTS])
        return
    if output is not None and output.suffix not in (".html", ".md"):
        raise InputError(f"--output {str(output)!r}: give a name that ends in .html or .md")
    names = tuple(only or ())
    runs = (DEFAULT_AA_RUNS if not names or "peeking" in names else 0) if aa_runs is None else aa_runs
    plan = SelfTestPlan(only=names, aa_runs=runs, aa_file=aa_file, processes=processes, seed=seed)
    try:
        with progress_bars(quiet=quiet or as_json) as progress:
            found = self_test(experiment, plan, read_settings(), progress=progress)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    if output is not None:
        _write(found, output)
    _show(found, as_json=as_json, quiet=quiet)
    raise typer.Exit(1 if found.missed else 0)


def _write(found: "SelfTest", output: Path) -> None:
    from ragtrial.formats.files import write_lines
    from ragtrial.report.selftest_files import as_selftest_html, as_selftest_markdown

    text = as_selftest_html(found) if output.suffix == ".html" else as_selftest_markdown(found)
    write_lines(output, text.rstrip("\n").split("\n"))


def _show(found: "SelfTest", *, as_json: bool, quiet: bool) -> None:
    from ragtrial.report import selftest_words as said

    if as_json:
        typer.echo(json.dumps(said.as_dict(found)))
        return
    out = console()
    if not quiet:
        _show_table(said.HEADINGS, said.rows(found))
        if found.null_runs:
            _show_table(said.NULL_HEADINGS, said.null_rows(found))
            out.print(said.HOW, markup=False, soft_wrap=True)
        out.print(said.where(found), markup=False, soft_wrap=True)
    out.print(said.heading(found), markup=False, soft_wrap=True)


def _show_table(headings: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, show_lines=True)
    for row in rows:
        table.add_row(*(Text(cell, style="bold red" if cell.startswith(_ALARMS) else "") for cell in row))
    out = console()
    if not out.is_terminal:
        out.width = _WIDE
    out.print(table)
