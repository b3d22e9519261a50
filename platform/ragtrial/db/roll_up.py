"""Keeps sums of the live log by time, and what live experiments have come to; the only writer of either.

Sums are computed in read transactions, which hold no lock, and written in short ones, which wait for their turn as the service's do.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, and_, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ragtrial.contracts import Progress, no_progress
from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.base import Base
from ragtrial.db.board_models import LiveBucketRow, LiveSnapshotRow, RollUpMarkRow
from ragtrial.db.closing import closed
from ragtrial.db.live_board_reader import SnapshotMade, StoredSnapshot
from ragtrial.db.live_models import LiveExperimentRow
from ragtrial.db.partitions import PartitionKeeper
from ragtrial.db.roll_up_reading import (
    SUMS,
    Changes,
    Key,
    Look,
    Marks,
    Rows,
    changes_since,
    logged_rows,
    look_at,
    marked,
    summed_rows,
)
from ragtrial.db.unit_roll_up import UnitRollUp, UnitsRolled
from ragtrial.errors import InputError

ROWS_AT_ONCE = 200
"""Rows after which a transaction ends with the stretch of time that it is writing."""

HEARTBEAT_SECONDS = 30.0
"""How often marks are written where nothing has changed, so that readers see that somebody keeps them."""

_STRETCHES_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledUp:
    """What one pass over the log of a live experiment did.

    Attributes:
        stretches: Stretches of time that were summed again.
        rows: Rows that were written or removed.
        newest_trial: Number of the newest trial that is in; 0 where there is none.
        version: Of the sums: another one than before where the log held anything new.
        complete: Whether everything is in; False where another process rolled up the same experiment meanwhile.
    """

    stretches: int
    rows: int
    newest_trial: int
    version: int
    complete: bool


class _OvertakenError(Exception):
    """Another process has moved the marks."""


class RollUp:
    """Writes sums and snapshots of the live experiments of one database. Not for several threads at once.

    Stretches of time in which anything has changed are summed again as a whole, so that the sums are those of the log whatever
    happened: trials that come late, votes that are changed, units that are erased, a process that is killed. Marks move when everything
    up to them is in; a pass that was killed finds by their counts which stretches are in already.

    Several processes may keep the same database: who finds that another one has moved the marks leaves the rest to it.

    Args:
        url: SQLAlchemy URL.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._name, self._clock = database.shown(database.parse_url(url)), clock
        self._reading = database.open_engine(url, read_only=True)
        try:
            schema.require_head(self._reading, self._name)
            self._writing = database.open_engine(url)
        except BaseException:
            self._reading.dispose()
            raise
        self._insert = sqlite.insert if self._writing.dialect.name == "sqlite" else postgresql.insert
        self._units = UnitRollUp(self._writing, name=self._name, clock=clock)
        self._looks: dict[int, Look] = {}
        self._again: dict[int, list[int]] = {}  # stretches that another process may have written at the same time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._reading.dispose()
        self._writing.dispose()

    def roll(self, live_id: int, *, progress: Progress = no_progress) -> RolledUp:
        """Bring the sums of one live experiment up to date.

        Args:
            live_id: The experiment.
            progress: Told how many stretches are summed; not asked where there are none.

        Raises:
            InputError: There is no such experiment.
        """
        before = self._looks.pop(live_id, None)
        with database.transaction(self._reading, self._name) as connection:
            if connection.execute(select(LiveExperimentRow.id).where(LiveExperimentRow.id == live_id)).first() is None:
                raise InputError(f"there is no live experiment {live_id} in database {self._name!r}")
            found = marked(connection, live_id)
            marks = Marks() if found is None else found.marks
            look = look_at(connection, live_id, marks)
            changes = changes_since(connection, live_id, marks, look, before, again=self._again.pop(live_id, ()))
            after = look_at(connection, live_id, look.newest)
        rows, version = 0, 1 if found is None else found.version + 1
        try:
            if found is None:
                marks = self._begin(live_id, look.newest)
            for written in self._written(live_id, changes, marks, version, progress):
                rows += written
            if found is not None and not (changes.news or rows):
                version = found.version
            if changes.stretches or changes.news or found is None or abs(self._clock() - found.at) >= HEARTBEAT_SECONDS:
                self._move(live_id, marks, look.newest, version)
                self._looks[live_id] = after
            else:  # the marks stay; at most votes on other experiments lie between
                self._looks[live_id] = look._replace(newest=marks)
        except _OvertakenError:
            self._again[live_id] = changes.stretches
            if before is not None:
                self._looks[live_id] = before
            return _rolled(changes, rows, look, version, complete=False)
        return _rolled(changes, rows, look, version, complete=True)

    def roll_units(self, live_id: int, *, progress: Progress = no_progress) -> UnitsRolled | None:
        """Bring the sums by unit of one live experiment up to date; None for one that is not summed by unit."""
        return self._units.roll(live_id, progress=progress)

    def keep_partitions(self) -> None:
        """Make partitions of the log ahead of need, and have the whole counted (PostgreSQL); see `PartitionKeeper`."""
        keeper = PartitionKeeper(self._writing, name=self._name, clock=self._clock)
        keeper.try_keep()
        keeper.count()

    def store_snapshot(self, live_id: int, snapshot: StoredSnapshot, *, before: Mapping[int, SnapshotMade] | None = None) -> bool:
        """Write what an experiment has come to, unless what is there is of a later version: another process may be ahead.

        What is stored of an experiment whose sums are closed stays as it was: it was made when all of its trials were there.

        Args:
            live_id: The experiment.
            snapshot: What it has come to.
            before: What was stored before the log was read for it, as `LiveBoardReader.snapshots_made` says it. Where that is another one
                now, another process may have read more: scores alone make no other version.

        Returns:
            Whether it was written, or there is nothing left to write as the sums are closed; False: read the log again.
        """
        row, names = LiveSnapshotRow, [field.name for field in fields(SnapshotMade)]
        statement = self._upsert(row, ("live_id",), where=lambda new: row.version <= new.version)
        stored = select(*(getattr(row, name) for name in names), row.document.is_not(None).label("whole")).where(row.live_id == live_id)
        with database.transaction(self._writing, self._name, turn="long") as connection:
            found = connection.execute(stored).first()
            if found is not None and found.whole and found.form == snapshot.form and live_id in closed(connection):
                return True
            known = None if found is None else SnapshotMade(**{name: getattr(found, name) for name in names})
            if before is not None and before.get(live_id) != known:
                return False
            connection.execute(statement, {"live_id": live_id, **asdict(snapshot)})
            return True

    def _written(self, live_id: int, changes: Changes, marks: Marks, version: int, progress: Progress) -> Iterator[int]:
        """Rows that were written, for each group of stretches."""
        if not changes.stretches:
            return
        advance = progress("summing the live log by time, in stretches of 5 minutes", len(changes.stretches))
        for begin in range(0, len(changes.stretches), _STRETCHES_AT_ONCE):
            stretches = changes.stretches[begin : begin + _STRETCHES_AT_ONCE]
            changed, gone = self._difference(live_id, stretches)
            for portion in _portions(changed, gone):
                self._replace(live_id, marks, version, portion, changed)
            yield len(changed) + len(gone)
            advance(len(stretches))

    def _difference(self, live_id: int, stretches: Sequence[int]) -> tuple[Rows, set[Key]]:
        """Rows that are to be written, and rows that are to go."""
        with database.transaction(self._reading, self._name) as connection:
            logged, summed = logged_rows(connection, live_id, stretches), summed_rows(connection, live_id, stretches)
        changed = {key: sums for key, sums in logged.items() if key not in summed or not _are_same(sums, summed[key])}
        return changed, summed.keys() - logged.keys()

    def _begin(self, live_id: int, newest: Marks) -> Marks:
        """The first marks: votes and erasures until now will be in whatever is summed from now on, trials are found by their counts."""
        marks = Marks(trial=0, vote=newest.vote, erasure=newest.erasure)
        values = {"live_id": live_id, **marks._asdict(), "version": 0, "at": self._clock()}
        statement = self._insert(RollUpMarkRow).values(**values).on_conflict_do_nothing().returning(RollUpMarkRow.live_id)
        with database.transaction(self._writing, self._name, turn="long") as connection:
            if connection.execute(statement).first() is None:
                raise _OvertakenError
        return marks

    def _replace(self, live_id: int, marks: Marks, version: int, keys: Sequence[Key], changed: Rows) -> None:
        rows = [_row(live_id, key) | dict(zip(SUMS, changed[key], strict=True)) for key in keys if key in changed]
        gone = [{f"of_{name}": value for name, value in _row(live_id, key).items()} for key in keys if key not in changed]
        names = ("live_id", "number", "arm", "reason")
        same = and_(*(getattr(LiveBucketRow, name) == bindparam(f"of_{name}") for name in names))
        upsert = self._upsert(LiveBucketRow, names)
        with database.transaction(self._writing, self._name, turn="long") as connection:
            self._require(connection, live_id, marks)
            if rows:
                connection.execute(upsert, rows)
            if gone:
                connection.execute(delete(LiveBucketRow).where(same), gone)
            # With the rows, so that whoever goes on after a kill knows that they are new.
            connection.execute(update(RollUpMarkRow).where(RollUpMarkRow.live_id == live_id).values(version=version))

    def _move(self, live_id: int, marks: Marks, newest: Marks, version: int) -> None:
        with database.transaction(self._writing, self._name, turn="long") as connection:
            self._require(connection, live_id, marks)
            row = RollUpMarkRow
            connection.execute(update(row).where(row.live_id == live_id).values(**newest._asdict(), version=version, at=self._clock()))

    @staticmethod
    def _require(connection: Connection, live_id: int, marks: Marks) -> None:
        found = marked(connection, live_id)
        if found is None or found.marks != marks:
            raise _OvertakenError

    def _upsert(self, table: type[Base], keys: Sequence[str], *, where: Callable[[Any], Any] = lambda _new: None) -> Any:
        statement = self._insert(table)
        others = {column.name: statement.excluded[column.name] for column in table.__table__.columns if column.name not in keys}
        return statement.on_conflict_do_update(index_elements=list(keys), set_=others, where=where(statement.excluded))


def _are_same(sums: Sequence[float], others: Sequence[float]) -> bool:
    """Whether they are sums of the same: the last digits depend on the order in which a database sums."""
    return all(math.isclose(one, other, rel_tol=1e-9) for one, other in zip(sums, others, strict=True))


def _row(live_id: int, key: Key) -> dict[str, Any]:
    number, arm, reason = key
    return {"live_id": live_id, "number": number, "arm": arm, "reason": reason}


def _portions(changed: Rows, gone: set[Key]) -> Iterator[list[Key]]:
    """Keys that are written in one transaction; a stretch is never divided, so that readers see it as it was or as it is."""
    portion: list[Key] = []
    for key in sorted(changed.keys() | gone):
        if len(portion) >= ROWS_AT_ONCE and key[0] != portion[-1][0]:
            yield portion
            portion = []
        portion.append(key)
    if portion:
        yield portion


def _rolled(changes: Changes, rows: int, look: Look, version: int, *, complete: bool) -> RolledUp:
    return RolledUp(stretches=len(changes.stretches), rows=rows, newest_trial=look.newest.trial, version=version, complete=complete)
