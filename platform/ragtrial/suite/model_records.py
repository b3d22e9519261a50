"""What evaluations found of registered models: noted beside the model when one is concluded."""

from collections.abc import Iterable
from typing import Any

from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.verdict import Analysis, Comparison
from ragtrial.errors import RagtrialError
from ragtrial.finetuning.registry import RegisteredModel, Registry

EVALUATION = "evaluation"
"""The kind of note that an evaluation leaves."""


def is_of(facts: ArmFacts, model: RegisteredModel) -> bool:
    """Whether an arm ran this very version: the record that the evaluation kept says so, or, where it kept none, the content hash."""
    lineage = facts.lineage
    if lineage is None:
        return facts.model is not None and facts.model.revision == model.revision
    named = (lineage.get("name"), lineage.get("version")) == (model.name, model.version)
    return named and lineage.get("checksum") == model.lineage.get("checksum")


def evaluations_with(evaluations: Iterable[Evaluation], model: RegisteredModel) -> tuple[tuple[Evaluation, ArmFacts], ...]:
    """Finished evaluations that ran this version, with its arm, in their order."""
    return tuple(
        (evaluation, facts)
        for evaluation in evaluations
        if evaluation.finished_at is not None
        for facts in evaluation.arms
        if facts.role != "reference" and is_of(facts, model)
    )


def note_evaluation(registry: Registry, evaluation: Evaluation, analysis: Analysis, *, alpha: float) -> str | None:
    """Note a concluded evaluation on each registered model that it ran; concluding it again replaces the note.

    A registry that is not there, or can't be written, is no reason to have no result.

    Returns:
        Why it could not be noted, or None.
    """
    try:
        for facts in evaluation.arms:
            lineage = facts.lineage or {}
            if lineage.get("name") and lineage.get("version"):
                record = evaluation_record(evaluation, facts, analysis, alpha=alpha)
                registry.note(f"{lineage['name']}@{lineage['version']}", kind=EVALUATION, record=record)
    except (RagtrialError, OSError, ValueError) as error:
        return str(error)
    return None


def evaluation_record(evaluation: Evaluation, facts: ArmFacts, analysis: Analysis, *, alpha: float) -> dict[str, Any]:
    """An evaluation from the view of one of its models, as JSON values.

    Args:
        evaluation: The run.
        facts: The model's arm.
        analysis: What was concluded.
        alpha: 1 less the level of its intervals.
    """
    other = next((each for each in evaluation.arms if each.arm != facts.arm and each.role in ("control", "treatment")), None)
    return {
        "id": evaluation.evaluation_id,
        "experiment": evaluation.experiment,
        "arm": facts.arm,
        "role": facts.role,
        "against": None if other is None or other.model is None else str(other.model),
        "started_at": evaluation.started_at,
        "n_queries": evaluation.n_queries,
        "corpus": evaluation.corpus_fingerprint,
        "gold": evaluation.gold_fingerprint,
        "metrics": [_metric(each, alpha) for each in analysis.comparisons if each.role != "exploratory"],
        "decision": analysis.verdict.decision,
        "sentence": analysis.verdict.sentence,
        "gate_passed": analysis.verdict.gate_passed,
        "parity": evaluation.parity.ok,
        "leakage": evaluation.checks.get("leakage", ("unknown", ""))[0],
    }


def _metric(found: Comparison, alpha: float) -> dict[str, Any]:
    effect = found.effect
    return {
        "name": found.metric.name,
        "role": found.role,
        "baseline": found.baseline.mean,
        "custom": found.custom.mean,
        "n": found.n_scored,
        "level": 1 - alpha,
        "difference": None if effect is None else effect.estimate,
        "low": None if effect is None else effect.low,
        "high": None if effect is None else effect.high,
        "why_none": found.no_effect,
    }
