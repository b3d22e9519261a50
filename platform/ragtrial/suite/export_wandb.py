"""An evaluation in Weights & Biases: a run with its configuration, its tables, and the conclusions as its summary."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtrial.errors import MissingExtraError, SetupError
from ragtrial.report.run_record import RunRecord

_NO_ID = re.compile(r"[^\w\-]")
_MOST_OF_AN_ID = 128
_COLUMNS = ("metric", "role", "baseline", "custom", "difference", "low", "high", "p_value", "p_adjusted", "n_scored", "reason")


def to_wandb(record: RunRecord, files: Sequence[Path], *, project: str, folder: Path, online: bool) -> tuple[Path, bool]:
    """Write a run: the same evaluation with the same result has the same id, so that it is one run however often it is exported.

    Args:
        record: The evaluation.
        files: To save with the run.
        project: Its project.
        folder: Where the run's own folder is made; it exists.
        online: Send it now; otherwise it is written, and `wandb sync` sends it.

    Returns:
        The run's folder, and whether it was written just now.

    Raises:
        MissingExtraError: wandb is not installed.
        SetupError: wandb refuses, or can't be reached.
    """
    try:
        import wandb
    except ImportError as error:
        raise MissingExtraError(package="wandb", extra="wandb", purpose="export to Weights & Biases") from error
    run_id = _NO_ID.sub("-", f"{record.evaluation_id}-{record.result[:8]}")[-_MOST_OF_AN_ID:]
    if not online and (known := next(iter(sorted((folder / "wandb").glob(f"offline-run-*-{run_id}"))), None)) and _is_complete(known):
        return known, False
    # Neither the machine, its user, the command line nor the repository has to do with the result: they stay here.
    own = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    try:
        with wandb.init(
            project=project,
            id=run_id,
            name=record.evaluation_id,
            group=record.experiment,
            job_type="evaluation",
            notes=record.tags["sentence"],
            config={**record.params, "evaluation_id": record.evaluation_id, "result": record.result},
            dir=str(folder),
            mode="online" if online else "offline",
            resume="allow" if online else None,
            settings=own,
        ) as run:
            _fill(run, record, files, wandb)
            place = Path(run.dir).parent
        wandb.teardown()  # a finished run is still in the memory of wandb's own process, which is waited for only here
    except wandb.Error as error:
        raise SetupError(f"Weights & Biases refuses: {str(error).splitlines()[0]}") from error
    (place / "files" / _COMPLETE).touch()
    return place, True


_COMPLETE = ".ragtrial-complete"


def _is_complete(run: Path) -> bool:
    return (run / "files" / _COMPLETE).is_file()


def _fill(run: Any, record: RunRecord, files: Sequence[Path], wandb: Any) -> None:
    """Tables, summary and files; a value that does not exist is left out of the summary, and empty in a table."""
    report = record.report
    lines = [[line.name, name, value] for line in record.lines for name, value in sorted(line.metrics.items())]
    checks = [[check["name"], check["state"], check["detail"]] for check in report["checks"]]
    run.log(
        {
            "comparisons": wandb.Table(columns=list(_COLUMNS), data=[_row(row) for row in _rows(report)]),
            "lines": wandb.Table(columns=["line", "metric", "value"], data=lines),
            "checks": wandb.Table(columns=["check", "state", "detail"], data=checks),
        }
    )
    run.summary.update({**record.metrics, **record.tags})
    for path in files:  # into the run's own folder: wandb links to what lies elsewhere, and that is gone when it is sent
        copied = shutil.copy(path, run.dir)
        run.save(copied, base_path=run.dir, policy="now")


def _rows(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    times = {row["name"]: row for row in report["latency"]["metrics"]}
    return [times.get(row["name"], row) for row in report["metrics"]]


def _row(row: Mapping[str, Any]) -> list[Any]:
    difference = row["difference"]
    means = [row["baseline"]["mean"], row["custom"]["mean"]]
    ends = [difference[end] for end in ("estimate", "low", "high")]
    return [row["name"], row["role"], *means, *ends, row["p_value"], row["p_adjusted"], row["n_scored"], row["reason"]]
