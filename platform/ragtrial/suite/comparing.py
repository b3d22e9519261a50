"""`ragtrial compare`: two ranking files, or two systems of a table of scores, under the same statistics."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ragtrial.analysis.analysing import analyse
from ragtrial.domain.data import DataSpec
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import AnalysisPlan, Arm, EmbeddingSpec, Experiment, MetricsPlan, RetrievalSpec
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import IMPORTED, Metric, metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Score, ScoreTable
from ragtrial.domain.trial import Failure, Hit, Ranking, Trial
from ragtrial.domain.verdict import Analysis, Check, Comparison
from ragtrial.errors import InputError
from ragtrial.formats.foreign_scores import read_scores
from ragtrial.formats.trec import read_qrels, read_run
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.scoring.table import table_of

Run = Mapping[str, Sequence[tuple[str, float]]]

_NO_SOURCES = "rankings name no source documents; queries made from one document would make the error too small"
_UNKNOWN = "nothing is known of how these rankings were made"
_UNKNOWN_ANSWERS = "nothing is known of how these answers were made and scored"


def compare_runs(*, qrels: Path, baseline: Path, custom: Path, metrics: Sequence[str], min_effect: float) -> Analysis:
    """Score both runs and decide; parity can't be certified for rankings from elsewhere, and the checks say so.

    Raises:
        InputError: A file is broken, a metric is unknown or needs more than rankings, or the smallest gain is not above 0.
    """
    wanted = [_metric(name) for name in dict.fromkeys(metrics)]
    if not min_effect > 0:
        raise InputError(f"--min-effect is {min_effect:g}: the smallest gain worth having is above 0")
    grades = read_qrels(qrels)
    runs = {"baseline": read_run(baseline), "custom": read_run(custom)}
    gold = GoldSet(
        name=qrels.stem,
        queries=tuple(Query(query_id=query_id, text=query_id) for query_id in grades),
        judgments=tuple(Judgment(query_id=q, target_id=p, grade=grade) for q, row in grades.items() for p, grade in row.items()),
    )
    experiment = _experiment(qrels, wanted, min_effect)
    scorer = RetrievalScorer(wanted)
    trials = [_trial(arm, query_id, run) for arm, run in runs.items() for query_id in grades]
    scores = scorer.score(trials, gold)
    tables: dict[str, ScoreTable] = {
        metric.name: table_of(metric, gold, [(t.query_id, t.arm, row[i]) for t, row in zip(trials, scores, strict=True)])
        for i, metric in enumerate(scorer.metrics)
    }
    dropped = {arm: {"search: not in the run": sum(t.failure is not None for t in trials if t.arm == arm)} for arm in runs}
    failures = {arm: {kind: n for kind, n in counts.items() if n} for arm, counts in dropped.items()}
    evaluation = _evaluation(
        experiment,
        gold,
        {"leakage": ("unknown", _UNKNOWN), "independence": ("unknown", _NO_SOURCES), "judgments": _judgments(runs, grades)},
    )
    analysis = analyse(evaluation=evaluation, experiment=experiment, gold=gold, tables=tables, failures=failures)
    parity = Check(name="parity", state="unknown", detail=_UNKNOWN)
    checks = tuple(parity if check.name == "parity" else check for check in analysis.checks if check.name != "plan")
    return dataclasses.replace(analysis, checks=checks)


def compare_scores(*, path: Path, baseline: str, custom: str, metrics: Sequence[str], min_effect: float) -> Analysis:
    """Decide between two systems of a table of scores (`ragtrial import`); only questions that both have a score for are compared.

    Raises:
        InputError: The file is broken, a system or metric is not in it, or the smallest gain is not above 0.
    """
    if not min_effect > 0:
        raise InputError(f"--min-effect is {min_effect:g}: the smallest gain worth having is above 0")
    rows = read_scores(path)
    _require_known("--baseline", baseline, [row.system for row in rows])
    _require_known("--custom", custom, [row.system for row in rows])
    if baseline == custom:
        raise InputError(f"--baseline and --custom are both {baseline!r}: give two systems")
    for name in metrics:
        _require_known("--metric", name, [row.metric for row in rows])
    arms = {baseline: "baseline", custom: "custom"}
    own = [row for row in rows if row.system in arms and row.metric in metrics]
    wanted = [metric_named(f"{IMPORTED}{name}") for name in dict.fromkeys(metrics)]
    asked = dict.fromkeys(row.query_id for row in rows if row.system in arms)
    gold = GoldSet(name=path.stem, queries=tuple(Query(query_id=query_id, text=query_id) for query_id in asked), judgments=())
    tables = {
        metric.name: table_of(
            metric,
            gold,
            [
                (row.query_id, arms[row.system], Score(metric=metric.name, value=row.value, unscored=row.unscored, scorer="imported"))
                for row in own
                if f"{IMPORTED}{row.metric}" == metric.name
            ],
        )
        for metric in wanted
    }
    experiment = _experiment(path, wanted, min_effect)
    given = {"leakage": ("unknown", _UNKNOWN_ANSWERS), "independence": ("unknown", _NO_SOURCES.replace("rankings name", "scores name"))}
    analysis = analyse(evaluation=_evaluation(experiment, gold, given), experiment=experiment, gold=gold, tables=tables, failures={})
    parity = Check(name="parity", state="unknown", detail=_UNKNOWN_ANSWERS)
    return dataclasses.replace(
        analysis, checks=tuple(parity if check.name == "parity" else check for check in analysis.checks if check.name != "plan")
    )


def _require_known(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{option} {name!r} is not in the table: there are {', '.join(map(repr, dict.fromkeys(known)))}")


def _metric(name: str) -> Metric:
    try:
        metric = metric_named(name)
    except ValueError as error:
        raise InputError(f"--metric: {error}") from error
    if metric.kind != "retrieval":
        raise InputError(f"--metric {name!r}: rankings alone have only retrieval metrics, such as nDCG@10 or R@5")
    return metric


def _judgments(runs: Mapping[str, Run], grades: Mapping[str, object]) -> tuple[str, str]:
    """Ranked queries that nobody judged are left out, and counted."""
    left_out = {arm: len(run.keys() - grades.keys()) for arm, run in runs.items()}
    if not any(left_out.values()):
        return "pass", "every ranked query has judgments"
    return "warn", ", ".join(f"{n} ranked queries of {arm} have no judgment and are left out" for arm, n in left_out.items() if n)


def lines_of(analysis: Analysis) -> list[str]:
    """The comparison in plain text, the verdict last."""
    lines = []
    for c in analysis.comparisons:
        means = f"{_number(c.baseline.mean)} -> {_number(c.custom.mean)}"
        effect = c.no_effect if c.effect is None else f"{c.effect.estimate:+.4f} [{c.effect.low:+.4f}, {c.effect.high:+.4f}], {_p_value(c)}"
        lines.append(f"{c.metric.name:<12} {means}  {effect}  win/tie/loss {c.wins}/{c.ties}/{c.losses}  n {c.n_scored} of {c.n}")
    lines += [f"{check.name}: {check.state}: {check.detail}" for check in analysis.checks]
    return [*lines, analysis.verdict.sentence]


def _p_value(comparison: Comparison) -> str:
    if comparison.effect is None:
        return "not tested"
    if comparison.role == "primary":
        return f"p {comparison.effect.p_value:.4f} (decides alone)"
    return "not tested" if comparison.p_adjusted is None else f"adj. p {comparison.p_adjusted:.4f}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _experiment(qrels: Path, metrics: Sequence[Metric], min_effect: float) -> Experiment:
    model = EmbeddingSpec(provider="unknown", model="unknown")
    names = [metric.name for metric in metrics]
    top_k = max(metric.cutoff or 1 for metric in metrics)
    return Experiment(
        name="compare",
        data=DataSpec(format="trec", path=str(qrels)),
        arms=(Arm(name="baseline", role="control", embedding=model), Arm(name="custom", role="treatment", embedding=model)),
        retrieval=RetrievalSpec(top_k=top_k),
        metrics=MetricsPlan(primary=PrimaryMetric(name=names[0], min_effect=min_effect), secondary=tuple(names[1:])),
        analysis=AnalysisPlan(),
        references=(),
    )


def _trial(arm: str, query_id: str, run: Run) -> Trial:
    if query_id not in run:
        return Trial(
            arm=arm, query_id=query_id, failure=Failure(stage="search", kind="not in the run", message="the run has no line for it")
        )
    hits = tuple(Hit(passage_id=passage_id, similarity=-float(rank)) for rank, (passage_id, _) in enumerate(run[query_id]))
    return Trial(arm=arm, query_id=query_id, ranking=Ranking(query_id=query_id, hits=hits))


def _evaluation(experiment: Experiment, gold: GoldSet, checks: Mapping[str, tuple[str, str]]) -> Evaluation:
    return Evaluation(
        evaluation_id="compare",
        experiment=experiment.name,
        plan_digest=experiment.plan_digest(),
        config_digest=digest([experiment.plan_digest(), gold.fingerprint]),
        corpus_fingerprint="unknown",
        gold_fingerprint=gold.fingerprint,
        n_queries=len(gold.queries),
        arms=(ArmFacts(arm="baseline", role="control"), ArmFacts(arm="custom", role="treatment")),
        parity=ParityCertificate(ok=True, digest=None, declared=(_UNKNOWN,)),
        started_at=datetime.now(UTC).isoformat(),
        checks=checks,
    )
