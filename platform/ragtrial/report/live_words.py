"""How a live experiment is told: plain words first, numbers behind them."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ragtrial.analysis.live_guardrails import guardrail_change
from ragtrial.domain.live import Mode, TrafficState
from ragtrial.domain.live_verdict import Difference, Interval, LiveComparison, LiveGuardrail, Progress, SampleRatioFound, Tail, VotesFound
from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Decision
from ragtrial.report import words
from ragtrial.report.live_content import LiveContent

HEADINGS: dict[Decision, str] = {**words.DECISIONS, "too few": "Too few units"}

MODES = {
    "split": "each unit (a user or a session) sees one of the two models",
    "shadow": "users see the baseline's answers; custom answers the same queries silently",
    "interleaved": "both models' passages share one answer, and what is cited and liked tells whose are better",
}

BETTER = {
    "split": "Custom is better for users",
    "shadow": "Custom's answers score better (no user saw them)",
    "interleaved": "Custom's passages are preferred",
}

NO_BM25 = "Live experiments compare the two models only; ragtrial evaluate compares with plain BM25 as well"

CHECK_NAMES = {
    "srm_units": "The arms got the planned share of units",
    "srm_queries": "Units of both arms ask equally much",
    "exposure": "Both arms were seen",
    "in_both_arms": "Nobody saw both arms",
    "failures": "Answers work in both arms",
    "coverage": "Trials are scored",
    "missing": "No arm lacks scores more often",
    "outages": "Everything was logged",
    "allocation": "The treatment's share stayed the same",
    "overrides": "Hardly anybody was put into an arm by hand",
    "clock": "Clocks agree",
    "traffic": "The experiment is running",
}


ONE_LOOK = " (at a single look)"
"""Said of intervals that are not always-valid: thumbs and p95 are diagnostics, and decide nothing."""


def check_name(name: str) -> str:
    """What a check is about, in words."""
    return CHECK_NAMES.get(name) or words.check_name(name)


def plain(content: LiveContent) -> str:
    """What to do, for somebody with ten seconds."""
    verdict, progress, days = content.analysis.verdict, content.analysis.progress, content.analysis.days_more
    wait = "" if days is None else f" Look again in about {words.count(days, 'day')}."
    if progress.traffic.stopped:
        wait = " The experiment is stopped: everyone gets the baseline."
    if verdict.decision == "adopt custom":
        held = "and nothing that is guarded got worse than is tolerated" if content.guardrails else "though no guardrail was planned"
        return f"{BETTER[content.live.mode]}, {held}: switch to it."
    if verdict.decision == "keep baseline":
        return "Stay with the baseline: custom does not earn its place."
    if verdict.decision == "refused":
        return "Don't decide by these numbers: something is wrong with the experiment itself."
    if verdict.decision == "too few":
        return f"Too early to say anything.{wait}"
    return f"Not settled yet.{wait}"


def level(interval: Interval) -> str:
    """What an interval covers, e.g. `99% always-valid` or `96% planned-size`."""
    said = f"{100 * (1 - interval.alpha):.4g}%"
    return f"{said} always-valid" if interval.kind == "running" else f"{said} planned-size"


def gain(comparison: LiveComparison) -> str:
    """What happened to one metric, in one sentence without a full stop."""
    name, effect = comparison.metric.name, comparison.effect
    if effect is None:
        return f"{name} can't be compared yet: {comparison.no_effect}"
    said, moved = words.difference(effect.counting(comparison.role), comparison.metric), beyond_chance(comparison)
    if not moved:
        return f"{name}: no difference found so far ({said})"
    return f"{name} gets {'better' if moved > 0 else 'worse'} by {said}"


def gain_over_time(comparison: LiveComparison, progress: Progress) -> str:
    """The same beside the difference over time, which ends with what holds so far and not at the planned size."""
    said, effect = gain(comparison), comparison.effect
    if effect is None or effect.counting(comparison.role).kind != "planned" or progress.levels.units_planned is None:
        return said
    so_far = words.difference(effect.running, comparison.metric)
    return f"{said} at the planned {words.count(progress.levels.units_planned, 'unit')}; so far {so_far}"


def beyond_chance(comparison: LiveComparison) -> int:
    """1 where the treatment is shown to be better, -1 where it is shown to be worse, 0 where neither; by the interval that counts."""
    interval = comparison.interval
    if interval is None or not interval.shows(comparison.role):
        return 0
    return 1 if (interval.estimate > 0) == comparison.metric.higher_is_better else -1


def own_p(comparison: LiveComparison) -> float | None:
    """The p of the interval that counts, adjusted for nothing; None without an effect."""
    return None if comparison.interval is None else comparison.interval.p_value


def p_rule(content: LiveContent) -> str:
    """What becomes of the p values of planned metrics, without a full stop; which of two, where there is a planned interval as well."""
    said = words.P_RULE[content.experiment.analysis.correction]
    if all(c.effect is None or c.effect.planned is None for c in content.analysis.comparisons):
        return said
    return (
        f"{said}; this holds of always-valid and of planned intervals, each kind for its share of alpha: the planned p is shown, or the "
        "always-valid one where only that shows a difference"
    )


def counted(found: Interval, progress: Progress) -> str:
    """What an interval was computed from, e.g. `first 300 units (297 with a score)`."""
    planned = progress.levels.units_planned
    exposed = planned if found.kind == "planned" and planned is not None else max(progress.n_units, found.n_units)
    said = f"first {words.count(exposed, 'unit')}" if found.kind == "planned" else f"{words.count(exposed, 'unit')} so far"
    return said if found.n_units >= exposed else f"{said} ({found.n_units:,} with a score)"


def means(found: Interval, metric: Metric) -> str | None:
    """Both arms' means of the units that the interval is of; None where the arms have no mean of their own."""
    return None if found.means is None else " -> ".join(words.number(mean, metric) for mean in found.means)


