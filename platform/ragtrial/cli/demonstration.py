"""`ragtrial demo`: the main job on the bundled seeds."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.experiments import Quiet, evaluate_prepared, show
from ragtrial.cli.terminal import console, error_console
from ragtrial.errors import SetupError


def demo(
    *,
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's files go; yours to change and run again.")] = Path(
        "ragtrial-demo"
    ),
    files_only: Annotated[bool, typer.Option("--files-only", help="Only copy the demo's files into the folder.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the main job on the bundled seeds: train, index, ask, score, log, decide, report. No key, no server, no model hub.

    Fine-tunes the bundled all-MiniLM-L6-v2 on 600 or so training pairs of a made-up product's documentation, and tests it against
    the original on gold queries over other documents. A second run reuses what exists and takes seconds.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.folders import output_folder
    from ragtrial.suite.preparing import prepare

    experiment = copied(folder, "demo.yaml")
    if files_only:
        console().print(f"{folder}: copied", markup=False, soft_wrap=True)
        return
    prepared = prepare(experiment, settings=read_settings())
    if not quiet:
        error_console().print(f"{experiment}: {prepared.experiment.hypothesis}", markup=False, soft_wrap=True)
    outcome = evaluate_prepared(prepared, output_folder(folder / "report"), resume=True, training=True, quiet=quiet)
    show(outcome, as_json=False, quiet=quiet)
    if not quiet:
        console().print("in a browser: ragtrial dashboard (in a checkout: make dashboard)", markup=False, soft_wrap=True)


def copied(folder: Path, name: str) -> Path:
    """The experiment file `name` in the demo's folder, with the seeds beside it; what is there already stays as it is.

    Raises:
        SetupError: The folder can't be written.
    """
    source = _source()
    target = folder / "experiments" / name
    try:
        if not (folder / "seeds").is_dir():
            shutil.copytree(source / "seeds", folder / "seeds.part", dirs_exist_ok=True)
            (folder / "seeds.part").rename(folder / "seeds")
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / "experiments" / name, target)
    except OSError as error:
        raise SetupError(f"demo folder {str(folder)!r} can't be written ({error.strerror}): give another one with --folder") from error
    return target


def _source() -> Path:
    """Seeds and experiment: inside the package where it was installed from a wheel, at the root of a checkout otherwise."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "_demo", package.parent.parent):
        if (place / "seeds" / "corpus.jsonl").is_file():
            return place
    raise SetupError(f"the bundled seeds are not where they should be ({str(package / '_demo')!r}): install ragtrial again")
