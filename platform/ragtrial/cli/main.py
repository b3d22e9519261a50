"""The `ragtrial` command: which commands there are, and how errors end them."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from ragtrial import __version__
from ragtrial.cli import (
    assessing,
    calls,
    checking,
    commenting,
    curated,
    dashboard,
    demonstration,
    experiments,
    exporting,
    importing,
    intrinsic,
    judges,
    live,
    looping,
    mapping,
    monitoring,
    pairs,
    preparing,
    quantizing,
    registry,
    results,
    rolling,
    selftesting,
    serving,
    sql,
    tester,
    traffic,
)
from ragtrial.cli.help_pages import Command, Group
from ragtrial.cli.terminal import error_console
from ragtrial.errors import RagtrialError

EXIT_CODES = "Exit codes: 0 the experiment's gate holds, 1 it fails, 2 bad input or set-up."

_INTERRUPTED = 130
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, which typer takes from click or brings along

app = typer.Typer(
    name="ragtrial",
    cls=Group,
    help=f"Does a custom embedding model make our RAG system better than the baseline, enough to be worth it?\n\n"
    f"Start with `ragtrial demo`. Then write an experiment file: `ragtrial assess` it before any training, `ragtrial evaluate` it after.\n\n{EXIT_CODES}",
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


_Command = Callable[..., None] | typer.Typer

COMMANDS: Mapping[str, Mapping[str, _Command]] = {
    "Begin": {
        "demo": demonstration.demo,
        "live-demo": traffic.live_demo,
        "doctor": checking.doctor,
        "selftest": selftesting.selftest,
        "validate": experiments.validate,
    },
    "Decide on a gold set": {
        "evaluate": experiments.evaluate,
        "index": experiments.index,
        "analyse": results.analyse,
        "report": results.report,
        "compare": results.compare,
        "comment": commenting.comment,
        "export": exporting.export,
        "import": importing.import_,
        "calibrate": judges.calibrate,
        "judge-check": judges.judge_check,
    },
    "Make the custom model": {
        "assess": assessing.assess,
        "prepare": preparing.prepare,
        "pairs": pairs.app,
        "train": experiments.train,
        "intrinsic": intrinsic.intrinsic,
        "models": registry.app,
        "quantize": quantizing.quantize,
        "monitor": monitoring.monitor,
        "loop": looping.app,
    },
    "Decide on live traffic": {
        "plan": live.plan,
        "serve": serving.serve,
        "simulate-traffic": traffic.simulate_traffic,
        "keys": serving.keys,
    },
    "See it": {
        "dashboard": dashboard.dashboard,
        "tester": tester.serve_page,
        "members": dashboard.members,
        "curated": curated.app,
        "map": mapping.map_embeddings,
        "roll-up": rolling.roll_up,
    },
    "Keep it": {"db": sql.app, "cache": calls.app},
}
"""Every command, under what it is for."""


def _purpose(described: str | None) -> str:
    """The first sentences of a description, as lists of commands show them: typer would cut them off after 45 letters in docs/cli.md."""
    return " ".join(inspect.cleandoc(described or "").partition("\n\n")[0].split())


for _panel, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            for _below in _command.registered_commands:
                _below.cls = Command
                _below.short_help = _purpose(_below.help or getattr(_below.callback, "__doc__", None))
            app.add_typer(_command, name=_name, cls=Group, rich_help_panel=_panel, short_help=_purpose(_command.info.help))
        else:
            app.command(name=_name, cls=Command, rich_help_panel=_panel, short_help=_purpose(_command.__doc__))(_command)


def main() -> None:
    """Run a command; what the user can mend is one paragraph on stderr (JSON on stdout with --json) and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except RagtrialError as error:
        code = _fail(type(error).__name__, str(error))
    except _USAGE_ERROR as error:
        code = _misused(error)
    except typer.Abort:
        code = _fail("Aborted", "nothing was done: it was not confirmed (where nobody can be asked, give --yes)")
    if code == _INTERRUPTED:
        error_console().print("interrupted; what was logged is kept: the same command with --resume goes on", soft_wrap=True)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(kind: str, message: str) -> int:
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": {"kind": kind, "message": message}}, ensure_ascii=False))
    else:
        error_console().print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return 2


def _misused(error: Exception) -> int:
    """A command line that can't be understood; no command at all shows the help."""
    context = getattr(error, "ctx", None)
    said = error.format_message() if hasattr(error, "format_message") else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(said)
        return 2
    said = said.replace(": Value error, ", ": ", 1)  # pydantic's, through which typer checks choices
    end = "" if said.endswith((".", "?", "!")) else "."
    return _fail("UsageError", f"{said}{end} See {context.command_path if context else 'ragtrial'} --help")
