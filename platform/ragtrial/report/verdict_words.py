"""The verdict in plain words: what it means, how large, how sure, at what cost, and how it was measured; of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.analysis.sureness import Chances, chances
from ragtrial.domain.metric import Metric, MetricKind
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.verdict import Comparison, Effect
from ragtrial.report import findings, words
from ragtrial.report.summary import ArmUsage, Summary
from ragtrial.report.words import Estimated
from ragtrial.stats.quantiles import Quantiles

PER = 1_000
"""Queries that costs are given for: of one alone they are too small to read."""

EXTRACTIVE = "no fee, as answers are extractive"
UNKNOWN_MONEY = "money not known: no cost was reported"

BETTER: dict[MetricKind, str] = {
    "retrieval": "Custom finds better passages",
    "answer": "Custom's answers are better",
    "operation": "Custom runs better",
    "feedback": "Users like custom better",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One question with its answer.

    Attributes:
        ask: The question.
        big: The answer, in a few characters.
        lines: What stands below it.
    """

    ask: str
    big: str
    lines: tuple[str, ...]


def plain(content: Summary) -> str:
    """What to do, for somebody with ten seconds."""
    decision = content.analysis.verdict.decision
    if decision == "adopt custom" and any(check.name == "free_method" and check.state == "warn" for check in content.analysis.checks):
        return f"{BETTER[content.primary.metric.kind]} than the baseline, but it is not shown to beat plain BM25, which needs no model."
    if decision == "adopt custom":
        held = "and nothing that is guarded got worse than is tolerated" if content.guardrails else "though no guardrail was planned"
        return f"{BETTER[content.primary.metric.kind]}, {held}: switch to it."
    if decision == "keep baseline":
        return "Stay with the baseline: custom does not earn its place."
    if decision == "refused":
        return "Don't decide by these numbers: something is wrong with the experiment itself."
    if decision == "too few":
        return "Too few queries to say anything."
    return "Not settled yet: it is not shown whether custom is worth it."


def worth_having(metric: Metric, min_effect: float) -> str:
    """The smallest gain that is worth it, in the direction that is better."""
    return words.signed(min_effect if metric.higher_is_better else -min_effect, metric)


def probability(chance: float) -> str:
    """A probability in per cent; never 0 or 100, which no data can show."""
    if chance > 0.999:
        return "> 99.9%"
    if chance < 0.001:
        return "< 0.1%"
    return f"{chance:.1%}" if not 0.1 <= chance <= 0.9 else f"{chance:.0%}"


def gain(content: Summary) -> Card:
    """How large the gain is."""
    primary, effect = content.primary, content.primary.effect
    ask = "How large is the gain?"
    if effect is None:
        return Card(ask=ask, big="Not known", lines=(f"{primary.metric.name}: {primary.no_effect}.",))
    relative = "" if effect.relative is None else f" ({words.relative(effect.relative)} relative)"
    means = " → ".join(words.number(arm.mean, primary.metric) for arm in (primary.baseline, primary.custom))
    margin = worth_having(primary.metric, content.experiment.metrics.primary.min_effect)
    return Card(
        ask=ask,
        big=words.signed(effect.estimate, primary.metric),
        lines=(f"{primary.metric.name}, {means}{relative}.", f"Worth having: from {margin}."),
    )


def sure(content: Summary) -> Card:
    """How sure it is."""
    primary, effect, ask = content.primary, content.primary.effect, "How sure is it?"
    n = f"n = {words.share(primary.n_scored, primary.n)}"
    margin = content.experiment.metrics.primary.min_effect
    found = chances(primary, min_effect=margin)
    if effect is None or found is None:
        return Card(ask=ask, big="No interval", lines=(f"{n}.",))
    interval = f"{content.level} interval {words.interval(effect, primary.metric)}, {words.p_equals(effect.p_value)}, {n}."
    if content.analysis.verdict.decision == "refused":
        return Card(ask=ask, big="Not to be read", lines=("A health check fails, so the numbers do not show what they seem to.", interval))
    return Card(ask=ask, big=probability(found.better), lines=(chance_line(found, primary.metric, margin), interval))


