"""`report.md`: the verdict, the metrics and the checks, short enough for a pull request."""

from collections.abc import Sequence

from ragtrial.domain.inert import inert_markdown
from ragtrial.domain.verdict import CheckState, Comparison, Slice
from ragtrial.report import findings, words
from ragtrial.report.content import ReportContent

MARKS: dict[CheckState, str] = {"pass": "✅", "warn": "⚠️", "fail": "❌", "unknown": "❔"}
GUARD_MARKS = {"holds": "✅ holds", "broken": "❌ broken", "not shown": "❔ not shown"}


def as_markdown(content: ReportContent) -> str:
    """The report as GitHub-flavoured Markdown, with a line feed at its end."""
    verdict, alpha = content.analysis.verdict, content.experiment.analysis.alpha
    gate = "holds" if verdict.gate_passed else "does not hold"
    parts = [
        f"## {words.DECISIONS[verdict.decision]}: {text(content.experiment.name)}",
        f"{text(verdict.sentence)}",
        f"Gate `{content.experiment.analysis.gate}` {gate}. Differences: {text(content.treatment)} minus {text(content.control)}, {content.level} interval.",
        _metrics(content),
        f"**{text(findings.checks(content))}**",
        _checks(content),
    ]
    if content.analysis.slices:
        parts.append(_slices(content, alpha))
    judged = [*findings.judges(content), *findings.calibrations(content)]
    told = [*findings.worst_cases(content.analysis.comparisons), *judged, findings.calls(content)]
    parts += [f"{text(each)}." for each in told if each is not None]
    parts.append(_footer(content))
    return "\n\n".join(parts) + "\n"


def text(value: str) -> str:
    """Data as it is to be read: no mark-up of it is carried out, no line break leaves a table cell."""
    return inert_markdown(words.plain(value))


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is for words, all others are for numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _metrics(content: ReportContent) -> str:
    bm25 = ["bm25"] if "bm25" in content.references else []
    head = [
        "metric",
        text(content.label(content.control)),
        text(content.label(content.treatment)),
        *bm25,
        "difference",
        "p",
        "adjusted p",
        "win/tie/loss",
        "scored",
    ]
    shown = [c for c in content.analysis.comparisons if c.role != "exploratory"]
    table = table_of(head, [_metric(c, bm25) for c in shown])
    reasons = [text(reason) for reason in findings.without_effect(shown)]
    told = f"{text(words.capital(words.P_RULE[content.experiment.analysis.correction]))}."
    return f"{table}\n\n{told}" + (f"\n\nNot compared: {'; '.join(reasons)}." if reasons else "")


def _metric(c: Comparison, references: Sequence[str]) -> list[str]:
    name = f"**{text(c.metric.name)}**" if c.role == "primary" else text(c.metric.name)
    effect = c.effect
    return [
        f"{name} ({c.role})",
        words.number(c.baseline.mean, c.metric),
        words.number(c.custom.mean, c.metric),
        *(words.number(c.references.get(line), c.metric) for line in references),
        words.NOTHING if effect is None else text(words.difference(effect, c.metric)),
        words.NOTHING if effect is None else text(words.p_value(effect.p_value)),
        text(words.p_adjusted(c.role, c.p_adjusted)),
        f"{c.wins}/{c.ties}/{c.losses}",
        f"{c.n_scored} of {c.n}",
    ]


def _checks(content: ReportContent) -> str:
    lines = [
        f"- {MARKS[check.state]} {words.STATES[check.state]}: {words.check_name(check.name)}: {text(check.detail)}"
        for check in content.analysis.checks
    ]
    for planned, comparison in content.guardrails:
        state = comparison.guardrail.state if comparison.guardrail else "not shown"
        lines.append(f"- {GUARD_MARKS[state]}: Guardrail on “{text(planned.name)}”: {text(words.guardrail(comparison))}")
    return "\n".join(lines)


def _slices(content: ReportContent, alpha: float) -> str:
    metric = content.primary.metric
    title = findings.slices(content.analysis.slices, alpha=alpha, higher_is_better=metric.higher_is_better)
    head = ["slice", "n", text(content.label(content.control)), text(content.label(content.treatment)), "difference", "p", "adjusted p"]
    rows = [_slice(part, content) for part in content.analysis.slices]
    return (
        f"<details>\n<summary>Slices of {text(metric.name)} (exploratory): {text(title)}</summary>\n\n{table_of(head, rows)}\n\n"
        "p is adjusted over slices by Benjamini and Hochberg.\n\n</details>"
    )


def _slice(part: Slice, content: ReportContent) -> list[str]:
    metric, effect = content.primary.metric, part.effect
    return [
        text(f"{part.tag}: {part.value}"),
        str(part.n_scored),
        words.number(part.baseline_mean, metric),
        words.number(part.custom_mean, metric),
        text(part.no_effect or words.NOTHING) if effect is None else text(words.difference(effect, metric)),
        words.NOTHING if effect is None else text(words.p_value(effect.p_value)),
        text(words.p_value(part.p_adjusted)),
    ]


def _footer(content: ReportContent) -> str:
    latency = text(findings.latency(content))
    answers = " Answers are extractive: no LLM wrote them." if content.extractive else ""
    return (
        f"{latency}. {text(findings.index(content))}.{answers} {text(findings.exclusions(content))}.\n\n"
        f"Evaluation `{content.evaluation.evaluation_id}`, plan `{content.evaluation.plan_digest}`."
    )