def guardrail(comparison: LiveComparison) -> str:
    """What became of a guardrail, with its bounds."""
    found = comparison.guardrail
    if found is None:
        return f"can't be tested yet: {comparison.no_guardrail or comparison.no_effect or 'nothing was logged of it'}"
    return guardrail_change(comparison.metric, found)


def guardrail_heading(content: LiveContent) -> str:
    """What became of the guardrails together."""
    if not content.guardrails:
        return "No guardrails were planned"
    broken = sum(guard_state(comparison) == "broken" for _, comparison in content.guardrails)
    if broken:
        return f"{words.count(broken, 'guardrail')} broken: custom made something worse than is tolerated"
    if all(comparison.guardrail is None for _, comparison in content.guardrails):
        return "No guardrail can be tested yet"
    return "Nothing is shown to have become worse than is tolerated"


def not_compared(comparison: LiveComparison) -> str | None:
    """Why a metric has no interval; None where it has one, or where all that was planned of it is a guardrail, which is tested."""
    return None if comparison.role == "guardrail" and comparison.guardrail is not None else comparison.no_effect


def not_compared_by_reason(content: LiveContent) -> list[str]:
    """Metrics without an interval and why, those with the same reason together."""
    names: dict[str, list[str]] = {}
    for comparison in content.analysis.comparisons:
        if (why := not_compared(comparison)) is not None:
            names.setdefault(why, []).append(comparison.metric.name)
    return [f"{', '.join(those)}: {why}" for why, those in names.items()]


def left_out(content: LiveContent) -> str:
    """What does not count, and how much of the rest has no score on the primary metric; without a full stop."""
    said = f"Left out: {'; '.join(f'{each.n:,} {each.what}' for each in content.analysis.left_out) or 'nothing'}"
    missing = without_score(content)
    return said if missing is None else f"{said}. {missing}"


def without_score(content: LiveContent) -> str | None:
    """Trials without a score on the primary metric; None where there are none."""
    primary = content.primary
    trials, missing = sum(arm.n_trials for arm in primary.samples), sum(arm.n_trials - arm.n_scored for arm in primary.samples)
    return f"Without a score on {primary.metric.name}: {missing:,} of {trials:,} trials" if missing > 0 else None


def unscored(content: LiveContent) -> list[dict[str, Any]]:
    """Trials without a score, a row for each arm, reason and number of them, with the metrics that it is on."""
    rows: dict[tuple[str, str, int, int], list[str]] = {}
    for comparison in content.analysis.comparisons:
        names = ("both",) if comparison.within else (content.control, content.treatment)
        for name, arm in zip(names, comparison.samples, strict=True):
            for reason, n in arm.unscored.items():
                rows.setdefault((name, reason, n, arm.n_trials), []).append(comparison.metric.name)
    return [{"arm": arm, "reason": reason, "n": n, "of": of, "metrics": names} for (arm, reason, n, of), names in rows.items()]


def amount(value: float, found: LiveGuardrail, metric: Metric) -> str:
    """A margin, a bound or an estimate of a guardrail: relative ones and shares in per cent and points."""
    if found.relative:
        return f"{value:+.1%}"
    if metric.unit == "share":
        return f"{100 * value:+.2f} points"
    return words.signed(value, metric)


def progress(found: Progress) -> str:
    """How far the experiment is, in one sentence without a full stop."""
    said = f"{words.count(found.n_units, 'unit')} with {words.count(found.n_trials, 'trial')} so far"
    planned = found.levels.units_planned
    if planned is None:
        return f"{said}; no number of units is planned"
    if found.planned_at is not None:
        return f"{said}; the planned {planned:,} were there on {date(found.planned_at)}"
    said = f"{said} of {planned:,} planned units ({min(1.0, found.n_units / planned):.0%})"
    return said if found.days_left is None else f"{said}, the rest in about {words.count(found.days_left, 'day')}"


def traffic(content: LiveContent) -> str:
    """What holds of the traffic now."""
    return traffic_state(content.analysis.progress.traffic, content.live.mode)