def chance_line(found: Chances, metric: Metric, min_effect: float) -> str:
    """What the large number is, and how probable a gain is that is worth it."""
    at_least = words.number(min_effect, metric)
    return f"probability that custom is better (flat prior); by {at_least} or more: {probability(found.worth_having)}."


def cost(content: Summary) -> Card:
    """What custom costs: waiting, money, and room for its index."""
    left, right = (content.latency_of(arm, "total") for arm in (content.control, content.treatment))
    found = _latency(content)
    big = wait_words(None if found is None else found.effect, shown=_wait_shown(content))
    waits = f"Latency was not measured: {left.reason or right.reason or 'nothing was timed'}."
    if left.quantiles is not None and right.quantiles is not None:
        waits = f"{quantile_words(left.quantiles, right.quantiles)}."
    lines = (waits, f"Per {PER:,} queries: {waiting(content)}; {money(content)}.", f"{findings.index(content)}.")
    return Card(ask="What does it cost?", big=big, lines=lines)


def wait_words(effect: Estimated | None, *, shown: bool) -> str:
    """The time that custom adds to a query; a number only where it is shown not to be 0."""
    if effect is None:
        return "Not known"
    return f"{_signed_ms(effect.estimate)} a query" if shown else "No extra wait shown"


def _signed_ms(value: float) -> str:
    """A difference of times, always with its sign."""
    return f"{'-' if value < 0 else '+'}{words.milliseconds(abs(value))}"


def _latency(content: Summary) -> Comparison | None:
    return next((c for c in content.analysis.comparisons if c.metric.name == "latency_ms"), None)


def _wait_shown(content: Summary) -> bool:
    found = _latency(content)
    return found is not None and words.beyond_chance(found, alpha=content.experiment.analysis.alpha) != 0


def quantile_words(left: Quantiles, right: Quantiles, *, of: str = " asked alone") -> str:
    """Median and p95 of both arms, and what they were counted from."""
    pairs = (("p50", left.p50, right.p50), ("p95", left.p95, right.p95))
    said = ", ".join(f"{name} {words.milliseconds(a)} → {words.milliseconds(b)}" for name, a, b in pairs)
    return f"{said} (n = {min(left.n, right.n):,}{of})"


def waiting(content: Summary) -> str:
    """Latency added to so many queries, with its interval."""
    found = _latency(content)
    if found is None or found.effect is None:
        return "added waiting not known"
    return seconds(found.effect)


def seconds(effect: Effect) -> str:
    """Milliseconds a query as seconds of `PER` queries."""
    estimate, low, high = (value * PER / 1000 for value in (effect.estimate, effect.low, effect.high))
    return f"{estimate:+,.3g} s of waiting [{low:+,.3g}, {high:+,.3g}]"


def money(content: Summary) -> str:
    """What the answers to so many queries cost more with custom; never 0 where nobody knows."""
    if not content.generators:
        return "answers were not made"
    if content.extractive:
        return EXTRACTIVE
    left, right = (cost_of(content.usage, arm) for arm in (content.control, content.treatment))
    if left is None or right is None:
        return UNKNOWN_MONEY
    return f"{right - left:+,.2f} USD ({left:,.2f} → {right:,.2f})"


def cost_of(usage: Sequence[ArmUsage], arm: str) -> float | None:
    """USD for the answers to `PER` queries; None where it is not known."""
    found = next((each for each in usage if each.arm == arm), None)
    if found is None or found.cost_usd is None or not found.n_answers:
        return None
    return PER * found.cost_usd / found.n_answers


def gain_for_time(content: Summary) -> str:
    """What the gain takes of everybody's time, as a finding."""
    primary = content.primary
    found = _latency(content)
    if primary.effect is None or found is None or found.effect is None:
        return findings.latency(content)
    gained = _gained(primary, primary.effect)
    if not _wait_shown(content):
        return f"{gained}; waiting is not shown to differ"
    return f"{gained} for {words.difference(found.effect, found.metric)} a query on average"


