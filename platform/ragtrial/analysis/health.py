"""Health checks: what refuses a verdict, and what one should know before trusting it."""

from collections.abc import Sequence

import numpy as np

from ragtrial.analysis.comparing import BY_DESIGN, clusters_of, lacking, missing_by_design
from ragtrial.analysis.setting import Setting
from ragtrial.domain.calibration import Calibration, Estimate
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.label import LABEL_WORDS
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import Check, Comparison
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.reasons import ABSTAINED
from ragtrial.stats.binary import mcnemar_midp
from ragtrial.stats.paired import paired_t

MIN_COVERAGE = 0.95
"""Below this share of scorable queries scored in both arms, what is missing could turn the verdict."""

MANY_EFFECTS = 3
"""A bias that could be so many times the effect worth having is not ruled out by an interval that holds 0."""

MIN_ANN_RECALL = 0.99
"""A loss of more than 1 % of the exact hits shows in nDCG."""

MAX_UNMAPPED = 0.05
"""Above this share of hits that are no passage of the corpus, a pipeline is not measured on this gold set; as for coverage."""

MIN_CLUSTERS = 20
"""Below so many clusters, counted as (sum n)^2 / sum n^2, cluster-robust errors are too small (Carter, Schnepel, Steigerwald 2017)."""


def health_checks(setting: Setting, comparisons: Sequence[Comparison]) -> tuple[Check, ...]:
    """Every check, those that can refuse a verdict first."""
    given = [Check(name=name, state=state, detail=detail) for name, (state, detail) in setting.evaluation.checks.items()]  # type: ignore[arg-type]  # written by us as CheckState
    own = [
        _parity(setting.evaluation),
        _coverage(setting),
        *_failure_check(setting),
        *_index_checks(setting.evaluation),
        *_unmapped_check(setting),
        *_reference_check(setting, comparisons),
    ]
    return (*own[:2], *given, *own[2:], *_cluster_check(setting, comparisons), _plan_check(setting))


def _plan_check(setting: Setting) -> Check:
    stored, now = setting.evaluation.plan_digest, setting.experiment.plan_digest()
    if stored == now:
        return Check(name="plan", state="pass", detail=f"plan {stored} was stored before the first query")
    return Check(name="plan", state="warn", detail=f"plan {now} is not the one stored before the first query ({stored}): exploratory")


def _parity(evaluation: Evaluation) -> Check:
    parity = evaluation.parity
    if not parity.ok:
        return Check(name="parity", state="fail", detail=f"the arms differ in what is not under test: {'; '.join(parity.undeclared)}")
    if parity.digest is None:
        return Check(name="parity", state="unknown", detail=f"not certified: {'; '.join(parity.declared) or 'nothing was compared'}")
    shown = "; ".join(parity.declared) or "nothing: the arms are the same (A/A)"
    return Check(name="parity", state="pass", detail=f"certificate {parity.digest}; the arms differ in {shown}")


def _coverage(setting: Setting) -> Check:
    """What the gold set or the plan leaves out (nothing relevant, no reference, not timed) is left out of both arms, and counted."""
    name = setting.experiment.metrics.primary.name
    scores = setting.paired(name)
    by_design: dict[str, int] = {}
    for arm_and_reason, n in scores.excluded.items():
        reason = arm_and_reason.partition(": ")[2]
        if reason in BY_DESIGN:
            by_design[reason] = max(n, by_design.get(reason, 0))
    silent = sum(n for reason, n in scores.excluded.items() if reason.partition(": ")[2] == ABSTAINED)
    scorable = scores.n_queries - sum(by_design.values()) - silent
    detail = f"{scores.n_scored} of {scores.n_queries} queries scored in both arms on {name}"
    for reason, n in by_design.items():
        detail += f"; {n} left out of both arms: {reason}"
    if silent:
        detail += f"; up to {silent} left out because an arm abstained there: read it beside the metric 'abstained'"
    lost = {reason: n for reason, n in scores.excluded.items() if reason.partition(": ")[2] not in (*BY_DESIGN, ABSTAINED)}
    if lost:
        detail += "; missing: " + ", ".join(f"{reason} ({n})" for reason, n in lost.items())
    failed = {arm: counts for arm, counts in setting.failures.items() if counts}
    for arm, counts in failed.items():
        detail += f"; {arm} failed on {sum(counts.values())} trials ({', '.join(f'{kind}: {n}' for kind, n in counts.items())})"
    allowed = (1 - MIN_COVERAGE) * scores.n_queries * setting.experiment.repetitions
    worst = max((sum(failed.get(arm.name, {}).values()) for arm in setting.experiment.arms), default=0)
    if scorable == 0 or scores.n_scored < MIN_COVERAGE * scorable or worst > allowed:
        return Check(name="coverage", state="fail", detail=f"{detail}; at least {MIN_COVERAGE:.0%} must work in both arms")
    return Check(name="coverage", state="warn" if lost or failed or silent else "pass", detail=detail)


