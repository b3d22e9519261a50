"""How long until an answer at this traffic; and what another gain, share or number of users would take."""

import streamlit as st

from ragtrial.analysis.live_planning import LivePlan, days_until, what_if
from ragtrial.domain.live_verdict import LiveAnalysis, Progress
from ragtrial.domain.metric import Metric
from ragtrial.errors import NotEnoughDataError
from ragtrial.report import live_words, words
from ragtrial.report.live_summary import LiveSummary
from ragtrial_board.frame import facts, table
from ragtrial_board.live_parts import part, sentence
from ragtrial_board.saying import escaped
from ragtrial_board.verdict_parts import fold


def planner(content: LiveSummary, live_id: int) -> None:
    """Planned units, units a day, days left; and the same for what the visitor gives."""
    analysis, progress = content.analysis, content.analysis.progress
    part("Planner", _title(progress), f"{sentence(live_words.progress(progress))}.")
    planned = progress.levels.units_planned
    rate = "Not known" if progress.units_per_day is None else f"{progress.units_per_day:,.0f} units"
    facts(
        [
            (
                "What is planned?",
                "No number" if planned is None else words.count(planned, "unit"),
                "Both arms together, fixed before the data.",
            ),
            (
                "How many come?",
                rate,
                "New units a day, over the last seven full days."
                if progress.units_per_day
                else "Too early to say: no full day (UTC) is over yet, or nobody came.",
            ),
            ("How long is it?", _days(progress), _until(content)),
        ]
    )
    with fold("what_if", "What if: another gain, share, or number of users"):
        _what_if(content, analysis, live_id)


def _title(progress: Progress) -> str:
    if progress.traffic.stopped:
        return "Stopped: no answer comes at this traffic"
    if progress.planned_at is not None:
        return f"The planned number of units was there on {live_words.date(progress.planned_at)} UTC"
    if progress.days_left is not None:
        return f"The planned verdict comes in about {words.count(progress.days_left, 'day')} at this traffic"
    return "When the answer comes can't be told yet"


def _days(progress: Progress) -> str:
    if progress.planned_at is not None:
        return "It is there"
    if progress.traffic.stopped:
        return "Stopped"
    return "Not known" if progress.days_left is None else f"About {words.count(progress.days_left, 'day')}"


def _until(content: LiveSummary) -> str:
    more = content.analysis.verdict.n_more
    if more is None:
        return "Until the planned number of units is there; looking before that is allowed."
    return f"The verdict as it stands asks for {words.count(more, 'more unit')}."


def _what_if(content: LiveSummary, analysis: LiveAnalysis, live_id: int) -> None:
    """For the next experiment: this one keeps its plan."""
    st.html('<p class="rt-muted">This experiment keeps its plan, whatever you try here: another number is for the next one.</p>')
    metric, progress = content.primary.metric, analysis.progress
    shares = metric.unit == "share"
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    gain = left.number_input(
        f"Smallest gain worth having, in {metric.name} ({words.UNITS.get(metric.unit, metric.unit)})",
        min_value=0.0,
        value=content.live.metrics.primary.min_effect,
        step=0.005 if shares else None,
        format="%.4f" if shares else "%g",
        key=f"gain_{live_id}",
        bind="query-params",
    )
    share = middle.number_input(
        "Units that take part, in per cent",
        0.0,
        100.0,
        value=round(100 * progress.traffic.share, 2),
        step=5.0,
        format="%g",
        key=f"share_{live_id}",
        bind="query-params",
    )
    everyone = right.number_input(
        "New units a day if all took part",
        min_value=0.0,
        value=None
        if not progress.units_per_day or not progress.traffic.share
        else round(progress.units_per_day / progress.traffic.share, 1),
        format="%g",
        key=f"newcomers_{live_id}",
        bind="query-params",
        placeholder="not known yet",
    )
    rate = None if not everyone else everyone * (share or 0.0) / 100
    if not gain:
        st.html('<p class="rt-muted">Give a gain above 0: none at all can\'t be seen.</p>')
        return
    try:
        found = what_if(content.experiment, analysis, min_effect=gain, units_per_day=rate)
    except NotEnoughDataError as error:
        st.html(f'<p class="rt-muted">{escaped(sentence(str(error)))}.</p>')
        return
    _found(found, analysis, metric, rate)


def _found(plan: LivePlan, analysis: LiveAnalysis, metric: Metric, rate: float | None) -> None:
    said = f"To see {words.signed(plan.min_effect if metric.higher_is_better else -plan.min_effect, metric)} with {plan.power:.0%} power"
    rows = [
        ("One verdict at a planned number", plan.units_planned),
        ("Looking all the time, as surely", plan.units_running),
        ("Looking all the time, in half of all experiments", plan.units_half),
    ]
    cards = [(name, words.count(units, "unit"), _in_days(days_until(units, analysis, rate))) for name, units in rows]
    st.html(f"<p>{escaped(said)}:</p>")
    facts(cards)
    st.html(
        f'<p class="rt-muted">How much units vary is taken from {escaped(plan.spread.said)}. Users come back, so a far extrapolation is too short.</p>'
    )
    if plan.weeks:
        shown = [
            {
                "weeks from the start": week.weeks,
                "units": week.units,
                "seen by one verdict": week.planned,
                "seen by looking": week.running,
            }
            for week in plan.weeks
        ]
        columns = {name: st.column_config.NumberColumn(format="%.4g") for name in ("seen by one verdict", "seen by looking")}
        unit = words.UNITS.get(metric.unit, metric.unit)
        table("visible", shown, columns=columns, caption=f"The smallest difference in {metric.name} ({unit}) that is seen by then.")


def _in_days(days: int | None) -> str:
    if days is None:
        return "How many units come a day is not known: give a number above."
    return "There are as many already." if days == 0 else f"From now, in about {words.count(days, 'day')}."
