"""Whether a registered model may go into production: what its newest evaluation says, and whether that still holds."""

from dataclasses import dataclass

from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Arm
from ragtrial.errors import RagtrialError
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.formats.experiment import logged_experiment, sql_url
from ragtrial.suite.concluding import conclude
from ragtrial.suite.model_records import evaluations_with
from ragtrial.suite.preparing import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a promotion.

    Attributes:
        evaluation: The newest finished one of the experiment that ran this version; None where there is none.
        facts: Its arm.
        refusals: What speaks against it, a sentence each, with what to do.
        sentence: The verdict, with what it warns of (a free method that does as well); None where there is none.
    """

    evaluation: Evaluation | None
    facts: ArmFacts | None
    refusals: tuple[str, ...]
    sentence: str | None = None


def evidence(prepared: Prepared, model: RegisteredModel, arm: Arm) -> Evidence:
    """What the log knows of a version in this experiment, and what refuses its promotion.

    That is a gate or a parity certificate that does not hold, a leak, and a corpus, gold set or plan that is not the evaluated one any more.

    Args:
        prepared: The experiment with its data as they are now.
        model: The version.
        arm: That ran it.

    Raises:
        StoreError: The log can't be read.
    """
    experiment, path = prepared.experiment, prepared.file.path
    again = f"ragtrial evaluate {path}"
    url = sql_url(prepared.file)
    with Reader(url) as reader:
        found = evaluations_with(reader.evaluations(experiment.name), model)
        ran = [(evaluation, facts) for evaluation, facts in found if facts.arm == arm.name]
        if not ran:
            what = f"no finished evaluation of experiment {experiment.name!r} has {model.reference} as its arm {arm.name!r}"
            return Evidence(
                evaluation=None, facts=None, refusals=(f"{what}: give the arm 'model: registry:{model.reference}' and run {again}",)
            )
        evaluation, facts = ran[-1]
        against, sentence = _verdict(reader, evaluation)
        refusals = [
            *_changed_since(prepared, evaluation, again),
            *_unfair(evaluation),
            *([] if facts.role == "treatment" else [f"arm {arm.name!r} was the control, and the gate speaks of the treatment alone"]),
            *against,
        ]
    return Evidence(evaluation=evaluation, facts=facts, refusals=tuple(refusals), sentence=sentence)


def _changed_since(prepared: Prepared, evaluation: Evaluation, again: str) -> list[str]:
    now_and_then = {
        "corpus": (prepared.corpus.fingerprint, evaluation.corpus_fingerprint),
        "gold set": (prepared.gold.fingerprint, evaluation.gold_fingerprint),
        "plan": (prepared.experiment.plan_digest(), evaluation.plan_digest),
    }
    return [
        f"the {what} is not the one of evaluation {evaluation.evaluation_id} any more ({current[:8]} now, {then[:8]} then): run {again}"
        for what, (current, then) in now_and_then.items()
        if current != then
    ]


def _unfair(evaluation: Evaluation) -> list[str]:
    refusals = []
    if not evaluation.parity.ok:
        differs = "; ".join(evaluation.parity.undeclared)
        refusals.append(f"the parity certificate of evaluation {evaluation.evaluation_id} does not hold: the arms differ in {differs}")
    state, detail = evaluation.checks.get("leakage", ("unknown", ""))
    if state == "fail":
        refusals.append(f"evaluation {evaluation.evaluation_id} found a leak: {detail}")
    return refusals


def _verdict(reader: Reader, evaluation: Evaluation) -> tuple[list[str], str | None]:
    """Why the gate doesn't hold, under the plan that was evaluated, and the verdict."""
    try:
        planned = logged_experiment(
            reader.experiment_plan(evaluation.evaluation_id), f"the plan of evaluation {evaluation.evaluation_id!r}"
        )
        verdict = conclude(reader, evaluation, planned).analysis.verdict
    except RagtrialError as error:
        return [f"evaluation {evaluation.evaluation_id} can't be concluded: {error}"], None
    against = [] if verdict.gate_passed else [f"the gate of evaluation {evaluation.evaluation_id} does not hold: {verdict.sentence}"]
    return against, verdict.sentence
