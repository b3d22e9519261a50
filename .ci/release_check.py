"""Checks a release as a stranger meets it: built, looked into, installed into empty environments outside of the repository, and used there.

    python .ci/release_check.py              everything but the installation of each extra
    EXTRAS=all python .ci/release_check.py   each extra installed for real, each into an environment of its own

It needs a package index and, for the demo, some gigabytes and minutes. What it built stays in dist/ only if all of it passed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD = (
    "ragtrial/py.typed",
    "ragtrial/_dashboards/app.py",
    "ragtrial/_dashboards/pages/",
    "ragtrial/_demo/seeds/corpus.jsonl",
    "ragtrial/_demo/seeds/docs/",
    "ragtrial/_demo/seeds/training/qrels/train.tsv",
    "ragtrial/_demo/experiments/demo.yaml",
    "ragtrial/_demo/experiments/live-demo.yaml",
    "ragtrial/db/migrations/env.py",
    "ragtrial/db/migrations/versions/",
    "ragtrial/generation/prompts/",
    "ragtrial/scoring/prompts/",
    "ragtrial/report/templates/report.html.j2",
    "ragtrial/report/report.schema.json",
)
"""What commands read at run time and no import would miss."""
NEVER = ("__pycache__", ".pyc", "/.ragtrial/", "/tests/", "deploy/secrets", ".db", ".pytest_cache")
NOT_TOGETHER = ("dev",)
"""Extras for this repository's own development, which are not installed by users."""


def faults(wheel: Path) -> list[str]:
    """What is missing in a wheel, and what must not be in it."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [f"{part} is missing" for part in HELD if not any(name.startswith(part) for name in names)]
    modules = {path.relative_to(ROOT / "platform").as_posix() for path in (ROOT / "platform" / "ragtrial").rglob("*.py")}
    missing += [f"{module} is missing" for module in sorted(modules - set(names))]
    packages = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    strangers = [f"{package}/ would be installed at the top of site-packages" for package in sorted(packages - {"ragtrial"})]
    return missing + strangers + [f"{name} does not belong there" for name in names if any(part in f"/{name}" for part in NEVER)]


def extras() -> list[str]:
    """The extras of pyproject.toml that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name not in NOT_TOGETHER]


def run(*command: str | Path, cwd: Path, quiet: bool = True, expected: int = 0) -> None:
    """Runs a command; what it said is shown where it ends with another exit code than expected."""
    began = time.monotonic()
    print("$", *(str(part) for part in command), flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "RAGTRIAL_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=quiet, text=True, check=False)
    if done.returncode != expected:
        sys.exit(
            f"{(done.stdout or '')[-3000:]}{(done.stderr or '')[-3000:]}\nfailed with {done.returncode}: {' '.join(map(str, command))}"
        )
    print(f"  ok, {time.monotonic() - began:.0f} s", flush=True)


def environment_at(folder: Path) -> Path:
    """An empty environment's python."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin" / "python"


def built(work: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made from it."""
    python = environment_at(work / "build")
    run(python, "-m", "pip", "install", "--quiet", "build", cwd=work)
    run(python, "-m", "build", "--outdir", work / "dist", ROOT, cwd=work)
    return next((work / "dist").glob("*.tar.gz")), next((work / "dist").glob("*.whl"))


def steps(work: Path) -> Iterator[str]:
    """Everything in turn; names what is done."""
    sdist, wheel = built(work)
    yield f"built {sdist.name} and, from it, {wheel.name}"
    found = faults(wheel)
    if found:
        sys.exit("\n".join(found))
    yield "the wheel holds what commands read, and nothing else"

    away = work / "elsewhere"
    away.mkdir()
    python = environment_at(work / "base")
    install = (python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt")
    run(*install, wheel, cwd=away)
    ragtrial = python.parent / "ragtrial"
    run(python, "-m", "pip", "check", cwd=away)
    run(ragtrial, "--help", cwd=away)
    run(ragtrial, "doctor", cwd=away, quiet=False, expected=2)  # the bundled baseline comes with [local]: it says so
    run(ragtrial, "demo", "--files-only", "--folder", away / "files", cwd=away)
    yield "the light base works in an empty environment"

    run(*install, f"{wheel}[train]", cwd=away)
    run(ragtrial, "doctor", cwd=away)
    run(ragtrial, "demo", cwd=away, quiet=False)
    if not (away / "ragtrial-demo" / "report" / "report.html").is_file():
        sys.exit("the demo wrote no report")
    yield "the demo ran outside of the repository"

    for extra in extras():
        run(*install, "--dry-run", f"{wheel}[{extra}]", cwd=away)
        yield f"[{extra}] resolves"

    if os.environ.get("EXTRAS") == "all":
        for extra in extras():
            python = environment_at(work / extra)
            run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[{extra}]", cwd=away)
            run(python, "-m", "pip", "check", cwd=away)
            run(python.parent / "ragtrial", "doctor", cwd=away)
            shutil.rmtree(work / extra)
            yield f"[{extra}] installs and passes doctor"
    shutil.copytree(work / "dist", ROOT / "dist", dirs_exist_ok=True)
    yield f"dist/ holds {sdist.name} and {wheel.name}"


def main() -> None:
    """Runs all steps in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ragtrial-release-") as folder:
        for said in steps(Path(folder).resolve()):
            print(f"== {said}", flush=True)


if __name__ == "__main__":
    main()
