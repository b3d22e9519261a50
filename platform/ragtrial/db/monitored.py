"""What the drift monitor reads of a live log: stretches of trials, each with what it asked and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from ragtrial.db.live_drift import MOST_TRIALS, SIGNALS, chosen, measured
from ragtrial.db.live_models import LiveScoreRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.live_drift import Measured

trial = LiveTrialRow
_Column = ColumnElement[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Trials from one to another, both included.

    Attributes:
        first: Id of the first one.
        last: Id of the last one.
    """

    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class MonitoredTrials:
    """Trials of a stretch, in the order in which they were logged.

    Attributes:
        stretch: Where they are.
        n_trials: How many there are; more than were drawn where there are very many.
        unit: Whose each is; a trial without a unit is a unit by itself. Shape (n_drawn,).
        arm: That made it. Shape (n_drawn,).
        asked: Whether it is a user's query: served, and not of a tester. Shape (n_drawn,).
        counts: Whether its arm was drawn at random, so that it tells of the arm. Shape (n_drawn,).
        text: The query, in full or redacted; None where only its hash is kept.
        values: Of each signal those that are known; scores are `score:METRIC`.
    """

    stretch: Stretch
    n_trials: int
    unit: tuple[str, ...]
    arm: tuple[str, ...]
    asked: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    text: tuple[str | None, ...]
    values: dict[str, Measured]


class MonitoredReader(ReadOnly):
    """Reads what the monitor compares; sees what was committed when each call begins.

    Args:
        url: SQLAlchemy URL.

    Raises:
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's. Methods raise it as well.
    """

    def first(self, live_id: int, *, n: int, since: float | None = None) -> Stretch | None:
        """The first n queries of users; None while there are fewer."""
        with self._transaction() as connection:
            wanted = select(trial.id).where(*_asked(live_id, since)).order_by(trial.id).limit(n)
            ids = list(connection.execute(wanted).scalars())
        return Stretch(first=ids[0], last=ids[-1]) if ids and len(ids) == n else None

    def newest(self, live_id: int, *, behind: int, n: int | None = None, since: float | None = None) -> Stretch | None:
        """The newest n queries of users, or all since a moment, that were logged behind a trial; None where there are none."""
        wanted = select(trial.id).where(*_asked(live_id, since), trial.id > behind).order_by(trial.id.desc())
        with self._transaction() as connection:
            found = connection.execute(select(func.min(_ids := wanted.limit(n).subquery().c.id), func.max(_ids))).one()
        return None if found[0] is None else Stretch(first=int(found[0]), last=int(found[1]))

    def n_asked(self, live_id: int, *, behind: int = 0, since: float | None = None) -> int:
        """How many queries of users there are behind a trial."""
        with self._transaction() as connection:
            return int(
                connection.execute(select(func.count()).select_from(trial).where(*_asked(live_id, since), trial.id > behind)).scalar_one()
            )

    def plan_of(self, stretch: Stretch) -> int | None:
        """The live experiment that the trials of a stretch are of; None where they are gone."""
        with self._transaction() as connection:
            found = connection.execute(select(trial.live_id).where(trial.id >= stretch.first, trial.id <= stretch.last).limit(1)).scalar()
        return None if found is None else int(found)

    def trials(self, live_id: int, stretch: Stretch, *, metrics: Sequence[str]) -> MonitoredTrials:
        """The trials of a stretch; of more than 20,000 some, drawn evenly by their ids."""
        mine = (trial.live_id == live_id, trial.id >= stretch.first, trial.id <= stretch.last)
        with self._transaction() as connection:
            n_trials = int(connection.execute(select(func.count()).select_from(trial).where(*mine)).scalar_one())
            signals = [column.label(name) for name, column in SIGNALS.items()]
            facts = (trial.id, trial.unit, trial.arm, trial.served, trial.reason, trial.failure_stage, trial.query_text)
            rows = connection.execute(select(*facts, *signals).where(*mine, *chosen(n_trials, MOST_TRIALS)).order_by(trial.id)).all()
            thumbs = _thumbs(connection, live_id, stretch)
            scores = {metric: _scores(connection, live_id, stretch, metric) for metric in metrics}
        values: dict[str, Measured] = {name: measured([getattr(row, name) for row in rows]) for name in SIGNALS}
        values["unanswered"] = measured([float(row.failure_stage is not None) for row in rows])
        values["thumbs_up"] = measured([thumbs.get(row.id) for row in rows])
        for metric, found in scores.items():
            values[f"score:{metric}"] = measured([found.get(row.id) for row in rows])
        return MonitoredTrials(
            stretch=stretch,
            n_trials=n_trials,
            unit=tuple(f"trial {row.id}" if row.unit is None else row.unit for row in rows),
            arm=tuple(row.arm for row in rows),
            asked=np.array([bool(row.served) and row.reason != "override" for row in rows], dtype=np.bool_),
            counts=np.array([row.reason == "split" for row in rows], dtype=np.bool_),
            text=tuple(row.query_text for row in rows),
            values=values,
        )


def _asked(live_id: int, since: float | None) -> tuple[_Column, ...]:
    """Queries of users: of testers (`override`) there may be many alike, and a silent twin repeats the query of its request."""
    found: tuple[_Column, ...] = (trial.live_id == live_id, trial.served.is_(True), trial.reason != "override")
    return found if since is None else (*found, trial.at >= since)


def _thumbs(connection: Connection, live_id: int, stretch: Stretch) -> dict[int, float | None]:
    """The last vote on each answer as a whole that was not late: 1 is up, 0 down; None was withdrawn."""
    vote = LiveVoteRow
    mine = (vote.live_id == live_id, vote.trial >= stretch.first, vote.trial <= stretch.last, vote.passage_id.is_(None), ~vote.late)
    rows = connection.execute(select(vote.trial, vote.thumb).where(*mine).order_by(vote.id))
    return {row.trial: {"up": 1.0, "down": 0.0}.get(row.thumb) for row in rows}


def _scores(connection: Connection, live_id: int, stretch: Stretch, metric: str) -> dict[int, float]:
    score = LiveScoreRow
    mine = (score.live_id == live_id, score.metric == metric, score.trial >= stretch.first, score.trial <= stretch.last)
    return {row.trial: row.value for row in connection.execute(select(score.trial, score.value).where(*mine, score.value.is_not(None)))}
