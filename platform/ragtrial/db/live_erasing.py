"""Erasing on request, and texts past their time: the only code that changes or removes what was logged."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, bindparam, case, delete, func, insert, or_, select, update

from ragtrial.db import engine as database
from ragtrial.db.board_models import CurationRow, LiveComparisonRow, LivePreferenceRow
from ragtrial.db.live_models import AuditRow, ErasureRow, LiveExperimentRow, LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_rows import ERASED, storable
from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow, UnitChangeRow
from ragtrial.splitting import pseudonym

_ABOUT_TRIALS: dict[str, type[LiveScoreRow] | type[LiveVoteRow] | type[LiveSignalRow]] = {
    "scores": LiveScoreRow,
    "votes": LiveVoteRow,
    "signals": LiveSignalRow,
}


class Eraser:
    """Erases units and texts.

    In SQLite, what is erased is overwritten in the file, and the write-ahead log is emptied as far as no reader is using it. PostgreSQL
    frees it with its next VACUUM. Backups are not touched.

    Args:
        engine: Of a writer.
        name: Of the database, for messages.
        clock: Seconds since 1970.
    """

    def __init__(self, engine: Engine, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._name, self._clock = engine, name, clock

    def unit_counts(self, unit: str) -> Mapping[str, int]:
        """What `forget_unit` would erase.

        Raises:
            StoreError: The database refused.
        """
        with database.transaction(self._engine, self._name) as connection:
            return _counts(connection, pseudonym(unit))

    def forget_unit(self, unit: str, *, actor: str) -> Mapping[str, int]:
        """Erase all trials of a unit with their scores, votes and signals, comparisons and preferences, in all experiments.

        What stays is how many trials were erased of each experiment, arm and reason of assignment, that somebody erased a unit, and what was
        chosen from its trials for the gold set or for training, without the query's text.

        Args:
            unit: As callers name it, not its pseudonym.
            actor: Who asks for it.

        Returns:
            Rows erased of `trials`, `scores`, `votes`, `signals`, `comparisons` and `preferences`.

        Raises:
            StoreError: The database refused; nothing was erased.
        """
        hidden, now = pseudonym(unit), self._clock()
        with database.transaction(self._engine, self._name) as connection:
            _overwrite(connection)
            counts = _counts(connection, hidden)
            mine = select(LiveTrialRow.id).where(LiveTrialRow.unit == hidden)
            trial = LiveTrialRow
            grouped = (
                select(trial.live_id, trial.arm, trial.reason, func.count().label("trials"))
                .where(trial.unit == hidden)
                .group_by(trial.live_id, trial.arm, trial.reason)
            )
            erased = [{**row, "at": now} for row in connection.execute(grouped).mappings()]
            for table in _ABOUT_TRIALS.values():
                connection.execute(delete(table).where(table.trial.in_(mine)))
            theirs = _comparisons(hidden)
            connection.execute(delete(LivePreferenceRow).where(LivePreferenceRow.comparison_id.in_(theirs)))
            connection.execute(delete(LiveComparisonRow).where(LiveComparisonRow.comparison_id.in_(theirs)))
            _forget_curated(connection, trial.unit == hidden)
            connection.execute(delete(trial).where(trial.unit == hidden))
            for kept in (LiveUnitRow, LiveUnitScoreRow, UnitChangeRow):  # the last one: what triggers have told of the deletions above
                connection.execute(delete(kept).where(kept.live_id.in_({row["live_id"] for row in erased}), kept.unit == hidden))
            if erased:
                connection.execute(insert(ErasureRow), erased)
            trials: Counter[int | None] = Counter()
            for row in erased:
                trials[row["live_id"]] += row["trials"]
            for live_id, n in (trials or {None: 0}).items():
                _audit(connection, live_id=live_id, at=now, actor=actor, action="forget unit", detail={"trials": n})
        self._empty_log()
        return counts

    def forget_texts(self, *, before: float, experiment: str, actor: str) -> int:
        """Erase what was written before a moment. Numbers, ids and digests stay.

        Of trials: the texts of queries and answers, messages of failures, and what judges said in words. Of votes and preferences: comments.
        Of what was chosen from trials for the gold set or for training: the query's text.

        Args:
            before: Seconds since 1970.
            experiment: Its name; under all its plans.
            actor: Who asks for it.

        Returns:
            Trials whose texts were erased; those of which nothing was left are not counted again.

        Raises:
            StoreError: The database refused; nothing was erased.
        """
        now, trial = self._clock(), LiveTrialRow
        with database.transaction(self._engine, self._name) as connection:
            _overwrite(connection)
            mine = select(LiveExperimentRow.id).where(LiveExperimentRow.name == experiment)
            chosen = and_(trial.live_id.in_(mine), trial.at < before, trial.texts_erased_at.is_(None))
            _forget_opinions(connection, chosen)
            _forget_curated(connection, chosen)
            values = {
                "query_text": None,
                "query_stored": "hash",
                "answer_text": case((trial.answer_text == "", ""), else_=None),
                "failure_message": case((trial.failure_message.is_(None), None), else_=""),
                "texts_erased_at": now,
            }
            n = connection.execute(update(trial).where(chosen).values(values)).rowcount
            vote = LiveVoteRow
            old = and_(vote.live_id.in_(mine), vote.at < before, vote.comment != "")
            connection.execute(update(vote).where(old).values(comment=""))
            preference, shown = LivePreferenceRow, select(LiveComparisonRow.comparison_id).where(LiveComparisonRow.live_id.in_(mine))
            said = and_(preference.comparison_id.in_(shown), preference.at < before, preference.comment != "")
            connection.execute(update(preference).where(said).values(comment=""))
            _audit(
                connection, live_id=None, at=now, actor=actor, action="forget texts", detail={"before": before, "trials": n}, of=experiment
            )
        self._empty_log()
        return int(n)

    def _empty_log(self) -> None:
        if self._engine.dialect.name == "sqlite":
            with database.translated(self._name), self._engine.connect() as connection:
                raw: Any = connection.connection.driver_connection
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def erasing(url: str) -> Iterator[Eraser]:
    """An eraser on a database that is there.

    Raises:
        StoreError: There is no such database, or its schema is another than this version's.
    """
    name = database.shown(database.parse_url(url))
    reading = database.open_engine(url, read_only=True)
    try:
        database.require_head(reading, name)
    finally:
        reading.dispose()
    engine = database.open_engine(url)
    try:
        yield Eraser(engine, name=name)
    finally:
        engine.dispose()


def _overwrite(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def _counts(connection: Connection, hidden: str) -> dict[str, int]:
    mine = select(LiveTrialRow.id).where(LiveTrialRow.unit == hidden)
    trials = connection.execute(select(func.count()).select_from(LiveTrialRow).where(LiveTrialRow.unit == hidden)).scalar_one()
    others = {
        name: connection.execute(select(func.count()).select_from(table).where(table.trial.in_(mine))).scalar_one()
        for name, table in _ABOUT_TRIALS.items()
    }
    theirs = _comparisons(hidden)
    comparisons, preferences = (
        connection.execute(select(func.count()).select_from(table).where(table.comparison_id.in_(theirs))).scalar_one()
        for table in (LiveComparisonRow, LivePreferenceRow)
    )
    return {"trials": trials, **others, "comparisons": comparisons, "preferences": preferences}


def _comparisons(hidden: str) -> Select[str]:
    """The ids of a unit's comparisons; also of those that hold a trial of it, without which they can't be."""
    comparison = LiveComparisonRow
    mine = select(LiveTrialRow.id).where(LiveTrialRow.unit == hidden)
    return select(comparison.comparison_id).where(
        or_(comparison.unit == hidden, comparison.left_trial.in_(mine), comparison.right_trial.in_(mine))
    )


def _forget_curated(connection: Connection, chosen: ColumnElement[bool]) -> None:
    """What was chosen from these trials' pages stays as a row without the query's text."""
    mine = select(LiveTrialRow.trial_id).where(chosen)
    connection.execute(update(CurationRow).where(CurationRow.trial_id.in_(mine)).values(query_text=ERASED, note=""))


def _forget_opinions(connection: Connection, chosen: Any) -> None:
    score, trial = LiveScoreRow, LiveTrialRow
    wanted = (
        select(score.trial, score.metric, score.opinions).join(trial, trial.id == score.trial).where(chosen, score.opinions.is_not(None))
    )
    found = [
        {"of": number, "named": metric, "left": [{**opinion, "rationale": ""} for opinion in opinions]}
        for number, metric, opinions in connection.execute(wanted)
    ]
    if found:
        statement = update(score).where(score.trial == bindparam("of"), score.metric == bindparam("named"))
        connection.execute(statement.values(opinions=bindparam("left")), found)


def _audit(
    connection: Connection, *, live_id: int | None, at: float, actor: str, action: str, detail: dict[str, Any], of: str = "a unit"
) -> None:
    row = {"live_id": live_id, "at": at, "actor": storable(actor), "action": action, "subject": of, "detail": detail}
    connection.execute(insert(AuditRow), row)
