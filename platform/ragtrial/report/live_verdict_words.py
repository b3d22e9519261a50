"""The verdict of a live experiment in plain words: how large, how sure, at what cost, how far, and how it is measured."""

from ragtrial.analysis.sureness import live_chances
from ragtrial.domain.live_verdict import Interval, LiveComparison
from ragtrial.report import live_words, words
from ragtrial.report.live_summary import LiveSummary, LiveUsage
from ragtrial.report.verdict_words import (
    EXTRACTIVE,
    PER,
    UNKNOWN_MONEY,
    Card,
    chance_line,
    probability,
    quantile_words,
    wait_words,
    worth_having,
)

LATENCY = "latency_ms"


def gain(content: LiveSummary) -> Card:
    """How large the gain is so far."""
    primary, ask = content.primary, "How large is the gain?"
    if primary.effect is None:
        return Card(ask=ask, big="Not known", lines=(f"{primary.metric.name}: {primary.no_effect}.",))
    found = primary.effect.counting(primary.role)
    means = live_words.means(found, primary.metric)
    relative = "" if found.relative is None else f" ({words.relative(found.relative)} relative)"
    before = ", the difference adjusted for what they did before" if primary.effect.variance_reduction is not None else ""
    first = primary.metric.name if means is None else f"{primary.metric.name}, {means.replace('->', '→')}"
    counted = live_words.counted(found, content.analysis.progress)
    margin = worth_having(primary.metric, content.live.metrics.primary.min_effect)
    return Card(
        ask=ask,
        big=words.signed(found.estimate, primary.metric),
        lines=(f"{first}{relative}: {counted}{before}.", f"Worth having: from {margin}."),
    )


def sure(content: LiveSummary) -> Card:
    """How sure it is: a probability at the planned size, and before that an interval that may be looked at any time."""
    primary, progress, ask = content.primary, content.analysis.progress, "How sure is it?"
    if primary.effect is None:
        return Card(ask=ask, big="No interval", lines=(f"{words.count(primary.n_units, 'unit')} with a value.",))
    found = primary.effect.counting(primary.role)
    interval = f"{live_words.level(found)} interval {words.interval(found, primary.metric)}, {words.p_equals(found.p_value)}."
    if content.analysis.verdict.decision == "refused":
        return Card(ask=ask, big="Not to be read", lines=("A health check fails, so the numbers do not show what they seem to.", interval))
    margin = content.live.metrics.primary.min_effect
    chances = live_chances(primary, min_effect=margin)
    if chances is not None and found.kind == "planned":
        return Card(ask=ask, big=probability(chances.better), lines=(chance_line(chances, primary.metric, margin), interval))
    return Card(
        ask=ask,
        big=_so_far(primary, found),
        lines=(f"{interval} It holds however often one looks.", _at_planned(primary.effect.planned, progress.levels.units_planned)),
    )


def _so_far(primary: LiveComparison, found: Interval) -> str:
    """What an always-valid interval says by itself."""
    if found.low <= 0 <= found.high:
        return "Not sure yet"
    return "Shown" if (found.estimate > 0) == primary.metric.higher_is_better else "Shown to be worse"


def _at_planned(found: Interval | None, units: int | None) -> str:
    """Why there is no probability beside an always-valid interval."""
    if units is None:
        return "A probability is not given: no size was planned to give it at."
    if found is not None:
        return f"At the planned {units:,} units it was not shown yet ({words.p_equals(found.p_value)})."
    return f"A probability is given once, at the planned {units:,} units: looked at again and again it would mislead."


def cost(content: LiveSummary) -> Card:
    """What custom costs: waiting and money."""
    left, right = (content.latency_of(arm, "total") for arm in (content.control, content.treatment))
    big, waits = "Not known", _not_timed(content)
    if left is not None and right is not None and left.quantiles is not None and right.quantiles is not None:
        found = _latency(content)
        effect = None if found is None else found.interval
        big = wait_words(effect, shown=found is not None and live_words.beyond_chance(found) != 0)
        waits = f"{quantile_words(left.quantiles, right.quantiles, of=' in the smaller arm')}."
    return Card(ask="What does it cost?", big=big, lines=(waits, f"Per {PER:,} queries: {waiting(content)}; {money(content)}."))


