"""What `--help` shows: typer's tables where they fit, and a list that cuts off no name where the terminal is narrower."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from ragtrial.cli.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

_TABLES_FIT = 90
"""Columns from which typer's tables cut off no name of any command: they put names, types and help side by side."""
_NAMES = 24
"""Columns for names; help stands below a longer one."""

_Rows = Sequence[tuple[str, str]]


class Command(TyperCommand):
    """A command whose help fits into the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it."""
        out = console()
        if out.width >= _TABLES_FIT:
            super().format_help(ctx, formatter)
        else:
            _show(self, ctx, _parameters(self, ctx), out)


class Group(TyperGroup):
    """Commands under one name, whose help fits into the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it."""
        out = console()
        if out.width >= _TABLES_FIT:
            super().format_help(ctx, formatter)
        else:
            _show(self, ctx, {**_parameters(self, ctx), **_commands(self, ctx)}, out)


def _parameters(command: TyperCommand | TyperGroup, ctx: Any) -> Mapping[str, _Rows]:
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            found["Arguments" if parameter.param_type_name == "argument" else "Options"].append(record)
    return found


def _commands(group: TyperGroup, ctx: Any) -> Mapping[str, _Rows]:
    found: dict[str, list[tuple[str, str]]] = {}
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is not None and not command.hidden:
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            found.setdefault(panel, []).append((name, command.short_help or command.help or ""))
    return found


def _show(command: TyperCommand | TyperGroup, ctx: Any, sections: Mapping[str, _Rows], out: "Console") -> None:
    from rich.markdown import Markdown
    from rich.padding import Padding
    from rich.text import Text

    out.print(Text(" ".join(("Usage:", ctx.command_path, *command.collect_usage_pieces(ctx)))), "", sep="\n")
    if command.help:
        out.print(Padding(Markdown(command.help), (0, 0, 1, 2)))
    for title, rows in sections.items():
        if rows:
            out.print(Text(f"{title}:", "bold"), *_listed(rows), "")


def _listed(rows: _Rows) -> Iterator[Any]:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    room = min(_NAMES, max(len(names) for names, _ in rows))
    for names, said in rows:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(min_width=room, no_wrap=True)
        table.add_column(overflow="fold")
        beside = Text(names, "bold cyan") if len(names) <= room else Text()
        if not beside:
            yield Padding(Text(names, "bold cyan"), (0, 0, 0, 2))
        table.add_row(beside, Text(" ".join(said.replace("`", "").split())))
        yield Padding(table, (0, 0, 0, 2))
