"""A finished evaluation for an experiment tracker."""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from ragtrial.errors import SetupError
from ragtrial.report.run_record import files_to_send, record_of
from ragtrial.suite.concluding import conclude_file

Tracker = Literal["mlflow", "wandb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """Where an evaluation is now.

    Attributes:
        evaluation_id: Of the evaluation.
        run: MLflow's run id, or the folder of the run that W&B wrote.
        is_new: False where this result was exported before, so that nothing was done.
    """

    evaluation_id: str
    run: str
    is_new: bool


def export_evaluation(
    path: Path,
    tracker: Tracker,
    *,
    evaluation_id: str | None = None,
    with_texts: bool = False,
    tracking_uri: str | None = None,
    folder: Path | None = None,
    project: str = "ragtrial",
    online: bool = False,
) -> TrackedRun:
    """Log a finished evaluation as a run, under the plan that the file holds now.

    Args:
        path: The experiment file.
        tracker: Where to.
        evaluation_id: Which; None: the latest finished one.
        with_texts: Send queries, passages and answers too: the page of the report, and the full rows.
        tracking_uri: Of MLflow; None leaves it to MLflow.
        folder: Where W&B makes its folders; None: the working directory.
        project: Of W&B.
        online: W&B sends the run now.

    Raises:
        InputError: There is no such evaluation.
        MissingExtraError: The tracker is not installed.
        SetupError: It refuses, or can't be reached.
    """
    with tempfile.TemporaryDirectory(prefix="ragtrial-export-") as name:
        reports, made = Path(name) / "reports", Path(name) / "made"
        made.mkdir()
        outcome = conclude_file(path, evaluation_id, output=reports)
        evaluation = outcome.evaluation
        record = record_of(outcome.content, started_ms=_ms(evaluation.started_at), finished_ms=_ms(evaluation.finished_at or ""))
        files = files_to_send(reports, made, with_texts=with_texts)
        if tracker == "mlflow":
            from ragtrial.suite.export_mlflow import to_mlflow

            run, is_new = to_mlflow(record, files, tracking_uri=tracking_uri)
            return TrackedRun(evaluation_id=evaluation.evaluation_id, run=run, is_new=is_new)
        from ragtrial.suite.export_wandb import to_wandb

        place = folder or Path()
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"{str(place)!r} can't be made ({error.strerror}): give another --output") from error
        written, is_new = to_wandb(record, files, project=project, folder=place, online=online)
        return TrackedRun(evaluation_id=evaluation.evaluation_id, run=str(written), is_new=is_new)


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
