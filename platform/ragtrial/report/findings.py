"""What each part of the report found, in one sentence: its title."""

from collections import Counter
from collections.abc import Sequence

from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.domain.outcome import TIE
from ragtrial.domain.verdict import Comparison, JudgeQuality, Slice
from ragtrial.report import people, words
from ragtrial.report.summary import Summary


def gain(comparison: Comparison, *, alpha: float) -> str:
    """What happened to one metric."""
    name, effect = comparison.metric.name, comparison.effect
    if effect is None:
        return f"{name} can't be compared: {comparison.no_effect}"
    said = words.difference(effect, comparison.metric)
    shown = words.beyond_chance(comparison, alpha=alpha)
    if shown:
        return f"{name} gets {'better' if shown > 0 else 'worse'} by {said}"
    return f"{name}: no difference found ({said})"


def checks(content: Summary) -> str:
    """How many health checks and guardrails hold."""
    states = Counter[str](check.state for check in content.analysis.checks)
    held = [comparison.guardrail is not None and comparison.guardrail.state == "holds" for _, comparison in content.guardrails]
    total = words.count(len(content.analysis.checks), "health check")
    said = f"All {total} pass" if states["pass"] == len(content.analysis.checks) else f"{states['pass']} of {total} pass"
    for state, one, many in (("fail", "fails", "fail"), ("warn", "warns", "warn"), ("unknown", "is not known", "are not known")):
        if states[state]:
            said += f", {states[state]} {one if states[state] == 1 else many}"
    if len(held) == 1:
        return f"{said}; the guardrail {'holds' if held[0] else 'is not shown to hold'}"
    return f"{said}; {sum(held)} of {len(held)} guardrails hold" if held else said


def quality(comparisons: Sequence[Comparison], *, alpha: float) -> str:
    """How many of the planned metrics moved, after their correction."""
    family = [c for c in comparisons if c.role in ("primary", "secondary")]
    better = sum(words.beyond_chance(c, alpha=alpha) > 0 for c in family)
    worse = sum(words.beyond_chance(c, alpha=alpha) < 0 for c in family)
    total = words.count(len(family), "planned metric")
    if not better and not worse:
        return f"None of {total} moves beyond chance" if len(family) > 1 else "The planned metric does not move beyond chance"
    gained = (
        f"{better} of {total} {'gets' if better == 1 else 'get'} better beyond chance"
        if better
        else f"None of {total} gets better beyond chance"
    )
    return f"{gained}, {worse or 'none'} {'get' if worse > 1 else 'gets'} worse"


def without_effect(comparisons: Sequence[Comparison | LiveComparison]) -> list[str]:
    """Why metrics have no difference, `names: reason` for each reason."""
    names: dict[str, list[str]] = {}
    for comparison in comparisons:
        if comparison.no_effect is not None:
            names.setdefault(comparison.no_effect, []).append(comparison.metric.name)
    return [f"{', '.join(group)}: {reason}" for reason, group in names.items()]


def win_loss(content: Summary) -> str:
    """On how many queries each arm is better."""
    primary = content.primary
    return (
        f"{content.treatment} is better on {words.count(primary.wins, 'query', 'queries')}, "
        f"worse on {primary.losses:,}, and the same on {primary.ties:,}"
    )


def slices(parts: Sequence[Slice], *, alpha: float, higher_is_better: bool) -> str:
    """Where the primary metric moved, after the correction over slices."""
    tested = [part for part in parts if part.effect is not None]
    if not tested:
        return "No slice could be tested"
    shown = [part for part in tested if words.slice_shown(part, alpha=alpha)]
    better = sum(part.effect is not None and (part.effect.estimate > 0) == higher_is_better for part in shown)
    worse = len(shown) - better
    return f"{better or 'None'} of {words.count(len(tested), 'tested slice')} {'shows' if better <= 1 else 'show'} a gain, {worse or 'none'} a loss"


def latency(content: Summary) -> str:
    """What both arms take at the median."""
    left, right = (content.latency_of(arm, "total").quantiles for arm in (content.control, content.treatment))
    if left is None or right is None:
        return "Latency was not measured"
    return f"{content.treatment} takes {words.milliseconds(right.p50)} at the median, {content.control} {words.milliseconds(left.p50)}"


def answers(content: Summary) -> str:
    """What became of the answers, on the headline metric."""
    headline = content.headline
    kind = "extractive answers" if content.extractive else "answers"
    if headline is None:
        return f"The {kind} were not measured against references"
    return f"With {kind}, {gain(headline, alpha=content.experiment.analysis.alpha)}"


def floor(content: Summary) -> str | None:
    """What answers made from another query's passages reach; None where that was not measured."""
    headline = content.headline
    bottom = None if headline is None else headline.references.get("shuffled-context")
    if headline is None or bottom is None:
        return None
    means = (words.number(mean, headline.metric) for mean in (headline.baseline.mean, headline.custom.mean))
    return (
        f"The floor is {words.number(bottom, headline.metric)}: what answers made from another query's passages reach by chance. "
        f"{content.control} reaches {next(means)}, {content.treatment} {next(means)}."
    )


