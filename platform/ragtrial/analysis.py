"""From scores and the plan to the verdict: the rules of `docs/statistics.md`, and nothing else."""

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import AnalysisPlan, Experiment, Guardrail
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.score import PairedScores, ScoreTable
from ragtrial.domain.verdict import (
    Analysis,
    ArmSummary,
    Check,
    Comparison,
    Effect,
    GuardrailResult,
    MetricRole,
    Slice,
    Verdict,
)
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.binary import mcnemar_midp
from ragtrial.stats.bootstrap import bootstrap_mean
from ragtrial.stats.equivalence import tost
from ragtrial.stats.multiplicity import adjust
from ragtrial.stats.noninferiority import NonInferiority, non_inferiority, non_inferiority_ratio
from ragtrial.stats.paired import paired_t
from ragtrial.stats.permutation import sign_flip
from ragtrial.stats.power import mde, mde_planned, queries_for, queries_to_decide

MIN_SLICE = 10
"""Slices with fewer scored queries are listed without a test."""

MIN_COVERAGE = 0.95
"""Below this share of scorable queries scored in both arms, what is missing could turn the verdict."""

_TIE = 1e-9
"""Differences closer to 0 than this are ties: what is left of float rounding."""


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What every step of one analysis needs."""

    evaluation: Evaluation
    experiment: Experiment
    plan: AnalysisPlan
    tables: Mapping[str, ScoreTable]
    failures: Mapping[str, Mapping[str, int]]

    @property
    def references(self) -> list[str]:
        return [arm.arm for arm in self.evaluation.arms if arm.role == "reference"]

    def paired(self, metric: str) -> PairedScores:
        return self.tables[metric].paired(self.experiment.control.name, self.experiment.treatment.name)

    def rng(self, *key: str) -> np.random.Generator:
        """A generator of its own for each use, so that adding a metric changes no other number."""
        return np.random.default_rng([self.plan.seed, *(zlib.crc32(part.encode()) for part in key)])


def analyse(
    *,
    evaluation: Evaluation,
    experiment: Experiment,
    gold: GoldSet,
    tables: Mapping[str, ScoreTable],
    failures: Mapping[str, Mapping[str, int]],
) -> Analysis:
    """Compare the arms on every planned metric, check the experiment's health, and decide.

    Args:
        evaluation: With its parity certificate and the checks made before the run.
        experiment: The plan.
        gold: For tags and reference answers.
        tables: Scores by metric, with a row for each trial; every planned metric has one.
        failures: Failed trials of each arm, counted by kind.
    """
    setting = _Setting(evaluation=evaluation, experiment=experiment, plan=experiment.analysis, tables=tables, failures=failures)
    comparisons = _adjusted([_compare(setting, name, role) for name, role in _planned(experiment, tables)], setting.plan)
    checks = _checks(setting, comparisons)
    return Analysis(
        comparisons=comparisons,
        slices=_slices(setting, gold),
        checks=checks,
        verdict=_labelled(_decide(setting, comparisons, checks), checks),
        mde_planned=planned_mde(experiment, evaluation.n_queries),
        headline_answer_metric=headline_answer_metric(gold),
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
    return "answer_containment" if float(np.median(lengths)) <= 4 else "answer_f1"  # noqa: PLR2004 - a few words


def _planned(experiment: Experiment, tables: Mapping[str, ScoreTable]) -> list[tuple[str, MetricRole]]:
    roles: dict[str, MetricRole] = {experiment.metrics.primary.name: "primary"}
    for name in experiment.metrics.secondary:
        roles[name] = "secondary"
    for guardrail in experiment.metrics.guardrails:
        roles.setdefault(guardrail.name, "guardrail")
    for name in tables:
        roles.setdefault(name, "exploratory")
    return list(roles.items())


def _compare(setting: _Setting, name: str, role: MetricRole) -> Comparison:
    table, scores = setting.tables[name], setting.paired(name)
    control, treatment = setting.experiment.control.name, setting.experiment.treatment.name
    effect, no_effect = _effect_or_reason(setting, name, scores)
    better = scores.differences if table.metric.higher_is_better else -scores.differences
    return Comparison(
        metric=table.metric,
        role=role,
        baseline=_summary(table, control, scores.control),
        custom=_summary(table, treatment, scores.treatment),
        references={line: _mean(table.per_query(line)) for line in setting.references},
        n=scores.n_queries,
        n_scored=scores.n_scored,
        effect=effect,
        no_effect=no_effect,
        wins=int((better > _TIE).sum()),
        ties=int((abs(better) <= _TIE).sum()),
        losses=int((better < -_TIE).sum()),
        guardrail=_guardrail(setting, name, scores),
    )


def _summary(table: ScoreTable, arm: str, paired_values: NDArray[np.float64]) -> ArmSummary:
    n_scored = int((~np.isnan(table.per_query(arm))).sum())
    return ArmSummary(mean=_mean(paired_values), n_scored=n_scored, unscored=table.reasons(arm))


def _mean(values: NDArray[np.float64]) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def _clusters(setting: _Setting, scores: PairedScores) -> NDArray[np.str_] | None:
    """The clusters where the plan wants them and queries really share one."""
    if setting.plan.cluster == "none" or scores.clusters is None:
        return None
    return scores.clusters if len(np.unique(scores.clusters)) < scores.n_scored else None


def _effect_or_reason(setting: _Setting, name: str, scores: PairedScores) -> tuple[Effect | None, str | None]:
    try:
        return _effect(setting, name, scores), None
    except NotEnoughDataError as error:
        return None, str(error)


def _effect(setting: _Setting, name: str, scores: PairedScores) -> Effect:
    plan, clusters, d = setting.plan, _clusters(setting, scores), scores.differences
    t = paired_t(d, alpha=plan.alpha, clusters=clusters)
    flips = sign_flip(d, resamples=plan.resamples, rng=setting.rng("flip", name), clusters=clusters)
    boot = bootstrap_mean(d, alpha=plan.alpha, resamples=plan.resamples, rng=setting.rng("boot", name), clusters=clusters)
    primary = setting.experiment.metrics.primary
    equivalent = tost(d, margin=primary.min_effect, clusters=clusters).p_value if name == primary.name else None
    baseline = float(scores.control.mean())
    return Effect(
        estimate=t.estimate,
        low=t.low,
        high=t.high,
        p_value=flips.p_value,
        standard_error=t.standard_error,
        bootstrap_low=boot.low,
        bootstrap_high=boot.high,
        standardised=t.estimate / float(d.std(ddof=1)),
        relative=t.estimate / baseline if baseline != 0 else None,
        mde=mde(t.standard_error, t.df, alpha=plan.alpha, power=plan.power),
        p_equivalent=equivalent,
        p_mcnemar=_mcnemar(scores),
        method="paired t" if t.n_clusters is None else f"paired t, cluster-robust ({t.n_clusters} clusters)",
    )


def _mcnemar(scores: PairedScores) -> float | None:
    """For metrics that are a hit or a miss on every query; queries in clusters are not independent, which it needs."""
    binary = np.isin(np.concatenate([scores.control, scores.treatment]), (0.0, 1.0)).all()
    if not binary:
        return None
    try:
        return mcnemar_midp(scores.control, scores.treatment)
    except NotEnoughDataError:
        return None


def _guardrail(setting: _Setting, name: str, scores: PairedScores) -> GuardrailResult | None:
    guardrail = next((g for g in setting.experiment.metrics.guardrails if g.name == name), None)
    if guardrail is None:
        return None
    margin, relative = _margin(guardrail)
    try:
        result = _non_inferiority(setting, guardrail, scores)
    except NotEnoughDataError:
        return None
    state = "holds" if result.holds else "broken" if result.broken else "not shown"
    return GuardrailResult(margin=margin, relative=relative, estimate=result.estimate, bound=result.bound, state=state)  # type: ignore[arg-type]  # one of the three literals


def _margin(guardrail: Guardrail) -> tuple[float, bool]:
    if guardrail.max_relative_increase is not None or guardrail.max_relative_decrease is not None:
        return guardrail.max_relative_increase or guardrail.max_relative_decrease or math.nan, True
    return guardrail.max_increase or guardrail.max_decrease or math.nan, False


def _non_inferiority(setting: _Setting, guardrail: Guardrail, scores: PairedScores) -> NonInferiority:
    clusters, alpha = _clusters(setting, scores), setting.plan.alpha
    control, treatment = scores.control, scores.treatment
    if guardrail.max_relative_increase is not None and control.size and min(control.min(), treatment.min()) > 0:
        return non_inferiority_ratio(control, treatment, margin=guardrail.max_relative_increase, alpha=alpha, clusters=clusters)
    if guardrail.max_relative_decrease is not None and control.size and min(control.min(), treatment.min()) > 0:
        margin = 1 / (1 - guardrail.max_relative_decrease) - 1
        return non_inferiority_ratio(treatment, control, margin=margin, alpha=alpha, clusters=clusters)
    worse_by = treatment - control
    if guardrail.max_decrease is not None or guardrail.max_relative_decrease is not None:
        worse_by = -worse_by
    margin, relative = _margin(guardrail)
    if relative:
        margin *= float(control.mean()) if control.size else math.nan
    return non_inferiority(worse_by, margin=margin, alpha=alpha, clusters=clusters)


def _adjusted(comparisons: list[Comparison], plan: AnalysisPlan) -> tuple[Comparison, ...]:
    """Correct over primary and secondary metrics (Holm); a metric without a p is not in the family."""
    family = [c for c in comparisons if c.role in ("primary", "secondary")]
    adjusted = adjust([c.effect.p_value if c.effect else None for c in family], plan.correction)
    by_name = {c.metric.name: p for c, p in zip(family, adjusted, strict=True)}
    return tuple(dataclasses.replace(c, p_adjusted=by_name.get(c.metric.name)) for c in comparisons)


def _slices(setting: _Setting, gold: GoldSet) -> tuple[Slice, ...]:
    name = setting.experiment.metrics.primary.name
    scores = setting.paired(name)
    tags = {query.query_id: query.tags for query in gold.queries}
    values = sorted({(tag, value) for query_id in scores.query_ids for tag, value in tags[query_id].items()})
    slices = [_slice(setting, scores, tags, tag, value) for tag, value in values]
    adjusted = adjust([s.effect.p_value if s.effect else None for s in slices], "bh")
    return tuple(dataclasses.replace(s, p_adjusted=p) for s, p in zip(slices, adjusted, strict=True))


def _slice(setting: _Setting, scores: PairedScores, tags: Mapping[str, Mapping[str, str]], tag: str, value: str) -> Slice:
    keep = np.array([tags[query_id].get(tag) == value for query_id in scores.query_ids], dtype=bool)
    part = PairedScores(
        query_ids=tuple(query_id for query_id, kept in zip(scores.query_ids, keep, strict=True) if kept),
        control=scores.control[keep],
        treatment=scores.treatment[keep],
        clusters=None if scores.clusters is None else scores.clusters[keep],
        n_queries=int(keep.sum()),
        excluded={},
    )
    effect, no_effect = None, f"fewer than {MIN_SLICE} queries"
    if part.n_scored >= MIN_SLICE:
        effect, reason = _effect_or_reason(setting, setting.experiment.metrics.primary.name, part)
        no_effect = reason or ""
    return Slice(
        tag=tag,
        value=value,
        n_scored=part.n_scored,
        baseline_mean=float(part.control.mean()),
        custom_mean=float(part.treatment.mean()),
        effect=effect,
        no_effect=no_effect or None,
    )


def _checks(setting: _Setting, comparisons: Sequence[Comparison]) -> tuple[Check, ...]:
    given = [Check(name=name, state=state, detail=detail) for name, (state, detail) in setting.evaluation.checks.items()]  # type: ignore[arg-type]  # written by us as CheckState
    own = [_parity(setting.evaluation), _coverage(setting), *_index_checks(setting.evaluation), *_reference_check(comparisons)]
    return tuple([*own[:2], *given, *own[2:], *_cluster_check(comparisons), _plan_check(setting)])


def _plan_check(setting: _Setting) -> Check:
    stored, now = setting.evaluation.plan_digest, setting.experiment.plan_digest()
    if stored == now:
        return Check(name="plan", state="pass", detail=f"plan {stored} was stored before the first query")
    return Check(name="plan", state="warn", detail=f"plan {now} is not the one stored before the first query ({stored}): exploratory")


def _parity(evaluation: Evaluation) -> Check:
    parity = evaluation.parity
    if not parity.ok:
        return Check(name="parity", state="fail", detail=f"the arms differ in what is not under test: {'; '.join(parity.undeclared)}")
    shown = "; ".join(parity.declared) or "nothing: the arms are the same (A/A)"
    return Check(name="parity", state="pass", detail=f"certificate {parity.digest}; the arms differ in {shown}")


def _coverage(setting: _Setting) -> Check:
    """Queries with nothing relevant can't be scored by either arm: they are left out of both, and counted."""
    name = setting.experiment.metrics.primary.name
    table, scores = setting.tables[name], setting.paired(name)
    control = table.arm == setting.experiment.control.name
    nothing = {int(q) for q, r in zip(table.query[control], table.unscored[control], strict=True) if r == "nothing relevant"}
    scorable = scores.n_queries - len(nothing)
    detail = f"{scores.n_scored} of {scores.n_queries} queries scored in both arms on {name}"
    if nothing:
        detail += f"; {len(nothing)} have nothing relevant in the gold set and are left out of both arms"
    lost = {reason: n for reason, n in scores.excluded.items() if not reason.endswith(": nothing relevant")}
    if lost:
        detail += "; missing: " + ", ".join(f"{reason} ({n})" for reason, n in lost.items())
    failed = {arm: counts for arm, counts in setting.failures.items() if counts}
    for arm, counts in failed.items():
        detail += f"; {arm} failed on {sum(counts.values())} trials ({', '.join(f'{kind}: {n}' for kind, n in counts.items())})"
    allowed = (1 - MIN_COVERAGE) * scores.n_queries * setting.experiment.repetitions
    worst = max((sum(failed.get(arm.name, {}).values()) for arm in setting.experiment.arms), default=0)
    if scorable == 0 or scores.n_scored < MIN_COVERAGE * scorable or worst > allowed:
        return Check(name="coverage", state="fail", detail=f"{detail}; at least {MIN_COVERAGE:.0%} must work in both arms")
    return Check(name="coverage", state="warn" if lost or failed else "pass", detail=detail)


