"""The SQL of live sums by unit: what some units come to in the log, for whoever keeps the sums and whoever reads beside them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    any_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from ragtrial.db.live_models import LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_sums import before, counted
from ragtrial.db.live_values import FAILED, NO_ANSWER, NOT_RATED, NOT_REPORTED, NOT_SEEN, NOT_TIMED, values_of
from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow
from ragtrial.domain.metric import Metric

ALL, UNTIL_PLANNED = 0, 1
"""Phases of `LiveUnitScoreRow`."""

_SIGNALS = ("copied", "rephrased", "citation_clicked")
_TIMED = {"embed_ms": "embed_n", "search_ms": "search_n", "generate_ms": "generate_n"}
_REPORTED = {"cost_usd": "cost_n", "prompt_tokens": "prompt_n", "completion_tokens": "completion_n"}

_Column = ColumnElement[Any]
trial = LiveTrialRow

UNIT_COLUMNS = tuple(column.name for column in LiveUnitRow.__table__.columns)
SCORE_COLUMNS = tuple(column.name for column in LiveUnitScoreRow.__table__.columns)


class Formula(NamedTuple):
    """A metric as sums of the columns of `live_units`: a plus is a sum of columns, and a reason's number likewise, minus others.

    Attributes:
        total: Columns whose sum is the metric's total.
        scored: First the columns that are added, then those that are taken off: its scored trials.
        reasons: Why others have no value, likewise.
    """

    total: tuple[str, ...]
    scored: tuple[tuple[str, ...], tuple[str, ...]]
    reasons: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


def _formulae() -> dict[str, Formula]:
    seen = {NOT_SEEN: (("trials",), ("served",))}
    served = (("served",), ())
    failed = {FAILED: (("failed",), ())}
    found = {
        "failed": Formula(("failed",), (("trials",), ()), {}),
        "latency_ms": Formula(("waited_ms",), (("trials",), ("failed",)), failed),
        "abstained": Formula(("abstained",), (("answered",), ()), failed | {NO_ANSWER: (("trials",), ("failed", "answered"))}),
        "rated": Formula(("up", "down"), served, seen),
        "thumbs_up": Formula(("up",), served, seen),
        "thumbs_down": Formula(("down",), served, seen),
        "up_share": Formula(("up",), (("up", "down"), ()), seen | {NOT_RATED: (("served",), ("up", "down"))}),
    }
    found |= {name: Formula((name,), served, seen) for name in _SIGNALS}
    for columns, reason in ((_TIMED, NOT_TIMED), (_REPORTED, NOT_REPORTED)):
        found |= {name: Formula((name,), ((n,), ()), failed | {reason: (("trials",), ("failed", n))}) for name, n in columns.items()}
    return found


FORMULAE = _formulae()
"""Metrics that `live_units` holds; all others are in `live_unit_scores`."""


def of_units(connection: Connection, column: Any, units: Sequence[str]) -> _Column:
    """Rows of these units; one parameter, however many they are."""
    if connection.dialect.name == "postgresql":
        found: _Column = column == any_(literal(list(units), ARRAY(String)))
        return found
    each = func.json_each(json.dumps(list(units), ensure_ascii=False)).table_valued("value")
    chosen: _Column = column.in_(select(each.c.value))
    return chosen


def unit_rows(connection: Connection, live_id: int, units: Sequence[str]) -> Select[Any]:
    """Rows of `live_units` for these units as the log has them now, in the order of `UNIT_COLUMNS`."""
    chosen = of_units(connection, trial.unit, units)
    one = _by_trial(connection, live_id, chosen).subquery("one")
    unit, arm = one.c.unit, one.c.arm
    plain = select(trial.unit, trial.arm, trial.version).where(*counted(live_id), chosen).subquery("plain")
    first = func.min(plain.c.version).over(partition_by=(plain.c.unit, plain.c.arm))
    marked = select(*plain.c, first.label("first_version")).subquery("marked")
    per = _later(connection, marked)
    totals = _totals(one)
    grouped = select(unit, arm, *totals.values()).group_by(unit, arm).subquery("grouped")
    both = (func.count().over(partition_by=grouped.c.unit) > 1).label("both")
    columns: dict[str, _Column] = {column.name: column for column in grouped.c}
    columns |= {"live_id": literal(live_id, Integer).label("live_id"), "both": both, "later": per.c.later}
    joined = grouped.outerjoin(per, (per.c.unit == grouped.c.unit) & (per.c.arm == grouped.c.arm))
    return select(*(columns[name] for name in UNIT_COLUMNS)).select_from(joined)


def _by_trial(connection: Connection, live_id: int, chosen: _Column) -> Select[Any]:
    """One row for each trial that counts, with what was said of it."""
    columns = ("unit", "arm", "version", "at", "served", "solicited", "waited_ms", "failure_stage", "finish_reason", *_TIMED, *_REPORTED)
    own = [getattr(trial, name) for name in columns]
    if connection.dialect.name != "postgresql":
        return select(*own, *_said_one_by_one()).where(*counted(live_id), chosen)
    votes, signals = _said_at_once()
    joined = trial.__table__.outerjoin(votes, true()).outerjoin(signals, true())
    return select(*own, *votes.c, *signals.c).select_from(joined).where(*counted(live_id), chosen)


def _said_one_by_one() -> list[_Column]:
    vote, late, signal = aliased(LiveVoteRow), aliased(LiveVoteRow), aliased(LiveSignalRow)
    on_answer = (vote.trial == trial.id, vote.passage_id.is_(None), ~vote.late)
    thumb = select(vote.thumb).where(*on_answer).order_by(vote.id.desc()).limit(1).correlate(trial).scalar_subquery()
    too_late = (late.trial == trial.id, late.passage_id.is_(None), late.late)
    signals: list[_Column] = [
        exists().where(signal.trial == trial.id, signal.signal == name, ~signal.late).correlate(trial).label(name) for name in _SIGNALS
    ]
    return [thumb.label("thumb"), select(func.count()).where(*too_late).correlate(trial).scalar_subquery().label("late"), *signals]


def _said_at_once() -> tuple[Any, Any]:
    """The same, each table looked up once for a trial: every look into a partitioned table has to find the partition first."""
    vote, signal = aliased(LiveVoteRow), aliased(LiveSignalRow)
    thumbs = func.array_agg(aggregate_order_by(vote.thumb, vote.id.desc()), type_=ARRAY(String)).filter(~vote.late)
    votes = (
        select(thumbs[1].label("thumb"), func.count().filter(vote.late).label("late"))
        .where(vote.trial == trial.id, vote.passage_id.is_(None))
        .correlate(trial)
        .lateral("votes")
    )
    given = [func.coalesce(func.bool_or(signal.signal == name).filter(~signal.late), false()).label(name) for name in _SIGNALS]
    return votes, select(*given).where(signal.trial == trial.id).correlate(trial).lateral("signals")


def _totals(one: Any) -> dict[str, _Column]:
    went_well = one.c.failure_stage.is_(None)
    served, asked = one.c.served, one.c.served & one.c.solicited
    found: dict[str, _Column] = {
        "first_at": func.min(one.c.at),
        "version": func.min(one.c.version),
        "trials": func.count(),
        "served": _count(served),
        "solicited": _count(asked),
        "failed": func.count(one.c.failure_stage),
        "answered": _count(went_well & one.c.finish_reason.is_not(None)),
        "abstained": _count(went_well & (one.c.finish_reason == "abstained")),
        "waited_ms": _sum(one.c.waited_ms, went_well),
        "late": _whole(one.c.late),
        "late_solicited": _whole(case((one.c.solicited, one.c.late), else_=0)),
        **{name: _count(served & one.c[name]) for name in _SIGNALS},
    }
    for name, n in (_TIMED | _REPORTED).items():
        found[name] = _sum(one.c[name], went_well)
        found[n] = _count(went_well & one.c[name].is_not(None))
    for thumb in ("up", "down", "withdrawn"):
        found[thumb] = _count(served & (one.c.thumb == thumb))
        found[f"{thumb}_solicited"] = _count(asked & (one.c.thumb == thumb))
    return {name: column.label(name) for name, column in found.items()}


def _later(connection: Connection, marked: Any) -> Any:
    """Trials under later versions of the traffic, by unit and arm."""
    others = (
        select(marked.c.unit, marked.c.arm, marked.c.version, func.count().label("n"))
        .where(marked.c.version > marked.c.first_version)
        .group_by(marked.c.unit, marked.c.arm, marked.c.version)
        .subquery("others")
    )
    said = cast(others.c.version, String) + ":" + cast(others.c.n, String)
    return (
        select(others.c.unit, others.c.arm, _joined(connection, said, ",").label("later"))
        .group_by(others.c.unit, others.c.arm)
        .subquery("per")
    )


def score_rows_of(
    connection: Connection, live_id: int, metric: Metric, chosen: _Column, *, phase: int, until: float | None = None
) -> Select[Any]:
    """Rows of `live_unit_scores` for the chosen trials' units, in the order of `SCORE_COLUMNS`."""
    values = values_of(metric, [live_id], *counted(live_id)[1:], *before(until), chosen)
    unit, arm, reason = values.c.unit, values.c.arm, values.c.unscored
    by_reason = (
        select(
            unit, arm, reason, func.sum(values.c.value).label("total"), func.count(values.c.value).label("n"), func.count().label("trials")
        )
        .group_by(unit, arm, reason)
        .subquery("by_reason")
    )
    why = case((by_reason.c.n == 0, cast(by_reason.c.trials, String) + " " + func.replace(by_reason.c.unscored, "\n", " ")), else_=null())
    grouped = (
        select(
            by_reason.c.unit,
            by_reason.c.arm,
            func.coalesce(func.sum(by_reason.c.total), 0.0).label("total"),
            _whole(by_reason.c.n).label("n"),
            _whole(by_reason.c.trials).label("trials"),
            _joined(connection, why, "\n").label("reasons"),
        )
        .group_by(by_reason.c.unit, by_reason.c.arm)
        .subquery("grouped")
    )
    columns: dict[str, _Column] = {column.name: column for column in grouped.c}
    columns |= {
        "live_id": literal(live_id, Integer).label("live_id"),
        "phase": literal(phase, Integer).label("phase"),
        "metric": literal(metric.name, String).label("metric"),
        "both": (func.count().over(partition_by=grouped.c.unit) > 1).label("both"),
    }
    return select(*(columns[name] for name in SCORE_COLUMNS))


def _joined(connection: Connection, words: _Column, between: str) -> _Column:
    """An aggregate that puts words behind one another; NULL where there are none."""
    if connection.dialect.name == "postgresql":
        return func.string_agg(words, between)
    return func.group_concat(words, between)


def _whole(numbers: _Column) -> _Column:
    """A sum that stays a whole number: PostgreSQL makes `numeric` of a sum of bigints, which arrives as a Decimal."""
    return cast(func.coalesce(func.sum(numbers), 0), BigInteger)


def _count(condition: _Column) -> _Column:
    return func.count(case((condition, 1), else_=null()))


def _sum(value: _Column, condition: _Column) -> _Column:
    return func.coalesce(func.sum(case((condition, value), else_=null())), 0.0)
