"""Control against treatment: one metric, one guardrail, one slice at a time."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.setting import Setting
from ragtrial.domain.experiment import AnalysisPlan
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.outcome import TIE
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.score import PairedScores, ScoreTable
from ragtrial.domain.verdict import ArmSummary, Comparison, Effect, GuardrailResult, MetricRole, Slice, WorstCase
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.operation import NOT_TIMED, NOT_TIMED_NOW
from ragtrial.scoring.preference import OTHER_ARM
from ragtrial.scoring.reasons import NO_REFERENCE
from ragtrial.scoring.retrieval import NOTHING_RELEVANT
from ragtrial.stats.binary import mcnemar_midp
from ragtrial.stats.bootstrap import bootstrap_mean
from ragtrial.stats.equivalence import tost
from ragtrial.stats.missing import worst_case
from ragtrial.stats.multiplicity import adjust, gated
from ragtrial.stats.noninferiority import NonInferiority, non_inferiority, non_inferiority_ratio
from ragtrial.stats.paired import paired_t, standardised_effect
from ragtrial.stats.permutation import sign_flip
from ragtrial.stats.power import mde

MIN_SLICE = 10
"""Slices with fewer scored queries are listed without a test."""

BY_DESIGN = (NOTHING_RELEVANT, NO_REFERENCE, NOT_TIMED, NOT_TIMED_NOW)
"""Reasons for no score that come with the query or the plan, not with an arm."""


def compare(setting: Setting, name: str, role: MetricRole) -> Comparison:
    """Both arms on one metric, with the effect or the reason why there is none."""
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
        wins=int((better > TIE).sum()),
        ties=int((abs(better) <= TIE).sum()),
        losses=int((better < -TIE).sum()),
        guardrail=_guardrail(setting, name, scores),
        worst_case=_worst_case(setting, table, scores),
    )


def _worst_case(setting: Setting, table: ScoreTable, scores: PairedScores) -> WorstCase | None:
    """What the missing scores could hide, where the arms lack different numbers of them."""
    if table.metric.unit != "share":
        return None
    control, treatment = setting.experiment.control.name, setting.experiment.treatment.name
    left, right = table.per_query(control), table.per_query(treatment)
    can_have_one = ~missing_by_design(table, (control, treatment))
    left, right = left[can_have_one], right[can_have_one]
    known = np.concatenate([left[~np.isnan(left)], right[~np.isnan(right)]])
    n_left, n_right = (int(lacking(table, arm)[can_have_one].sum()) for arm in (control, treatment))
    if n_left == n_right or (known.size and not 0 <= known.min() <= known.max() <= 1):
        return None
    clusters = None if clusters_of(setting, scores) is None else np.array(table.clusters)[can_have_one]
    try:
        bounds = worst_case(left, right, low=0.0, high=1.0, alpha=setting.plan.alpha, clusters=clusters)
    except NotEnoughDataError:
        return None
    return WorstCase(
        low=bounds.worst.low,
        high=bounds.best.high,
        estimate_low=bounds.worst.estimate,
        estimate_high=bounds.best.estimate,
        missing_control=n_left,
        missing_treatment=n_right,
    )


def lacking(table: ScoreTable, arm: str) -> NDArray[np.bool_]:
    """Queries without a score by the arm's own doing, shape (n_queries,): a preference is also missing where the other arm has no answer."""
    others = np.array([reason is not None and reason.startswith(OTHER_ARM) for reason in table.unscored], dtype=bool)
    result: NDArray[np.bool_] = np.isnan(table.per_query(arm))
    result[table.query[(table.arm == arm) & others]] = False
    return result


def missing_by_design(table: ScoreTable, arms: Sequence[str]) -> NDArray[np.bool_]:
    """Queries that can have no score because of what they are, in any of the arms; shape (n_queries,)."""
    reasons = np.array([reason in BY_DESIGN for reason in table.unscored], dtype=bool)
    missing = np.zeros(len(table.query_ids), dtype=bool)
    missing[table.query[np.isin(table.arm, list(arms)) & reasons]] = True
    return missing


def _summary(table: ScoreTable, arm: str, paired_values: NDArray[np.float64]) -> ArmSummary:
    n_scored = int((~np.isnan(table.per_query(arm))).sum())
    return ArmSummary(mean=_mean(paired_values), n_scored=n_scored, unscored=table.reasons(arm))


def _mean(values: NDArray[np.float64]) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def clusters_of(setting: Setting, scores: PairedScores) -> NDArray[np.str_] | None:
    """The clusters where the plan wants them and queries really share one."""
    if setting.plan.cluster == "none" or scores.clusters is None:
        return None
    return scores.clusters if len(np.unique(scores.clusters)) < scores.n_scored else None


def _effect_or_reason(setting: Setting, name: str, scores: PairedScores) -> tuple[Effect | None, str | None]:
    try:
        return _effect(setting, name, scores), None
    except NotEnoughDataError as error:
        return None, str(error)


def _effect(setting: Setting, name: str, scores: PairedScores) -> Effect:
    plan, clusters, d = setting.plan, clusters_of(setting, scores), scores.differences
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
        df=t.df,
        bootstrap_low=boot.low,
        bootstrap_high=boot.high,
        standardised=standardised_effect(d),
        relative=t.estimate / baseline if baseline != 0 else None,
        mde=mde(t.standard_error, t.df, alpha=plan.alpha, power=plan.power),
        p_equivalent=equivalent,
        p_mcnemar=_mcnemar(scores) if clusters is None else None,
        method="paired t" if t.n_clusters is None else f"paired t, cluster-robust ({t.n_clusters} clusters)",
    )


