"""A live analysis and a live plan as JSON, as `live.schema.json` describes them: for the service, other programs and CI."""

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragtrial.analysis.live_planning import LivePlan
from ragtrial.domain.live_verdict import (
    Interval,
    LiveArm,
    LiveComparison,
    LiveEffect,
    LiveGuardrail,
    Look,
    Progress,
    SampleRatioFound,
    Tail,
    VotesFound,
)
from ragtrial.report import live_words
from ragtrial.report.live_content import LiveContent

FORMAT = "ragtrial-live/1"

SCHEMA = Path(__file__).with_name("live.schema.json")
"""The published JSON schema."""


def as_live_json(content: LiveContent) -> str:
    """The analysis as indented JSON, without a line feed at its end; keys always in the same order."""
    return json.dumps(live_dict(content), indent=2, ensure_ascii=False, allow_nan=False)


def live_dict(content: LiveContent) -> dict[str, Any]:
    """The analysis as plain Python values; null where there is no value, and then a reason beside it."""
    analysis, verdict = content.analysis, content.analysis.verdict
    return {
        "format": FORMAT,
        "made_at": _moment(content.made_at),
        "experiment": {
            "name": content.experiment.name,
            "hypothesis": content.experiment.hypothesis,
            "live_digest": content.experiment.live_digest(),
            "mode": content.live.mode,
            "control": content.control,
            "treatment": content.treatment,
        },
        "verdict": {
            "decision": verdict.decision,
            "plain": live_words.plain(content),
            "sentence": verdict.sentence,
            "reasons": list(verdict.reasons),
            "n_more_units": verdict.n_more,
            "days_more": analysis.days_more,
            "gate": content.experiment.analysis.gate,
            "gate_passed": verdict.gate_passed,
        },
        "plan": _plan(content),
        "progress": _progress(analysis.progress),
        "metrics": [_comparison(comparison) for comparison in analysis.comparisons],
        "checks": [{"name": check.name, "state": check.state, "detail": check.detail} for check in analysis.checks],
        "sample_ratios": [_ratio(found) for found in analysis.sample_ratios],
        "votes": [_votes(found) for found in analysis.votes],
        "tail": _tail(analysis.tail),
        "preferred": None if analysis.preferred is None else dataclasses.asdict(analysis.preferred),
        "looks": [_look(look) for look in analysis.looks],
        "left_out": [{"what": each.what, "n": each.n} for each in analysis.left_out],
        "models": dict(sorted(content.models.items())),
        "environment": dict(sorted(content.environment.items())),
    }


def plan_dict(plan: LivePlan) -> dict[str, Any]:
    """A live plan as plain Python values."""
    found = dataclasses.asdict(plan)
    return {
        **{name: _number(value) if isinstance(value, float) else value for name, value in found.items()},
        "weeks": [dataclasses.asdict(week) for week in plan.weeks],
        "advice": list(plan.advice),
    }


def _plan(content: LiveContent) -> dict[str, Any]:
    plan, primary, levels = content.experiment.analysis, content.live.metrics.primary, content.analysis.progress.levels
    return {
        "primary": primary.name,
        "min_effect": primary.min_effect,
        "alpha": plan.alpha,
        "alpha_running": levels.running,
        "alpha_planned": levels.planned,
        "power": plan.power,
        "correction": plan.correction,
        "units_planned": levels.units_planned,
        "tuned_for": levels.tuned_for,
        "when_broken": content.live.when_broken,
    }


def _progress(found: Progress) -> dict[str, Any]:
    state = found.traffic
    return {
        "n_units": found.n_units,
        "n_trials": found.n_trials,
        "started_at": _moment(found.started_at),
        "seen_at": _moment(found.seen_at),
        "planned_at": _moment(found.planned_at),
        "units_per_day": _number(found.units_per_day),
        "days_left": found.days_left,
        "traffic": {
            "version": state.version,
            "share": state.share,
            "treatment": state.treatment,
            "stopped": state.stopped,
            "actor": state.actor,
            "reason": state.reason,
            "at": _moment(state.at),
        },
        "n_changes": found.n_changes,
        "outages": [
            {"start": _moment(o.start), "end": _moment(o.end), "refused": o.refused, "unlogged": o.unlogged, "reason": o.reason}
            for o in found.outages
        ],
    }


def _comparison(comparison: LiveComparison) -> dict[str, Any]:
    metric = comparison.metric
    return {
        "name": metric.name,
        "kind": metric.kind,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "role": comparison.role,
        "baseline": _arm(comparison.baseline),
        "custom": _arm(comparison.custom),
        "n_units": comparison.n_units,
        "effect": None if comparison.effect is None else _effect(comparison.effect, comparison.effect.counting(comparison.role)),
        "reason": comparison.no_effect,
        "p_adjusted": _number(comparison.p_adjusted),
        "guardrail": None if comparison.guardrail is None else _guardrail(comparison.guardrail),
        "no_guardrail": comparison.no_guardrail,
    }


def _arm(arm: LiveArm) -> dict[str, Any]:
    counts = {"n_units": arm.n_units, "n_trials": arm.n_trials, "n_scored": arm.n_scored}
    return {"mean": _number(arm.mean), **counts, "unscored": dict(sorted(arm.unscored.items()))}


def _effect(effect: LiveEffect, counting: Interval) -> dict[str, Any]:
    return {
        "counts": counting.kind,
        "running": _interval(effect.running),
        "planned": None if effect.planned is None else _interval(effect.planned),
        "standard_error": _number(effect.standard_error),
        "relative": _number(effect.running.relative),
        "variance_reduction": _number(effect.variance_reduction),
        "method": effect.method,
    }


def _interval(interval: Interval) -> dict[str, Any]:
    numbers = {name: _number(getattr(interval, name)) for name in ("estimate", "low", "high", "p_value", "p_adjusted", "alpha")}
    return {**numbers, "n_units": interval.n_units}


def _guardrail(found: LiveGuardrail) -> dict[str, Any]:
    numbers = {name: _number(getattr(found, name)) for name in ("margin", "estimate", "low", "high")}
    return {"state": found.state, "relative": found.relative, **numbers, "method": found.method}


def _ratio(found: SampleRatioFound) -> dict[str, Any]:
    numbers = {name: _number(getattr(found, name)) for name in ("observed", "expected", "low", "high", "p_value")}
    return {"level": found.level, "state": found.state, **numbers, "n_units": found.n_units, "counts": list(found.counts)}


def _votes(found: VotesFound) -> dict[str, Any]:
    pairs = {name: list(getattr(found, name)) for name in ("trials", "rated", "up", "withdrawn", "late")}
    differences = {
        name: None if value is None else {"estimate": value.estimate, "low": value.low, "high": value.high}
        for name, value in (("rating_rate", found.rating_rate), ("share", found.share))
    }
    bounds = None if found.bounds is None else {"low": found.bounds.low, "high": found.bounds.high}
    return {
        "solicited": found.solicited,
        **pairs,
        **differences,
        "bounds": bounds,
        "who_rates_differs": found.who_rates_differs,
        "reason": found.reason,
    }


def _tail(found: Tail | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("quantile", "control", "treatment", "ratio", "ratio_low", "ratio_high")
    return {**{name: _number(getattr(found, name)) for name in names}, "reason": found.reason}


def _look(look: Look) -> dict[str, Any]:
    numbers = {name: _number(getattr(look, name)) for name in ("estimate", "low", "high", "treatment_share")}
    return {"at": _moment(look.at), "n_units": look.n_units, **numbers, "units": list(look.units)}


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _number(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity: a bound that is not finite is none."""
    return value if value is not None and math.isfinite(value) else None
