"""A live analysis and a live plan in a terminal; the verdict stands last, where it is seen."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragtrial.analysis.live_planning import LivePlan
from ragtrial.domain.live_verdict import Interval, LiveComparison
from ragtrial.report import live_words, words
from ragtrial.report.live_content import LiveContent
from ragtrial.report.terminal import DECISION_STYLES, GUARD_STYLES, STATE_STYLES
from ragtrial.report.terminal_table import Form, as_text, metric_table, stacked, whole


def render_live(content: LiveContent, console: Console) -> None:
    """Print the analysis; colours are the console's decision, and nothing is said by colour alone."""
    analysis = content.analysis
    console.print(as_text(f"{content.experiment.name}, live ({content.live.mode}): {live_words.progress(analysis.progress)}", "bold"))
    console.print(as_text(f"Traffic: {live_words.traffic(content)}."))
    console.print()
    console.print(whole(lambda form: _metrics(content, form), console))
    console.print(as_text(f"p: {live_words.p_rule(content)}.", "dim"))
    for line in live_words.not_compared_by_reason(content):
        console.print(as_text(f"not compared: {line}", "dim"))
    console.print()
    console.print(_checks(content))
    console.print()
    for line in facts(content):
        console.print(as_text(f"{line}."))
    console.print()
    verdict = analysis.verdict
    style = DECISION_STYLES[verdict.decision]
    console.print(as_text(verdict.sentence, style))
    console.print(as_text(live_words.plain(content), style))


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
    said += [live_words.left_out(content), live_words.spending(analysis.progress), live_words.NO_BM25]
    return [each for each in said if each is not None]


def _metrics(content: LiveContent, form: Form) -> Table:
    roomy = form == "roomy"
    planned = any(c.effect is not None and c.effect.planned is not None for c in content.analysis.comparisons)
    means = f"{content.label(content.control)} -> {content.label(content.treatment)}\nso far"
    more = ["at the planned size"] if planned and roomy else []
    table = metric_table(form, means=(means,), numbers=("difference, always-valid", *more, "p", "units", *(["scored"] if roomy else [])))

    def add(cells: list[Text], style: str) -> None:
        table.add_row(*(stacked(cells) if form == "stacked" else cells), style=style)

    for role in ("primary", "secondary", "guardrail", "exploratory"):
        rows = [comparison for comparison in content.analysis.comparisons if comparison.role == role]
        if rows:
            table.add_row(as_text(role, "dim italic"))
        for comparison in rows:
            cells = _row(comparison, planned=planned and roomy)
            add(cells if roomy else cells[:-1], "bold" if role == "primary" else "")
            fixed = None if comparison.effect is None else comparison.effect.planned
            if fixed is not None and (role == "primary" or not roomy):
                add(_planned(fixed, comparison, content, roomy=roomy), "dim")
    return table


def _planned(fixed: Interval, c: LiveComparison, content: LiveContent, *, roomy: bool) -> list[Text]:
    """The line under a metric: what it was at the planned size."""
    planned = content.analysis.progress.levels.units_planned or fixed.n_units
    means, change = live_words.means(fixed, c.metric) or words.NOTHING, _change(fixed, c)
    cells = [f"  first {planned:,} units", means, *(["", change] if roomy else [change]), "", f"{fixed.n_units:,}"]
    return [as_text(cell) for cell in cells]


def _row(c: LiveComparison, *, planned: bool) -> list[Text]:
    style = {1: "green", -1: "red", 0: ""}[live_words.beyond_chance(c)]
    left, right = words.number(c.baseline.mean, c.metric), words.number(c.custom.mean, c.metric)
    running = None if c.effect is None else c.effect.running
    fixed = [as_text(_change(None if c.effect is None else c.effect.planned, c), style)] if planned else []
    trials, scored = sum(arm.n_trials for arm in c.samples), sum(arm.n_scored for arm in c.samples)
    return [
        as_text(c.metric.name),
        as_text(f"{left} -> {right}"),
        as_text(_change(running, c), style),
        *fixed,
        as_text(words.p_that_counts(c.role, live_words.own_p(c), c.p_adjusted)),
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
    of = "mean" if plan.mode == "split" else "mean difference"
    console.print(
        as_text(f"Spread: {plan.spread.said}; standard deviation of one unit's {of} {plan.unit_sd:.6g} (--sd {plan.unit_sd:.6g}).")
    )
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
    console.print(
        as_text(
            f"{plan.min_effect:g} is then seen, not adopted: adopting also needs an estimate of at least min_effect, so plan with a min_effect "
            "of about half the gain you expect."
        )
    )
    written = f"live.units_planned: {plan.units_planned}"
    if not plan.n_trials:
        console.print(as_text(f"Write into the experiment file: {written}", "bold"))
        return
    now = "without live.units_planned" if plan.units_now is None else f"with live.units_planned: {plan.units_now}"
    console.print(as_text(f"This experiment already runs {now}; leave it: another plan is another experiment.", "bold"))
    console.print(as_text(f"For the next experiment (another name): {written}", "bold"))


def _weeks(plan: LivePlan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(as_text(f"after (at {plan.units_per_day:,.4g} new units a day)"))
    for name in ("units", "smallest effect seen, planned verdict", "looking at any time"):
        table.add_column(name, justify="right")
    for week in plan.weeks:
        seen = [words.NOTHING if value is None else f"{value:.4g}" for value in (week.planned, week.running)]
        table.add_row(words.count(week.weeks, "week"), f"{week.units:,}", *seen)
    return table