def _failure_check(setting: Setting) -> list[Check]:
    """Whether one arm fails more often than the other: what fails is seldom what is easy, so a mean without it flatters."""
    name = setting.experiment.metrics.primary.name
    table = setting.tables[name]
    arms = (setting.experiment.control.name, setting.experiment.treatment.name)
    can_have_one = ~missing_by_design(table, arms)
    left, right = (lacking(table, arm)[can_have_one] for arm in arms)
    if not left.any() and not right.any():
        return []
    detail = f"{int(left.sum())} of {left.size} queries have no {name} in {arms[0]}, {int(right.sum())} in {arms[1]}"
    try:
        p = mcnemar_midp(left.astype(np.float64), right.astype(np.float64)).p_value
    except NotEnoughDataError:
        return [Check(name="failures", state="pass", detail=f"{detail}: the same ones in both arms")]
    if p < setting.plan.alpha:
        return [
            Check(name="failures", state="warn", detail=f"{detail}: one arm fails more often (McNemar mid-p {p:.3f}); see the worst case")
        ]
    return [Check(name="failures", state="pass", detail=f"{detail}: no more often in one arm than chance has it (McNemar mid-p {p:.3f})")]


def _index_checks(evaluation: Evaluation) -> list[Check]:
    checks = []
    for arm in evaluation.arms:
        if arm.index is None:
            continue
        name, recall = f"ann_recall[{arm.arm}]", arm.index.ann_recall
        if recall is None:
            checks.append(
                Check(name=name, state="unknown", detail=unmeasured_index(arm.index.index_type, arm.index.n_passages, arm.index.bytes))
            )
            continue
        detail = f"the {arm.index.index_type} index returns {recall:.2%} of what exact search returns"
        checks.append(Check(name=name, state="pass" if recall >= MIN_ANN_RECALL else "warn", detail=detail))
    return checks


def unmeasured_index(index_type: str, n_passages: int, n_bytes: int) -> str:
    """Why nothing is known of what an index finds of exact search."""
    if not n_bytes:
        return "the arm searches by words alone, so there is no search of vectors to measure"
    if index_type == "FLAT":
        return f"not measured on {n_passages:,} passages: FLAT compares a query with every one of them"
    return (
        f"not measured on {n_passages:,} passages (index.min_recall is 0, or the collection is an older version's): what the {index_type} index "
        "loses is in the arm's result, and may pass for its model's"
    )


def _unmapped_check(setting: Setting) -> list[Check]:
    """How much of what an arm's own pipeline found is no passage of the corpus."""
    table = setting.tables.get("unmapped")
    if table is None:
        return []
    found, worst = [], 0.0
    for arm in setting.experiment.arms:
        shares = table.per_query(arm.name)
        shares = shares[~np.isnan(shares)]
        if shares.size and shares.max() > 0:
            worst = max(worst, float(shares.mean()))
            found.append(
                f"{shares.mean():.2%} of the hits of {arm.name} are no passage of the corpus ({int((shares > 0).sum())} of {shares.size} queries)"
            )
    if not found:
        return [Check(name="unmapped", state="pass", detail="every hit of both arms is a passage of the corpus")]
    detail = (
        f"{'; '.join(found)}: they are left out, and what stands below moves up; its scores are too high where they were irrelevant, too low where "
        "they were judged passages under another id"
    )
    if worst > MAX_UNMAPPED:
        return [Check(name="unmapped", state="fail", detail=f"{detail}; at most {MAX_UNMAPPED:.0%} may be so")]
    return [Check(name="unmapped", state="warn", detail=detail)]


def _reference_check(setting: Setting, comparisons: Sequence[Comparison]) -> list[Check]:
    """Whether custom is shown to be better than BM25, on the queries that both were scored on."""
    if "bm25" not in setting.references:
        return []
    planned = [c.metric for c in comparisons if c.role in ("primary", "secondary")]
    measured = [metric for metric in planned if not np.isnan(setting.tables[metric.name].per_query("bm25")).all()]
    if not measured:
        detail = f"plain BM25 has no {planned[0].name}: it only retrieves here; plan a retrieval metric as a secondary one to see it beside"
        return [Check(name="free_method", state="unknown", detail=detail)]
    metric = measured[0]
    scores = setting.tables[metric.name].paired("bm25", setting.experiment.treatment.name)
    sign = 1 if metric.higher_is_better else -1
    try:
        gain = paired_t(sign * scores.differences, alpha=setting.plan.alpha, clusters=clusters_of(setting, scores))
    except NotEnoughDataError as error:
        return [Check(name="free_method", state="unknown", detail=f"custom can't be compared with plain BM25: {error}")]
    detail = (
        f"{metric.name} is {scores.control.mean():.4f} with plain BM25, which needs no model, and {scores.treatment.mean():.4f} with custom "
        f"(gain {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}])"
    )
    if gain.low > 0:
        return [Check(name="free_method", state="pass", detail=detail)]
    shown = "BM25 is better" if gain.high < 0 else "custom is not shown to be better than BM25"
    return [Check(name="free_method", state="warn", detail=f"{detail}: {shown}; try it, or hybrid search, before paying for a model")]


