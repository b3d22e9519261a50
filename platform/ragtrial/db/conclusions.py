"""What an evaluation came to, written for the dashboard; whoever concludes it again replaces that.

A large evaluation has a row for each of 50,000 queries, and a live service may write to the same database. So rows are written some at a
time, under a generation that nobody reads yet, and one short transaction makes it the one that holds.
"""

import json
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, union

from ragtrial.db import engine as database
from ragtrial.db.board_models import ConclusionRow, LabellingQueueRow, QueryOutcomeRow
from ragtrial.domain.outcome import QueryOutcome
from ragtrial.errors import StoreError

ROWS_AT_ONCE = 200
"""Written or removed in one transaction: others who write wait some milliseconds for it."""

_COLUMNS = tuple(column.name for column in QueryOutcomeRow.__table__.columns)[2:]
_Rows = Sequence[tuple[Any, ...]]
_Queues = Mapping[str, bytes]
_row, _queue = QueryOutcomeRow, LabellingQueueRow


def store_conclusion(
    url: str,
    evaluation_id: str,
    *,
    form: int,
    made_at: float,
    document: dict[str, Any],
    outcomes: Iterable[QueryOutcome],
    queues: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Write all in place of what was there; readers see the old ones or the new ones, never some of each.

    Rows that are there already, as after labels, which change the document alone, are left as they are. Where another process has stored
    a conclusion of the same evaluation meanwhile, that one stays.

    Args:
        url: SQLAlchemy URL of a database of this version's schema.
        evaluation_id: A finished evaluation.
        form: Version of the documents' form.
        made_at: When what it was made from was read, in seconds since 1970: what was logged later is not in it.
        document: JSON.
        outcomes: Of all its queries.
        queues: What people are asked, as JSON by judged metric.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The database is out of reach or refuses, there is no such evaluation, or a number is not finite; what was there holds.
    """
    rows = list(map(attrgetter(*_COLUMNS), outcomes))
    packed = {metric: zlib.compress(json.dumps(queue).encode()) for metric, queue in (queues or {}).items()}
    values = {"form": form, "made_at": made_at, "document": document, "problem": None}
    with _Store.opened(url, evaluation_id) as store:
        generation = store.generation_of(rows, packed)
        if generation is None:
            generation = secrets.randbits(31)
            try:
                store.add(generation, rows, packed)
            except StoreError:
                store.remove(generation)
                raise
        store.switch(generation, values, n_rows=len(rows), n_queues=len(packed))
        store.clear()


def store_problem(url: str, evaluation_id: str, *, form: int, made_at: float, problem: str) -> None:
    """Write why an evaluation can't be concluded, in place of what was there.

    Raises:
        InputError: As `store_conclusion`.
        MissingExtraError: Likewise.
        StoreError: Likewise.
    """
    with _Store.opened(url, evaluation_id) as store:
        store.switch(None, {"form": form, "made_at": made_at, "document": None, "problem": problem}, n_rows=0, n_queues=0)
        store.clear()


class _Store:
    """What is kept of one evaluation."""

    def __init__(self, evaluation_id: str, reading: Engine, writing: Engine, name: str) -> None:
        self._evaluation_id, self._reading, self._writing, self._name = evaluation_id, reading, writing, name

    @classmethod
    @contextmanager
    def opened(cls, url: str, evaluation_id: str) -> Iterator["_Store"]:
        reading, writing = database.open_engine(url, read_only=True), database.open_engine(url)
        try:
            yield cls(evaluation_id, reading, writing, database.shown(database.parse_url(url)))
        finally:
            reading.dispose()
            writing.dispose()

    def generation_of(self, rows: _Rows, queues: _Queues) -> int | None:
        """The generation that holds, if it has these rows and queues; else None."""
        with database.transaction(self._reading, self._name) as connection:
            generation = self._holds(connection)
            kept = select(*(getattr(_row, name) for name in _COLUMNS)).where(*self._of(_row, generation)).order_by(_row.position)
            asked = select(_queue.metric, _queue.document).where(*self._of(_queue, generation))
            same = generation is not None and list(map(tuple, connection.execute(kept))) == list(rows)
            same = same and {row.metric: row.document for row in connection.execute(asked)} == queues
        return generation if same else None

    def add(self, generation: int, rows: _Rows, queues: _Queues) -> None:
        # A row for each query needs no conversion: as tuples they take half the time of SQLAlchemy's parameters.
        statement = str(insert(_row).compile(dialect=self._writing.dialect))
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            portion = [(self._evaluation_id, generation, *row) for row in rows[begin : begin + ROWS_AT_ONCE]]
            with self._portion() as connection:
                connection.exec_driver_sql(statement, portion)
        for metric, document in queues.items():
            with self._portion() as connection:
                of_it = {"evaluation_id": self._evaluation_id, "generation": generation, "metric": metric}
                connection.execute(insert(_queue), {**of_it, "document": document})

    def switch(self, generation: int | None, values: dict[str, Any], *, n_rows: int, n_queues: int) -> None:
        """Let a generation hold, if all of it is there: another process may have cleared it away."""
        there = [select(func.count()).select_from(table).where(*self._of(table, generation)) for table in (_row, _queue)]
        with database.transaction(self._writing, self._name) as connection:
            if [connection.execute(each).scalar_one() for each in there] == [n_rows, n_queues]:
                connection.execute(delete(ConclusionRow).where(ConclusionRow.evaluation_id == self._evaluation_id))
                connection.execute(insert(ConclusionRow), {"evaluation_id": self._evaluation_id, "generation": generation, **values})

    def clear(self) -> None:
        """Remove all that does not hold, also what a process that was killed has left."""
        wanted = union(*(select(table.generation).where(table.evaluation_id == self._evaluation_id) for table in (_row, _queue)))
        with database.transaction(self._reading, self._name) as connection:
            holds, found = self._holds(connection), connection.execute(wanted).scalars().all()
        for generation in found:
            if generation != holds:
                self.remove(generation)

    def remove(self, generation: int) -> None:
        """Remove all of a generation, unless another process has let it hold meanwhile."""
        last = select(func.max(_row.position)).where(*self._of(_row, generation))
        with database.transaction(self._reading, self._name) as connection:
            end = connection.execute(last).scalar()
        with self._portion() as connection:
            if self._holds(connection) == generation:
                return
            connection.execute(delete(_queue).where(*self._of(_queue, generation)))
        for begin in range(0, -1 if end is None else end + 1, ROWS_AT_ONCE):
            places = _row.position.between(begin, begin + ROWS_AT_ONCE - 1)
            with self._portion() as connection:
                if self._holds(connection) == generation:
                    return
                connection.execute(delete(_row).where(*self._of(_row, generation), places))

    @contextmanager
    def _portion(self) -> Iterator[Connection]:
        """A short transaction, and as long a pause: SQLite has no queue, and who waits for it looks only now and then."""
        begin = time.monotonic()
        with database.transaction(self._writing, self._name) as connection:
            yield connection
        time.sleep(time.monotonic() - begin)

    def _of(self, table: type[QueryOutcomeRow | LabellingQueueRow], generation: int | None) -> tuple[Any, Any]:
        return table.evaluation_id == self._evaluation_id, table.generation == generation

    def _holds(self, connection: Connection) -> int | None:
        return connection.execute(select(ConclusionRow.generation).where(ConclusionRow.evaluation_id == self._evaluation_id)).scalar()
