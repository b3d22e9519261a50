"""Sums of live experiments by unit, kept beside the log: the analysis of ten million trials reads a row for each unit and arm, no trial.

    live_unit_marks      which experiments are summed by unit, and how far
    live_unit_changes    units whose trials, scores, votes or signals have changed since; triggers write it with the change itself
    live_units           a unit in one arm: counts and sums of everything that needs no scorer
    live_unit_scores     a unit in one arm on one scored metric; and on the deciding ones once more, until the planned size was reached
    live_retentions      what retention has removed from the log, and from when on it is kept

All of it can be made again from the log. Triggers write changes only of experiments that have a mark, so a log that nobody sums up pays
nothing for it. Units are pseudonyms here as everywhere; erasing one erases its rows (`live_erasing`).
"""

from typing import Any

from sqlalchemy import DDL, ForeignKey, Index, event
from sqlalchemy.orm import Mapped, mapped_column

from ragtrial.db.base import LONG, Base

CLOSED = -1
"""The form of sums that outlive their trials."""


class UnitMarkRow(Base):
    """How far an experiment is summed by unit.

    `form` is the version of what is summed: another one is summed anew; `CLOSED` says that these sums are final, as trials are gone.
    `newest`, `latest_at` and `backwards` say of the trials until that id when the latest was stamped, and how many were stamped long
    before one logged earlier. `reached_at` is the moment until which the rows of phase 1 sum; `erasure` the last erasure that
    `backwards` knows of.
    """

    __tablename__ = "live_unit_marks"

    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), primary_key=True, autoincrement=False)
    form: Mapped[int]
    newest: Mapped[int] = mapped_column(LONG)
    latest_at: Mapped[float | None]
    backwards: Mapped[int]
    erasure: Mapped[int]
    reached_at: Mapped[float | None]
    at: Mapped[float]


class UnitChangeRow(Base):
    """A unit of which something was written or removed; several times where that was so."""

    __tablename__ = "live_unit_changes"
    __table_args__ = (Index("ix_live_unit_changes_in_order", "live_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(LONG, primary_key=True)
    live_id: Mapped[int]
    unit: Mapped[str]


class LiveUnitRow(Base):
    """One unit in one arm, over the trials that count (`split`).

    `both` marks units that saw both arms. Sums are over trials that did not fail; `*_n` says over how many. `later` counts the trials
    under other versions of the traffic than the unit's first (`version`), as `version:trials` with commas between; NULL where there are
    none. Votes are those that count now.
    """

    __tablename__ = "live_units"
    __table_args__ = (
        Index("ix_live_units_first", "live_id", "both", "first_at"),
        {"sqlite_with_rowid": False},
    )

    live_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    unit: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    both: Mapped[bool]
    first_at: Mapped[float]
    version: Mapped[int]
    trials: Mapped[int]
    served: Mapped[int]
    solicited: Mapped[int]
    failed: Mapped[int]
    answered: Mapped[int]
    abstained: Mapped[int]
    waited_ms: Mapped[float]
    embed_ms: Mapped[float]
    embed_n: Mapped[int]
    search_ms: Mapped[float]
    search_n: Mapped[int]
    generate_ms: Mapped[float]
    generate_n: Mapped[int]
    cost_usd: Mapped[float]
    cost_n: Mapped[int]
    prompt_tokens: Mapped[float]
    prompt_n: Mapped[int]
    completion_tokens: Mapped[float]
    completion_n: Mapped[int]
    up: Mapped[int]
    down: Mapped[int]
    withdrawn: Mapped[int]
    late: Mapped[int]
    up_solicited: Mapped[int]
    down_solicited: Mapped[int]
    withdrawn_solicited: Mapped[int]
    late_solicited: Mapped[int]
    copied: Mapped[int]
    rephrased: Mapped[int]
    citation_clicked: Mapped[int]
    later: Mapped[str | None]


class LiveUnitScoreRow(Base):
    """One unit in one arm on one metric: the sum over `n` scored trials, and the reasons of the others.

    `phase` 0 is everything, 1 the trials until the planned size was reached. `reasons` has a line for each: its number of trials, a space,
    the reason.
    """

    __tablename__ = "live_unit_scores"
    __table_args__ = ({"sqlite_with_rowid": False},)

    live_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    phase: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    both: Mapped[bool]
    total: Mapped[float]
    n: Mapped[int]
    trials: Mapped[int]
    reasons: Mapped[str | None]


class RetentionRow(Base):
    """Trials before `kept_from` were removed by retention, with what was said of them; the sums keep them. Counts grow as it goes on."""

    __tablename__ = "live_retentions"

    id: Mapped[int] = mapped_column(primary_key=True)
    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), index=True)
    kept_from: Mapped[float]
    trials: Mapped[int] = mapped_column(LONG)
    scores: Mapped[int] = mapped_column(LONG)
    votes: Mapped[int] = mapped_column(LONG)
    signals: Mapped[int] = mapped_column(LONG)
    actor: Mapped[str]
    at: Mapped[float]


_TOLD = {"live_trials": ("INSERT", "DELETE"), "live_scores": ("INSERT", "UPDATE", "DELETE")} | dict.fromkeys(
    ("live_votes", "live_signals"), ("INSERT", "DELETE")
)
"""What is told of each table; a trial's columns that are summed never change."""


def _sqlite_triggers() -> list[str]:
    made = []
    for name, events in _TOLD.items():
        for what in events:
            row = "OLD" if what == "DELETE" else "NEW"
            marked = f"EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = {row}.live_id)"  # noqa: S608  # names of our own
            if name == "live_trials":
                body = f"SELECT {row}.live_id, {row}.unit WHERE {row}.reason = 'split' AND {row}.unit IS NOT NULL"
            else:
                body = f"SELECT live_id, unit FROM live_trials WHERE id = {row}.trial AND reason = 'split' AND unit IS NOT NULL"  # noqa: S608
            made.append(
                f"CREATE TRIGGER {name}_{what.lower()}_told AFTER {what} ON {name} WHEN {marked} "
                f"BEGIN INSERT INTO live_unit_changes (live_id, unit) {body}; END"
            )
    return made


def _postgresql_triggers() -> list[str]:
    """Once for each statement, however many rows it writes."""
    made = []
    for name, events in _TOLD.items():
        body = "SELECT DISTINCT t.live_id, t.unit FROM told t" if name == "live_trials" else (
            "SELECT DISTINCT t.live_id, t.unit FROM told n JOIN live_trials t ON t.id = n.trial"
        )  # fmt: skip
        made.append(
            f"CREATE FUNCTION {name}_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO live_unit_changes (live_id, unit) {body} JOIN live_unit_marks m ON m.live_id = t.live_id "
            "WHERE t.reason = 'split' AND t.unit IS NOT NULL; RETURN NULL; END $$"
        )
        for what in events:
            seen = "OLD" if what == "DELETE" else "NEW"
            made.append(
                f"CREATE TRIGGER {name}_{what.lower()}_told AFTER {what} ON {name} REFERENCING {seen} TABLE AS told "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_tell()"
            )
    return made


for _dialect, _statements in (("sqlite", _sqlite_triggers()), ("postgresql", _postgresql_triggers())):
    for _statement in _statements:
        _made: Any = DDL(_statement)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
        event.listen(Base.metadata, "after_create", _made.execute_if(dialect=_dialect))
