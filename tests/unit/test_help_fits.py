"""Help in a terminal of 80 columns says every word to its end."""

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from ragtrial.cli.main import app

KNOWN = {("serve",)}
"""Whose default is the name of an environment variable that is longer than the column."""


def commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))
    yield path


@pytest.mark.parametrize("path", sorted(set(commands(typer.main.get_command(app))) - KNOWN), ids=" ".join)
def test_no_word_of_a_command_s_help_is_cut_off_at_80_columns(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    assert [line for line in done.output.splitlines() if "…" in line] == []
