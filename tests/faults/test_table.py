"""The table of faults names tests that are there, and every test of a fault stands in it."""

import ast
import re
from functools import cache
from pathlib import Path

ROW = re.compile(r"`((?:faults|unit|journeys|conformance)/[\w/]+\.py)::(\w+)` \|$", re.MULTILINE)


@cache
def names_of(path: Path) -> frozenset[str]:
    """Names of the test functions of a file."""
    found = ast.walk(ast.parse(path.read_text()))
    return frozenset(
        node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def named(repository: Path) -> list[tuple[str, str]]:
    return ROW.findall((repository / "docs" / "faults.md").read_text())


def test_every_row_has_a_test_and_every_test_that_a_row_names_is_there(repository: Path) -> None:
    text = (repository / "docs" / "faults.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    assert len(rows) == len(named(repository)) > 50
    missing = [
        f"{file}::{test}"
        for file, test in named(repository)
        if not (repository / "tests" / file).is_file() or test not in names_of(repository / "tests" / file)
    ]
    assert missing == []


def test_every_file_of_faults_stands_in_the_table(repository: Path) -> None:
    files = {f"faults/{path.name}" for path in (repository / "tests" / "faults").glob("test_*.py")} - {"faults/test_table.py"}
    assert files <= {file for file, _ in named(repository)}
