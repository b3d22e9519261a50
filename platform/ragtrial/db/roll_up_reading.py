"""What a roll-up of the live log needs to read: which stretches of time have changed, and what they sum up to."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, and_, case, column, func, null, select, values

from ragtrial.db.board_models import LiveBucketRow, RollUpMarkRow
from ragtrial.db.live_models import ErasureRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_pages import BUCKET_SECONDS, in_stretches
from ragtrial.db.live_sums import bucket
from ragtrial.db.live_values import last_votes
from ragtrial.db.unit_models import RetentionRow

TRIALS_LOOKED_AT_AGAIN = 10_000
"""Ids behind the newest: of several workers on PostgreSQL, one may commit a trial with a lower id later."""

VOTES_LOOKED_AT_AGAIN = 1_000

SUMS = tuple(column.name for column in LiveBucketRow.__table__.columns if column.name not in ("live_id", "number", "arm", "reason"))

Key = tuple[int, str, str]
"""Number of the stretch, arm, and reason of the assignment."""

Rows = dict[Key, tuple[Any, ...]]
"""The sums in the order of `SUMS`."""

_Column = ColumnElement[Any]
trial, vote, kept = LiveTrialRow, LiveVoteRow, LiveBucketRow


class Marks(NamedTuple):
    """Up to which ids everything is in."""

    trial: int = 0
    vote: int = 0
    erasure: int = 0


class Look(NamedTuple):
    """What the log holds.

    Attributes:
        newest: Ids, never below the marks: the newest rows may have been erased.
        trials: How many trials there are below the marks' that are looked at again.
        votes: Likewise votes.
    """

    newest: Marks
    trials: int
    votes: int


class Changes(NamedTuple):
    """What has changed since the marks.

    Attributes:
        stretches: Numbers of the stretches that have to be summed again, ascending.
        news: Whether there is anything that was not in the log when the marks were written.
    """

    stretches: list[int]
    news: bool


class Marked(NamedTuple):
    """What was written at the end of the last pass.

    Attributes:
        marks: Of it.
        version: How many passes have found anything new.
        at: Seconds since 1970.
    """

    marks: Marks
    version: int
    at: float


def marked(connection: Connection, live_id: int) -> Marked | None:
    """How far an experiment was rolled up; None before the first time."""
    row = RollUpMarkRow
    found = connection.execute(select(row.trial, row.vote, row.erasure, row.version, row.at).where(row.live_id == live_id)).first()
    return None if found is None else Marked(Marks(*found[:3]), *found[3:])


def look_at(connection: Connection, live_id: int, marks: Marks) -> Look:
    """What the log holds now; costs no more in a long log than in a short one."""
    newest = Marks(
        trial=connection.execute(select(func.max(trial.id)).where(trial.live_id == live_id)).scalar() or 0,
        vote=connection.execute(select(func.max(vote.id))).scalar() or 0,  # of all experiments: this one's are in no index
        erasure=connection.execute(select(func.max(ErasureRow.id)).where(ErasureRow.live_id == live_id)).scalar() or 0,
    )
    again = (trial.live_id == live_id, trial.id > marks.trial - TRIALS_LOOKED_AT_AGAIN, trial.id <= marks.trial)
    votes_again = (vote.live_id == live_id, vote.id > marks.vote - VOTES_LOOKED_AT_AGAIN, vote.id <= marks.vote)
    return Look(
        newest=Marks(*map(max, newest, marks)),
        trials=connection.execute(select(func.count()).select_from(trial).where(*again)).scalar_one(),
        votes=connection.execute(select(func.count()).select_from(vote).where(*votes_again)).scalar_one(),
    )


def changes_since(
    connection: Connection, live_id: int, marks: Marks, look: Look, before: Look | None, *, again: Sequence[int] = ()
) -> Changes:
    """What has to be summed again.

    The log only grows, but for erasures. So a stretch that holds as many trials as were summed holds the same ones; after an erasure
    that is so only for those that nothing was added to since.

    Args:
        connection: Of a reader.
        live_id: The experiment.
        marks: Up to where everything is in.
        look: What the log holds.
        before: What it held when the marks were written, as far as this process knows; None after a start, when everything is counted.
        again: Stretches that have to be summed again in any case.
    """
    settled = before is not None and before.newest == marks and (before.trials, before.votes) == (look.trials, look.votes)
    if settled and look.newest == marks and not again:
        return Changes([], news=False)
    erased = look.newest.erasure > marks.erasure
    added = marks.trial if settled else marks.trial - TRIALS_LOOKED_AT_AGAIN
    everything = before is None or erased
    found = _counted_otherwise(connection, live_id, 0.0 if everything else _earliest(connection, live_id, added))
    if erased:
        found |= _of_trials(connection, live_id, marks.trial - TRIALS_LOOKED_AT_AGAIN)
    voted = _of_votes(connection, live_id, marks.vote)
    found |= voted | set(again)
    if not settled:
        found |= _of_votes(connection, live_id, marks.vote - VOTES_LOOKED_AT_AGAIN)
    kept_from = connection.execute(select(func.max(RetentionRow.kept_from)).where(RetentionRow.live_id == live_id)).scalar() or 0.0
    found = {number for number in found if number * BUCKET_SECONDS >= kept_from}  # what retention has removed stays in the sums
    return Changes(sorted(found), news=bool(voted) or erased or look.newest.trial > marks.trial)


def _number(connection: Connection) -> _Column:
    return bucket(connection, trial.at.expression, BUCKET_SECONDS)


def _earliest(connection: Connection, live_id: int, after: int) -> float | None:
    """When the first of the trials behind this id arrived; None where there are none."""
    return connection.execute(select(func.min(trial.at)).where(trial.live_id == live_id, trial.id > after)).scalar()


def _counted_otherwise(connection: Connection, live_id: int, earliest: float | None) -> set[int]:
    """Stretches that hold another number of trials than was summed, from a moment on; none where that is None."""
    if earliest is None:
        return set()
    number, first = _number(connection).label("number"), int(earliest // BUCKET_SECONDS)
    since = trial.at >= earliest - BUCKET_SECONDS
    logged = select(number, func.count()).where(trial.live_id == live_id, since).group_by(number)
    summed = select(kept.number, func.sum(kept.trials)).where(kept.live_id == live_id, kept.number >= first).group_by(kept.number)
    there = {row[0]: row[1] for row in connection.execute(logged) if row[0] >= first}
    here = {row[0]: int(row[1]) for row in connection.execute(summed)}
    return {place for place in there.keys() | here.keys() if there.get(place) != here.get(place)}


def _of_trials(connection: Connection, live_id: int, after: int) -> set[int]:
    wanted = select(_number(connection)).where(trial.live_id == live_id, trial.id > after).distinct()
    return set(connection.execute(wanted).scalars())


def _of_votes(connection: Connection, live_id: int, after: int) -> set[int]:
    wanted = select(_number(connection)).join(vote, vote.trial == trial.id).where(vote.live_id == live_id, vote.id > after).distinct()
    return set(connection.execute(wanted).scalars())


def logged_rows(connection: Connection, live_id: int, stretches: Sequence[int]) -> Rows:
    """What the trials of these stretches, and the votes on them, sum up to; read by index, run by run of neighbours."""
    number = _number(connection)
    labelled = number.label("number")
    voted = last_votes([live_id], on_answers=True)
    ends = (column("first", Integer), column("last", Integer))
    runs = values(*ends, name="runs").data(list(_runs_of(stretches))).cte()
    mine = (*in_stretches(trial.at.expression, runs.c.first, runs.c.last), number.between(runs.c.first, runs.c.last))
    wanted: Any = (
        select(labelled, trial.arm, trial.reason, *_sums(voted.c.thumb))
        .select_from(runs.join(trial.__table__, and_(trial.live_id == live_id, *mine)).outerjoin(voted, voted.c.trial == trial.id))
        .group_by(labelled, trial.arm, trial.reason)
    )
    return {(row[0], row[1], row[2]): tuple(row[3:]) for row in connection.execute(wanted)}


def _runs_of(stretches: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last number of each run of neighbours, from ascending numbers."""
    begin = 0
    for place in range(1, len(stretches) + 1):
        if place == len(stretches) or stretches[place] != stretches[place - 1] + 1:
            yield stretches[begin], stretches[place - 1]
            begin = place


