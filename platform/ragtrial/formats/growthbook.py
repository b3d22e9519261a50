"""What GrowthBook is told of a live experiment: SQL for its data source, and the bodies of two requests to its REST API.

Shapes as documented: https://docs.growthbook.io/app/datasources (assignment queries: an identifier, `timestamp`, `experiment_id`,
`variation_id`), https://docs.growthbook.io/app/fact-tables, and the REST API's `POST /v1/bulk-import/facts` and `POST /v1/experiments`.
"""

import re
from datetime import UTC, datetime
from typing import Any

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import LiveSpec, TrafficState
from ragtrial.domain.metric import metric_named
from ragtrial.formats.table_files import Column

UNIT = "user_id"
_WHO_AND_WHEN = (Column(name=UNIT, kind="text"), Column(name="timestamp", kind="moment"), Column(name="experiment_id", kind="text"))
EXPOSURES = (*_WHO_AND_WHEN, Column(name="variation_id", kind="text"))
SCORES = (*_WHO_AND_WHEN, Column(name="metric", kind="text"), Column(name="value", kind="number"))
"""Columns of the two tables."""
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")
_FACTS = "ragtrial_scores"


def quoted(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def metric_id(experiment: str, metric: str) -> str:
    """GrowthBook takes fact metrics of the form `fact__[-a-zA-Z0-9_]+` only."""
    return f"fact__{_NO_ID.sub('_', f'{experiment}_{metric}')}"


def table_id(experiment: str) -> str:
    """The fact table's id."""
    return _NO_ID.sub("_", f"{_FACTS}_{experiment}")


def assignment_sql(experiment: str) -> str:
    """The assignment query; the table is where `exposures` was loaded."""
    return f"SELECT {UNIT}, timestamp, experiment_id, variation_id\nFROM ragtrial_exposures\nWHERE experiment_id = {quoted(experiment)}"


def facts_sql(experiment: str) -> str:
    """The fact table's query; the table is where `scores` was loaded."""
    return f"SELECT {UNIT}, timestamp, metric, value\nFROM {_FACTS}\nWHERE experiment_id = {quoted(experiment)}"


def facts_body(experiment: Experiment, live: LiveSpec, *, datasource: str) -> dict[str, Any]:
    """The body of `POST /v1/bulk-import/facts`.

    Every metric is a ratio, the sum of a unit's values over their number: that is the mean over queries that ragtrial estimates, with users
    as the units of the error (`stats/ratio.py`). A mean over users would weigh who asks once as much as who asks a hundred times.
    """
    name, table = experiment.name, table_id(experiment.name)
    filters, metrics = [], []
    for metric in (metric_named(each) for each in live.metrics.names):
        filter_id = _NO_ID.sub("_", f"{table}_{metric.name}")
        filters.append({"factTableId": table, "id": filter_id, "data": {"name": metric.name, "value": f"metric = {quoted(metric.name)}"}})
        data = {
            "name": f"{metric.name} ({name})",
            "description": f"Mean of {metric.name} over queries, in {metric.unit}.",
            "metricType": "ratio",
            "numerator": {"factTableId": table, "column": "value", "aggregation": "sum", "filters": [filter_id]},
            "denominator": {"factTableId": table, "column": "$$count", "filters": [filter_id]},
            "inverse": not metric.higher_is_better,
            "tags": ["ragtrial"],
        }
        metrics.append({"id": metric_id(name, metric.name), "data": data})
    facts = {"name": f"ragtrial {name}", "datasource": datasource, "userIdTypes": [UNIT], "sql": facts_sql(name), "tags": ["ragtrial"]}
    return {"factTables": [{"id": table, "data": facts}], "factTableFilters": filters, "factMetrics": metrics}


def experiment_body(
    experiment: Experiment, live: LiveSpec, traffic: TrafficState, *, started: float, datasource: str, assignment_query: str
) -> dict[str, Any]:
    """The body of `POST /v1/experiments`; ragtrial assigns, so GrowthBook only analyses."""
    name, planned = experiment.name, live.metrics
    arms = [(experiment.control.name, 1 - traffic.treatment), (experiment.treatment.name, traffic.treatment)]
    phase = {
        "name": "Main",
        "dateStarted": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "coverage": traffic.share,
        "trafficSplit": [{"variationId": str(place), "weight": weight} for place, (_arm, weight) in enumerate(arms)],
    }
    return {
        "datasourceId": datasource,
        "assignmentQueryId": assignment_query,
        "trackingKey": name,
        "name": name,
        "hypothesis": experiment.hypothesis,
        "description": f"Exported by ragtrial; plan {experiment.live_digest()}. Arms are assigned by ragtrial.",
        "tags": ["ragtrial"],
        "status": "stopped" if traffic.stopped else "running",
        "hashAttribute": UNIT,
        "variations": [{"id": str(place), "key": arm, "name": arm} for place, (arm, _weight) in enumerate(arms)],
        "phases": [phase],
        "metrics": [metric_id(name, planned.primary.name)],
        "secondaryMetrics": [metric_id(name, metric) for metric in (*planned.secondary, *planned.exploratory)],
        "guardrailMetrics": [metric_id(name, guardrail.name) for guardrail in planned.guardrails if guardrail.name != planned.primary.name],
        "statsEngine": "frequentist",
        "sequentialTestingEnabled": True,
    }