def examples(content: Summary) -> str:
    """How large the largest differences are."""
    gains = content.anatomy.gains
    top, bottom = (gains[0].gain, gains[-1].gain) if gains else (0.0, 0.0)
    if top <= TIE and bottom >= -TIE:
        return "Both arms do the same on every query"
    metric = content.primary.metric
    gained = f"The largest win gains {words.number(top, metric)}" if top > TIE else "No query is won"
    lost = f"the largest loss costs {words.number(-bottom, metric)}" if bottom < -TIE else "no query is lost"
    return f"{gained}, {lost} of {metric.name}"


def index(content: Summary) -> str:
    """Whether the treatment's index is larger."""
    left, right = content.facts(content.control), content.facts(content.treatment)
    if left is None or right is None or left.index is None or right.index is None:
        return "Nothing is known of the indexes"
    a, b = left.index.bytes, right.index.bytes
    if a == b:
        return f"Both indexes take {words.size(a)}"
    return f"{content.treatment}'s index takes {words.size(b)}, {content.control}'s {words.size(a)}"


def exclusions(content: Summary) -> str:
    """How many queries the decision rests on."""
    primary = content.primary
    left_out = primary.n - primary.n_scored
    failed = sum(sum(counts.values()) for counts in content.failures.values())
    trials = f"{failed:,} of {words.count(sum(row.n_trials for row in content.usage), 'trial')} failed"
    return (
        f"{primary.metric.name} is scored in both arms on {primary.n_scored:,} of {words.count(primary.n, 'query', 'queries')}; "
        f"{left_out:,} {'is' if left_out == 1 else 'are'} left out; {trials}"
    )


def judges(content: Summary) -> list[str]:
    """What an LLM judge's own repeated opinions tell about it, a sentence for each metric."""
    said = [f"{judge.metric}: {'; '.join(_judge(judge, content.level))}" for judge in content.analysis.judges]
    bias = position_bias(content)
    return said if bias is None else [*said, bias]


def _judge(judge: JudgeQuality, level: str) -> list[str]:
    said = [f"{words.count(judge.n_opinions, 'opinion')} of {judge.scorer or 'an LLM judge'}"]
    if judge.n_unscored:
        said.append(f"{judge.n_unscored:,} of them unusable")
    if judge.flipped is not None and judge.flipped_low is not None and judge.flipped_high is not None:
        interval = f"{level} interval {judge.flipped_low:.0%} to {judge.flipped_high:.0%}"
        said.append(f"asked again it changed its mind on {judge.flipped:.0%} of {judge.n_repeated:,} answers ({interval})")
    if judge.noise_share is not None:
        said.append(
            f"its wavering is {judge.noise_share:.0%} of the variance of the difference: the interval is ±{judge.half_width:.4f} now, would be "
            f"±{judge.half_width_judgments:.4f} with twice the judgments and ±{judge.half_width_queries:.4f} with twice the queries"
        )
    elif judge.why_not:
        said.append(f"its noise is not known ({judge.why_not})")
    return said


def calibrations(content: Summary) -> list[str]:
    """What people said of the judge, a sentence for each metric that they labelled."""
    return [people.sentence(found, treatment=content.treatment, level=content.level) for found in content.analysis.calibrations]


def position_bias(content: Summary) -> str | None:
    """Whether the judge of pairs favours a place; None where no pair was judged."""
    judge = next((judge for judge in content.analysis.judges if judge.n_pairs), None)
    if judge is None:
        return None
    first = "" if judge.first_share is None else f"; {judge.first_share:.0%} of all wins went to the answer shown first (50% is no bias)"
    return f"{judge.n_inconsistent:,} of {judge.n_pairs:,} pairs were decided by their order and count as ties{first}"


def calls(content: Summary) -> str | None:
    """What the calls to LLMs came to, and what sharing saved; None where there were none."""
    counts = content.analysis.calls
    if not counts:
        return None
    made, alone = sum(count.made for count in counts), sum(count.alone for count in counts)
    cost, cost_alone = _total([count.cost_usd for count in counts]), _total([count.cost_alone_usd for count in counts])
    unpriced = sum(count.unpriced for count in counts)
    missing = f", without {words.count(unpriced, 'answer or judgment', 'answers or judgments')} whose cost is not known" if unpriced else ""
    price = "cost unknown" if cost is None else f"{cost:,.4f} USD{missing}"
    said = f"{words.count(made, 'call')} to LLMs ({price}) stand behind this result"
    if made == alone:
        return f"{said}; the arms shared none"
    saved = "" if cost is None or cost_alone is None else f" and {cost_alone - cost:,.4f} USD"
    return f"{said}; each arm alone would have taken {alone:,}, so sharing saved {alone - made:,} calls{saved}"


def _total(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def worst_cases(comparisons: Sequence[Comparison]) -> list[str]:
    """What missing scores could hide on planned metrics, a sentence each."""
    return [
        f"{c.metric.name}: {c.worst_case.missing_control:,} queries lack a score in the baseline and {c.worst_case.missing_treatment:,} in "
        f"custom; whatever these were, the difference lies between {c.worst_case.estimate_low:+.4f} and {c.worst_case.estimate_high:+.4f} "
        f"(interval {c.worst_case.low:+.4f} to {c.worst_case.high:+.4f})"
        for c in comparisons
        if c.worst_case is not None and c.role != "exploratory"
    ]
