"""A live analysis as Markdown: the verdict, the metrics and the checks, short enough for a message."""

from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.report import live_words, words
from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_terminal import facts
from ragtrial.report.markdown import GUARD_MARKS, MARKS, table_of, text


def as_live_markdown(content: LiveContent) -> str:
    """The analysis as GitHub-flavoured Markdown, with a line feed at its end."""
    analysis = content.analysis
    traffic = live_words.traffic(content)
    made = f"Made {live_words.date(content.made_at)} UTC, plan `{content.experiment.live_digest()}`"
    parts = [
        f"## {live_words.HEADINGS[analysis.verdict.decision]}: {text(content.experiment.name)}",
        f"**{text(live_words.plain(content))}**",
        text(analysis.verdict.sentence),
        f"{text(live_words.progress(analysis.progress))}. {text(traffic[0].upper() + traffic[1:])}.",
        _metrics(content),
        f"**{text(live_words.checks(content))}**",
        _checks(content),
        *(f"{text(line)}." for line in facts(content)),
        f"Mode {content.live.mode}: {live_words.MODES[content.live.mode]}. {made}.",
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(content: LiveContent) -> str:
    head = [
        "metric",
        f"{text(content.label(content.control))}, so far",
        f"{text(content.label(content.treatment))}, so far",
        "difference, always-valid",
        "at the planned size",
        "p",
        "units",
    ]
    table = table_of(head, [_row(comparison) for comparison in content.analysis.comparisons])
    reasons = live_words.not_compared_by_reason(content)
    told = f"{text(words.capital(live_words.p_rule(content)))}."
    return f"{table}\n\n{told}" + (f"\n\nNot compared: {text('; '.join(reasons))}." if reasons else "")


def _row(c: LiveComparison) -> list[str]:
    name = f"**{text(c.metric.name)}**" if c.role == "primary" else text(c.metric.name)
    changes = [None, None] if c.effect is None else [c.effect.running, c.effect.planned]
    return [
        f"{name} ({c.role})",
        words.number(c.baseline.mean, c.metric),
        words.number(c.custom.mean, c.metric),
        *(words.NOTHING if interval is None else text(words.difference(interval, c.metric)) for interval in changes),
        text(words.p_that_counts(c.role, live_words.own_p(c), c.p_adjusted)),
        f"{c.n_units:,}",
    ]


def _checks(content: LiveContent) -> str:
    lines = [
        f"- {MARKS[check.state]} {words.STATES[check.state]}: {live_words.check_name(check.name)}: {text(check.detail)}"
        for check in content.analysis.checks
    ]
    for planned, comparison in content.guardrails:
        state = live_words.guard_state(comparison)
        lines.append(f"- {GUARD_MARKS[state]}: Guardrail on “{text(planned.name)}”: {text(live_words.guardrail(comparison))}")
    return "\n".join(lines)
