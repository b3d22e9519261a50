"""The result in a terminal: metrics, guardrails, checks, and the verdict last, where it is seen."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragtrial.domain.verdict import CheckState, Comparison, Decision
from ragtrial.report import findings, words
from ragtrial.report.content import ReportContent
from ragtrial.report.terminal_table import Form, as_text, metric_table, stacked, whole

STATE_STYLES: dict[CheckState, str] = {"pass": "green", "warn": "yellow", "fail": "bold red", "unknown": "cyan"}
GUARD_STYLES = {"holds": "green", "broken": "bold red", "not shown": "yellow"}
DECISION_STYLES: dict[Decision, str] = {
    "adopt custom": "bold green",
    "keep baseline": "bold blue",
    "undecided": "bold yellow",
    "too few": "bold yellow",
    "refused": "bold red",
}


def render_terminal(content: ReportContent, console: Console) -> None:
    """Print the result; colours are the console's decision, and nothing is said by colour alone."""
    evaluation = content.evaluation
    console.print(
        as_text(
            f"{content.experiment.name}: {words.count(evaluation.n_queries, 'query', 'queries')}, evaluation {evaluation.evaluation_id}",
            "bold",
        )
    )
    console.print()
    console.print(whole(lambda form: _metrics(content, form), console))
    console.print(as_text(f"p: {words.P_RULE[content.experiment.analysis.correction]}.", "dim"))
    for reason in findings.without_effect(content.analysis.comparisons):
        console.print(as_text(f"not compared: {reason}", "dim"))
    console.print()
    if content.analysis.slices:
        console.print(_slices(content))
        console.print()
    console.print(_checks(content))
    console.print()
    for said in (findings.latency(content), findings.index(content), findings.exclusions(content)):
        console.print(as_text(f"{said}."))
    judged = [*findings.judges(content), *findings.calibrations(content)]
    told = [*findings.worst_cases(content.analysis.comparisons), *judged, findings.calls(content)]
    for line in (each for each in told if each is not None):
        console.print(as_text(f"{line}."))
    if content.extractive:
        console.print(as_text("Answers are extractive: no LLM wrote them."))
    console.print()
    verdict = content.analysis.verdict
    gate = "holds" if verdict.gate_passed else "does not hold"
    console.print(as_text(f"gate {content.experiment.analysis.gate!r} {gate}"))
    console.print(as_text(verdict.sentence, DECISION_STYLES[verdict.decision]))


def _metrics(content: ReportContent, form: Form) -> Table:
    control, treatment = content.label(content.control), content.label(content.treatment)
    apart = (control, treatment, *(["bm25"] if "bm25" in content.references else []))
    counts = ("p", "adj. p", "win/tie/loss", "scored") if form == "roomy" else ("p", "scored")
    means = apart if form == "roomy" else (f"{control} -> {treatment}",)
    table = metric_table(form, means=means, numbers=(f"difference, {content.level} interval", *counts))
    for role in ("primary", "secondary", "guardrail", "exploratory"):
        rows = [comparison for comparison in content.analysis.comparisons if comparison.role == role]
        if rows:
            table.add_row(as_text(role, "dim italic"))
        for comparison in rows:
            cells = _row(comparison, content, roomy=form == "roomy")
            table.add_row(*(stacked(cells) if form == "stacked" else cells), style="bold" if role == "primary" else "")
    return table


def _row(c: Comparison, content: ReportContent, *, roomy: bool) -> list[Text]:
    effect = c.effect
    style = {1: "green", -1: "red", 0: ""}[words.beyond_chance(c, alpha=content.experiment.analysis.alpha)]
    left, right = words.number(c.baseline.mean, c.metric), words.number(c.custom.mean, c.metric)
    change = as_text(words.NOTHING if effect is None else words.difference(effect, c.metric), style)
    own, scored = None if effect is None else effect.p_value, as_text(f"{c.n_scored}/{c.n}")
    if not roomy:
        counts = as_text(words.p_that_counts(c.role, own, c.p_adjusted))
        return [as_text(c.metric.name), as_text(f"{left} -> {right}"), change, counts, scored]
    bm25 = [as_text(words.number(c.references.get("bm25"), c.metric))] if "bm25" in content.references else []
    adjusted = "decides" if c.role == "primary" else words.p_value(c.p_adjusted)
    return [
        as_text(c.metric.name),
        as_text(left),
        as_text(right),
        *bm25,
        change,
        as_text(words.p_value(own)),
        as_text(adjusted),
        as_text(f"{c.wins}/{c.ties}/{c.losses}"),
        scored,
    ]


def _slices(content: ReportContent) -> Table:
    metric, alpha = content.primary.metric, content.experiment.analysis.alpha
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(as_text(f"slice of {metric.name} (exploratory)"), overflow="fold")
    for name in ("n", f"difference, {content.level} interval", "adj. p"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in content.analysis.slices:
        effect = part.effect
        if effect is None:
            continue
        shown = part.p_adjusted is not None and part.p_adjusted < alpha
        style = ("green" if (effect.estimate > 0) == metric.higher_is_better else "red") if shown else ""
        table.add_row(
            as_text(f"{part.tag}: {part.value}"),
            str(part.n_scored),
            as_text(words.difference(effect, metric), style),
            words.p_value(part.p_adjusted),
        )
    small = sum(part.effect is None for part in content.analysis.slices)
    if small:
        table.add_row(as_text(f"{words.count(small, 'slice')} not tested", "dim"), "", "", "")
    return table


def _checks(content: ReportContent) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in content.analysis.checks:
        table.add_row(as_text(words.STATES[check.state], STATE_STYLES[check.state]), as_text(f"{check.name}: {check.detail}"))
    for planned, comparison in content.guardrails:
        state = comparison.guardrail.state if comparison.guardrail else "not shown"
        table.add_row(as_text(state, GUARD_STYLES[state]), as_text(f"guardrail on {planned.name}: {words.guardrail(comparison)}"))
    return table