def _mcnemar(scores: PairedScores) -> float | None:
    """For metrics that are a hit or a miss on every query; it needs independent queries, so clustered ones have none."""
    binary = np.isin(np.concatenate([scores.control, scores.treatment]), (0.0, 1.0)).all()
    if not binary:
        return None
    try:
        return mcnemar_midp(scores.control, scores.treatment).p_value
    except NotEnoughDataError:
        return None


def _guardrail(setting: Setting, name: str, scores: PairedScores) -> GuardrailResult | None:
    guardrail = next((g for g in setting.experiment.metrics.guardrails if g.name == name), None)
    if guardrail is None:
        return None
    margin, relative = margin_of(guardrail)
    try:
        result = _non_inferiority(setting, guardrail, scores)
    except NotEnoughDataError:
        return _nothing_got_worse(setting, scores, margin, relative)
    state = "holds" if result.holds else "broken" if result.broken else "not shown"
    return GuardrailResult(margin=margin, relative=relative, estimate=result.estimate, bound=result.bound, state=state)  # type: ignore[arg-type]  # one of the three literals


def _nothing_got_worse(setting: Setting, scores: PairedScores, margin: float, relative: bool) -> GuardrailResult | None:
    """Where every query got the same in both arms there is no error to go by.

    Of a metric that is 0 or 1 (`failed`) the share of queries that get worse may still be up to 1 - alpha^(1/n): the exact bound
    (Clopper and Pearson 1934) for 0 of n, the "rule of three". Anything else that is the same to the last digit is the same by construction.
    """
    if scores.n_scored < 2 or not bool((abs(scores.differences) <= TIE).all()):
        return None
    bound = 0.0
    if not relative and bool(np.isin(scores.control, (0.0, 1.0)).all()):
        bound = 1.0 - setting.plan.alpha ** (1.0 / scores.n_scored)
    return GuardrailResult(margin=margin, relative=relative, estimate=0.0, bound=bound, state="holds" if bound < margin else "not shown")


def margin_of(guardrail: Guardrail) -> tuple[float, bool]:
    """The planned margin, positive, and whether it is relative."""
    if guardrail.max_relative_increase is not None or guardrail.max_relative_decrease is not None:
        return guardrail.max_relative_increase or guardrail.max_relative_decrease or math.nan, True
    return guardrail.max_increase or guardrail.max_decrease or math.nan, False


def _non_inferiority(setting: Setting, guardrail: Guardrail, scores: PairedScores) -> NonInferiority:
    """In the margin's own terms. A relative one is of geometric means for times and cost, of means for shares, which may be 0."""
    clusters, alpha = clusters_of(setting, scores), setting.plan.alpha
    control, treatment = scores.control, scores.treatment
    if not control.size:
        raise NotEnoughDataError("no query has a value in both arms")
    margin, relative = margin_of(guardrail)
    if relative and metric_named(guardrail.name).unit != "share" and min(control.min(), treatment.min()) > 0:
        return non_inferiority_ratio(control, treatment, margin=margin, alpha=alpha, clusters=clusters)
    decrease = guardrail.max_decrease is not None or guardrail.max_relative_decrease is not None
    worse_by = scores.differences * (-1 if decrease else 1)
    if relative:
        worse_by = _relative_to(control, worse_by)
    return non_inferiority(worse_by, margin=margin, alpha=alpha, clusters=clusters)


def _relative_to(control: NDArray[np.float64], worse_by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values whose mean is mean(worse_by) / mean(control), and whose error is that ratio's (delta method; Cochran 1977, section 6.4)."""
    mean = float(control.mean())
    if mean <= 0:
        raise NotEnoughDataError(f"the baseline's mean is {mean:g}: nothing can be relative to it")
    ratio = float(worse_by.mean()) / mean
    return (worse_by - ratio * control) / mean + ratio


def adjusted(comparisons: list[Comparison], plan: AnalysisPlan) -> tuple[Comparison, ...]:
    """Correct over the secondary metrics, behind the primary one, which decides alone; a metric without a p is not in the family."""
    family = [c for c in comparisons if c.role == "secondary"]
    first = next((c.effect.p_value for c in comparisons if c.role == "primary" and c.effect), None)
    adjusted = gated(first, [c.effect.p_value if c.effect else None for c in family], plan.correction)
    by_name = {c.metric.name: p for c, p in zip(family, adjusted, strict=True)}
    return tuple(dataclasses.replace(c, p_adjusted=by_name.get(c.metric.name)) for c in comparisons)


def slices_of(setting: Setting, gold: GoldSet) -> tuple[Slice, ...]:
    """The primary metric on each tag value, adjusted over all of them (Benjamini-Hochberg)."""
    return slices_by(setting, {query.query_id: query.tags for query in gold.queries})


def slices_by(setting: Setting, tags: Mapping[str, Mapping[str, str]]) -> tuple[Slice, ...]:
    """The same for tags that are given, by query id."""
    name = setting.experiment.metrics.primary.name
    scores = setting.paired(name)
    values = sorted({(tag, value) for query_id in scores.query_ids for tag, value in tags[query_id].items()})
    slices = [_slice(setting, scores, tags, tag, value) for tag, value in values]
    adjusted = adjust([s.effect.p_value if s.effect else None for s in slices], "bh")
    return tuple(dataclasses.replace(s, p_adjusted=p) for s, p in zip(slices, adjusted, strict=True))


def _slice(setting: Setting, scores: PairedScores, tags: Mapping[str, Mapping[str, str]], tag: str, value: str) -> Slice:
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
