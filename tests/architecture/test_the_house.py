"""The rules of docs/architecture.md that a machine can hold."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HEAVY = (
    "torch",
    "sentence_transformers",
    "pymilvus",
    "sqlalchemy",
    "statsmodels",
    "scipy",
    "pandas",
    "altair",
    "pyarrow",
    "openai",
    "numpy",
)

READABLE_BY_PAGES = (
    "ragtrial.db.reader",
    "ragtrial.db.live_reader",
    "ragtrial.db.board_reader",
    "ragtrial.db.live_board_reader",
    "ragtrial.analysis",
    "ragtrial.report",
    "ragtrial.domain",
    "ragtrial.settings",
    "ragtrial.errors",
    "ragtrial.suite.model_states",
    "ragtrial.suite.steering",
    "ragtrial.suite.curating",
    "ragtrial.suite.labelling",
)
"""All that pages of the dashboard import of ragtrial: what reads, what draws, and the three places where people change something."""

FOR_THE_DOOR = ("ragtrial.suite.opening", "ragtrial.suite.reading_place", "ragtrial.suite.visiting")
"""What the dashboard's frame needs besides, to find the database and to know who looks."""
FRAME = ("told.py", "readers.py", "access.py")


def test_imports_point_down(repository: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_platform_is_no_package(repository: Path) -> None:
    assert not (repository / "platform" / "__init__.py").exists()


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, ragtrial.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_stay_readable(repository: Path) -> None:
    long = {
        str(path.relative_to(repository)): n
        for path in (*repository.glob("platform/**/*.py"), *repository.glob("dashboards/**/*.py"))
        if (n := len(path.read_text().splitlines())) > 450
    }
    assert not long


def test_no_module_is_called_after_nothing(repository: Path) -> None:
    names = {path.stem for folder in ("platform", "dashboards") for path in repository.glob(f"{folder}/**/*.py")}
    assert not names & {"utils", "helpers", "manager", "common", "misc"}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, or a name out of one, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def test_pages_read_through_readers_and_change_things_in_three_places(repository: Path) -> None:
    files = sorted((repository / "dashboards").rglob("*.py"))
    assert len(files) > 10
    beyond = {
        f"{path.relative_to(repository)} imports {module}"
        for path in files
        for module in imported(path)
        if within(module, ("ragtrial",)) and not within(module, READABLE_BY_PAGES)
        if not (path.parent.name == "ragtrial_board" and path.name in FRAME and within(module, FOR_THE_DOOR))
    }
    assert not beyond


def test_pages_open_no_database_and_no_model_by_themselves(repository: Path) -> None:
    heavy = ("sqlalchemy", "sqlite3", "psycopg", "pymilvus", "torch", "sentence_transformers", "openai")
    found = {
        f"{path.relative_to(repository)} imports {module}"
        for path in (repository / "dashboards").rglob("*.py")
        for module in imported(path)
        if within(module, heavy)
    }
    assert not found


def test_only_the_dashboard_imports_streamlit(repository: Path) -> None:
    found = {str(path) for path in (repository / "platform").rglob("*.py") if any(within(each, ("streamlit",)) for each in imported(path))}
    assert not found


def test_the_seeds_data_files_are_what_their_sources_make(repository: Path) -> None:
    done = subprocess.run([sys.executable, repository / "seeds" / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_light_base_needs_no_torch() -> None:
    code = (
        "import sys, ragtrial.suite.running, ragtrial.suite.concluding, ragtrial.suite.training, ragtrial.suite.doctor\n"
        "print([name for name in ('torch', 'sentence_transformers', 'datasets', 'transformers', 'psycopg') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_analysis_of_sums_loads_no_data_frames() -> None:
    code = "import sys, ragtrial.suite.live_analysis\nprint([name for name in ('pandas', 'statsmodels', 'pyarrow') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
