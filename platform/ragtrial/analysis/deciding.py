"""The decision rule of docs/statistics.md, in one sentence with its evidence."""

import dataclasses
import math
from collections.abc import Sequence

from ragtrial.analysis.rule import HOPELESS, Evidence, evidence_of, needed_distance, no_regression, outcome, why_baseline
from ragtrial.analysis.setting import Setting
from ragtrial.domain.experiment import AnalysisPlan
from ragtrial.domain.verdict import Check, Comparison, Effect, Verdict
from ragtrial.stats.power import queries_for, queries_to_decide


def decide(setting: Setting, comparisons: Sequence[Comparison], checks: Sequence[Check]) -> Verdict:
    """The verdict: refused where a check fails, else by the primary metric and the guardrails."""
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        reasons = tuple(f"{check.name}: {check.detail}" for check in failed)
        return Verdict(decision="refused", sentence=f"No verdict: {reasons[0]}.", reasons=reasons)
    primary, plan = comparisons[0], setting.plan
    if primary.n_scored < plan.min_queries:
        return _too_few(setting, primary)
    if primary.effect is None:
        return _no_effect(setting, comparisons)
    return _weigh(setting, primary, primary.effect, comparisons, checks)


def _no_effect(setting: Setting, comparisons: Sequence[Comparison]) -> Verdict:
    """Nothing varies, so there is no interval; where the arms never differed, nothing got worse either."""
    primary = comparisons[0]
    sentence = f"Undecided: {primary.metric.name} can't be compared: {primary.no_effect}."
    never_differed = primary.n_scored > 0 and primary.ties == primary.n_scored
    if never_differed:
        sentence = f"Undecided: both arms got the same {primary.metric.name} on each of {primary.n_scored} queries; there is nothing to choose between."
    held = never_differed and all(c.guardrail is not None and c.guardrail.state != "broken" for c in _guards(setting, comparisons))
    gate = held and setting.plan.gate == "no-regression"
    return Verdict(decision="undecided", sentence=sentence, reasons=(primary.no_effect or "",), gate_passed=gate)


def _guards(setting: Setting, comparisons: Sequence[Comparison]) -> list[Comparison]:
    planned = {guardrail.name for guardrail in setting.experiment.metrics.guardrails}
    return [comparison for comparison in comparisons if comparison.metric.name in planned]


def labelled(verdict: Verdict, checks: Sequence[Check]) -> Verdict:
    """A plan that was changed after the data were seen proves nothing: say so, and pass no gate."""
    if all(check.state == "pass" for check in checks if check.name == "plan"):
        return verdict
    return dataclasses.replace(
        verdict, sentence=f"Exploratory (the plan was changed after the data were seen): {verdict.sentence}", gate_passed=False
    )


def _too_few(setting: Setting, primary: Comparison) -> Verdict:
    plan, m = setting.plan, setting.experiment.metrics.primary.min_effect
    sd = plan.assumed_sd
    if primary.effect is not None:
        sd = primary.effect.standard_error * math.sqrt(primary.n_scored)
    wanted = queries_for(m, sd, alpha=plan.alpha, power=plan.power)
    sentence = (
        f"Too few queries: {primary.n_scored} were scored on {primary.metric.name}, a verdict needs at least {plan.min_queries}; "
        f"to see an effect of {m:g} with {plan.power:.0%} power takes about {round_up(wanted):,}."
    )
    return Verdict(decision="too few", sentence=sentence, n_more=max(plan.min_queries, wanted) - primary.n_scored)


def round_up(n: float) -> int:
    """`n` rounded up to two significant digits: a planned size is no more exact than that."""
    if n < 100:
        return math.ceil(n)
    unit = 10 ** (math.floor(math.log10(n)) - 1)
    return int(math.ceil(n / unit) * unit)


