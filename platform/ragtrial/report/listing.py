"""Evaluations and live experiments in a list: each with its state and verdict, from what was stored of it."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_verdict import LiveEffect
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import Decision
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Essence:
    """The little of a stored document that a list shows.

    Attributes:
        decision: Of the verdict.
        effect: The primary metric's difference with its interval, or why there is none.
    """

    decision: Decision
    effect: str


def essence(document: Mapping[str, Any]) -> Essence:
    """Of what was stored of an evaluation or a live experiment, in the present form; the rest of it is not checked."""
    analysis = document["analysis"]
    primary = next(each for each in analysis["comparisons"] if each["role"] == "primary")
    metric, effect = metric_named(primary["metric"]["name"]), primary["effect"]
    if effect is None:
        return Essence(decision=analysis["verdict"]["decision"], effect=f"{metric.name}: {primary['no_effect']}")
    numbers = asdict(_live_effects().validate_python(effect).counting("primary")) if "running" in effect else effect
    estimate = words.signed(numbers["estimate"], metric)
    low, high = (words.signed(numbers[name], metric, unit=False) for name in ("low", "high"))
    return Essence(decision=analysis["verdict"]["decision"], effect=f"{metric.name} {estimate} [{low}, {high}]")


@functools.cache
def _live_effects() -> TypeAdapter[LiveEffect]:
    return TypeAdapter(LiveEffect)


def listed_evaluation(evaluation: Evaluation, *, done: int, planned: int, known: Essence | None, problem: str | None = None) -> Listed:
    """An evaluation.

    Args:
        evaluation: The run.
        done: Trials that are in the log, of one that is not finished.
        planned: Trials that there are when it is complete.
        known: What it came to; None before it is concluded.
        problem: Why it could not be concluded, or None.
    """
    found = _found(known, words.DECISIONS)
    if problem is not None:
        found["effect"] = problem
    return Listed(
        kind="evaluation",
        key=evaluation.evaluation_id,
        name=evaluation.experiment,
        at=evaluation.started_at[:16].replace("T", " "),
        state=evaluation_state(evaluation, done=done, planned=planned, concluded=known is not None, problem=problem),
        **found,
    )


def evaluation_state(evaluation: Evaluation, *, done: int, planned: int, concluded: bool, problem: str | None = None) -> str:
    """How far an evaluation is; `problem` says why it could not be concluded."""
    if evaluation.finished_at is None:
        return f"in progress: {done:,} of {words.count(planned, 'trial')}"
    if problem is not None:
        return "finished, can't be concluded"
    return "finished" if concluded else "finished, being concluded"


def listed_live(live_id: int, name: str, created_at: float, *, traffic: TrafficState, known: Essence | None, problem: str | None) -> Listed:
    """A live experiment.

    Args:
        live_id: Its number.
        name: The experiment's.
        created_at: When it was first served, seconds since 1970.
        traffic: What holds of its traffic now.
        known: What it had come to when it was last analysed; None before that.
        problem: Why it could not be analysed, or None.
    """
    found = _found(known, live_words.HEADINGS)
    if problem is not None:
        found["effect"] = problem
    return Listed(
        kind="live",
        key=str(live_id),
        name=name,
        at=datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d %H:%M"),
        state="stopped" if traffic.stopped else f"running, {100 * traffic.share:.4g}% of the units take part",
        **found,
    )


def _found(known: Essence | None, decisions: Mapping[Decision, str]) -> dict[str, Any]:
    if known is None:
        return {}
    tone = TONES[known.decision]
    return {"verdict": decisions[known.decision], "tone": tone, "sign": SIGNS[tone], "effect": known.effect}
