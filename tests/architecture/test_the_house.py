"""The rules of docs/architecture.md that a machine can hold."""

import subprocess
import sys
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
        for path in repository.glob("platform/**/*.py")
        if (n := len(path.read_text().splitlines())) > 450
    }
    assert not long


def test_no_module_is_called_after_nothing(repository: Path) -> None:
    names = {path.stem for path in repository.glob("platform/**/*.py")}
    assert not names & {"utils", "helpers", "manager", "common", "misc"}


def test_the_seeds_data_files_are_what_their_sources_make(repository: Path) -> None:
    done = subprocess.run([sys.executable, repository / "seeds" / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_light_base_needs_no_torch() -> None:
    code = (
        "import sys, ragtrial.suite.running, ragtrial.suite.concluding, ragtrial.suite.training, ragtrial.suite.doctor\n"
        "print([name for name in ('torch', 'sentence_transformers', 'datasets', 'transformers', 'psycopg') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
