"""What each metric is worth for one live trial, as SQL: a value, or the reason why there is none."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, and_, case, exists, func, literal, null, or_, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql.expression import Subquery

from ragtrial.db.live_models import LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.domain.live_scores import NOT_SCORED
from ragtrial.domain.metric import Metric

FAILED = "the trial failed"
NOT_TIMED = "not timed"
NOT_RERANKED = "not reranked"
NOT_REPORTED = "not reported by the generator"
NO_ANSWER = "no answer was asked for"
NOT_RATED = "not rated"
NOT_SEEN = "nobody saw the answer"

_Column = ColumnElement[Any]

trial = LiveTrialRow


class _Measured(NamedTuple):
    source: FromClause
    value: _Column
    unscored: _Column


def values_of(metric: Metric, live_ids: Sequence[int], *chosen: _Column, made: bool = False) -> Subquery:
    """One row for each chosen trial: unit, request_id, arm, at, and value or unscored, one of which is NULL.

    Args:
        metric: Any metric.
        live_ids: The experiments whose trials are meant.
        chosen: Further conditions on trials.
        made: `latency_ms` is what the answer took to make (embed, search, generate), and not what its user waited: nobody waits for a
            silent twin, so only that can be compared with the served answer's.
    """
    measured = _measure(metric, live_ids)
    if made and metric.name == "latency_ms":
        measured = _Measured(trial.__table__, *_unless_failed(trial.embed_ms + trial.search_ms + trial.generate_ms, NOT_TIMED))
    wanted: Any = (
        select(trial.unit, trial.request_id, trial.arm, trial.at, measured.value.label("value"), measured.unscored.label("unscored"))
        .select_from(measured.source)
        .where(trial.live_id.in_(live_ids), *chosen)
    )
    found: Subquery = wanted.subquery("measured")
    return found


def last_votes(live_ids: Sequence[int], *, on_answers: bool) -> Subquery:
    """The votes that count: of each trial and target the last one that is not late; on answers, or on their sources."""
    vote, later = LiveVoteRow, aliased(LiveVoteRow)
    target = vote.passage_id.is_(None) if on_answers else vote.passage_id.is_not(None)
    same = later.passage_id.is_(None) if on_answers else later.passage_id == vote.passage_id
    overruled = exists().where(later.trial == vote.trial, same, ~later.late, later.id > vote.id)
    found: Subquery = (
        select(vote.trial, vote.thumb, vote.team).where(vote.live_id.in_(live_ids), target, ~vote.late, ~overruled).subquery("voted")
    )
    return found


def _measure(metric: Metric, live_ids: Sequence[int]) -> _Measured:
    if metric.name in _OF_TRIALS:
        value, unscored = _OF_TRIALS[metric.name]()
        return _Measured(trial.__table__, value, unscored)
    if metric.name == "preference":
        return _preference(live_ids)
    if metric.name in ("rated", "thumbs_up", "thumbs_down", "up_share"):
        return _thumbs(metric.name, live_ids)
    if metric.kind == "feedback":
        return _signals(metric.name, live_ids)
    return _scored(metric.name, live_ids)


def _failed() -> _Column:
    return trial.failure_stage.is_not(None)


def _unless_failed(value: _Column, reason: str) -> tuple[_Column, _Column]:
    """The value of a trial that did not fail; `reason` where it is NULL."""
    return case((_failed(), null()), else_=value), case((_failed(), FAILED), (value.is_(None), reason), else_=null())


def _share(condition: _Column) -> _Column:
    return case((condition, 1.0), else_=0.0)


def _abstained() -> tuple[_Column, _Column]:
    answered = trial.finish_reason.is_not(None)
    return _unless_failed(case((answered, _share(trial.finish_reason == "abstained")), else_=null()), NO_ANSWER)


_OF_TRIALS: dict[str, Callable[[], tuple[_Column, _Column]]] = {
    "latency_ms": partial(_unless_failed, trial.waited_ms.expression, NOT_TIMED),
    "failed": lambda: (_share(_failed()), null()),
    "abstained": _abstained,
    **{name: partial(_unless_failed, getattr(trial, name), NOT_TIMED) for name in ("embed_ms", "search_ms", "generate_ms")},
    "rerank_ms": partial(_unless_failed, trial.rerank_ms.expression, NOT_RERANKED),
    **{name: partial(_unless_failed, getattr(trial, name), NOT_REPORTED) for name in ("cost_usd", "prompt_tokens", "completion_tokens")},
}


def _scored(metric: str, live_ids: Sequence[int]) -> _Measured:
    score = LiveScoreRow
    mine = and_(score.live_id.in_(live_ids), score.metric == metric, score.trial == trial.id)
    value, _reason = _unless_failed(score.value.expression, NOT_SCORED)
    reason = case((_failed(), FAILED), (score.trial.is_(None), NOT_SCORED), else_=score.unscored)
    return _Measured(trial.__table__.outerjoin(score.__table__, mine), value, reason)


def _seen(value: _Column, reason: _Column) -> tuple[_Column, _Column]:
    """The value of an answer that a user saw."""
    return case((trial.served, value), else_=null()), case((trial.served, reason), else_=literal(NOT_SEEN))


def _thumbs(metric: str, live_ids: Sequence[int]) -> _Measured:
    voted = last_votes(live_ids, on_answers=True)
    thumb = voted.c.thumb
    rated = or_(thumb == "up", thumb == "down")
    if metric == "up_share":
        up: _Column = case((rated, _share(thumb == "up")), else_=null())
        value, reason = _seen(up, case((rated, null()), else_=literal(NOT_RATED)))
    else:
        conditions = {"rated": rated, "thumbs_up": thumb == "up", "thumbs_down": thumb == "down"}
        value, reason = _seen(_share(conditions[metric]), null())
    return _Measured(trial.__table__.outerjoin(voted, voted.c.trial == trial.id), value, reason)


def _signals(metric: str, live_ids: Sequence[int]) -> _Measured:
    signal = LiveSignalRow
    seen = select(signal.trial).where(signal.live_id.in_(live_ids), signal.signal == metric, ~signal.late).distinct().subquery("signalled")
    return _Measured(trial.__table__.outerjoin(seen, seen.c.trial == trial.id), *_seen(_share(seen.c.trial.is_not(None)), null()))


def _preference(live_ids: Sequence[int]) -> _Measured:
    """The sign of (credits of the treatment - credits of the control): cited passages, and votes on sources, by team."""
    voted = last_votes(live_ids, on_answers=False)
    up = case((voted.c.thumb == "up", 1), (voted.c.thumb == "down", -1), else_=0)
    credit = case((voted.c.team == "treatment", up), (voted.c.team == "control", -up), else_=0)
    summed = select(voted.c.trial, func.sum(credit).label("credit")).group_by(voted.c.trial).subquery("credited")
    balance = func.coalesce(trial.citation_credit, 0) + func.coalesce(summed.c.credit, 0)
    sign = case((balance > 0, 1.0), (balance < 0, -1.0), else_=0.0)
    return _Measured(trial.__table__.outerjoin(summed, summed.c.trial == trial.id), *_unless_failed(sign, NO_ANSWER))
