"""What people chose for the gold set or for training: rows are only ever added, and taken back by another row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select

from ragtrial.db import engine as database
from ragtrial.db.board_models import CurationRow
from ragtrial.db.live_rows import storable
from ragtrial.db.reading import ReadOnly
from ragtrial.db.recorder import utc_now
from ragtrial.domain.curation import Curation, standing
from ragtrial.errors import ConflictError, InputError

WAIT_SECONDS = 5.0
"""How long a row waits for another program that writes to the database: somebody sits before it."""


class CurationRecorder(ReadOnly):
    """Writes curations; each call is one transaction, durable when it returns. Several may write at once: they take turns.

    Args:
        url: SQLAlchemy URL of the log.
        clock: The time of the rows.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails or refuses.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(url)  # refuses a file that is not there, which a writer's engine would make
        self._writing = database.open_engine(url, wait_s=WAIT_SECONDS, synchronous="FULL")
        self._clock = clock

    def close(self) -> None:
        """Let go of the database."""
        super().close()
        self._writing.dispose()

    def add(self, curation: Curation) -> Curation:
        """Write one, and return it with its number and the time at which it was written.

        Raises:
            ValueError: It has a number already, or takes another one back (`take_back` does that).
            ConflictError: One of the same query and passage stands.
        """
        if curation.curation_id is not None or curation.takes_back is not None:
            raise ValueError("a curation that is added has no number yet, and takes nothing back")
        wanted = _storable(curation)
        with database.transaction(self._writing, self._name) as connection:
            same = CurationRow.query_text == wanted.query_text, CurationRow.passage_id == wanted.passage_id
            for other in standing(read_curations(connection, wanted.experiment, *same)):
                raise ConflictError(
                    f"{other.actor} chose passage {other.passage_id!r} of this query as {other.chosen_as} already (number "
                    f"{other.curation_id}): take that back first if it is to be something else"
                )
            return self._insert(connection, wanted)

    def take_back(self, curation_id: int, *, actor: str, note: str = "") -> Curation:
        """Take one back by a row of its own, which is returned; what was chosen stays in the log.

        Raises:
            InputError: There is no such curation, or it is itself a taking back.
            ConflictError: It was taken back already.
        """
        row = select(CurationRow.__table__).where(CurationRow.id == curation_id)
        with database.transaction(self._writing, self._name) as connection:
            found = connection.execute(row).first()
            if found is None or found.takes_back is not None:
                raise InputError(f"there is no curation {curation_id} to take back: ragtrial curated list shows those that stand")
            before = connection.execute(select(CurationRow.actor).where(CurationRow.takes_back == curation_id)).scalar()
            if before is not None:
                raise ConflictError(f"{before} took curation {curation_id} back already")
            gone = replace(curation_of(found), curation_id=None, actor=actor, note=note, takes_back=curation_id)
            return self._insert(connection, _storable(gone))

    def _insert(self, connection: Connection, curation: Curation) -> Curation:
        now = self._clock()
        row = {
            "experiment": curation.experiment,
            "kind": curation.kind,
            "query_text": curation.query_text,
            "query_id": curation.query_id,
            "passage_id": curation.passage_id,
            "passage_text": curation.passage_text,
            "grade": curation.grade,
            "evaluation_id": curation.evaluation_id,
            "trial_id": curation.trial_id,
            "actor": curation.actor,
            "note": curation.note,
            "takes_back": curation.takes_back,
            "created_at": now,
        }
        made: int = connection.execute(insert(CurationRow).returning(CurationRow.id), row).scalar_one()
        return replace(curation, curation_id=made, created_at=now.isoformat())


def read_curations(connection: Connection, experiment: str, *of: ColumnElement[bool]) -> tuple[Curation, ...]:
    """Rows of an experiment in the order in which they were written, those taken back and their takers-back too.

    Args:
        connection: To the log.
        experiment: Its name.
        of: Which rows; of what repeats in a row that takes another one back, so that both are found. Default: all.
    """
    wanted = select(CurationRow.__table__).where(CurationRow.experiment == storable(experiment), *of).order_by(CurationRow.id)
    return tuple(map(curation_of, connection.execute(wanted)))


def curation_of(row: Row[Any]) -> Curation:
    """A row of the table as what it says."""
    return Curation(
        curation_id=row.id,
        experiment=row.experiment,
        kind=row.kind,
        query_text=row.query_text,
        query_id=row.query_id,
        passage_id=row.passage_id,
        passage_text=row.passage_text,
        grade=row.grade,
        evaluation_id=row.evaluation_id,
        trial_id=row.trial_id,
        actor=row.actor,
        note=row.note,
        takes_back=row.takes_back,
        created_at=row.created_at.isoformat(),
    )


def _storable(curation: Curation) -> Curation:
    return replace(
        curation,
        experiment=storable(curation.experiment),
        query_text=storable(curation.query_text),
        passage_text=storable(curation.passage_text),
        actor=storable(curation.actor),
        note=storable(curation.note),
    )
