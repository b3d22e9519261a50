"""An evaluation in MLflow: a run for the comparison, and a nested one for each arm and reference line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtrial.errors import MissingExtraError, SetupError
from ragtrial.report.run_record import LineRecord, RunRecord

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_ID, _RESULT, _LATER = "ragtrial.evaluation_id", "ragtrial.result", "ragtrial.superseded_by"
_PARENT = "mlflow.parentRunId"
_MOST_OF_A_PARAM, _MOST_OF_A_TAG, _MOST_AT_ONCE = 6000, 8000, 100
_NO_KEY = re.compile(r"[^\w\-. :/]")


def to_mlflow(record: RunRecord, files: Sequence[Path], *, tracking_uri: str | None) -> tuple[str, bool]:
    """Log the evaluation, once: the same result is not logged again, and a half-logged one is logged anew.

    Where the evaluation was concluded otherwise since (labels came in), it is another run, and the older one says so by a tag.

    Args:
        record: The evaluation.
        files: To log as artefacts.
        tracking_uri: Of the MLflow server or database; None leaves it to MLflow (MLFLOW_TRACKING_URI).

    Returns:
        The parent run's id, and whether it was logged just now.

    Raises:
        MissingExtraError: MLflow is not installed.
        SetupError: MLflow refuses, or can't be reached.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtraError(package="mlflow-skinny", extra="mlflow", purpose="export to MLflow") from error
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        experiment_id = _experiment(client, record.experiment)
        older = _logged(client, experiment_id, record)
        for run in older:
            if run.data.tags.get(_RESULT) == record.result and run.info.status == "FINISHED":
                return str(run.info.run_id), False
        run_id = _log(client, experiment_id, record, files)
        for run in older:
            if run.info.status == "FINISHED":
                client.set_tag(run.info.run_id, _LATER, run_id)
            else:
                _delete(client, experiment_id, run.info.run_id)
    except MlflowException as error:
        raise SetupError(f"MLflow refuses: {str(error).splitlines()[0]}") from error
    return run_id, True


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _logged(client: "MlflowClient", experiment_id: str, record: RunRecord) -> list[Any]:
    """Parent runs of this evaluation that nothing superseded."""
    runs = client.search_runs([experiment_id], filter_string=f"tags.`{_ID}` = '{record.evaluation_id}'", max_results=1000)
    return [run for run in runs if _LATER not in run.data.tags and _PARENT not in run.data.tags]


def _delete(client: "MlflowClient", experiment_id: str, run_id: str) -> None:
    for child in client.search_runs([experiment_id], filter_string=f"tags.`{_PARENT}` = '{run_id}'", max_results=1000):
        client.delete_run(child.info.run_id)
    client.delete_run(run_id)


def _log(client: "MlflowClient", experiment_id: str, record: RunRecord, files: Sequence[Path]) -> str:
    """Everything, the mark that it is complete last."""
    tags = {_ID: record.evaluation_id, _RESULT: record.result}
    tags |= {_key(f"ragtrial.{name}"): value[:_MOST_OF_A_TAG] for name, value in record.tags.items()}
    note = {"mlflow.note.content": record.tags["sentence"][:_MOST_OF_A_TAG]}
    started = record.started_ms
    run_id = str(client.create_run(experiment_id, start_time=started, tags={**tags, **note}, run_name=record.evaluation_id).info.run_id)
    _batches(client, run_id, record.params, record.metrics, at=record.finished_ms)
    _dataset(client, run_id, record)
    for path in files:
        client.log_artifact(run_id, str(path))
    for line in record.lines:
        _log_line(client, experiment_id, run_id, record, line)
    client.set_terminated(run_id, status="FINISHED", end_time=record.finished_ms)
    return run_id


def _log_line(client: "MlflowClient", experiment_id: str, parent: str, record: RunRecord, line: LineRecord) -> None:
    tags = {_PARENT: parent, _ID: record.evaluation_id, "ragtrial.arm": line.name}
    child = client.create_run(experiment_id, start_time=record.started_ms, tags=tags, run_name=line.name).info.run_id
    _batches(client, child, line.params, line.metrics, at=record.finished_ms)
    client.set_terminated(child, status="FINISHED", end_time=record.finished_ms)


def _batches(client: "MlflowClient", run_id: str, params: Mapping[str, str], metrics: Mapping[str, float], *, at: int) -> None:
    from mlflow.entities import Metric, Param

    client.log_batch(run_id, metrics=[Metric(_key(name), value, at, 0) for name, value in metrics.items()])
    given = [Param(_key(name), value[:_MOST_OF_A_PARAM]) for name, value in params.items()]
    for first in range(0, len(given), _MOST_AT_ONCE):
        client.log_batch(run_id, params=given[first : first + _MOST_AT_ONCE])


def _dataset(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = record.report["data"]
    gold = Dataset(name=data["gold"], digest=data["gold_fingerprint"][:36], source_type="local", source="{}")
    client.log_inputs(run_id, datasets=[DatasetInput(dataset=gold, tags=[InputTag(key="mlflow.data.context", value="evaluation")])])


def _key(name: str) -> str:
    """A name that MLflow takes: `nDCG@10` becomes `nDCG_at_10`."""
    return _NO_KEY.sub("_", name.replace("@", "_at_"))
