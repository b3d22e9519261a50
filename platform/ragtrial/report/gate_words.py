"""Why a gate holds or does not, in the few lines that a failed test shows."""

from ragtrial.report import words
from ragtrial.report.summary import Summary


def gate_lines(content: Summary) -> tuple[str, ...]:
    """The sentence first, then the effect with its interval, what more it takes, and every guardrail and check that is not as it should be."""
    verdict = content.analysis.verdict
    holds = "holds" if verdict.gate_passed else "does not hold"
    lines = [f"the gate {content.experiment.analysis.gate!r} of {content.experiment.name} {holds}: {words.plain(verdict.sentence)}"]
    lines.append(f"  {'decision':<10} {verdict.decision}")
    lines.append(f"  {'primary':<10} {_effect(content)}")
    if verdict.n_more is not None:
        lines.append(f"  {'needed':<10} about {words.count(verdict.n_more, 'more query', 'more queries')}")
    for planned, comparison in content.guardrails:
        state = "not shown" if comparison.guardrail is None else comparison.guardrail.state
        if state != "holds":
            lines.append(f"  {'guardrail':<10} {planned.name} {state}: {words.guardrail(comparison)}")
    failed = [check for check in content.analysis.checks if check.state == "fail"]
    return (*lines, *(f"  {'check':<10} {words.check_name(check.name)}: {words.plain(check.detail)}" for check in failed))


def headline(content: Summary) -> str:
    """One line: what was decided, whether the gate holds, and the effect."""
    verdict = content.analysis.verdict
    holds = "holds" if verdict.gate_passed else "does not hold"
    return f"{content.experiment.name}: {verdict.decision}, gate {content.experiment.analysis.gate} {holds}; {_effect(content)}"


def _effect(content: Summary) -> str:
    primary = content.primary
    if primary.effect is None:
        return f"{primary.metric.name} has no difference: {primary.no_effect}"
    return (
        f"{primary.metric.name} {words.difference(primary.effect, primary.metric)} ({content.level} interval, "
        f"{words.number(primary.baseline.mean, primary.metric)} to {words.number(primary.custom.mean, primary.metric)}, "
        f"n = {primary.n_scored:,} of {primary.n:,}); worth having is {content.experiment.metrics.primary.min_effect:g}"
    )
