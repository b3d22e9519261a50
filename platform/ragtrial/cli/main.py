"""The `ragtrial` command: which commands there are, and how errors end them."""

import json
import sys
from typing import Annotated

import typer

from ragtrial import __version__
from ragtrial.cli import checking, demonstration, experiments, registry, results, sql
from ragtrial.cli.terminal import error_console
from ragtrial.errors import RagtrialError

EXIT_CODES = "Exit codes: 0 the experiment's gate holds, 1 it fails, 2 bad input or set-up."

app = typer.Typer(
    name="ragtrial",
    help=f"Does a custom embedding model make our RAG system better than the baseline, enough to be worth it?\n\n"
    f"Start with `ragtrial demo`; then write an experiment file and `ragtrial evaluate` it.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"ragtrial {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")] = False,
) -> None:
    """Nothing but the options above the commands."""


app.command(name="demo")(demonstration.demo)
app.command(name="validate")(experiments.validate)
app.command(name="train")(experiments.train)
app.command(name="index")(experiments.index)
app.command(name="evaluate")(experiments.evaluate)
app.command(name="analyse")(results.analyse)
app.command(name="report")(results.report)
app.command(name="compare")(results.compare)
app.add_typer(registry.app, name="models")
app.command(name="doctor")(checking.doctor)
app.add_typer(sql.app, name="db")


def main() -> None:
    """Run a command; an error of ours is one paragraph on stderr and exit code 2."""
    try:
        app()
    except RagtrialError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}, ensure_ascii=False))
        else:
            error_console().print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        error_console().print("interrupted; what was logged is kept: the same command with --resume goes on")
        sys.exit(130)
