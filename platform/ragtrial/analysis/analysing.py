"""One evaluation, analysed: compare, check, decide."""

from collections.abc import Mapping, Sequence

import numpy as np

from ragtrial.analysis.calibrating import calibrations_of
from ragtrial.analysis.comparing import adjusted, compare, slices_of
from ragtrial.analysis.deciding import decide, labelled
from ragtrial.analysis.health import calibration_checks, health_checks
from ragtrial.analysis.judging import count_calls, judges_of
from ragtrial.analysis.setting import Setting
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.label import Label
from ragtrial.domain.score import LoggedOpinion, ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis, MetricRole
from ragtrial.errors import InputError
from ragtrial.stats.power import mde_planned


def analyse(
    *,
    evaluation: Evaluation,
    experiment: Experiment,
    gold: GoldSet,
    tables: Mapping[str, ScoreTable],
    failures: Mapping[str, Mapping[str, int]],
    opinions: Sequence[LoggedOpinion] = (),
    trials: Sequence[Trial] = (),
    scorers: Mapping[str, str] | None = None,
    labels: Sequence[Label] = (),
) -> Analysis:
    """Compare the arms on every planned metric, check the experiment's health, and decide.

    Args:
        evaluation: With its parity certificate and the checks made before the run.
        experiment: The plan.
        gold: For tags and reference answers.
        tables: Scores by metric, with a row for each trial; every planned metric has one.
        failures: Failed trials of each arm, counted by kind.
        opinions: What LLM judges said.
        trials: For the calls behind answers.
        scorers: Version of what scored each metric.
        labels: What people said, in all evaluations of the experiment.

    Raises:
        InputError: A planned metric was not measured.
    """
    lacking = [name for name in experiment.metrics.names if name not in tables]
    if lacking:
        raise InputError(
            f"{', '.join(lacking)} was not measured in evaluation {evaluation.evaluation_id!r}, which has {', '.join(sorted(tables))}: "
            "evaluate again under the present plan"
        )
    answers = any(experiment.generation_of(arm).provider != "none" for arm in experiment.arms)
    setting = Setting(evaluation=evaluation, experiment=experiment, plan=experiment.analysis, tables=tables, failures=failures)
    comparisons = adjusted([compare(setting, name, role) for name, role in planned_roles(experiment, tables)], setting.plan)
    calibrations = tuple(found for found in calibrations_of(setting, labels, opinions, scorers or {}) if found.has_labels)
    checks = (*health_checks(setting, comparisons), *calibration_checks(setting, calibrations))
    return Analysis(
        comparisons=comparisons,
        slices=slices_of(setting, gold),
        checks=checks,
        verdict=labelled(decide(setting, comparisons, checks), checks),
        mde_planned=planned_mde(experiment, evaluation.n_queries) if evaluation.n_queries > 1 else None,
        headline_answer_metric=headline_answer_metric(gold) if answers else None,
        judges=judges_of(setting, opinions, scorers or {}),
        calls=count_calls(setting, trials, opinions),
        calibrations=calibrations,
    )


def planned_mde(experiment: Experiment, n_queries: int) -> float:
    """The smallest effect on the primary metric that `n_queries` are expected to show, from the assumed spread.

    Raises:
        NotEnoughDataError: Fewer than two queries.
    """
    plan = experiment.analysis
    return mde_planned(plan.assumed_sd, n_queries, alpha=plan.alpha, power=plan.power)


def headline_answer_metric(gold: GoldSet) -> str | None:
    """Containment where reference answers are a few words, F1 where they are sentences; None without references."""
    lengths = [len(answer.split()) for query in gold.queries for answer in query.answers]
    if not lengths:
        return None
    return "answer_containment" if float(np.median(lengths)) <= 4 else "answer_f1"


def planned_roles(experiment: Experiment, tables: Mapping[str, ScoreTable]) -> list[tuple[str, MetricRole]]:
    """Every measured metric with its role, the primary first; what was not planned is exploratory."""
    roles: dict[str, MetricRole] = {experiment.metrics.primary.name: "primary"}
    for name in experiment.metrics.secondary:
        roles[name] = "secondary"
    for guardrail in experiment.metrics.guardrails:
        roles.setdefault(guardrail.name, "guardrail")
    for name in tables:
        roles.setdefault(name, "exploratory")
    return list(roles.items())
