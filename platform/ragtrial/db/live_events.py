"""A live experiment row by row, for other programs' analyses: who was exposed to what and when, and every value of a metric."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select

from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_sums import counted
from ragtrial.db.live_values import values_of
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.metric import Metric

_ROWS_AT_ONCE = 10_000


class ExposureRow(NamedTuple):
    """A unit's first answer of an arm: `unit` is the pseudonym, `at` in seconds since 1970."""

    unit: str
    arm: str
    at: float


class ValueRow(NamedTuple):
    """What a metric is worth for one query of a unit."""

    unit: str
    arm: str
    at: float
    value: float


class LiveEvents(ReadOnly):
    """Reads mode split, where every trial is served; rows come in parts, so that no log is too long for the memory.

    What the analysis counts is what comes: trials whose assignment has the reason `split`. Units that saw both arms are among them, for the
    programs that read this leave such units out by themselves, and count them.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def exposures(self, live_id: int) -> Iterator[Sequence[ExposureRow]]:
        """One row for each unit and arm, ordered by both."""
        trial = LiveTrialRow
        wanted = select(trial.unit, trial.arm, func.min(trial.at)).where(*counted(live_id)).group_by(trial.unit, trial.arm)
        for rows in self._parts(wanted.order_by(trial.unit, trial.arm)):
            yield [ExposureRow(*row) for row in rows]

    def values(self, live_id: int, metric: Metric) -> Iterator[Sequence[ValueRow]]:
        """One row for each trial that has a value, ordered by unit and time."""
        found = values_of(metric, [live_id], *counted(live_id)[1:])
        wanted = select(found.c.unit, found.c.arm, found.c.at, found.c.value).where(found.c.value.is_not(None))
        for rows in self._parts(wanted.order_by(found.c.unit, found.c.at, found.c.request_id)):
            yield [ValueRow(unit, arm, at, float(value)) for unit, arm, at, value in rows]

    def left_out(self, live_id: int, metric: Metric) -> dict[str, dict[str, int]]:
        """Trials without a value by arm and reason."""
        found = values_of(metric, [live_id], *counted(live_id)[1:])
        wanted = select(found.c.arm, found.c.unscored, func.count()).where(found.c.value.is_(None)).group_by(found.c.arm, found.c.unscored)
        counts: dict[str, dict[str, int]] = {}
        with self._transaction() as connection:
            for arm, reason, n in connection.execute(wanted.order_by(found.c.arm, found.c.unscored)):
                counts.setdefault(arm, {})[reason] = n
        return counts

    def _parts(self, wanted: Any) -> Iterator[Sequence[Any]]:
        with self._transaction() as connection:
            found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(wanted)
            for rows in found.partitions():
                yield [tuple(row) for row in rows]