def _index_checks(evaluation: Evaluation) -> list[Check]:
    checks = []
    for arm in evaluation.arms:
        if arm.index is None:
            continue
        name, recall = f"ann_recall[{arm.arm}]", arm.index.ann_recall
        if recall is None:
            checks.append(Check(name=name, state="unknown", detail="not measured"))
            continue
        detail = f"the {arm.index.index_type} index returns {recall:.2%} of what exact search returns"
        checks.append(Check(name=name, state="pass" if recall >= 0.99 else "warn", detail=detail))  # noqa: PLR2004 - 1 % of hits lost is visible in nDCG
    return checks


def _reference_check(comparisons: Sequence[Comparison]) -> list[Check]:
    primary = comparisons[0]
    bm25, custom = primary.references.get("bm25"), primary.custom.mean
    if bm25 is None or custom is None:
        return []
    detail = f"plain BM25, which needs no model, has {primary.metric.name} {bm25:.4f}; custom has {custom:.4f}"
    if bm25 >= custom:
        return [Check(name="free_method", state="warn", detail=f"{detail}: try BM25 or hybrid search before paying for a model")]
    return [Check(name="free_method", state="pass", detail=detail)]


def _cluster_check(comparisons: Sequence[Comparison]) -> list[Check]:
    effect = comparisons[0].effect
    if effect is None or "cluster" not in effect.method:
        return []
    return [Check(name="independence", state="pass", detail=f"queries share source documents: {effect.method}")]