def _cluster_check(setting: Setting, comparisons: Sequence[Comparison]) -> list[Check]:
    effect, scores = comparisons[0].effect, setting.paired(comparisons[0].metric.name)
    clusters = clusters_of(setting, scores)
    if effect is None or clusters is None:
        return []
    sizes = np.unique(clusters, return_counts=True)[1]
    effective = float(sizes.sum() ** 2 / (sizes**2).sum())
    detail = f"queries share source documents: {effect.method}"
    if effective >= MIN_CLUSTERS:
        return [Check(name="independence", state="pass", detail=detail)]
    weight = f"they weigh as much as {effective:.1f} equal ones, below {MIN_CLUSTERS} the interval is too narrow"
    return [Check(name="independence", state="warn", detail=f"{detail}; {weight}: write queries for more documents")]


def calibration_checks(setting: Setting, calibrations: Sequence[Calibration]) -> tuple[Check, ...]:
    """Whether people agree with the judge: a check for each metric that they labelled, and for a judged primary metric in any case."""
    checks = [_calibration_check(setting, found) for found in calibrations]
    primary = setting.experiment.metrics.primary.name
    if metric_named(primary).judge is not None and primary not in {found.metric for found in calibrations}:
        detail = "nobody compared the judge with people: it may be lenient, or kinder to one arm"
        if primary in LABEL_WORDS:
            detail += "; ragtrial calibrate draws what to label"
        else:
            detail += f"; people can be asked about {', '.join(LABEL_WORDS)} (ragtrial calibrate): plan one of them beside it"
        checks.append(Check(name=f"calibration[{primary}]", state="unknown", detail=detail))
    return tuple(checks)


def _calibration_check(setting: Setting, found: Calibration) -> Check:
    name, bias, corrected, naive = f"calibration[{found.metric}]", found.bias.difference, found.corrected.difference, found.naive.difference
    if not found.n_labels:
        own = [f"{found.n_volunteered:,} labels came by themselves, which say nothing of the other answers"] if found.n_volunteered else []
        detail = "; ".join([*found.stale, *own])
        return Check(name=name, state="unknown", detail=f"no label counts: {detail}; ragtrial calibrate draws what to label")
    said = f"people labelled {found.n_answers:,} answers to {found.n_queries:,} queries"
    if bias is None or corrected is None:
        why = (found.corrected if corrected is None else found.bias).why_not
        return Check(name=name, state="unknown", detail=f"{said}, too few to correct the judge: {why}")
    said += f"; corrected by them the difference is {_signed(corrected)}"
    if naive is not None:
        said += f", where the judge has {_signed(naive)}"
    if bias.excludes_zero:
        favoured = setting.experiment.treatment.name if bias.estimate > 0 else setting.experiment.control.name
        return Check(name=name, state="warn", detail=f"the judge favours {favoured} by {_signed(bias)}: {said}; go by the corrected one")
    if naive is not None and naive.excludes_zero and not (corrected.excludes_zero and (corrected.estimate > 0) == (naive.estimate > 0)):
        return Check(name=name, state="warn", detail=f"{said}: what the judge shows is not shown of what people would say; label more")
    kappa = next((agreement.kappa for agreement in found.agreements if agreement.selection == "random"), None)
    if kappa is not None and kappa.low <= 0:
        agrees = f"no better than chance (Cohen's kappa {_signed(kappa)})"
        return Check(name=name, state="warn", detail=f"the judge agrees with people {agrees}: {said}; go by the corrected one")
    fair = f"no arm is shown to be favoured ({_signed(bias)})"
    if max(abs(bias.low), abs(bias.high)) > MANY_EFFECTS * setting.experiment.metrics.primary.min_effect and kappa is not None:
        fair += ", and more labels would tell more"
    return Check(name=name, state="pass", detail=f"{said}; {fair}" + (f"; Cohen's kappa {_signed(kappa)}" if kappa is not None else ""))


def _signed(value: Estimate) -> str:
    return f"{value.estimate:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"
