"""The live verdict: the offline rule on intervals that may be looked at any time, and once on those of the planned size."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ragtrial.analysis.deciding import labelled, round_up
from ragtrial.analysis.live_comparing import awaited
from ragtrial.analysis.live_guardrails import guardrail_words
from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.analysis.rule import HOPELESS, Evidence, Outcome, evidence_of, needed_distance, no_regression, outcome, why_baseline
from ragtrial.domain.live_verdict import Interval, LiveComparison, LiveEffect
from ragtrial.domain.verdict import Check, Verdict
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS
from ragtrial.stats.duration import duration


class Decided(NamedTuple):
    """The verdict, and how many days its `n_more` units take; None where that can't be told."""

    verdict: Verdict
    days_more: int | None = None


class _More(NamedTuple):
    units: int
    days: int | None


def decide_live(setting: LiveSetting, comparisons: Sequence[LiveComparison], checks: Sequence[Check]) -> Decided:
    """The verdict: refused where a check fails, else by the primary metric and the guardrails."""
    decided = _decide(setting, comparisons, checks)
    return decided._replace(verdict=labelled(decided.verdict, checks))


def _decide(setting: LiveSetting, comparisons: Sequence[LiveComparison], checks: Sequence[Check]) -> Decided:
    failed = [check for check in checks if check.state == "fail"]
    broken = [guardrail_words(c.metric.name, c.guardrail) for c in comparisons if c.guardrail is not None and c.guardrail.state == "broken"]
    if failed:
        reasons = tuple(f"{check.name}: {check.detail}" for check in failed)
        also = f" Besides, a guardrail is broken: {'; '.join(broken)}." if broken else ""
        return Decided(Verdict(decision="refused", sentence=f"No verdict: {reasons[0]}.{also}", reasons=(*reasons, *broken)))
    primary = comparisons[0]
    if primary.effect is None:
        return _without_effect(setting, primary, broken)
    return _weigh(setting, primary, primary.effect, comparisons)


def _without_effect(setting: LiveSetting, primary: LiveComparison, broken: Sequence[str]) -> Decided:
    """Too few units for an interval, or nothing that varies; a broken guardrail decides all the same."""
    reason = primary.no_effect or ""
    if broken:
        return Decided(Verdict(decision="keep baseline", sentence=f"Keep the baseline: {'; '.join(broken)}.", reasons=tuple(broken)))
    if min(primary.baseline.n_units, primary.custom.n_units) >= MINIMUM_UNITS:
        return Decided(
            Verdict(decision="undecided", sentence=f"Undecided: {primary.metric.name} can't be compared: {reason}.", reasons=(reason,))
        )
    planned = setting.levels.units_planned
    waits = planned is not None and setting.clock.planned_at is None and setting.n_units < planned
    more = _until(setting, planned) if planned is not None and waits else None
    said = (
        f"; the planned verdict comes at {planned:,} units{in_days(more.days, ', in {}')}"
        if planned is not None and more is not None
        else ""
    )
    return Decided(
        Verdict(decision="too few", sentence=f"Too few units: {reason}{said}.", reasons=(reason,), n_more=more.units if more else None),
        more.days if more else None,
    )


def _weigh(setting: LiveSetting, primary: LiveComparison, effect: LiveEffect, comparisons: Sequence[LiveComparison]) -> Decided:
    """The first interval that decides: the planned one, then the running one; neither leaves it open."""
    m = setting.live.metrics.primary.min_effect
    guards = _guards(setting, comparisons)
    states = [None if c.guardrail is None else c.guardrail.state for c in guards]
    weighed = []
    for interval in effect.intervals:
        found = _evidence_of(primary, interval)
        weighed.append((interval, found, outcome(found, min_effect=m, guards=states)))
    chosen = next((each for each in weighed if each[2] not in ("open", "guardrails not shown")), None)
    chosen = chosen or next((each for each in weighed if each[2] != "open"), weighed[0])
    interval, found, came_to = chosen
    evidence = evidence_words(setting, primary, effect, interval)
    gate = setting.plan.gate == "no-regression" and no_regression(found, min_effect=m, guards=states)
    if came_to == "open":
        return _open(setting, primary, effect, evidence, gate=gate)
    verdict = _closed(came_to, evidence, guards, m)
    return Decided(dataclasses.replace(verdict, gate_passed=verdict.gate_passed or (gate and came_to != "guardrail broken")))


def _evidence_of(primary: LiveComparison, interval: Interval) -> Evidence:
    return evidence_of(
        primary.metric,
        estimate=interval.estimate,
        low=interval.low,
        high=interval.high,
        p_value=interval.p_value,
        alpha=interval.alpha,
    )


def _closed(came_to: Outcome, evidence: str, guards: Sequence[LiveComparison], m: float) -> Verdict:
    if came_to == "guardrail broken":
        worst = "; ".join(_guard_words(c) for c in guards if c.guardrail is not None and c.guardrail.state == "broken")
        return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {worst}. {evidence}", reasons=(evidence, worst))
    if came_to == "adopt":
        held = "every guardrail holds" if guards else "no guardrails were planned"
        sentence = f"Adopt custom: {evidence} {held.capitalize()}."
        return Verdict(decision="adopt custom", sentence=sentence, reasons=(evidence, held), gate_passed=True)
    if came_to == "guardrails not shown":
        words = "; ".join(_guard_words(c) for c in guards if c.guardrail is None or c.guardrail.state != "holds")
        sentence = f"Undecided: the gain is shown, but not that the guardrails hold: {words}. {evidence}"
        return Verdict(decision="undecided", sentence=sentence, reasons=(evidence, words))
    why = why_baseline(came_to, min_effect=m)
    return Verdict(decision="keep baseline", sentence=f"Keep the baseline: {why}. {evidence}", reasons=(evidence,))