def _decide(setting: _Setting, comparisons: Sequence[Comparison], checks: Sequence[Check]) -> Verdict:
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        reasons = tuple(f"{check.name}: {check.detail}" for check in failed)
        return Verdict(decision="refused", sentence=f"No verdict: {reasons[0]}.", reasons=reasons)
    primary, plan = comparisons[0], setting.plan
    if primary.n_scored < plan.min_queries:
        return _too_few(setting, primary)
    if primary.effect is None:
        sentence = f"Undecided: {primary.metric.name} can't be compared: {primary.no_effect}."
        return Verdict(decision="undecided", sentence=sentence, reasons=(primary.no_effect or "",))
    return _weigh(setting, primary, primary.effect, comparisons)


def _labelled(verdict: Verdict, checks: Sequence[Check]) -> Verdict:
    """A plan that was changed after the data were seen proves nothing: say so, and pass no gate."""
    if all(check.state == "pass" for check in checks if check.name == "plan"):
        return verdict
    return dataclasses.replace(verdict, sentence=f"Exploratory (the plan was changed after the data were seen): {verdict.sentence}", gate_passed=False)


def _too_few(setting: _Setting, primary: Comparison) -> Verdict:
    plan, m = setting.plan, setting.experiment.metrics.primary.min_effect
    sd = plan.assumed_sd
    if primary.effect is not None:
        sd = primary.effect.standard_error * math.sqrt(primary.n_scored)
    needed = max(plan.min_queries, queries_for(m, sd, alpha=plan.alpha, power=plan.power))
    n_more = needed - primary.n_scored
    sentence = (
        f"Too few queries: {primary.n_scored} were scored on {primary.metric.name}, a verdict needs at least {plan.min_queries}, "
        f"and about {round_up(needed):,} to see an effect of {m:g} with {plan.power:.0%} power."
    )
    return Verdict(decision="too few", sentence=sentence, n_more=n_more)