def traffic_state(state: TrafficState, mode: Mode) -> str:
    """What holds of the traffic in a state."""
    if state.stopped:
        return f"stopped by {state.actor}{f' ({state.reason})' if state.reason else ''}: everyone gets the baseline"
    said = f"{100 * state.share:.4g}% of the units take part"
    if mode == "split":
        said += f", {100 * state.treatment:.4g}% of them get custom"
    return f"{said} (version {state.version}, by {state.actor})"


def spending(found: Progress) -> str:
    """How alpha is spent, in words."""
    levels = found.levels
    if levels.planned is None:
        return (
            f"All of alpha ({levels.running:.3g}) is spent on looking at any time; intervals are tightest at {levels.tuned_for:,} units, "
            "a number fixed beforehand as none is planned"
        )
    return (
        f"Of alpha ({levels.running + levels.planned:.3g}), {levels.running:.3g} is spent on looking at any time and {levels.planned:.3g} "
        f"on the one verdict at {levels.units_planned:,} units, which is computed from the trials until then and stays as it is"
    )


def sample_ratio(found: SampleRatioFound) -> str:
    """What came of one test of the split."""
    p = words.p_equals(found.p_value)
    if found.level == "units":
        return f"{found.observed:.2%} of the units are in the treatment, {found.expected:.2%} were planned ({p}, sequential)"
    ends = "" if found.low is None or found.high is None else f" [{found.low - 1:+.1%}, {found.high - 1:+.1%}]"
    return f"treatment's units ask {found.observed - 1:+.1%}{ends} queries each against control's ({p}, always-valid)"


def votes(found: VotesFound) -> str:
    """What the thumbs say, the rating rate first; without a full stop. Their intervals are for one look."""
    who = "Asked at random" if found.solicited else "All answers"
    rated = " and ".join(words.share(part, whole) for part, whole in zip(found.rated, found.trials, strict=True))
    said = f"{who}: {rated} were rated (baseline and custom)"
    if found.rating_rate is None or found.share is None or found.bounds is None:
        return f"{said}; {found.reason or 'nobody voted'}"
    shown = f"thumbs up among votes {percent(found.share)}"
    limits = f"whatever the silent ones think, the difference lies between {100 * found.bounds.low:+.1f} and {100 * found.bounds.high:+.1f} points"
    limits += ONE_LOOK
    if found.who_rates_differs:
        return f"{said}: users of one arm rate more often ({percent(found.rating_rate)}), so {shown} must not be read; {limits}"
    return f"{said}; {shown}; {limits}"


def rates(parts: tuple[int, int], wholes: tuple[int, int]) -> str:
    """Both arms' shares in per cent."""
    said = (f"{part / whole:.1%}" if whole else words.NOTHING for part, whole in zip(parts, wholes, strict=True))
    return ", ".join(said)


def percent(found: Difference) -> str:
    """A difference of shares in percentage points, with its interval."""
    return f"{100 * found.estimate:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def tail(found: Tail | None) -> str | None:
    """p95 of what users wait; None where there is nothing to say."""
    if found is None:
        return None
    name = f"p{100 * found.quantile:.0f} of the waiting time"
    if found.control is None or found.treatment is None:
        return f"{name} can't be told yet: {found.reason}"
    said = f"{name} {words.milliseconds(found.control)} with the baseline, {words.milliseconds(found.treatment)} with custom"
    of = "" if found.drawn is None else f", of {found.drawn[0]:,} users drawn from {found.drawn[1]:,}"
    if found.ratio is None or found.ratio_low is None or found.ratio_high is None:
        return f"{said}{of}"
    return f"{said} ({found.ratio - 1:+.1%} [{found.ratio_low - 1:+.1%}, {found.ratio_high - 1:+.1%}], at a single look{of})"


def checks(content: LiveContent) -> str:
    """How many health checks and guardrails hold."""
    found = content.analysis.checks
    states = Counter[str](check.state for check in found)
    total = words.count(len(found), "health check")
    said = f"All {total} pass" if states["pass"] == len(found) else f"{states['pass']} of {total} pass"
    for state, one, many in (("fail", "fails", "fail"), ("warn", "warns", "warn"), ("unknown", "is not known", "are not known")):
        if states[state]:
            said += f", {states[state]} {one if states[state] == 1 else many}"
    guards = Counter(guard_state(comparison) for _, comparison in content.guardrails)
    if not guards:
        return said
    broken = f", {guards['broken']} broken" if guards["broken"] else ""
    return f"{said}; {guards['holds']} of {sum(guards.values())} guardrails hold{broken}"


def guard_state(comparison: LiveComparison) -> str:
    """`holds`, `broken` or `not shown`."""
    return comparison.guardrail.state if comparison.guardrail is not None else "not shown"


def date(at: float | None) -> str:
    """A moment in UTC, to the minute."""
    return words.NOTHING if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
