"""Pages of live trials, found by index: no page reads a log of a million trials to show fifty of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select
from sqlalchemy.orm import aliased

from ragtrial.db.board_models import LiveBucketRow, RollUpMarkRow
from ragtrial.db.live_models import LiveExperimentRow, LiveScoreRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_plans import planned_metrics
from ragtrial.db.live_sums import bucket
from ragtrial.db.live_values import last_votes
from ragtrial.domain.live_trial import Thumb

BUCKET_SECONDS = 300
"""Width of the stretches of time that the log is rolled up in."""

TrialView = Literal["latest", "thumbs down", "failures", "abstained", "not scored", "commented"]

_Column = ColumnElement[Any]
trial = LiveTrialRow


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One live trial, as a table shows it.

    Attributes:
        number: Its number in the log: what `before` takes.
        trial_id: What its page is found by.
        at: Arrival, seconds since 1970.
        arm: The arm that made it.
        reason: Of the assignment.
        served: Whether it is the trial that its request counts as; silent twins are not.
        waited_ms: From its arrival to its answer.
        failure: `stage: kind`, or None.
        abstained: Whether it has an answer, and that abstains.
        thumb: The vote on the answer that counts now; None where nobody voted.
        comment: The last comment on the answer or on a source that its author has neither taken back nor replaced, late ones too; empty
            where there is none.
        unscored: Metrics without a value, each with the reason, in the order of their names.
        query_text: None where it is not kept.
        gold_query_id: The gold query with the same text, or None.
    """

    number: int
    trial_id: str
    at: float
    arm: str
    reason: str
    served: bool
    waited_ms: float
    failure: str | None
    abstained: bool
    thumb: Thumb | None
    comment: str
    unscored: tuple[tuple[str, str], ...]
    query_text: str | None
    gold_query_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPage:
    """Some of the trials that a view holds, newest first.

    Attributes:
        rows: At most `limit`.
        next: What `before` takes for the rows behind these; None where there are none.
        total: How many the view holds, as rolled up last; None where they are not counted.
    """

    rows: tuple[TrialRow, ...]
    next: int | None
    total: int | None


def trial_page(connection: Connection, live_id: int, view: TrialView, *, limit: int, before: int | None) -> TrialPage:
    """One page of a view; see `LiveBoardReader.trials`."""
    found = _FINDERS[view](connection, live_id, before, limit + 1)
    shown = found[:limit]
    return TrialPage(
        rows=_rows(connection, live_id, shown), next=shown[-1] if len(found) > limit else None, total=_total(connection, live_id, view)
    )


def _behind(number: Any, before: int | None) -> tuple[_Column, ...]:
    return () if before is None else (number < before,)


