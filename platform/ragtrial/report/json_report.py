"""`report.json`: everything that was concluded, for machines. Its schema is `report.schema.json`, beside this file.

Two runs that measure the same give the same bytes apart from `timing` and `latency`: what depends on the clock stands there and
nowhere else. A metric that is itself a time is listed among `metrics` without values, and with its values under `latency`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragtrial.domain.calibration import Agreement, ArmEstimates, Calibration, Estimate
from ragtrial.domain.evaluation import ArmFacts
from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Analysis, ArmSummary, CallCount, Comparison, Effect, GuardrailResult, JudgeQuality, Slice, WorstCase
from ragtrial.report.content import ReportContent
from ragtrial.report.summary import ArmUsage, StageLatency

FORMAT = "ragtrial-report/1"

SCHEMA = Path(__file__).with_name("report.schema.json")
"""The published JSON schema."""

_CLOCK = ("_at", "seconds", "_s", "_ms", "duration", "elapsed")
_EFFECT_FIELDS = ("estimate", "low", "high", "standard_error", "bootstrap_low", "bootstrap_high", "standardised", "relative", "mde")


def as_json(content: ReportContent) -> str:
    """The report as indented JSON, without a line feed at its end; keys always in the same order."""
    return json.dumps(report_dict(content), indent=2, ensure_ascii=False, allow_nan=False)


def report_dict(content: ReportContent) -> dict[str, Any]:
    """The report as plain Python values."""
    verdict, parity, evaluation = content.analysis.verdict, content.evaluation.parity, content.evaluation
    return {
        "format": FORMAT,
        "experiment": {
            "name": content.experiment.name,
            "hypothesis": content.experiment.hypothesis,
            "plan_digest": evaluation.plan_digest,
            "config_digest": evaluation.config_digest,
        },
        "verdict": {
            "decision": verdict.decision,
            "sentence": verdict.sentence,
            "reasons": list(verdict.reasons),
            "n_more": verdict.n_more,
            "gate": content.experiment.analysis.gate,
            "gate_passed": verdict.gate_passed,
        },
        "parity": {"ok": parity.ok, "digest": parity.digest, "declared": list(parity.declared), "undeclared": list(parity.undeclared)},
        "plan": _plan(content),
        "metrics": [_without_times(row) for row in metrics_json(content.analysis)],
        "slices": [_slice(part) for part in content.analysis.slices],
        "checks": [{"name": check.name, "state": check.state, "detail": check.detail} for check in content.analysis.checks],
        "data": {
            "gold": content.gold_name,
            "gold_fingerprint": evaluation.gold_fingerprint,
            "corpus_fingerprint": evaluation.corpus_fingerprint,
            "n_queries": evaluation.n_queries,
            "n_judgments": content.n_judgments,
        },
        "arms": [_arm(facts) for facts in evaluation.arms],
        "answers": {
            "generators": list(content.generators),
            "extractive": content.extractive,
            "headline_metric": content.analysis.headline_answer_metric,
        },
        "judges": [_judge(judge) for judge in content.analysis.judges],
        "calibrations": [calibration_json(found) for found in content.analysis.calibrations],
        "calls": [_calls(count) for count in content.analysis.calls],
        "usage": [_usage(usage) for usage in content.usage],
        "failures": {arm: dict(counts) for arm, counts in content.failures.items()},
        "exclusions": [{"metric": e.metric, "arm": e.arm, "reason": e.reason, "n": e.n} for e in content.exclusions],
        "environment": dict(sorted(evaluation.environment.items())),
        "latency": {
            "unit": "ms",
            "stages": [_stage(row) for row in content.latency],
            "metrics": [row for row in metrics_json(content.analysis) if row["unit"] == "ms"],
        },
        "timing": _timing(content),
    }


def metrics_json(analysis: Analysis) -> list[dict[str, Any]]:
    """Every comparison, the primary metric first; null where there is no value, and then `reason` says why."""
    return [_comparison(comparison) for comparison in analysis.comparisons]


def _comparison(comparison: Comparison) -> dict[str, Any]:
    effect = comparison.effect
    return {
        **_about(comparison.metric),
        "role": comparison.role,
        "baseline": _summary(comparison.baseline),
        "custom": _summary(comparison.custom),
        "references": {name: _number(mean) for name, mean in comparison.references.items()},
        "n": comparison.n,
        "n_scored": comparison.n_scored,
        "difference": _difference(effect),
        "p_value": None if effect is None else _number(effect.p_value),
        "p_adjusted": _number(comparison.p_adjusted),
        "p_equivalent": None if effect is None else _number(effect.p_equivalent),
        "p_mcnemar": None if effect is None else _number(effect.p_mcnemar),
        "method": None if effect is None else effect.method,
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
        "guardrail": _guardrail(comparison.guardrail),
        "worst_case": _worst_case(comparison.worst_case),
        "reason": comparison.no_effect,
    }


def _about(metric: Metric) -> dict[str, Any]:
    return {"name": metric.name, "kind": metric.kind, "unit": metric.unit, "higher_is_better": metric.higher_is_better}


def _summary(summary: ArmSummary) -> dict[str, Any]:
    return {"mean": _number(summary.mean), "n_scored": summary.n_scored, "unscored": dict(sorted(summary.unscored.items()))}


def _difference(effect: Effect | None) -> dict[str, Any]:
    return {name: None if effect is None else _number(getattr(effect, name)) for name in _EFFECT_FIELDS}


def _guardrail(result: GuardrailResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    numbers = {"margin": _number(result.margin), "estimate": _number(result.estimate), "bound": _number(result.bound)}
    return {"state": result.state, "relative": result.relative, **numbers}


def _worst_case(bounds: WorstCase | None) -> dict[str, Any] | None:
    if bounds is None:
        return None
    numbers = {name: _number(getattr(bounds, name)) for name in ("low", "high", "estimate_low", "estimate_high")}
    return {**numbers, "missing_control": bounds.missing_control, "missing_treatment": bounds.missing_treatment}


def _judge(judge: JudgeQuality) -> dict[str, Any]:
    return {
        name: _number(value) if isinstance(value, float) else value
        for name, value in ((field.name, getattr(judge, field.name)) for field in dataclasses.fields(judge))
    }


def calibration_json(found: Calibration) -> dict[str, Any]:
    """A judge beside people; null where there is no value, and then `why_not` says why."""
    counts = ("n_labels", "n_answers", "n_queries", "n_pairs", "n_labellers", "n_volunteered", "n_unused")
    return {
        "metric": found.metric,
        "scorer": found.scorer,
        **{name: getattr(found, name) for name in counts},
        "stale": list(found.stale),
        "agreements": [_agreement(each) for each in found.agreements],
        **{name: _arm_estimates(getattr(found, name)) for name in ("bias", "naive", "corrected")},
        "method": found.method,
        "planned": [dataclasses.asdict(each) for each in found.planned],
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    return {
        "selection": found.selection,
        "n": found.n,
        **{name: _estimate(getattr(found, name)) for name in ("share", "kappa", "weighted_kappa")},
        "why_not": found.why_not,
        "words": list(found.words),
        "confusion": [list(row) for row in found.confusion],
    }


def _arm_estimates(found: ArmEstimates) -> dict[str, Any]:
    parts = {name: _estimate(getattr(found, name)) for name in ("control", "treatment", "difference")}
    return {**parts, "why_not": found.why_not}


def _estimate(value: Estimate | None) -> dict[str, float] | None:
    return None if value is None else {"estimate": value.estimate, "low": value.low, "high": value.high}


def _calls(count: CallCount) -> dict[str, Any]:
    costs = {"cost_usd": _number(count.cost_usd), "cost_alone_usd": _number(count.cost_alone_usd)}
    return {"purpose": count.purpose, "made": count.made, "alone": count.alone, **costs, "unpriced": count.unpriced}


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    """A metric in milliseconds keeps its place, but not its values: those differ from run to run."""
    if row["unit"] != "ms":
        return row
    clocked = ("p_value", "p_adjusted", "p_equivalent", "p_mcnemar", "wins", "ties", "losses", "guardrail")
    return {
        **row,
        "baseline": {**row["baseline"], "mean": None},
        "custom": {**row["custom"], "mean": None},
        "references": dict.fromkeys(row["references"]),
        "difference": _difference(None),
        **dict.fromkeys(clocked),
        "reason": "a time: its values are under latency.metrics",
    }


def _plan(content: ReportContent) -> dict[str, Any]:
    plan, metrics = content.experiment.analysis, content.experiment.metrics
    return {
        "primary": metrics.primary.name,
        "min_effect": metrics.primary.min_effect,
        "alpha": plan.alpha,
        "power": plan.power,
        "resamples": plan.resamples,
        "correction": plan.correction,
        "seed": plan.seed,
        "min_queries": plan.min_queries,
        "cluster": plan.cluster,
        "repetitions": content.experiment.repetitions,
        "mde_planned": _number(content.analysis.mde_planned),
    }


def _slice(part: Slice) -> dict[str, Any]:
    return {
        "tag": part.tag,
        "value": part.value,
        "n_scored": part.n_scored,
        "baseline": {"mean": _number(part.baseline_mean)},
        "custom": {"mean": _number(part.custom_mean)},
        "difference": _difference(part.effect),
        "p_value": None if part.effect is None else _number(part.effect.p_value),
        "p_adjusted": _number(part.p_adjusted),
        "reason": part.no_effect,
    }


def _arm(facts: ArmFacts) -> dict[str, Any]:
    model, index = facts.model, facts.index
    return {
        "arm": facts.arm,
        "role": facts.role,
        "model": None
        if model is None
        else {"name": model.name, "revision": model.revision, "settings": list(model.settings), "dimension": model.dimension},
        "index": None
        if index is None
        else {
            "collection": index.collection,
            "alias": index.alias,
            "type": index.index_type,
            "metric": index.metric,
            "n_passages": index.n_passages,
            "bytes": index.bytes,
            "ann_recall": _number(index.ann_recall),
            "tokens": index.tokens,
        },
        "lineage": None if facts.lineage is None else lineage_summary(facts.lineage),
    }


def lineage_summary(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The training record without what depends on the clock and without curves: plain values, and mappings of them."""
    summary: dict[str, Any] = {}
    for name, value in sorted(lineage.items()):
        if name.endswith(_CLOCK):
            continue
        if isinstance(value, Mapping):
            summary[name] = lineage_summary(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            summary[name] = list(value)
        elif value is None or isinstance(value, (bool, int, str)):
            summary[name] = value
        elif isinstance(value, float):
            summary[name] = _number(value)
    return summary


def _usage(usage: ArmUsage) -> dict[str, Any]:
    return {
        "arm": usage.arm,
        "n_trials": usage.n_trials,
        "n_failed": usage.n_failed,
        "n_answers": usage.n_answers,
        "n_abstained": usage.n_abstained,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": _number(usage.cost_usd),
    }


def _stage(row: StageLatency) -> dict[str, Any]:
    quantiles = row.quantiles
    values = {name: None if quantiles is None else _number(getattr(quantiles, name)) for name in ("p50", "p95", "p99")}
    return {"arm": row.arm, "stage": row.stage, "n": 0 if quantiles is None else quantiles.n, **values, "reason": row.reason}


def _timing(content: ReportContent) -> dict[str, Any]:
    evaluation = content.evaluation
    return {
        "evaluation_id": evaluation.evaluation_id,
        "started_at": evaluation.started_at,
        "finished_at": evaluation.finished_at,
        "embed_seconds": {facts.arm: _number(facts.index.embed_seconds) for facts in evaluation.arms if facts.index is not None},
    }


def _number(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity: a bound that is not finite is none."""
    return value if value is not None and math.isfinite(value) else None
