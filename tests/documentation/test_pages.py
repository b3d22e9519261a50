"""Pages say only what exists: commands with their options, figures from the simulation."""

import functools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ragtrial.cli.main import app


def commands(text: str) -> Iterator[list[str]]:
    """Every `ragtrial ...` of a page, in a fence or between back ticks, up to a comment, a pipe or a joint."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`(ragtrial [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in [*(line for fence in fences for line in fence.splitlines()), *spans]:
        found = re.match(r"\s*ragtrial (.*)", line)
        if found:
            words = shlex.split(re.split(r"\s[#|>]|&&|;", found[1])[0].replace("...", ""))
            yield words


@functools.cache
def the_command_line() -> Any:
    return typer.main.get_command(app)


def wrong(words: list[str]) -> str | None:
    """What the command line would not know, or None."""
    command = the_command_line()
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"no command {name!r} in {' '.join(words)!r}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "--version"}
    unknown = [word for word in rest if word.startswith("-") and word.split("=")[0] not in known and not re.fullmatch(r"-\d.*", word)]
    return f"no option {unknown} in {' '.join(words)!r}" if unknown else None


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert list(commands("`ragtrial models fly x`\n```sh\nragtrial demo --folder x  # y\n```\n")) == [
        ["demo", "--folder", "x"],
        ["models", "fly", "x"],
    ]
    assert wrong(["models", "fly"]) == "no command 'fly' in 'models fly'"
    assert wrong(["demo", "--fast"]) == "no option ['--fast'] in 'demo --fast'"
    assert wrong(["demo", "--folder", "x"]) is None


def test_every_command_in_the_documents_exists(repository: Path) -> None:
    pages = [repository / "README.md", repository / "SECURITY.md", *repository.glob("docs/*.md")]
    given = [(page.name, words) for page in pages for words in commands(page.read_text(encoding="utf-8")) if page.name != "cli.md"]
    assert len(given) > 100
    assert [f"{page}: {fault}" for page, words in given if (fault := wrong(words))] == []


def test_the_figures_below_the_pictures_are_those_of_the_simulation(repository: Path) -> None:
    page = (repository / "docs" / "explained.md").read_text(encoding="utf-8")
    numbers = json.loads((repository / "docs" / "images" / "explained" / "numbers.json").read_text(encoding="utf-8"))
    quoted = re.findall(r"\*\*(\d[\d.,]*)\*\*", page)
    simulated = [f"{value:g}" for name, value in numbers.items()]
    assert len(quoted) >= 12
    assert [figure for figure in quoted if figure not in simulated] == []
