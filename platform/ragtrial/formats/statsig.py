"""What Statsig is told of a live experiment: the queries of an assignment source and a metric source, and what its metrics are.

Shapes as documented. Warehouse Native, whose sources the queries are: https://docs.statsig.com/statsig-warehouse-native/configuration/assignment-sources
(a time that can be cast to a timestamp, in UTC, which whole seconds can't everywhere; a unit, an experiment and a group) and `.../metric-sources`
(a number as the value). Statsig Cloud, which takes the tables in: https://docs.statsig.com/data-warehouse-ingestion/data_mapping (custom
events: `timestamp` in whole seconds since 1970, `event_name` of fewer than 128 characters, `unit_id`, `event_value` as text).
So both tables have both times, and events both values.
"""

from typing import Any

from ragtrial.domain.live import LiveSpec
from ragtrial.domain.metric import metric_named
from ragtrial.formats.growthbook import quoted
from ragtrial.formats.table_files import Column

_WHO_AND_WHEN = (Column(name="unit_id", kind="text"), Column(name="timestamp", kind="seconds"), Column(name="occurred_at", kind="moment"))
EXPOSURES = (*_WHO_AND_WHEN, Column(name="experiment_id", kind="text"), Column(name="group_id", kind="text"))
EVENTS = (
    *_WHO_AND_WHEN,
    Column(name="experiment_id", kind="text"),
    Column(name="event_name", kind="text"),
    Column(name="event_value", kind="text"),
    Column(name="value", kind="number"),
)
"""Columns of the two tables."""


def sources_sql(experiment: str) -> str:
    """Both queries, each with what its columns are mapped to."""
    name = quoted(experiment)
    return f"""-- Assignment source. Unit: unit_id. Timestamp: occurred_at. Experiment: experiment_id. Group: group_id.
SELECT unit_id, occurred_at, experiment_id, group_id
FROM ragtrial_statsig_exposures
WHERE experiment_id = {name};

-- Metric source. Unit: unit_id. Timestamp: occurred_at.
SELECT unit_id, occurred_at, event_name, value
FROM ragtrial_statsig_events
WHERE experiment_id = {name};
"""  # noqa: S608 - the name is letters, digits, '-' and '_', and quoted


def metric_rows(live: LiveSpec) -> list[dict[str, Any]]:
    """Every planned metric as a ratio metric of the metric source: the sum of values over their number, which is the mean over queries."""
    roles = {guardrail.name: "guardrail" for guardrail in live.metrics.guardrails} | dict.fromkeys(live.metrics.secondary, "secondary")
    roles[live.metrics.primary.name] = "primary"  # which may be a guardrail besides
    rows = []
    for metric in (metric_named(name) for name in live.metrics.names):
        row = {
            "name": metric.name,
            "role": roles.get(metric.name, "exploratory"),
            "type": "ratio",
            "numerator": "SUM(value)",
            "denominator": "COUNT(*)",
            "filter": f"event_name = {quoted(metric.name)}",
            "direction": "increase" if metric.higher_is_better else "decrease",
            "unit": metric.unit,
        }
        rows.append(row)
    return rows
