"""Pages say only what exists: commands with their options, figures from the simulation."""

import functools
import json
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from ragtrial import __version__
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


QUOTED = (
    "pairing: paired sees the gain, %",
    "pairing: unpaired sees the gain, %",
    "power: queries for 0.05",
    "power: queries for 0.02",
    "peeking: plain 95 % interval after 20 looks, %",
    "peeking: always-valid interval after 20 looks, %",
    "clusters: queries as if independent, correlation 0.4, %",
    "clusters: clusters of a document, correlation 0.4, %",
    "split: 10% of treatment lost, half of the experiments alarmed by, users",
    "split: 5% of treatment lost, alarms after 20,000 users, %",
    "split: nothing lost, alarms after 20,000 users, %",
    "judge: judge alone covers what people say, %",
    "judge: corrected by 80 labels covers what people say, %",
)
"""What each bold figure of docs/explained.md is, in the order of the page."""


def numbers(repository: Path) -> dict[str, float]:
    """Of the last `make docs-images`."""
    found: dict[str, float] = json.loads((repository / "docs" / "images" / "explained" / "numbers.json").read_text(encoding="utf-8"))
    return found


def test_the_figures_below_the_pictures_are_those_of_the_simulation(repository: Path) -> None:
    page = (repository / "docs" / "explained.md").read_text(encoding="utf-8")
    simulated = numbers(repository)
    assert re.findall(r"\*\*(\d[\d.,]*)\*\*", page) == [f"{simulated[name]:,g}" for name in QUOTED]


@pytest.mark.slow
@pytest.mark.parametrize("drawing", ["pairing", "peeking", "clusters", "regions", "power", "split", "judge"])
def test_the_simulation_comes_to_these_figures(repository: Path, drawing: str) -> None:
    figures = runpy.run_path(str(repository / "docs" / "site" / "figures.py"), run_name="figures")
    _, found = figures[drawing](np.random.default_rng(figures["SEED"]))
    kept = {name: value for name, value in numbers(repository).items() if name.startswith(f"{drawing}: ")}
    assert {f"{drawing}: {name}": value for name, value in found.items()} == kept


def test_the_front_page_says_which_version_it_is_of_and_its_licence(repository: Path) -> None:
    page = (repository / "docs" / "index.md").read_text(encoding="utf-8")
    settings = (repository / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for said in (page, settings):
        assert f"Version {__version__}" in said
        assert project["license"] in said


def test_every_page_is_in_the_navigation_and_the_navigation_has_each_once(repository: Path) -> None:
    named = re.findall(r": ([\w-]+\.md)$", (repository / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in (repository / "docs").glob("*.md"))


def test_every_picture_says_in_words_what_it_shows(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    words = [
        (page.name, said, picture)
        for page in pages
        for said, picture in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(words) >= 12
    assert [f"{page}: {picture}" for page, said, picture in words if len(said.split()) < 4] == []
