"""What the documents say is what the code does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ragtrial.formats.experiment import load_experiment, parse_experiment


def documents(repository: Path) -> list[Path]:
    return [*repository.glob("*.md"), *repository.glob("docs/**/*.md"), repository / "seeds" / "README.md"]


def test_the_readmes_experiment_loads_and_is_the_one_in_experiments(repository: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    assert parse_experiment(blocks[0]) == load_experiment(repository / "experiments" / "demo.yaml").experiment


def test_every_relative_link_leads_somewhere(repository: Path) -> None:
    links = [(document, target) for document in documents(repository) for target in re.findall(r"\]\(([^)#\s]+)", document.read_text())]
    assert not [
        f"{document.name}: {target}" for document, target in links if "://" not in target and not (document.parent / target).exists()
    ]


def test_the_command_line_reference_is_up_to_date(repository: Path, tmp_path: Path) -> None:
    typer = Path(sys.executable).parent / "typer"
    command = [typer, "ragtrial.cli.main", "utils", "docs", "--name", "ragtrial", "--output", tmp_path / "cli.md"]
    subprocess.run(command, check=True, capture_output=True, cwd=repository)
    assert (repository / "docs" / "cli.md").read_text() == (tmp_path / "cli.md").read_text(), "run make docs"


def test_the_command_line_reference_says_every_purpose_to_its_end(repository: Path) -> None:
    purposes = re.findall(r"^\* `[a-z-]+`: (.*)$", (repository / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert len(purposes) > 60
    assert [purpose for purpose in purposes if purpose.endswith("...")] == []


def test_the_layers_are_those_that_are_checked(repository: Path) -> None:
    architecture = (repository / "docs" / "architecture.md").read_text()
    listed = re.search(r"## Layers\n.*?```\n(.*?)```", architecture, re.DOTALL)
    assert listed is not None
    layers: list[set[str]] = []
    for sibling, name in re.findall(r"^( *\| )?([a-z_]+)  ", listed[1], re.MULTILINE):
        if sibling:
            layers[-1].add(name)
        else:
            layers.append({name})
    checked = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    assert layers == [set(layer.split(" | ")) for layer in checked]


def test_every_contract_is_an_extension_point_or_named_with_the_layers(repository: Path) -> None:
    architecture = (repository / "docs" / "architecture.md").read_text()
    contracts = re.findall(r"^class (\w+)\(Protocol\)", (repository / "platform" / "ragtrial" / "contracts.py").read_text(), re.MULTILINE)
    (line,) = re.findall(r"^contracts  .*: (.*)$", architecture, re.MULTILINE)
    assert sorted(line.split(", ")) == sorted(contracts)


def test_every_make_target_that_a_document_names_exists(repository: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    named = {name for document in documents(repository) for name in re.findall(r"`make ([a-z-]+)", document.read_text())}
    assert named <= targets


@pytest.mark.parametrize("word", ["/work/", "helper-", "subagent", "../../" + "shared"])
def test_nothing_speaks_of_the_place_where_it_was_written(repository: Path, word: str) -> None:
    done = subprocess.run(
        ["git", "grep", "-lI", word, "--", ":!tests/architecture/test_docs.py"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