def _latency(content: LiveSummary) -> LiveComparison | None:
    return next((c for c in content.analysis.comparisons if c.metric.name == LATENCY), None)


def _not_timed(content: LiveSummary) -> str:
    if content.live.mode == "interleaved":
        return "Both models work on every query, so neither has a waiting time of its own."
    return "Latency can't be compared yet: an arm has no answer that was timed."


def waiting(content: LiveSummary) -> str:
    """Latency added to so many queries, with its interval."""
    found = _latency(content)
    interval = None if found is None else found.interval
    if interval is None:
        return "added waiting not known"
    estimate, low, high = (value * PER / 1000 for value in (interval.estimate, interval.low, interval.high))
    return f"{estimate:+,.3g} s of waiting [{low:+,.3g}, {high:+,.3g}]"


def money(content: LiveSummary) -> str:
    """What the answers to so many queries cost more with custom; never 0 where nobody knows."""
    if content.live.mode == "interleaved":
        return "one answer is made for both"
    if content.without_fee:
        return EXTRACTIVE
    left, right = (_cost_of(content.usage, arm) for arm in (content.control, content.treatment))
    if left is None or right is None:
        return UNKNOWN_MONEY
    return f"{right - left:+,.2f} USD ({left:,.2f} → {right:,.2f})"


def _cost_of(usage: tuple[LiveUsage, ...], arm: str) -> float | None:
    """USD for the answers to `PER` queries, over those whose cost is known."""
    found = next((each for each in usage if each.arm == arm), None)
    if found is None or found.cost_usd is None or not found.n_priced:
        return None
    return PER * found.cost_usd / found.n_priced


def far(content: LiveSummary) -> Card:
    """How far the experiment is."""
    progress = content.analysis.progress
    said = live_words.traffic(content)
    return Card(
        ask="How far is it?",
        big=words.count(progress.n_units, "unit"),
        lines=(f"{live_words.progress(progress)}.", f"{said[0].upper()}{said[1:]}."),
    )


def measured(content: LiveSummary) -> tuple[str, str]:
    """How it is measured, in two lines."""
    models = ", ".join(f"{arm} embeds with {words.without_credentials(model)}" for arm, model in sorted(content.models.items()))
    first = f"Mode {content.live.mode}: {live_words.MODES[content.live.mode]}; {models or 'models not recorded'}."
    effect = content.primary.effect
    errors = "" if effect is None else f"; errors {effect.method}"
    return first, f"{content.primary.metric.name} decides{errors}. {live_words.spending(content.analysis.progress)}."


def statistics(content: LiveSummary) -> list[tuple[str, str]]:
    """Everything behind the verdict that is known of the primary metric, name by name."""
    primary, metric, plan = content.primary, content.primary.metric, content.experiment.analysis
    rows = [("Metric", f"{metric.name} ({words.direction(metric)})")]
    if primary.effect is None:
        rows.append(("No effect", primary.no_effect or words.NOTHING))
    else:
        for found in primary.effect.intervals:
            said = f"{words.difference(found, metric)}, {words.p_equals(found.p_value)}"
            rows.append((f"Difference, {live_words.level(found)}", f"{said}, {live_words.counted(found, content.analysis.progress)}"))
        rows.append(("Method", primary.effect.method))
        rows.append(("Standard error", f"{primary.effect.standard_error:.4g}"))
    rows.append(("Plan", f"alpha {plan.alpha:g}, power {plan.power:.0%}, correction {plan.correction}, seed {plan.seed}"))
    rows.append(("How alpha is spent", f"{live_words.spending(content.analysis.progress)}."))
    tail = live_words.tail(content.analysis.tail)
    return rows if tail is None else [*rows, ("Tail of the waiting time", tail)]
