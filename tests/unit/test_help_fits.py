"""Help says every name and every word to its end, however narrow the terminal is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ragtrial.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))
    yield path, command


@pytest.mark.parametrize("columns", [40, 64, 80, 89, 90, 120])
def test_no_name_and_no_word_of_a_command_s_help_is_cut_off(columns: int) -> None:
    for path, command in commands(typer.main.get_command(app)):
        done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(columns)})
        assert done.exit_code == 0
        names = [name for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")]
        assert set(names) <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", done.output)), (path, done.output)
        assert set(getattr(command, "commands", ())) <= set(done.output.split()), (path, done.output)
        assert "…" not in done.output, (path, done.output)
        assert max(map(len, done.output.splitlines())) <= columns, (path, done.output)