def _guards(setting: LiveSetting, comparisons: Sequence[LiveComparison]) -> list[LiveComparison]:
    planned = {guardrail.name for guardrail in setting.live.metrics.guardrails}
    return [comparison for comparison in comparisons if comparison.metric.name in planned]


def _guard_words(comparison: LiveComparison) -> str:
    if comparison.guardrail is None:
        return f"{comparison.metric.name} could not be tested ({comparison.no_guardrail or 'no reason was recorded'})"
    return guardrail_words(comparison.metric.name, comparison.guardrail)


def _open(setting: LiveSetting, primary: LiveComparison, effect: LiveEffect, evidence: str, *, gate: bool) -> Decided:
    """Before the planned size, that is what is waited for; after it, or without one, what would probably decide."""
    planned, n = setting.levels.units_planned, setting.n_units
    if planned is not None and effect.planned is None and setting.clock.planned_at is None and n < planned:
        more = _until(setting, planned)
        sentence = (
            f"Undecided so far: {n:,} of {planned:,} planned units{in_days(more.days, ', the planned verdict comes in {}')}. {evidence}"
        )
        return Decided(
            Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), n_more=more.units, gate_passed=gate), more.days
        )
    frozen = setting.frozen.get(primary.metric.name)
    if planned is not None and frozen is not None and (waiting := awaited(frozen)):
        sentence = f"Undecided so far: the planned size is reached, and its verdict waits for the scores of {waiting:,} trials. {evidence}"
        return Decided(Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), gate_passed=gate))
    m = setting.live.metrics.primary.min_effect
    needed = needed_distance(_evidence_of(primary, effect.running), min_effect=m)
    found = _to_decide(setting, effect, needed)
    if found is None or found.units > HOPELESS * max(1, effect.running.n_units):
        sentence = f"Undecided: the gain is so close to {m:g}, the smallest worth having, that more units won't settle it. {evidence}"
        return Decided(Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), gate_passed=gate))
    sentence = f"Undecided: about {found.units:,} more units{in_days(found.days, ' ({})')} would probably decide. {evidence}"
    return Decided(Verdict(decision="undecided", sentence=sentence, reasons=(evidence,), n_more=found.units, gate_passed=gate), found.days)


def _until(setting: LiveSetting, planned: int) -> _More:
    units, rate = max(planned - setting.n_units, 1), units_per_day(setting)
    return _More(units, None if not rate else max(1, math.ceil(units / rate)))


def _to_decide(setting: LiveSetting, effect: LiveEffect, needed: float) -> _More | None:
    """Units to be exposed until the running interval would probably exclude the bound, if estimate and share of scored ones stay."""
    running, days, exposed = effect.running, full_days(setting), max(setting.n_units, effect.running.n_units)
    variance = effect.standard_error**2 * exposed
    try:
        total = duration(
            needed, variance, new_units_by_day=days if days.size else [1.0], alpha=running.alpha, power=setting.plan.power
        ).units_sequence
    except (NotEnoughDataError, ValueError):
        return None
    units, rate = round_up(max(total - exposed, 1)), units_per_day(setting)
    return _More(units, None if not rate else max(1, math.ceil(units / rate)))


def full_days(setting: LiveSetting) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """New units of each full day (UTC) so far: neither the one that the experiment began in nor the present one, which is not over yet."""
    return setting.exposure.new_units[1:-1].astype(np.float64)


def units_per_day(setting: LiveSetting) -> float | None:
    """New units a day over the last seven full days; None before the first one is over, and where none came."""
    days = full_days(setting)[-7:]
    rate = float(days.mean()) if days.size else 0.0
    return rate or None


def in_days(days: int | None, form: str) -> str:
    """`form` with the days in words, e.g. `about 9 days`, in the place of `{}`; nothing where they are not known."""
    return "" if days is None else form.format(f"about {days:,} {'day' if days == 1 else 'days'}")


def evidence_words(setting: LiveSetting, primary: LiveComparison, effect: LiveEffect, interval: Interval) -> str:
    """The numbers behind the verdict, in one sentence; relative lift only beside the absolute."""
    relative = "" if interval.relative is None else f", {interval.relative:+.1%} relative"
    cuped = "" if effect.variance_reduction is None else ", adjusted for what the units did before"
    p = "p < 0.001" if interval.p_value < 0.001 else f"p = {interval.p_value:.3f}"
    kind = "interval at the planned size" if interval.kind == "planned" else "always-valid interval"
    change = f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}], {100 * (1 - interval.alpha):g}% {kind}{relative}{cuped}, {p}"
    n = f"n = {interval.n_units:,} units"
    if setting.live.mode == "interleaved":
        words = f"per query, {primary.metric.name} for custom is {change}, {n}"
        return f"{words[0].upper()}{words[1:]}."
    if interval.means is None:
        return f"{primary.metric.name} differs by {change}, {n}."
    return f"{primary.metric.name} went from {interval.means[0]:.4f} to {interval.means[1]:.4f} ({change}, {n})."