def _latest(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    wanted = select(trial.id).where(trial.live_id == live_id, *_behind(trial.id, before))
    return list(connection.execute(wanted.order_by(trial.id.desc()).limit(limit)).scalars())


def _thumbs_down(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    voted = last_votes([live_id], on_answers=True)
    wanted = select(voted.c.trial).where(voted.c.thumb == "down", *_behind(voted.c.trial, before))
    return list(connection.execute(wanted.order_by(voted.c.trial.desc()).limit(limit)).scalars())


def _commented(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    vote = LiveVoteRow
    wanted = select(vote.trial).where(vote.live_id == live_id, *_says_something(), *_behind(vote.trial, before))
    return list(connection.execute(wanted.distinct().order_by(vote.trial.desc()).limit(limit)).scalars())


def _says_something() -> tuple[_Column, ...]:
    """Votes with a comment that are the last on their answer or source: a later one says all that its author still says of it."""
    vote, later = LiveVoteRow, aliased(LiveVoteRow)
    same = or_(later.passage_id == vote.passage_id, and_(later.passage_id.is_(None), vote.passage_id.is_(None)))
    return vote.comment != "", ~exists().where(later.trial == vote.trial, same, later.id > vote.id)


def _not_scored(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    """Of each planned metric the newest: the index holds a metric's scores by trial."""
    score, found = LiveScoreRow, set()
    plan = connection.execute(select(LiveExperimentRow.plan).where(LiveExperimentRow.id == live_id)).scalar()
    for metric in planned_metrics(plan or {}):
        mine = (score.live_id == live_id, score.metric == metric, score.value.is_(None))
        wanted = select(score.trial).where(*mine, *_behind(score.trial, before))
        found |= set(connection.execute(wanted.order_by(score.trial.desc()).limit(limit)).scalars())
    return sorted(found, reverse=True)[:limit]


def _failures(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    numbers = _stretches(connection, live_id, LiveBucketRow.failed > 0)
    return _within(connection, live_id, numbers, trial.failure_stage.is_not(None), before, limit)


def _abstained(connection: Connection, live_id: int, before: int | None, limit: int) -> list[int]:
    numbers = _stretches(connection, live_id, LiveBucketRow.abstained > 0)
    return _within(connection, live_id, numbers, trial.finish_reason == "abstained", before, limit)


def _stretches(connection: Connection, live_id: int, holds: _Column) -> list[int]:
    """Numbers of the stretches that hold such trials, the newest first, and those that are not rolled up yet."""
    row = LiveBucketRow
    found = set(connection.execute(select(row.number).where(row.live_id == live_id, holds).distinct()).scalars())
    mark = connection.execute(select(RollUpMarkRow.trial).where(RollUpMarkRow.live_id == live_id)).scalar() or 0
    number = bucket(connection, trial.at.expression, BUCKET_SECONDS)
    found |= set(connection.execute(select(number).where(trial.live_id == live_id, trial.id > mark).distinct()).scalars())
    return sorted(found, reverse=True)


def _within(connection: Connection, live_id: int, numbers: Iterable[int], wanted: _Column, before: int | None, limit: int) -> list[int]:
    """The newest such trials by their arrival, stretch by stretch, until there are enough."""
    found: list[int] = []
    behind, last = _arrived_before(connection, live_id, before)
    number = bucket(connection, trial.at.expression, BUCKET_SECONDS)
    for place in numbers:
        if last is not None and place * BUCKET_SECONDS > last:
            continue
        mine = (trial.live_id == live_id, *in_stretches(trial.at.expression, place, place), number == place)
        rows = select(trial.id).where(*mine, wanted, *behind).order_by(trial.at.desc(), trial.id.desc())
        found += connection.execute(rows.limit(limit - len(found))).scalars()
        if len(found) >= limit:
            break
    return found


def in_stretches(moment: _Column, first: Any, last: Any) -> tuple[_Column, _Column]:
    """Moments of these stretches, and some of the second beside them: dividing rounds, so that the number decides on the border."""
    return moment >= first * BUCKET_SECONDS - 1.0, moment < (last + 1) * BUCKET_SECONDS + 1.0


def _arrived_before(connection: Connection, live_id: int, before: int | None) -> tuple[tuple[_Column, ...], float | None]:
    """Trials that arrived before the one of this number, and its moment; where it was erased, the next older one's stands for it."""
    if before is None:
        return (), None
    nearest = select(trial.at).where(trial.live_id == live_id, trial.id <= before).order_by(trial.id.desc()).limit(1)
    at = connection.execute(nearest).scalar()
    if at is None:
        return (trial.id < before,), None
    return (trial.at <= at, or_(trial.at < at, trial.id < before)), at


_FINDERS = {
    "latest": _latest,
    "thumbs down": _thumbs_down,
    "failures": _failures,
    "abstained": _abstained,
    "not scored": _not_scored,
    "commented": _commented,
}

_COUNTED: dict[TrialView, Any] = {
    "latest": LiveBucketRow.trials,
    "thumbs down": LiveBucketRow.down,
    "failures": LiveBucketRow.failed,
    "abstained": LiveBucketRow.abstained,
}


def _total(connection: Connection, live_id: int, view: TrialView) -> int | None:
    counted = _COUNTED.get(view)
    if counted is None:
        return None
    rolled_up = select(RollUpMarkRow.at).where(RollUpMarkRow.live_id == live_id)
    if connection.execute(rolled_up).first() is None:
        return None
    found = connection.execute(select(func.coalesce(func.sum(counted), 0)).where(LiveBucketRow.live_id == live_id)).scalar_one()
    return int(found)


def _rows(connection: Connection, live_id: int, numbers: Sequence[int]) -> tuple[TrialRow, ...]:
    columns = (
        *(trial.id, trial.trial_id, trial.at, trial.arm, trial.reason, trial.served, trial.waited_ms, trial.failure_stage),
        *(trial.failure_kind, trial.finish_reason, trial.query_text, trial.gold_query_id),
    )
    thumbs, comments = _thumbs(connection, live_id, numbers), _comments(connection, numbers)
    unscored = _unscored(connection, numbers)
    found: dict[int, Any] = {row.id: row for row in connection.execute(select(*columns).where(trial.id.in_(numbers)))}
    return tuple(
        TrialRow(
            number=row.id,
            trial_id=row.trial_id,
            at=row.at,
            arm=row.arm,
            reason=row.reason,
            served=row.served,
            waited_ms=row.waited_ms,
            failure=None if row.failure_stage is None else f"{row.failure_stage}: {row.failure_kind}",
            abstained=row.finish_reason == "abstained",
            thumb=thumbs.get(row.id),
            comment=comments.get(row.id, ""),
            unscored=tuple(unscored.get(row.id, ())),
            query_text=row.query_text,
            gold_query_id=row.gold_query_id,
        )
        for row in (found[number] for number in numbers)
    )


def _thumbs(connection: Connection, live_id: int, numbers: Sequence[int]) -> dict[int, Thumb]:
    voted = last_votes([live_id], on_answers=True)
    rows = connection.execute(select(voted.c.trial, voted.c.thumb).where(voted.c.trial.in_(numbers)))
    return {row[0]: row[1] for row in rows}


def _comments(connection: Connection, numbers: Sequence[int]) -> dict[int, str]:
    vote = LiveVoteRow
    mine = and_(vote.trial.in_(numbers), *_says_something())
    return {row[0]: row[1] for row in connection.execute(select(vote.trial, vote.comment).where(mine).order_by(vote.id))}


def _unscored(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    score = LiveScoreRow
    mine = and_(score.trial.in_(numbers), score.unscored.is_not(None))
    found: dict[int, list[tuple[str, str]]] = {}
    for number, metric, reason in connection.execute(select(score.trial, score.metric, score.unscored).where(mine).order_by(score.metric)):
        found.setdefault(number, []).append((metric, reason or ""))
    return found
