"""What an analysis of a live experiment depends on beside trials and votes, in a form that shows whether any of it is new."""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow
from ragtrial.db.live_models import LiveScoreRow, LiveSignalRow, LiveTrialRow, OutageRow, TrafficStateRow

SCORES_LOOKED_AT_AGAIN = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Two with one digest mean that nothing is new.

    Attributes:
        scores: Of each metric the newest scored trial, and how many of the trials shortly before it are scored.
        signal: The newest signal.
        traffic: The newest version of the traffic.
        outage: The newest outage.
        comparisons: How many comparisons there are side by side, and the newest preference.
        signals_seen: Signals of all experiments that were looked at, up to this id.
    """

    scores: tuple[tuple[str, int, int], ...]
    signal: int
    traffic: int
    outage: int
    comparisons: tuple[int, int]
    signals_seen: int

    @property
    def digest(self) -> str:
        """Of all but `signals_seen`, as it is stored with an analysis."""
        return hashlib.sha256(repr(astuple(self)[:-1]).encode()).hexdigest()


def beside(connection: Connection, live_id: int, metrics: Sequence[str], before: Beside | None) -> Beside:
    """How things stand; what was looked at `before` is not looked at again."""
    signal, seen = LiveSignalRow, 0 if before is None else before.signals_seen
    trial = LiveTrialRow
    shortly = select(trial.id).where(trial.live_id == live_id).order_by(trial.id.desc()).offset(SCORES_LOOKED_AT_AGAIN).limit(1)
    since = connection.execute(shortly).scalar() or 0  # where a partition begins, numbers are left out
    newest_signal = _newest(connection, signal.id, signal.live_id == live_id, signal.id > seen)
    return Beside(
        scores=tuple(_scores(connection, live_id, metric, since) for metric in metrics),
        signal=max(newest_signal, 0 if before is None else before.signal),
        traffic=_newest(connection, TrafficStateRow.version, TrafficStateRow.live_id == live_id),
        outage=_newest(connection, OutageRow.id, OutageRow.live_id == live_id),
        comparisons=_comparisons(connection, live_id),
        signals_seen=_newest(connection, signal.id),
    )


def _newest(connection: Connection, column: Any, *mine: Any) -> int:
    return connection.execute(select(func.max(column)).where(*mine)).scalar() or 0


def _scores(connection: Connection, live_id: int, metric: str, since: int) -> tuple[str, int, int]:
    score = LiveScoreRow
    mine = (score.live_id == live_id, score.metric == metric)
    newest = _newest(connection, score.trial, *mine)
    again = select(func.count()).select_from(score).where(*mine, score.trial > min(since, newest - SCORES_LOOKED_AT_AGAIN))
    return metric, newest, connection.execute(again).scalar_one()


def _comparisons(connection: Connection, live_id: int) -> tuple[int, int]:
    shown, chosen = LiveComparisonRow, LivePreferenceRow
    joined: Any = shown.__table__.outerjoin(chosen.__table__, chosen.comparison_id == shown.comparison_id)
    wanted = select(func.count(shown.comparison_id.distinct()), func.max(chosen.id)).select_from(joined).where(shown.live_id == live_id)
    n, newest = connection.execute(wanted).one()
    return n, newest or 0
