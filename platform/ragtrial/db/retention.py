"""Removing old trials from the live log, while what they came to stays in the sums."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from ragtrial.contracts import Progress, no_progress
from ragtrial.db import engine as database
from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow, LiveSnapshotRow
from ragtrial.db.live_models import AuditRow, LiveExperimentRow, LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.roll_up import RollUp
from ragtrial.db.traffic import current_state
from ragtrial.db.unit_history import needed_by
from ragtrial.db.unit_models import CLOSED, LiveUnitRow, LiveUnitScoreRow, RetentionRow, UnitChangeRow, UnitMarkRow
from ragtrial.db.whole_partitions import Going, drop_whole
from ragtrial.errors import ConflictError, InputError

_DAY_SECONDS = 86_400
_TRIALS_AT_ONCE = 5_000
_HEARD_SECONDS = 60.0
_TRIES = 3  # at closing what another process writes to; each makes the analysis once more
_ABOUT: dict[str, Any] = {"scores": LiveScoreRow, "votes": LiveVoteRow, "signals": LiveSignalRow}
trial, retention = LiveTrialRow, RetentionRow

Conclude = Callable[["Old"], str | None]
"""Stores what an experiment that is over has come to, for the last time; why it can't, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """Trials of one live experiment that are older than what is kept.

    Attributes:
        live_id: The experiment.
        name: Its name.
        trials: How many there are to remove.
        running: Whether it is not stopped: its verdict needs them.
        summed: Whether its sums by unit are kept (mode split), so that its analysis can do without them.
        concluded: Whether what it came to is stored, so that it can be shown without its trials.
        needed_by: Later experiments that are not closed, and whose covariate is read from these trials.
    """

    live_id: int
    name: str
    trials: int
    running: bool
    summed: bool
    concluded: bool
    needed_by: tuple[str, ...] = ()


class Retention:
    """Removes trials that arrived before a day, with their scores, votes, signals and comparisons, a few thousand in a transaction.

    The sums by time stay as they are. The sums by unit of an experiment that is over are closed: its analysis reads them ever after, but
    for the p95 of the waiting time and pictures by time, which are in its stored snapshot; that is never made again.

    Args:
        url: SQLAlchemy URL.
        keep_days: Days (UTC, whole) that are kept.
        clock: Seconds since 1970.

    Raises:
        InputError: `keep_days` is below 1.
        StoreError: There is no such database, or the database fails.
    """

    def __init__(self, url: str, *, keep_days: float, clock: Callable[[], float] = time.time) -> None:
        if not keep_days >= 1:
            raise InputError(f"--keep is {keep_days:g} days: give at least 1")
        self._url, self._clock = url, clock
        self.kept_from = float((clock() - keep_days * _DAY_SECONDS) // _DAY_SECONDS * _DAY_SECONDS)
        self._name = database.shown(database.parse_url(url))
        self._stack = ExitStack()
        self._roll_up = self._stack.enter_context(RollUp(url, clock=clock))
        self._engine = database.open_engine(url)
        self.refused: dict[int, str] = {}
        self._stack.callback(self._engine.dispose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def old(self, experiment: str | None) -> tuple[Old, ...]:
        """What there is to remove, of one experiment under all its plans, or of all."""
        row = LiveExperimentRow
        wanted = select(row.id, row.name).order_by(row.id)
        with database.transaction(self._engine, self._name, turn="long") as connection:  # counts millions: nobody's stop waits for it
            found = connection.execute(wanted if experiment is None else wanted.where(row.name == experiment)).all()
            return tuple(old for live_id, name in found if (old := self._old(connection, live_id, name)).trials)

    def _old(self, connection: Connection, live_id: int, name: str) -> Old:
        n = connection.execute(select(func.count()).select_from(trial).where(*self._mine(live_id))).scalar_one()
        snapshot = LiveSnapshotRow
        stored = select(snapshot.live_id).where(snapshot.live_id == live_id, snapshot.document.is_not(None))
        plan = connection.execute(select(LiveExperimentRow.plan).where(LiveExperimentRow.id == live_id)).scalar_one()
        return Old(
            live_id=live_id,
            name=name,
            trials=n,
            running=self._runs(connection, live_id),
            summed=plan["live"]["mode"] == "split",
            concluded=connection.execute(stored).first() is not None,
            needed_by=needed_by(connection, live_id),
        )

    def _runs(self, connection: Connection, live_id: int) -> bool:
        """A quiet week is no end, for sums that are closed take no more trials; nor is a stop that a service may not have heard of yet."""
        state = current_state(connection, live_id)
        return not state.stopped or state.at > self._clock() - _HEARD_SECONDS

    def _mine(self, live_id: int) -> tuple[Any, ...]:
        return trial.live_id == live_id, trial.at < self.kept_from

    def remove(self, old: Old, *, actor: str, progress: Progress = no_progress) -> dict[str, int]:
        """As `remove_all`, of one experiment.

        Raises:
            ConflictError: Nothing was removed, as in `refused`.
        """
        removed = self.remove_all((old,), actor=actor, progress=progress)
        if old.live_id in self.refused:
            raise ConflictError(self.refused[old.live_id])
        return removed[old.live_id]

    def remove_all(
        self, chosen: Sequence[Old], *, actor: str, conclude: Conclude = lambda _old: None, progress: Progress = no_progress
    ) -> dict[int, dict[str, int]]:
        """Remove what `old` found; what was removed before a kill stays removed, and the next run goes on.

        On PostgreSQL a partition of which nothing stays is dropped as a whole; so experiments that ran at a time go at a time.

        Args:
            chosen: As `old` found them.
            actor: Who does it, for the audit log.
            conclude: Called right before the sums of an experiment that is over are closed, and again where its log changed meanwhile.
            progress: Told of trials.

        Returns:
            By experiment, rows removed of `trials`, `scores`, `votes` and `signals`. Those that were left alone are in `refused`, with the
            reason: started again meanwhile, not concluded, or the log went on changing.
        """
        numbers: dict[int, int] = {}
        for old in chosen:
            try:
                numbers[old.live_id] = self._begin(old, actor, conclude)
            except ConflictError as error:
                self.refused[old.live_id] = str(error)
        chosen = [old for old in chosen if old.live_id in numbers]
        removed = {old.live_id: dict.fromkeys(("trials", *_ABOUT), 0) for old in chosen}
        advance = progress("removing old trials", sum(old.trials for old in chosen))
        over = {old.live_id: numbers[old.live_id] for old in chosen if not old.running}
        removed |= drop_whole(self._engine, self._name, Going(self.kept_from, over), advance=advance)
        for old in chosen:
            while some := self._some(old, numbers[old.live_id]):
                removed[old.live_id] = {name: removed[old.live_id][name] + n for name, n in some.items()}
                advance(some["trials"])
            with database.transaction(self._engine, self._name) as connection:
                until = datetime.fromtimestamp(self.kept_from, UTC).date().isoformat()
                row = {"live_id": old.live_id, "at": self._clock(), "actor": actor, "action": "retention", "subject": old.name}
                connection.execute(insert(AuditRow), {**row, "detail": {"kept_from": until, **removed[old.live_id]}})
        return removed

    def _begin(self, old: Old, actor: str, conclude: Conclude) -> int:
        """Everything is in the sums before anything goes; the sums of what is over are closed. The number of its row of retention.

        Raises:
            ConflictError: It was started again, what it came to can't be stored, or others went on writing.
        """
        for _ in range(_TRIES):
            if self._is_summed(old, conclude) and (number := self._close(old, actor, self._last(old))) is not None:
                return number
        raise ConflictError("its log was written to, or summed by another process, all the while: nothing was removed, try again later")

    def _is_summed(self, old: Old, conclude: Conclude) -> bool:
        """Whether all of the log is in the sums and, of what is over, in the result that is stored for the last time."""
        rolled = self._roll_up.roll(old.live_id)
        self._roll_up.roll_units(old.live_id)
        if old.running or not rolled.complete:
            return rolled.complete
        scored = self._scored(old)
        if problem := conclude(old):
            raise ConflictError(f"what it has come to can't be stored: {problem}")
        # Sums that are of another version now have got something that the result may lack. Scores are not in them, and another process may
        # have summed those by unit, which leaves no change to be seen.
        again = self._roll_up.roll(old.live_id)
        return again.complete and again.version == rolled.version and self._scored(old) == scored

    def _close(self, old: Old, actor: str, last: float | None) -> int | None:
        """None where something came since it was summed: then nothing is written."""
        with database.transaction(self._engine, self._name, turn="alone") as connection:
            if not old.running:
                if self._runs(connection, old.live_id):
                    raise ConflictError("it was started again meanwhile, so nothing of it was removed")
                if connection.execute(select(UnitChangeRow.id).where(UnitChangeRow.live_id == old.live_id).limit(1)).first() is not None:
                    return None
            zeros = dict.fromkeys(("trials", *_ABOUT), 0)
            row = {"live_id": old.live_id, "kept_from": self.kept_from, "actor": actor, "at": self._clock(), **zeros}
            number = int(connection.execute(insert(retention).returning(retention.id), row).scalar_one())
            if not old.running:
                is_open = (UnitMarkRow.live_id == old.live_id, UnitMarkRow.form != CLOSED)
                connection.execute(update(UnitMarkRow).where(*is_open).values(form=CLOSED, latest_at=last))
            return number

    def _scored(self, old: Old) -> tuple[Any, ...]:
        """What the sums of scores and signals by unit come to."""
        score, unit = LiveUnitScoreRow, LiveUnitRow
        scores = select(score.metric, score.phase, func.sum(score.trials), func.sum(score.n), func.round(func.sum(score.total) * 1e6))
        signals = select(func.sum(unit.copied), func.sum(unit.rephrased), func.sum(unit.citation_clicked))
        by_metric = scores.where(score.live_id == old.live_id).group_by(score.metric, score.phase).order_by(score.metric, score.phase)
        with database.transaction(self._engine, self._name, turn="long") as connection:
            rows = [*connection.execute(by_metric), *connection.execute(signals.where(unit.live_id == old.live_id))]
            return tuple(map(tuple, rows))

    def _last(self, old: Old) -> float | None:
        """When the last trial that counts came; read before anybody has to wait."""
        if old.running:
            return None
        latest = select(func.max(trial.at)).where(trial.live_id == old.live_id, trial.reason == "split")
        with database.transaction(self._engine, self._name, turn="long") as connection:
            last: float | None = connection.execute(latest).scalar()
            return last

    def _some(self, old: Old, number: int) -> dict[str, int] | None:
        """Some trials with all about them, in one transaction with their count."""
        with database.transaction(self._engine, self._name, turn="long") as connection:
            ids = (
                connection.execute(select(trial.id).where(*self._mine(old.live_id)).order_by(trial.id).limit(_TRIALS_AT_ONCE))
                .scalars()
                .all()
            )
            if not ids:
                return None
            comparison = LiveComparisonRow
            gone = select(comparison.comparison_id).where(or_(comparison.left_trial.in_(ids), comparison.right_trial.in_(ids)))
            connection.execute(delete(LivePreferenceRow).where(LivePreferenceRow.comparison_id.in_(gone)))
            connection.execute(delete(comparison).where(or_(comparison.left_trial.in_(ids), comparison.right_trial.in_(ids))))
            counts = {name: connection.execute(delete(table).where(table.trial.in_(ids))).rowcount for name, table in _ABOUT.items()}
            counts["trials"] = connection.execute(delete(trial).where(trial.id.in_(ids))).rowcount
            if not old.running:  # the sums are closed: nothing of this is a change of them
                connection.execute(delete(UnitChangeRow).where(UnitChangeRow.live_id == old.live_id))
            values = {name: getattr(retention, name) + n for name, n in counts.items()}
            connection.execute(update(retention).where(retention.id == number).values(**values))
            return counts