def summed_rows(connection: Connection, live_id: int, stretches: Sequence[int]) -> Rows:
    """What these stretches were summed up to before."""
    columns = (kept.number, kept.arm, kept.reason, *(getattr(kept, name) for name in SUMS))
    wanted = select(*columns).where(kept.live_id == live_id, kept.number.in_(stretches))
    return {(row[0], row[1], row[2]): tuple(row[3:]) for row in connection.execute(wanted)}


def _sums(thumb: _Column) -> tuple[_Column, ...]:
    """In the order of `SUMS`."""
    timed = and_(trial.failure_stage.is_(None), trial.embed_ms.is_not(None))
    counted = and_(trial.prompt_tokens.is_not(None), trial.completion_tokens.is_not(None))
    sums = {
        "trials": func.count(),
        "served": _count(trial.served.expression),
        "failed": func.count(trial.failure_stage),
        "abstained": _count(trial.finish_reason == "abstained"),
        "answered": func.count(trial.finish_reason),
        "timed": _count(timed),
        **{name: _sum(getattr(trial, name), timed, 0.0) for name in ("waited_ms", "embed_ms", "search_ms", "generate_ms")},
        "priced": func.count(trial.cost_usd),
        "cost_usd": func.coalesce(func.sum(trial.cost_usd), 0.0),
        "counted_tokens": _count(counted),
        **{name: _sum(getattr(trial, name), counted, 0) for name in ("prompt_tokens", "completion_tokens")},
        **{name: _count(thumb == name) for name in ("up", "down", "withdrawn")},
    }
    return tuple(sums[name] for name in SUMS)


def _count(condition: _Column) -> _Column:
    return func.count(case((condition, 1), else_=null()))


def _sum(value: _Column, condition: _Column, nothing: float) -> _Column:
    return func.coalesce(func.sum(case((condition, value), else_=null())), nothing)
