"""Batches of live records in SQL: all of them together, or one by one where one of them is refused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Engine, Select, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, InternalError, OperationalError, SQLAlchemyError, StatementError

from ragtrial.db import engine as database
from ragtrial.db.base import Base
from ragtrial.db.live_comparing import Compared, Preferred, repeated_comparison, write_comparisons, write_preferences
from ragtrial.db.live_models import LiveExperimentRow, LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_rows import Row, storable
from ragtrial.db.score_turns import taken_scores
from ragtrial.db.trial_keys import numbers_of, taken_by
from ragtrial.errors import DuplicateRequestError, OverloadedError, RecordRefusedError, StoreError, UnknownSourceError, UnknownTrialError

_DAY_SECONDS = 86_400
_IMPORTED = "an import writes scores of this experiment: other scores wait until it has ended"
_IMPORT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Trials that are written together, as rows."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A vote or a signal on a served trial, as a row of `table` without what its trial decides."""

    table: type[LiveVoteRow] | type[LiveSignalRow]
    trial_id: str
    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of a trial, as rows without what their trial decides."""

    trial_id: str
    rows: tuple[Row, ...]


Record = Log | Compared | Said | Scores | Preferred


class _Known(NamedTuple):
    """What records need to know of their trial."""

    number: int
    live_id: int
    served: bool
    at: float
    teams: dict[str, str] | None
    failed: bool
    erased: bool


class _Statement:
    """An INSERT that is compiled once: the driver takes tuples in a fraction of the time of SQLAlchemy's parameters."""

    def __init__(self, table: type[Base], dialect: Dialect, *, new_only: bool = False) -> None:
        columns = [column.name for column in table.__table__.columns if column.name != "id"]
        statement: Any = insert(table)
        if new_only:
            statement = (sqlite if dialect.name == "sqlite" else postgresql).insert(table).on_conflict_do_nothing()
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self._sql = str(compiled)
        self._values: Callable[[Row], tuple[Any, ...]] = itemgetter(*compiled.positiontup)

    def run(self, connection: Connection, rows: Iterable[Row]) -> None:
        """Insert the rows, if there are any."""
        values = [self._values(row) for row in rows]
        if values:
            connection.exec_driver_sql(self._sql, values)