def _weigh(setting: Setting, primary: Comparison, effect: Effect, comparisons: Sequence[Comparison], checks: Sequence[Check]) -> Verdict:
    """The decision rule of docs/statistics.md, in words."""
    m = setting.experiment.metrics.primary.min_effect
    found = evidence_of(
        primary.metric, estimate=effect.estimate, low=effect.low, high=effect.high, p_value=effect.p_value, alpha=setting.plan.alpha
    )
    guards = _guards(setting, comparisons)
    states = [None if c.guardrail is None else c.guardrail.state for c in guards]
    came_to = outcome(found, min_effect=m, guards=states)
    evidence = _evidence(primary, effect, setting.plan)
    gate = setting.plan.gate == "no-regression" and no_regression(found, min_effect=m, guards=states)
    if came_to == "guardrail broken":
        worst = "; ".join(guardrail_words(c) for c, state in zip(guards, states, strict=True) if state == "broken")
        return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {worst}. {evidence}", reasons=(evidence, worst))
    if came_to in ("worse", "not worth it"):
        why = why_baseline(came_to, min_effect=m)
        return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {why}. {evidence}", reasons=(evidence,), gate_passed=gate)
    if came_to == "adopt":
        held = "every guardrail holds" if guards else "no guardrails were planned"
        free = [f"But {check.detail}." for check in checks if check.name == "free_method" and check.state == "warn"]
        sentence = " ".join([f"Adopt custom: {evidence} {held.capitalize()}.", *free])
        return Verdict(decision="adopt custom", sentence=sentence, reasons=(evidence, held, *free), gate_passed=True)
    if came_to == "guardrails not shown":
        words = "; ".join(guardrail_words(c) for c, state in zip(guards, states, strict=True) if state != "holds")
        sentence = f"Undecided: the gain is shown, but not that the guardrails hold: {words}. {evidence}"
        return Verdict(decision="undecided", sentence=sentence, reasons=(evidence, words), gate_passed=gate)
    n_more = _n_more(setting, primary, found)
    sentence = f"Undecided: about {n_more:,} more queries would probably decide. {evidence}"
    if n_more > HOPELESS * primary.n_scored:
        sentence = f"Undecided: the gain is so close to {m:g}, the smallest worth having, that more queries won't settle it. {evidence}"
    return Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), n_more=n_more, gate_passed=gate)


def _n_more(setting: Setting, primary: Comparison, found: Evidence) -> int:
    plan, needed = setting.plan, needed_distance(found, min_effect=setting.experiment.metrics.primary.min_effect)
    total = queries_to_decide(primary.n_scored, (found.high - found.low) / 2, needed, alpha=plan.alpha, power=plan.power)
    return round_up(max(total - primary.n_scored, 1))


def _evidence(primary: Comparison, effect: Effect, plan: AnalysisPlan) -> str:
    """The numbers behind the verdict, in one sentence; relative lift only beside the absolute."""
    relative = "" if effect.relative is None else f", {effect.relative:+.1%} relative"
    means = f"{primary.baseline.mean:.4f} to {primary.custom.mean:.4f}"
    p = "p < 0.001" if effect.p_value < 0.001 else f"p = {effect.p_value:.3f}"
    core = (
        f"{primary.metric.name} went from {means} ({effect.estimate:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}], "
        f"{100 * (1 - plan.alpha):g}% interval{relative}, {p}, n = {primary.n_scored})."
    )
    if effect.low <= 0 <= effect.high:
        core += f" No difference found; an effect of {effect.mde:.4f} or more would probably have been seen."
        if effect.p_equivalent is not None and effect.p_equivalent < plan.alpha:
            core += " The arms are equivalent within the margin (TOST)."
    return core


def guardrail_words(comparison: Comparison) -> str:
    """What became of a guardrail, with its numbers."""
    result = comparison.guardrail
    name = comparison.metric.name
    if result is None:
        return (
            f"{name} could not be tested ({comparison.no_effect or 'no margin applies'}; {comparison.n_scored} queries scored in both arms)"
        )
    unit = "" if result.relative or comparison.metric.unit == "share" else f" {comparison.metric.unit}"
    form = "+.1%" if result.relative else "+.4g"
    tolerated = f"{result.margin:{form}}{unit}"
    estimate, bound = f"{result.estimate:{form}}{unit}", f"{result.bound:{form}}{unit}"
    verb = {"holds": "holds", "broken": "is worse than its margin", "not shown": "is not shown to stay within its margin"}[result.state]
    return f"{name} {verb} (worse by {estimate}, up to {bound} with one-sided confidence; tolerated {tolerated})"