def round_up(n: float) -> int:
    """`n` rounded up to two significant digits: a planned size is no more exact than that."""
    if n < 100:  # noqa: PLR2004 - small numbers stay as they are
        return math.ceil(n)
    unit = 10 ** (math.floor(math.log10(n)) - 1)
    return math.ceil(n / unit) * unit


def _weigh(setting: _Setting, primary: Comparison, effect: Effect, comparisons: Sequence[Comparison]) -> Verdict:
    """The decision rule of docs/statistics.md; e is the estimate, m the smallest gain that is worth it."""
    m = setting.experiment.metrics.primary.min_effect
    sign = 1 if primary.metric.higher_is_better else -1
    gain = sign * effect.estimate
    low, high = sorted((sign * effect.low, sign * effect.high))
    guards = [c for c in comparisons if any(g.name == c.metric.name for g in setting.experiment.metrics.guardrails)]
    broken = [c for c in guards if c.guardrail is not None and c.guardrail.state == "broken"]
    unshown = [c for c in guards if c.guardrail is None or c.guardrail.state == "not shown"]
    no_regression = low > -m and not broken
    evidence = _evidence(primary, effect, setting.plan)
    gate = no_regression if setting.plan.gate == "no-regression" else False
    if broken:
        worst = "; ".join(_guardrail_words(c) for c in broken)
        return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {worst}. {evidence}", reasons=(evidence, worst))
    if high < m:
        why = "custom is worse" if high < 0 else f"custom's gain, if any, is below the {m:g} that would be worth it"
        return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {why}. {evidence}", reasons=(evidence,), gate_passed=gate)
    if low > 0 and gain >= m and not unshown:
        held = "every guardrail holds" if guards else "no guardrails were planned"
        return Verdict(decision="adopt custom", sentence=f"Adopt custom: {evidence} {held.capitalize()}.", reasons=(evidence, held), gate_passed=True)
    if low > 0 and gain >= m:
        words = "; ".join(_guardrail_words(c) for c in unshown)
        sentence = f"Undecided: the gain is shown, but not that the guardrails hold: {words}. {evidence}"
        return Verdict(decision="undecided", sentence=sentence, reasons=(evidence, words), gate_passed=gate)
    n_more = _n_more(setting, primary, gain=gain, half_width=(high - low) / 2)
    sentence = f"Undecided: about {n_more:,} more queries would decide. {evidence}"
    return Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), n_more=n_more, gate_passed=gate)


