"""A sample of live trials with what drift is told from, in a time that hardly grows with the log."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, func, literal_column, null, select

from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_sums import counted, numbered
from ragtrial.domain.live_drift import DriftName, DriftSample, Measured

MOST_TRIALS = 20_000
"""Thirty windows of two arms have some 330 each: enough to tell a drift of 0.3 standard deviations in a single one."""

_WHOLE = 2**32
_LOW = 2**31
_GOLDEN = 2_654_435_761  # 2^32 by the golden ratio (Knuth 1998, "The Art of Computer Programming" 3, 6.4)
_AT_ONCE = 5_000

_Column = ColumnElement[Any]
trial = LiveTrialRow


def drift_sample(connection: Connection, live_id: int, *, arms: tuple[str, ...], n_trials: int, most: int = MOST_TRIALS) -> DriftSample:
    """At most about `most` of the trials that count, drawn by arithmetic on their ids.

    Only what was split is looked at: the same random users as in the verdict. Overrides are people who test, and who is `outside` of the
    experiment changes with every ramp, which would look like drift and is none.

    Ids are multiplied with a constant and the product's last 32 bits compared with a limit (Fibonacci hashing), and not divided by a
    number: silent twins are logged behind the trial that they belong to, so that every second id would be one arm alone. The sample
    of a shorter log holds that of a longer one.

    Args:
        connection: To the log.
        live_id: The experiment.
        arms: Which arms' trials are wanted.
        n_trials: How many count, as far as it is known.
        most: How many are wanted.
    """
    ids = list(connection.execute(select(trial.id).where(*counted(live_id), *chosen(n_trials, most))).scalars())
    ids.sort()
    rows = [row for some in _parts(ids) for row in connection.execute(_wanted(some, arms))]
    place = {name: number for number, name in enumerate(arms)}
    return DriftSample(
        arms=arms,
        at=np.array([row.at for row in rows], dtype=np.float64),
        unit=numbered([row.unit for row in rows]),
        arm=np.array([place[row.arm] for row in rows], dtype=np.int64),
        signals={name: measured([getattr(row, name) for row in rows]) for name in SIGNALS},
    )


def chosen(n_trials: int, most: int) -> tuple[_Column, ...]:
    """Ids that belong to the sample; no condition where all do.

    Its share is halved when the log outgrows it, and not at every trial: what was said of a window stays said until then.
    """
    if n_trials <= most:
        return ()
    share = 2 ** -math.ceil(math.log2(n_trials / most))
    low = cast(trial.id, BigInteger) % literal_column(str(_LOW), BigInteger)  # times the factor it fits into 64 bits
    mixed = (low * literal_column(str(_GOLDEN), BigInteger)) % literal_column(str(_WHOLE), BigInteger)
    return (mixed < literal_column(str(int(share * _WHOLE)), BigInteger),)


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE))


def _wanted(ids: Sequence[int], arms: tuple[str, ...]) -> Any:
    """By number: both databases then read these rows and no others."""
    signals = [column.label(name) for name, column in SIGNALS.items()]
    return select(trial.unit, trial.arm, trial.at, *signals).where(trial.id.in_(ids), trial.arm.in_(arms)).order_by(trial.id)


def measured(values: Sequence[float | None]) -> Measured:
    """The values that are known, with their places."""
    known = [number for number, value in enumerate(values) if value is not None]
    return Measured(trial=np.array(known, dtype=np.int64), value=np.array([values[number] for number in known], dtype=np.float64))


def _one_where(holds: _Column) -> _Column:
    return case((holds, 1), else_=0)


SIGNALS: dict[DriftName, _Column] = {
    "similarity": LiveTrialRow.__table__.c.hits[(0, 1)].as_float(),  # NULL where nothing was found, or nothing searched
    "query_length": case(
        (and_(trial.query_stored == "full", trial.query_text.is_not(None)), func.length(trial.query_text)), else_=null()
    ),  # redacted texts have another length
    "in_gold": _one_where(trial.gold_query_id.is_not(None)),
    "abstained": case((trial.finish_reason.is_not(None), _one_where(trial.finish_reason == "abstained")), else_=null()),
}
