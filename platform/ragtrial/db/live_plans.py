"""What the log says of plans: what one measures, and whether an experiment was served under another one than the present one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.live_models import LiveExperimentRow, LiveTrialRow
from ragtrial.db.unit_sums import FORMULAE
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import LiveMetrics

_METRICS = TypeAdapter(LiveMetrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPlan:
    """The plan of the same name that was served last.

    Attributes:
        live_digest: Of that plan.
        units: That took part under it; 0 where all its trials were outside the split.
    """

    live_digest: str
    units: int


def planned_metrics(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a logged plan's live metrics, the primary first; empty where it is no plan that this version understands."""
    try:
        return _METRICS.validate_python(plan["live"]["metrics"]).names
    except (LookupError, TypeError, ValidationError):
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedPlan:
    """What of a logged plan decides what is summed by unit.

    Attributes:
        scored: Planned metrics that scorers measure.
        deciding: The primary metric and the secondary ones.
        units_planned: Units at which the planned verdict is given, or None.
    """

    scored: tuple[str, ...]
    deciding: tuple[str, ...]
    units_planned: int | None


def summed_plan(plan: Mapping[str, Any]) -> SummedPlan | None:
    """None where it has another mode than split, or is no plan that this version understands."""
    try:
        live = plan["live"]
        metrics = _METRICS.validate_python(live["metrics"])
        mode, units = live.get("mode", "split"), live.get("units_planned")
    except (LookupError, TypeError, ValidationError):
        return None
    if mode != "split":
        return None
    deciding = tuple(dict.fromkeys((metrics.primary.name, *metrics.secondary)))
    return SummedPlan(
        scored=tuple(dict.fromkeys(name for name in metrics.names if name not in FORMULAE)), deciding=deciding, units_planned=units
    )


def earlier_plan(url: str, experiment: Experiment) -> EarlierPlan | None:
    """Under which other plan the log holds trials of this experiment; None where there is none, or where the present plan has trials.

    A log of an older schema is not looked at: it is upgraded when the service starts.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        StoreError: The database can't be read.
    """
    if schema.current_revision(url) != schema.HEAD:
        return None
    live, trial = LiveExperimentRow, LiveTrialRow
    any_trial = select(trial.id).where(trial.live_id == live.id).exists()
    used = select(live.id, live.live_digest).where(live.name == experiment.name, any_trial).order_by(live.id.desc())
    engine = database.open_engine(url, read_only=True)
    try:
        with database.transaction(engine, database.shown(database.parse_url(url))) as connection:
            found = connection.execute(used).all()
            if not found or any(row.live_digest == experiment.live_digest() for row in found):
                return None
            units = select(func.count(trial.unit.distinct())).where(trial.live_id == found[0].id, trial.reason == "split")
            return EarlierPlan(live_digest=found[0].live_digest, units=int(connection.execute(units).scalar_one()))
    finally:
        engine.dispose()
