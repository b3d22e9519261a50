"""What an evaluation came to, written for the dashboard; whoever concludes it again replaces that."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from sqlalchemy import delete, insert

from ragtrial.db import engine as database
from ragtrial.db.board_models import ConclusionRow, QueryOutcomeRow
from ragtrial.domain.outcome import QueryOutcome

_ROWS_AT_ONCE = 5_000
_COLUMNS = tuple(column.name for column in QueryOutcomeRow.__table__.columns)


def store_conclusion(
    url: str, evaluation_id: str, *, form: int, made_at: float, document: dict[str, Any], outcomes: Iterable[QueryOutcome]
) -> None:
    """Write both in one transaction, in place of what was there; readers see the old ones or the new ones.

    Args:
        url: SQLAlchemy URL of a database of this version's schema.
        evaluation_id: A finished evaluation.
        form: Version of the document's form.
        made_at: In seconds since 1970.
        document: JSON.
        outcomes: Of all its queries.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The database is out of reach or refuses, there is no such evaluation, or a number is not finite; nothing was changed then.
    """
    values = attrgetter(*_COLUMNS[1:])
    rows = [(evaluation_id, *values(outcome)) for outcome in outcomes]  # before the transaction begins, which others wait for
    conclusion = {"evaluation_id": evaluation_id, "form": form, "made_at": made_at, "document": document}
    engine = database.open_engine(url)
    try:
        # A row for each query needs no conversion: as tuples they take half the time of SQLAlchemy's parameters.
        insert_outcomes = str(insert(QueryOutcomeRow).compile(dialect=engine.dialect))
        with database.transaction(engine, database.shown(database.parse_url(url))) as connection:
            for table in (QueryOutcomeRow, ConclusionRow):
                connection.execute(delete(table).where(table.evaluation_id == evaluation_id))
            connection.execute(insert(ConclusionRow), conclusion)
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                connection.exec_driver_sql(insert_outcomes, rows[begin : begin + _ROWS_AT_ONCE])
    finally:
        engine.dispose()
