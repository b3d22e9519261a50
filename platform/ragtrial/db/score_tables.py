"""Scores as arrays: rows of the SQL log become one `ScoreTable` for each metric."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ragtrial.db.models import EvaluationRow, QueryRow, ScoreRow, TrialRow
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.score import ScoreTable
from ragtrial.errors import InputError

_ROWS_AT_ONCE = 50_000


def read_score_tables(connection: Connection, evaluation_id: str, metrics: Sequence[str] | None) -> dict[str, ScoreTable]:
    """As `Reader.scores`, of an evaluation that is there."""
    order = Order.of(connection, evaluation_id)
    trials = _trial_index(connection, evaluation_id, order)
    found = _score_columns(connection, evaluation_id, trials, None if metrics is None else set(metrics))
    empty = _Columns.of([])
    names = sorted(found) if metrics is None else metrics
    return {name: _table(_metric(name), found.get(name, empty), trials, order) for name in names}


class Order(NamedTuple):
    """Where the queries and the arms of an evaluation stand."""

    queries: dict[str, int]
    arms: tuple[str, ...]
    clusters: tuple[str, ...] | None

    @classmethod
    def of(cls, connection: Connection, evaluation_id: str, query_ids: Collection[str] | None = None) -> "Order":
        """As recorded, of some queries if asked; a query without a cluster among others that have one is a cluster of its own."""
        wanted = select(QueryRow.query_id, QueryRow.cluster).where(QueryRow.evaluation_id == evaluation_id).order_by(QueryRow.position)
        if query_ids is not None:
            wanted = wanted.where(QueryRow.query_id.in_(query_ids))
        rows = connection.execute(wanted).all()
        facts = connection.execute(select(EvaluationRow.arms).where(EvaluationRow.evaluation_id == evaluation_id)).scalar_one()
        alone = all(cluster is None for _query_id, cluster in rows)
        return cls(
            queries={query_id: place for place, (query_id, _cluster) in enumerate(rows)},
            arms=tuple(arm["arm"] for arm in facts),
            clusters=None if alone else tuple(f"query {query_id}" if cluster is None else cluster for query_id, cluster in rows),
        )

    def arm(self, name: str) -> tuple[int, str]:
        """Sorts arms as the evaluation names them, then others by name."""
        return (self.arms.index(name) if name in self.arms else len(self.arms), name)


class _TrialIndex(NamedTuple):
    """The trials of an evaluation in their order; each array of shape (n_trials,)."""

    ids: NDArray[np.int64]
    queries: NDArray[np.int64]
    arms: NDArray[np.str_]

    def places(self, trial_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each id's place among the trials."""
        by_id = np.argsort(self.ids)
        return by_id[np.searchsorted(self.ids, trial_ids, sorter=by_id)]


class _Columns(NamedTuple):
    """Scores of one metric, in no order: the trial's place, the value (NaN where there is none), the reason."""

    places: NDArray[np.int64]
    values: NDArray[np.float64]
    unscored: NDArray[np.object_]

    @classmethod
    def of(cls, parts: "Sequence[_Columns]") -> "_Columns":
        """All parts together."""
        return cls(
            places=np.concatenate([part.places for part in parts] or [np.empty(0, dtype=np.int64)]),
            values=np.concatenate([part.values for part in parts] or [np.empty(0)]),
            unscored=np.concatenate([part.unscored for part in parts] or [np.empty(0, dtype=object)]),
        )


def _trial_index(connection: Connection, evaluation_id: str, order: Order) -> _TrialIndex:
    wanted = select(TrialRow.id, TrialRow.query_id, TrialRow.arm, TrialRow.repetition).where(TrialRow.evaluation_id == evaluation_id)
    rows = sorted(connection.execute(wanted), key=lambda row: (order.queries[row[1]], order.arm(row[2]), row[3]))
    return _TrialIndex(
        ids=np.array([row[0] for row in rows], dtype=np.int64),
        queries=np.array([order.queries[row[1]] for row in rows], dtype=np.int64),
        arms=np.array([row[2] for row in rows], dtype=np.str_),
    )


def _score_columns(connection: Connection, evaluation_id: str, trials: _TrialIndex, metrics: set[str] | None) -> dict[str, _Columns]:
    wanted = (
        select(ScoreRow.trial_id, ScoreRow.metric, ScoreRow.value, ScoreRow.unscored)
        .join(TrialRow, TrialRow.id == ScoreRow.trial_id)
        .where(TrialRow.evaluation_id == evaluation_id)
    )
    if metrics is not None:
        wanted = wanted.where(ScoreRow.metric.in_(metrics))
    parts: defaultdict[str, list[_Columns]] = defaultdict(list)
    codes: dict[str, int] = {}
    for rows in connection.execute(wanted).partitions(_ROWS_AT_ONCE):
        ids, names, values, unscored = zip(*rows, strict=True)
        for name in dict.fromkeys(names):
            codes.setdefault(name, len(codes))
        metric = np.fromiter(map(codes.__getitem__, names), dtype=np.int64, count=len(names))
        places = trials.places(np.array(ids, dtype=np.int64))
        numbers = np.array(values, dtype=np.float64)  # None becomes NaN
        reasons = np.array(unscored, dtype=object)
        for name, code in codes.items():
            mine = metric == code
            parts[name].append(_Columns(places[mine], numbers[mine], reasons[mine]))
    return {name: _Columns.of(columns) for name, columns in parts.items()}


def _metric(name: str) -> Metric:
    try:
        return metric_named(name)
    except ValueError as error:
        raise InputError(str(error)) from error


def _table(metric: Metric, columns: _Columns, trials: _TrialIndex, order: Order) -> ScoreTable:
    sorting = np.argsort(columns.places, kind="stable")
    places = columns.places[sorting]
    return ScoreTable(
        metric=metric,
        query_ids=tuple(order.queries),
        clusters=order.clusters,
        query=trials.queries[places],
        arm=trials.arms[places],
        value=columns.values[sorting],
        unscored=columns.unscored[sorting],
    )
