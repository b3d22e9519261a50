"""A live analysis and a live plan in a terminal; the verdict stands last, where it is seen."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragtrial.analysis.live_planning import LivePlan
from ragtrial.domain.live_verdict import Interval, LiveComparison
from ragtrial.report import live_words, words
from ragtrial.report.live_content import LiveContent
from ragtrial.report.terminal import DECISION_STYLES, GUARD_STYLES, STATE_STYLES, as_text

_ROOMY = 116


def render_live(content: LiveContent, console: Console) -> None:
    """Print the analysis; colours are the console's decision, and nothing is said by colour alone."""
    analysis = content.analysis
    console.print(as_text(f"{content.experiment.name}, live ({content.live.mode}): {live_words.progress(analysis.progress)}", "bold"))
    console.print(as_text(f"Traffic: {live_words.traffic(content)}."))
    console.print()
    console.print(_metrics(content, roomy=console.width >= _ROOMY))
    for comparison in analysis.comparisons:
        if comparison.no_effect is not None:
            console.print(as_text(f"not compared: {comparison.metric.name}: {comparison.no_effect}", "dim"))
    console.print()
    console.print(_checks(content))
    console.print()
    for line in facts(content):
        console.print(as_text(f"{line}."))
    console.print()
    verdict = analysis.verdict
    console.print(as_text(verdict.sentence))
    style = DECISION_STYLES[verdict.decision]
    console.print(as_text(f"{live_words.HEADINGS[verdict.decision]}: {live_words.plain(content)}", style))


def facts(content: LiveContent) -> list[str]:
    """What is told beside the tables, each without a full stop."""
    analysis = content.analysis
    said = [live_words.tail(analysis.tail), *(live_words.votes(found) for found in analysis.votes)]
    if analysis.preferred is not None:
        found = analysis.preferred
        counts = (
            f"{found.units_for_treatment:,} units prefer custom, {found.units_for_control:,} the baseline, {found.units_tied:,} neither"
        )
        said.append(f"{counts} (sign test {words.p_equals(found.sign_p_value)}, at a single look)")
    out = "; ".join(f"{each.n:,} {each.what}" for each in analysis.left_out)
    said.append(f"Left out: {out}" if out else "Nothing was left out")
    said.append(live_words.spending(analysis.progress))
    return [each for each in said if each is not None]


def _metrics(content: LiveContent, *, roomy: bool) -> Table:
    planned = any(c.effect is not None and c.effect.planned is not None for c in content.analysis.comparisons)
    table = Table(box=None, pad_edge=False, padding=(0, 2 if roomy else 1, 0, 0), header_style="bold")
    table.add_column("metric", overflow="fold")
    table.add_column(as_text(f"{content.label(content.control)} -> {content.label(content.treatment)}"), justify="right", overflow="fold")
    columns = ["difference, always-valid", *(["at the planned size"] if planned and roomy else []), "adj. p", "units", "scored"]
    for name in columns if roomy else [name for name in columns if name != "scored"]:
        table.add_column(name, justify="right", no_wrap=True)
    for role in ("primary", "secondary", "guardrail", "exploratory"):
        rows = [comparison for comparison in content.analysis.comparisons if comparison.role == role]
        if rows:
            table.add_row(as_text(role, "dim italic"))
        for comparison in rows:
            cells = _row(comparison, planned=planned and roomy)
            table.add_row(*(cells if roomy else cells[:-1]), style="bold" if role == "primary" else "")
    return table


def _row(c: LiveComparison, *, planned: bool) -> list[Text]:
    style = {1: "green", -1: "red", 0: ""}[live_words.beyond_chance(c)]
    left, right = words.number(c.baseline.mean, c.metric), words.number(c.custom.mean, c.metric)
    running = None if c.effect is None else c.effect.running
    fixed = [as_text(_change(None if c.effect is None else c.effect.planned, c), style)] if planned else []
    trials = c.baseline.n_trials if c.baseline is c.custom else c.baseline.n_trials + c.custom.n_trials
    scored = c.baseline.n_scored if c.baseline is c.custom else c.baseline.n_scored + c.custom.n_scored
    return [
        as_text(c.metric.name),
        as_text(f"{left} -> {right}"),
        as_text(_change(running, c), style),
        *fixed,
        as_text(words.p_value(c.p_adjusted)),
        as_text(f"{c.n_units:,}"),
        as_text(f"{scored:,}/{trials:,}"),
    ]


def _change(interval: Interval | None, comparison: LiveComparison) -> str:
    return words.NOTHING if interval is None else words.difference(interval, comparison.metric)


def _checks(content: LiveContent) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in content.analysis.checks:
        table.add_row(as_text(words.STATES[check.state], STATE_STYLES[check.state]), as_text(f"{check.name}: {check.detail}"))
    for planned, comparison in content.guardrails:
        state = live_words.guard_state(comparison)
        said = f"guardrail on {planned.name}: {live_words.guardrail(comparison)}"
        table.add_row(as_text(state, GUARD_STYLES[state]), as_text(said))
    return table


def render_plan(plan: LivePlan, console: Console) -> None:
    """Print how long a live experiment takes."""
    levels = f"{plan.power:.0%} power, alpha {plan.alpha:g}"
    console.print(as_text(f"To see a difference of {plan.min_effect:g} in {plan.metric} (mode {plan.mode}, {levels})", "bold"))
    console.print(as_text(f"Spread: {plan.spread.said}; standard deviation of one unit's part {plan.spread.variance**0.5:.4g}."))
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("verdict")
    table.add_column("units", justify="right")
    table.add_column("days", justify="right")
    rows = [
        ("one planned verdict (live.units_planned)", plan.units_planned, plan.days_planned),
        ("looking at any time, by then it is found as surely", plan.units_running, plan.days_running),
        ("looking at any time, by then it is found in half of all cases", plan.units_half, plan.days_half),
    ]
    for name, units, days in rows:
        table.add_row(name, f"{units:,}", words.NOTHING if days is None else f"{days:,}")
    console.print(table)
    console.print()
    if plan.weeks:
        console.print(_weeks(plan))
        console.print()
    else:
        console.print(as_text("Give --units-per-day to see how many days that takes."))
    for line in plan.advice:
        console.print(as_text(f"{line[0].upper()}{line[1:]}."))
    console.print(as_text(f"Write into the experiment file: live.units_planned: {plan.units_planned}", "bold"))


def _weeks(plan: LivePlan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(as_text(f"after (at {plan.units_per_day:,.4g} new units a day)"))
    for name in ("units", "smallest effect seen, planned verdict", "looking at any time"):
        table.add_column(name, justify="right")
    for week in plan.weeks:
        seen = [words.NOTHING if value is None else f"{value:.4g}" for value in (week.planned, week.running)]
        table.add_row(words.count(week.weeks, "week"), f"{week.units:,}", *seen)
    return table
