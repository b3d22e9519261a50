"""Erasing on request, and texts past their time: the only code that changes or removes what was logged."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.board_models import CurationRow, LiveComparisonRow, LivePreferenceRow
from ragtrial.db.closing import closed
from ragtrial.db.live_models import AuditRow, ErasureRow, LiveExperimentRow, LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_rows import ERASED, storable
from ragtrial.db.live_sums import OTHER_REASONS
from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow, UnitChangeRow, UnitMarkRow
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
        hidden = pseudonym(unit)
        with database.transaction(self._engine, self._name) as connection:
            ids = [row.id for row in _trials(connection, hidden)]
            return _counts(connection, hidden, ids, _comparisons(connection, hidden, ids))

    def forget_unit(self, unit: str, *, actor: str) -> Mapping[str, int]:
        """Erase all trials of a unit with their scores, votes and signals, comparisons and preferences, and its sums, in all experiments.

        What stays is how many trials were erased of each experiment, arm and reason of assignment, that somebody erased a unit, and what was
        chosen from its trials for the gold set or for training, without the query's text. What the service logs of it meanwhile comes
        after the erasure, and stays.

        Args:
            unit: As callers name it, not its pseudonym.
            actor: Who asks for it.

        Returns:
            Rows erased of `trials`, `scores`, `votes`, `signals`, `comparisons`, `preferences` and `sums`: those by unit and arm, which are
            there also where retention has removed the trials.

        Raises:
            StoreError: The database refused; nothing was erased.
        """
        hidden = pseudonym(unit)
        counts = database.tried_again(lambda: self._forget(hidden, actor=actor))
        self._empty_log()
        return counts

    def _forget(self, hidden: str, *, actor: str) -> Mapping[str, int]:
        now = self._clock()
        with database.transaction(self._engine, self._name, turn="alone") as connection:
            _overwrite(connection)
            logged = _trials(connection, hidden, held=True)
            ids = [row.id for row in logged]
            theirs = _comparisons(connection, hidden, ids, held=True)
            counts = _counts(connection, hidden, ids, theirs)
            for table in _ABOUT_TRIALS.values():
                connection.execute(delete(table).where(_among(connection, table.trial, ids)))
            for comparing in (LivePreferenceRow, LiveComparisonRow):
                connection.execute(delete(comparing).where(comparing.comparison_id.in_(theirs)))
            mine = _among(connection, LiveTrialRow.id, ids)
            _forget_curated(connection, mine)
            connection.execute(delete(LiveTrialRow).where(mine))
            erased = Counter((row.live_id, row.arm, row.reason) for row in logged)
            erased += _removed_before(connection, hidden, erased)
            _forget_sums(connection, hidden)
            rows = [{"live_id": of, "arm": arm, "reason": why, "trials": n, "at": now} for (of, arm, why), n in sorted(erased.items())]
            if rows:
                connection.execute(insert(ErasureRow), rows)
            trials: Counter[int | None] = Counter()
            for (live_id, _arm, _why), n in erased.items():
                trials[live_id] += n
            for of, n in (trials or {None: 0}).items():
                _audit(connection, live_id=of, at=now, actor=actor, action="forget unit", detail={"trials": n})
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
        with database.transaction(self._engine, self._name, turn="long") as connection:
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
        schema.require_head(reading, name)
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


def _trials(connection: Connection, hidden: str, *, held: bool = False) -> Sequence[Any]:
    """Numbers of a unit's trials with experiment, arm and reason; `held`: nobody adds to what is said of them any more (PostgreSQL)."""
    trial = LiveTrialRow
    by_index = (trial.live_id.in_(select(LiveExperimentRow.id)), trial.reason.in_(("split", *OTHER_REASONS)), trial.unit == hidden)
    wanted = select(trial.id, trial.live_id, trial.arm, trial.reason).where(*by_index).order_by(trial.id)
    return connection.execute(wanted.with_for_update() if held else wanted).all()


def _comparisons(connection: Connection, hidden: str, ids: Sequence[int], *, held: bool = False) -> Sequence[str]:
    """The ids of a unit's comparisons; also of those that hold a trial of it, without which they can't be."""
    comparison = LiveComparisonRow
    sides = (_among(connection, side, ids) for side in (comparison.left_trial, comparison.right_trial))
    wanted = select(comparison.comparison_id).where(or_(comparison.unit == hidden, *sides))
    return connection.execute(wanted.with_for_update() if held else wanted).scalars().all()


def _counts(connection: Connection, hidden: str, ids: Sequence[int], theirs: Sequence[str]) -> dict[str, int]:
    def count(table: Any, *mine: ColumnElement[bool]) -> int:
        return int(connection.execute(select(func.count()).select_from(table).where(*mine)).scalar_one())

    others = {name: count(table, _among(connection, table.trial, ids)) for name, table in _ABOUT_TRIALS.items()}
    preferences = count(LivePreferenceRow, LivePreferenceRow.comparison_id.in_(theirs))
    sums = count(LiveUnitRow, *_summed(LiveUnitRow, hidden))
    return {"trials": len(ids), **others, "comparisons": len(theirs), "preferences": preferences, "sums": sums}


def _among(connection: Connection, column: Any, numbers: Sequence[int]) -> ColumnElement[bool]:
    """Rows of these numbers; one parameter, however many they are."""
    if connection.dialect.name == "postgresql":
        found: ColumnElement[bool] = column == any_(literal(list(numbers), ARRAY(BigInteger)))
        return found
    each = func.json_each(json.dumps(list(numbers))).table_valued("value")
    chosen: ColumnElement[bool] = column.in_(select(each.c.value))
    return chosen


def _summed(table: Any, hidden: str) -> tuple[ColumnElement[bool], ...]:
    return table.live_id.in_(select(UnitMarkRow.live_id)), table.unit == hidden


def _removed_before(connection: Connection, hidden: str, logged: Counter[tuple[int, str, str]]) -> Counter[tuple[int, str, str]]:
    """Trials that closed sums still hold of a unit, and that retention has removed from the log."""
    row = LiveUnitRow
    wanted = select(row.live_id, row.arm, row.trials).where(row.live_id.in_(closed(connection)), row.unit == hidden)
    found = {(live_id, arm, "split"): n for live_id, arm, n in connection.execute(wanted)}
    return Counter({key: n - logged[key] for key, n in found.items()})


def _forget_sums(connection: Connection, hidden: str) -> None:
    """Also what triggers have told of the deletions; a trial that was committed since is told of again, or the sums would lack it."""
    for kept in (LiveUnitRow, LiveUnitScoreRow, UnitChangeRow):
        connection.execute(delete(kept).where(*_summed(kept, hidden)))
    trial = LiveTrialRow
    since = select(trial.live_id, trial.unit).where(*_summed(trial, hidden), trial.reason == "split").distinct()
    connection.execute(insert(UnitChangeRow).from_select(["live_id", "unit"], since))


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
