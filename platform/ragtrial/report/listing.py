"""Evaluations and live experiments in a list: each with its state and verdict, from what was stored of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.live import TrafficState
from ragtrial.domain.metric import metric_named
from ragtrial.report import live_words, words
from ragtrial.report.page import SIGNS, TONES

Kind = Literal["evaluation", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One row of the list.

    Attributes:
        kind: What it is.
        key: The id that its address has.
        name: The experiment's.
        at: When it was started, `YYYY-MM-DD HH:MM` in UTC.
        state: How far it is, in words.
        verdict: In words; None before there is one.
        tone: Of the verdict's colours; `calm` before there is one.
        sign: For those who don't see colours.
        effect: The primary metric's difference with its interval, or why there is none; None before that is known.
    """

    kind: Kind
    key: str
    name: str
    at: str
    state: str
    verdict: str | None = None
    tone: str = "calm"
    sign: str = "…"
    effect: str | None = None


def listed_evaluation(evaluation: Evaluation, *, done: int, planned: int, document: Mapping[str, Any] | None) -> Listed:
    """An evaluation.

    Args:
        evaluation: The run.
        done: Trials that are in the log.
        planned: Trials that there are when it is complete.
        document: Its conclusion as stored, in the present form; None where there is none.
    """
    state = evaluation_state(evaluation, done=done, planned=planned, concluded=document is not None)
    return Listed(
        kind="evaluation",
        key=evaluation.evaluation_id,
        name=evaluation.experiment,
        at=evaluation.started_at[:16].replace("T", " "),
        state=state,
        **_found(document, words.DECISIONS, live=False),
    )


def evaluation_state(evaluation: Evaluation, *, done: int, planned: int, concluded: bool) -> str:
    """How far an evaluation is."""
    if evaluation.finished_at is None:
        return f"in progress: {done:,} of {words.count(planned, 'trial')}"
    return "finished" if concluded else "finished, being concluded"


def listed_live(
    live_id: int, name: str, created_at: float, *, traffic: TrafficState, document: Mapping[str, Any] | None, problem: str | None
) -> Listed:
    """A live experiment.

    Args:
        live_id: Its number.
        name: The experiment's.
        created_at: When it was first served, seconds since 1970.
        traffic: What holds of its traffic now.
        document: What it had come to when it was last analysed, as stored in the present form; None where there is none.
        problem: Why it could not be analysed, or None.
    """
    state = "stopped" if traffic.stopped else f"running, {100 * traffic.share:.4g}% of the units take part"
    found = _found(document, live_words.HEADINGS, live=True)
    if problem is not None:
        found["effect"] = problem
    at = datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d %H:%M")
    return Listed(kind="live", key=str(live_id), name=name, at=at, state=state, **found)


def _found(document: Mapping[str, Any] | None, decisions: Mapping[Any, str], *, live: bool) -> dict[str, Any]:
    """Verdict and effect of a stored document: the few fields that a list shows are read without checking the rest."""
    if document is None:
        return {}
    analysis = document["analysis"]
    decision = analysis["verdict"]["decision"]
    tone = TONES[decision]
    return {"verdict": decisions[decision], "tone": tone, "sign": SIGNS[tone], "effect": _effect(analysis["comparisons"], live=live)}


def _effect(comparisons: Sequence[Mapping[str, Any]], *, live: bool) -> str:
    primary = next(each for each in comparisons if each["role"] == "primary")
    metric, effect = metric_named(primary["metric"]["name"]), primary["effect"]
    if effect is None:
        return f"{metric.name}: {primary['no_effect']}"
    numbers = (effect["planned"] or effect["running"]) if live else effect
    estimate, low, high = (numbers[name] for name in ("estimate", "low", "high"))
    return f"{metric.name} {words.signed(estimate, metric)} [{words.signed(low, metric, unit=False)}, {words.signed(high, metric, unit=False)}]"