def _n_more(setting: _Setting, primary: Comparison, *, gain: float, half_width: float) -> int:
    m, plan = setting.experiment.metrics.primary.min_effect, setting.plan
    needed = gain if gain >= m else m - gain
    total = queries_to_decide(primary.n_scored, half_width, needed, alpha=plan.alpha, power=plan.power)
    return round_up(max(total - primary.n_scored, 1))


def _evidence(primary: Comparison, effect: Effect, plan: AnalysisPlan) -> str:
    """The numbers behind the verdict, in one sentence; relative lift only beside the absolute."""
    relative = "" if effect.relative is None else f", {effect.relative:+.1%} relative"
    means = f"{primary.baseline.mean:.4f} to {primary.custom.mean:.4f}"
    p = "p < 0.001" if effect.p_value < 0.001 else f"p = {effect.p_value:.3f}"  # noqa: PLR2004 - how p is written
    core = (
        f"{primary.metric.name} went from {means} ({effect.estimate:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}], "
        f"{1 - plan.alpha:.0%} interval{relative}, {p}, n = {primary.n_scored})."
    )
    if effect.low <= 0 <= effect.high:
        core += f" No difference found; an effect of {effect.mde:.4f} or more would probably have been seen."
        if effect.p_equivalent is not None and effect.p_equivalent < plan.alpha:
            core += " The arms are equivalent within the margin (TOST)."
    return core


def _guardrail_words(comparison: Comparison) -> str:
    result = comparison.guardrail
    name = comparison.metric.name
    if result is None:
        return f"{name} could not be tested ({comparison.n_scored} queries scored in both arms)"
    unit = "" if result.relative or comparison.metric.unit == "share" else f" {comparison.metric.unit}"
    form = "+.1%" if result.relative else "+.4g"
    tolerated = f"{result.margin:{form}}{unit}"
    estimate, bound = f"{result.estimate:{form}}{unit}", f"{result.bound:{form}}{unit}"
    verb = {"holds": "holds", "broken": "is worse than its margin", "not shown": "is not shown to stay within its margin"}[result.state]
    return f"{name} {verb} ({estimate}, up to {bound} with one-sided confidence; tolerated {tolerated})"