class BatchWriter:
    """Writes batches of records of one live experiment.

    Args:
        engine: Of a writer.
        name: Of the database, for messages.
        experiment: Its name: trials of others are unknown to it; those of another plan under this name are not.
        late_days: Votes and signals that come later than this are marked.
    """

    def __init__(self, engine: Engine, *, name: str, experiment: str, late_days: int) -> None:
        self._engine, self._name, self._experiment = engine, name, experiment
        self._late_seconds = late_days * _DAY_SECONDS
        dialect = engine.dialect
        self._trials = _Statement(LiveTrialRow, dialect)
        self._scores = _Statement(LiveScoreRow, dialect, new_only=True)
        self._said = {table: _Statement(table, dialect) for table in (LiveVoteRow, LiveSignalRow)}

    def write(self, records: Sequence[Record]) -> list[object]:
        """Write the records in one transaction.

        Returns:
            The outcome of each: None, `recorded`, `repeated` or `late`, or the exception that is its own fault; the others are written.

        Raises:
            StoreError: The database is lost; nothing was written, unless it was lost while it committed.
        """
        with database.translated(self._name):
            try:
                with self._engine.begin() as connection:
                    return self._together(connection, records)
            except (SQLAlchemyError, ValueError, OverflowError, TypeError) as error:
                if _lost(error):
                    raise
            with self._engine.begin() as connection:
                return [self._alone(connection, record) for record in records]

    def _alone(self, connection: Connection, record: Record) -> object:
        try:
            with database.translated(self._name), connection.begin_nested():
                return self._together(connection, [record])[0]
        except StoreError as error:
            if isinstance(error.__cause__, SQLAlchemyError) and _lost(error.__cause__):
                raise
            if isinstance(record, Log | Compared) and isinstance(error.__cause__, IntegrityError):
                return self._explained(connection, record) or self._refused(error.__cause__)
            return self._refused(error.__cause__ or error)
        except (ValueError, OverflowError, TypeError) as error:  # a value that the driver can't bind
            return self._refused(error)

    def _refused(self, error: BaseException) -> RecordRefusedError:
        """Without the values: PostgreSQL quotes the row, and with it what a user typed, below the line that names the constraint."""
        found = getattr(error, "orig", None) or error
        what = str(found).partition("\n")[0] if isinstance(error, IntegrityError) else type(found).__name__
        return RecordRefusedError(f"database {self._name!r} can't hold a record: {what}")

    def _explained(self, connection: Connection, record: Log | Compared) -> StoreError | None:
        if isinstance(record, Compared) and (repeated := repeated_comparison(connection, record)) is not None:
            return repeated
        for row in record.rows:
            key = row["idempotency_key"]
            mine = {name: row[name] for name in ("trial_id", "live_id", "caller", "idempotency_key")}
            found = taken_by(connection, **mine)
            if found is not None:
                what = f"trial {found!r}" if found == row["trial_id"] else f"a request of {row['caller']!r} with the key {key!r}"
                return DuplicateRequestError(f"{what} is logged already: nothing of this one was written")
        return None

    def _together(self, connection: Connection, records: Sequence[Record]) -> list[object]:
        logged = [record for record in records if isinstance(record, Log | Compared)]
        self._trials.run(connection, (row for record in logged for row in record.rows))
        write_comparisons(connection, [record for record in logged if isinstance(record, Compared)])
        preferences = [record for record in records if isinstance(record, Preferred)]
        outcomes = {
            **write_preferences(connection, preferences, experiment=self._experiment),
            **self._about_trials(connection, [record for record in records if isinstance(record, Said | Scores)]),
        }
        return [outcomes.get(id(record)) for record in records]

    def _about_trials(self, connection: Connection, records: Sequence[Said | Scores]) -> dict[int, object]:
        """Write what is about trials; the outcome of each record by its `id()`."""
        if not records:
            return {}
        known = self._lookup(connection, {record.trial_id for record in records})
        seen = {table: _keys_of(connection, table, _numbers(records, table, known)) for table in self._said}
        about_sources = {r.trial_id for r in records if isinstance(r, Said) and r.row["passage_id"] is not None}
        sources = _sources_of(connection, {known[trial_id].number for trial_id in about_sources & known.keys()})
        new: dict[Any, list[Row]] = {table: [] for table in self._said}
        scores: list[Row] = []
        outcomes: dict[int, object] = {}
        scored = {known[r.trial_id].live_id for r in records if isinstance(r, Scores) and r.trial_id in known}
        taken = taken_scores(connection, sorted(scored))
        for record in records:
            if record.trial_id not in known:
                outcomes[id(record)] = self._unknown(record.trial_id)
            elif isinstance(record, Scores):
                trial = known[record.trial_id]
                if trial.live_id in taken:
                    outcomes[id(record)] = OverloadedError(_IMPORTED, retry_after_s=_IMPORT_SECONDS)
                    continue
                scores += [{**row, "trial": trial.number, "live_id": trial.live_id} for row in record.rows]
            else:
                trial, hits = known[record.trial_id], sources.get(record.trial_id, frozenset())
                outcomes[id(record)] = self._hear(record, trial, hits, seen[record.table], new[record.table])
        for table, statement in self._said.items():
            statement.run(connection, new[table])
        self._scores.run(connection, scores)
        return outcomes

    def _hear(self, said: Said, trial: _Known, hits: frozenset[str], seen: set[tuple[int, str]], new: list[Row]) -> object:
        if not trial.served:
            return self._unknown(said.trial_id)
        key = (trial.number, said.row["key"])
        if key in seen:
            return "repeated"
        passage_id = said.row["passage_id"]
        # where the trial failed the user saw the baseline's sources, which are another trial's
        if passage_id is not None and passage_id not in hits and not (trial.failed or trial.erased):
            return UnknownSourceError(f"the answer has no source {passage_id!r}: give the passage_id of one of its sources")
        seen.add(key)
        late = said.row["at"] - trial.at > self._late_seconds
        row = {**said.row, "trial": trial.number, "live_id": trial.live_id, "late": late}
        if said.table is LiveVoteRow:
            row["team"] = (trial.teams or {}).get(passage_id)
        new.append(row)
        return "late" if late else "recorded"

    def _lookup(self, connection: Connection, trial_ids: set[str]) -> dict[str, _Known]:
        trial, numbers = LiveTrialRow, numbers_of(connection, trial_ids)
        if not numbers:
            return {}
        wanted: Select[Any] = (
            select(
                *(trial.trial_id, trial.id, trial.live_id, trial.served, trial.at, trial.teams),
                *(trial.failure_stage.is_not(None), trial.texts_erased_at.is_not(None)),
            )
            .join(LiveExperimentRow, LiveExperimentRow.id == trial.live_id)
            .where(trial.id.in_(numbers.values()), LiveExperimentRow.name == self._experiment)
        )
        return {trial_id: _Known(*rest) for trial_id, *rest in connection.execute(wanted)}

    def _unknown(self, trial_id: str) -> UnknownTrialError:
        """In the same words for a trial that nobody saw: its id can be guessed from the served one's, and tells that an arm failed."""
        return UnknownTrialError(f"experiment {self._experiment!r} has served no trial {trial_id!r}: give the id that came with the answer")


def _numbers(records: Sequence[Said | Scores], table: type[Base], known: dict[str, _Known]) -> set[int]:
    return {known[r.trial_id].number for r in records if isinstance(r, Said) and r.table is table and r.trial_id in known}


def _keys_of(connection: Connection, table: type[LiveVoteRow] | type[LiveSignalRow], numbers: set[int]) -> set[tuple[int, str]]:
    if not numbers:
        return set()
    return {(number, key) for number, key in connection.execute(select(table.trial, table.key).where(table.trial.in_(numbers)))}


def _sources_of(connection: Connection, numbers: set[int]) -> dict[str, frozenset[str]]:
    """What was retrieved for each of these trials; none where the search failed."""
    if not numbers:
        return {}
    wanted = select(LiveTrialRow.trial_id, LiveTrialRow.hits).where(LiveTrialRow.id.in_(numbers))
    return {trial_id: frozenset(storable(hit[0]) for hit in hits or ()) for trial_id, hits in connection.execute(wanted)}


def _lost(error: Exception) -> bool:
    """Whether the database failed, and not a record."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error, (OperationalError, InternalError)) or type(error) is DatabaseError
    return isinstance(error, SQLAlchemyError) and not isinstance(error, StatementError)