def gain_for_money(content: Summary) -> str:
    """What the gain takes of money, as a finding."""
    primary = content.primary
    left, right = (cost_of(content.usage, arm) for arm in (content.control, content.treatment))
    if primary.effect is None or left is None or right is None:
        return f"Per {PER:,} queries: {money(content)}"
    return f"{_gained(primary, primary.effect)} for {right - left:+,.2f} USD per {PER:,} queries"


def _gained(primary: Comparison, effect: Effect) -> str:
    return f"{words.signed(effect.estimate, primary.metric)} {primary.metric.name}"


def measured(content: Summary) -> tuple[str, str]:
    """How it was measured, in two lines."""
    evaluation, primary = content.evaluation, content.primary
    models = [f"{arm} embeds with {model.name}" for arm in (content.control, content.treatment) if (model := _model(content, arm))]
    differ = "; nothing else differs" if evaluation.parity.ok and evaluation.parity.digest is not None else ""
    asked = words.count(evaluation.n_queries, "query", "queries")
    first = f"{asked} of {content.gold_name} through both arms: {', '.join(models) or 'models not recorded'}{differ}."
    made = f"answers by {', '.join(content.generators)}" if content.generators else "without answers"
    judged = words.count(content.n_judgments, "judgment")
    how = primary.effect.method if primary.effect else "paired query by query"
    return first, f"{primary.metric.name} decides, by {judged}; {how}; {made}; {_planned(content)}."


def _model(content: Summary, arm: str) -> ModelIdentity | None:
    facts = content.facts(arm)
    return None if facts is None else facts.model


def _planned(content: Summary) -> str:
    held = any(check.name == "plan" and check.state == "pass" for check in content.analysis.checks)
    return "planned before the first query" if held else "under a plan that was changed since"


def statistics(content: Summary) -> list[tuple[str, str]]:
    """Everything behind the verdict that is known of the primary metric, name by name."""
    primary, effect, plan = content.primary, content.primary.effect, content.experiment.analysis
    metric = primary.metric
    rows = [("Metric", f"{metric.name} ({words.direction(metric)})"), ("Scored in both arms", words.share(primary.n_scored, primary.n))]
    rows += _of_effect(primary, effect) if effect is not None else [("No effect", primary.no_effect or words.NOTHING)]
    planned = content.analysis.mde_planned
    return [
        *rows,
        ("Win / tie / loss", f"{primary.wins:,} / {primary.ties:,} / {primary.losses:,}"),
        ("Expected to be seen, before the run", words.NOTHING if planned is None else words.number(planned, metric)),
        (
            "Plan",
            f"alpha {plan.alpha:g}, power {plan.power:.0%}, correction {plan.correction}, {plan.resamples:,} resamples, seed {plan.seed}",
        ),
    ]


def _of_effect(primary: Comparison, effect: Effect) -> list[tuple[str, str]]:
    metric = primary.metric
    rows = [
        ("Difference", words.difference(effect, metric)),
        ("Method", effect.method),
        ("Standard error, degrees of freedom", f"{effect.standard_error:.4g}, {effect.df:g}"),
        ("p, sign flips", f"{words.p_value(effect.p_value)}: this metric decides alone, so nothing is adjusted"),
        ("Bootstrap interval", f"[{words.signed(effect.bootstrap_low, metric)}, {words.signed(effect.bootstrap_high, metric)}]"),
        ("Standardised effect (d_z)", f"{effect.standardised:+.3f}"),
        ("Relative lift", words.relative(effect.relative)),
        ("Would probably have been seen", words.number(effect.mde, metric)),
        ("p of equivalence within the margin (TOST)", words.p_value(effect.p_equivalent)),
    ]
    return rows if effect.p_mcnemar is None else [*rows, ("McNemar mid-p", words.p_value(effect.p_mcnemar))]
