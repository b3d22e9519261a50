"""The parts of the page of a live experiment that show how it goes; in the words of the live report."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from ragtrial.db.live_board_reader import LiveBucket
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.report import effects, live_charts, live_time_charts, live_words, words
from ragtrial.report import live_verdict_words as told
from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.moments import ago, as_of, clock
from ragtrial.report.page import CHECK_SIGNS, CHECK_TONES, SIGNS, TONES, URGENCY
from ragtrial_board.frame import badge, chart, empty, facts, heading, plain, table
from ragtrial_board.live_parts import CHECK_BADGES, GUARD_BADGES, Seen, buckets_of, holds_now, lines, mark, part, sentence
from ragtrial_board.saying import escaped
from ragtrial_board.tables import downloads, formats
from ragtrial_board.verdict_parts import fold

ALLOWED = (
    "The band covers the true difference at all moments together, with the planned confidence: whoever stops as soon as it leaves 0 is "
    "wrong no more often than planned. The dashed lines are what an interval for one single look would claim: narrower, and with equal arms "
    "they exclude 0 at some moment in more than a quarter of all experiments, so they decide nothing here."
)
"""Why looking is allowed; the quarter is what `tests/simulation/test_live_statistics.py` holds against it."""


PER_CENT = st.column_config.NumberColumn(format="percent")


def verdict(seen: Seen) -> None:
    """What to do, of when that is, and the three numbers behind it; or why there is no verdict."""
    kicker = f"Live · {seen.live.name}"
    stopped = seen.history[-1] if seen.history and seen.history[-1].stopped else None
    if seen.summary is None:
        _no_verdict(seen, kicker, stopped)
        return
    content = seen.summary
    found = content.analysis.verdict
    tone = TONES[found.decision]
    heading(kicker, live_words.plain(content), found.sentence)
    marks = [badge(tone, SIGNS[tone], live_words.HEADINGS[found.decision])]
    if stopped is not None:
        marks.append(badge("bad", "■", "stopped"))
    st.html(f'<p class="rt-asof">{" ".join(marks)} <span>{escaped(_as_of(seen))}</span></p>')
    if found.decision == "refused":
        st.html('<p class="rt-caution">What follows was measured, but must not be decided by: a health check fails.</p>')
    facts([(card.ask, card.big, " ".join(card.lines)) for card in (told.gain(content), told.sure(content), told.far(content))])
    st.html(f'<p class="rt-muted">{escaped(live_words.NO_BM25)}.</p>')
    planned = content.analysis.progress.levels.units_planned
    if planned is not None and content.analysis.progress.n_units < planned:
        st.progress(content.analysis.progress.n_units / planned, text="Units so far of those planned")


def _no_verdict(seen: Seen, kicker: str, stopped: TrafficState | None) -> None:
    """Why there is none, and what to do."""
    heading(kicker, "There is no verdict yet" if stopped is None else "Stopped: everyone gets the baseline, and there is no verdict")
    if seen.stored is None:
        text = "The service logs all the same; what it logs is summed up and analysed from time to time, by this command:"
        empty("The log was not summed up yet", text, "ragtrial roll-up EXPERIMENT.yaml")
    elif seen.stored.problem is not None:
        when = f"When the log was last summed up, at {clock(seen.stored.made_at)} ({ago(seen.now - seen.stored.made_at)})"
        empty("It can't be concluded yet", f"{when}: {seen.stored.problem}")
    else:
        text = "What is stored was written by another version of ragtrial; it is made again from the log."
        empty("The stored summary has another form", text, "ragtrial roll-up EXPERIMENT.yaml")


def _as_of(seen: Seen) -> str:
    """Of when the numbers are, and of how much."""
    if seen.stored is None or seen.summary is None:
        return ""
    progress = seen.summary.analysis.progress
    return as_of(seen.stored.made_at, now=seen.now, n_units=progress.n_units, n_trials=progress.n_trials)


def traffic_now(seen: Seen) -> None:
    """What holds of the traffic, since when, by whom and why; and everything before."""
    if not seen.history:
        return
    state = seen.history[-1]
    part("Traffic", holds_now(state, seen.mode))
    since = f"Since {clock(state.at)} ({ago(seen.now - state.at)})."
    st.html(f'<p class="rt-muted">{escaped(since)}</p>{plain(state.reason, name="rt-why") if state.reason else ""}')
    with fold("history", f"History: {words.count(len(seen.history) - 1, 'change')} since the start"):
        shares = {"units that take part": PER_CENT, "of them custom": PER_CENT}
        table("traffic history", [_state_row(each, seen) for each in reversed(seen.history)], columns=shares)


def _state_row(state: TrafficState, seen: Seen) -> dict[str, object]:
    row: dict[str, object] = {
        "version": state.version,
        "since (UTC)": live_words.date(state.at),
        "units that take part": state.share,
    }
    if seen.mode == "split":
        row["of them custom"] = state.treatment
    return {**row, "stopped": "yes" if state.stopped else "no", "by": state.actor, "why": state.reason}


def traffic_over_time(seen: Seen) -> None:
    """Trials by arm and time, and what does not count, by reason."""
    width, found = buckets_of(seen)
    if not found:
        part("Traffic over time", "No trial was counted yet", "Either nobody has asked, or the log was not summed up since.")
        return
    bands = live_time_charts.bands_of(found, arms=seen.arms, names=seen.names)
    total, out = sum(bands.values()), bands.get(live_time_charts.LEFT_OUT, 0)
    said = "; ".join(f"{name} {n:,}" for name, n in bands.items() if name != live_time_charts.LEFT_OUT) or "none"
    lead = f"Trials that count: {said}. Left out: {words.share(out, total)}."
    part("Traffic over time", _busiest(found, width), lead)
    below = "both models" if seen.mode == "interleaved" else "baseline, custom"
    states, arms, names = seen.history, seen.arms, seen.names
    chart(
        "traffic over time",
        lambda look: live_time_charts.traffic_over_time(found, states, arms=arms, names=names, width_s=width, look=look),
        caption=f"From below: {below}, what is left out. Dotted upright lines: the traffic was changed, to the share that stands there.",
    )
    _reasons(found, total)


def _busiest(found: Sequence[LiveBucket], width_s: int) -> str:
    """How much traffic there is."""
    by_start = Counter[float]()
    for bucket in found:
        by_start[bucket.start] += bucket.trials
    trials, length = words.count(sum(by_start.values()), "trial"), live_time_charts.stretch(width_s)
    if len(by_start) == 1:
        return f"{trials} within {length}"
    each = {"1 hour": "an hour", "1 day": "a day"}.get(length, length)
    return f"{trials} in all, at most {max(by_start.values()):,} in {each}"


def _reasons(found: Sequence[LiveBucket], total: int) -> None:
    """What does not count, by the reason of the assignment."""
    counts = Counter[str]()
    for bucket in found:
        if bucket.reason != "split":
            counts[bucket.reason] += bucket.trials
    if not counts:
        return
    with fold("reasons", f"Left out by reason: {', '.join(f'{reason} {n:,}' for reason, n in counts.most_common(3))}"):
        rows = [{"reason": reason, "trials": n, "share": n / total} for reason, n in counts.most_common()]
        table(
            "left out by reason",
            rows,
            columns={"share": PER_CENT},
            caption=f"Share of all {words.count(total, 'trial')}. Only what was split is analysed.",
        )


def the_split(content: LiveSummary) -> None:
    """The treatment's share of the units, and whether that is what was planned."""
    ratios = content.analysis.sample_ratios
    if not ratios:
        return
    lost = any(found.state == "fail" for found in ratios)
    part("The split", "The arms did not get what was planned for them" if lost else "The arms got what was planned for them")
    names = {"units": "Units", "queries": "Queries per unit"}
    lines([(mark(CHECK_BADGES, found.state), names[found.level], f"{sentence(live_words.sample_ratio(found))}.") for found in ratios])
    units = next((found for found in ratios if found.level == "units"), None)
    looks = content.analysis.looks
    if units is None or sum(look.treatment_share is not None for look in looks) < 2:
        return
    expected = units.expected
    chart(
        "assignments",
        lambda look: live_charts.assignments(looks, expected=expected, look=look),
        caption="Grey: three standard errors around the planned share, what chance does at a single look. "
        "The test itself is sequential and may be looked at any time.",
    )


def effect_over_time(content: LiveSummary) -> None:
    """How the difference came about, and why one may look."""
    primary, looks, progress = content.primary, content.analysis.looks, content.analysis.progress
    part("The difference over time", live_words.gain_over_time(primary, progress), ALLOWED)
    if sum(look.estimate is not None for look in looks) < 2:
        st.html(f'<p class="rt-muted">{escaped(sentence(primary.no_effect or "it was looked at once so far"))}.</p>')
        return
    single = live_time_charts.single_looks(looks, progress.levels)
    band = sum(look.low is not None and look.high is not None and (look.low > 0 or look.high < 0) for look in looks)
    alone = sum(one is not None and (one.low > 0 or one.high < 0) for one in single)
    n = sum(one is not None for one in single)
    metric, margin, planned_at = primary.metric, content.live.metrics.primary.min_effect, progress.planned_at
    chart(
        "difference over time",
        lambda look: live_charts.effect_over_time(looks, metric, min_effect=margin, planned_at=planned_at, look=look, single=single),
        caption=f"Band: always-valid interval; it excludes 0 at {band} of {words.count(n, 'look')}. Thin dashed lines: an interval for one look; "
        f"they exclude 0 at {alone}. Straight dashed line: the smallest gain worth having.",
    )


def guardrails(content: LiveSummary) -> None:
    """Each guardrail in time, with its stop line and what became of it."""
    acts = "stops the treatment" if content.live.when_broken == "stop" else "lowers the share of the treatment to a tenth"
    lead = (
        f"Each may get worse by so much and no more. A broken one {acts} by itself; the bounds hold at any look."
        if content.guardrails
        else None
    )
    part("Guardrails", live_words.guardrail_heading(content), lead)
    found = [comparison for _, comparison in content.guardrails]
    for begin in range(0, len(found), 2):
        for cell, comparison in zip(st.columns(2, gap="large"), found[begin : begin + 2], strict=False):
            with cell:
                _guardrail(content, comparison)
    if found:
        downloads("guardrails", effects.guardrail_table(found))
    waited = live_words.tail(content.analysis.tail)
    if waited is not None:
        st.html(f'<p class="rt-muted">{escaped(sentence(waited))}.</p>')


def _guardrail(content: LiveSummary, comparison: LiveComparison) -> None:
    name, now = comparison.metric.name, comparison.guardrail
    state = mark(GUARD_BADGES, live_words.guard_state(comparison))
    st.html(f'<div class="rt-guard"><h3>{escaped(name)} {state}</h3><p>{escaped(sentence(live_words.guardrail(comparison)))}.</p></div>')
    looks = content.guardrail_looks.get(name, ())
    if now is None or sum(look.estimate is not None for look in looks) < 2:
        return
    metric = comparison.metric
    chart(f"guardrail {name}", lambda look: live_time_charts.guardrail_over_time(metric, now, looks, look=look))


def left_out(content: LiveSummary) -> None:
    """What does not count, what has no score, and outages."""
    found, missing = content.analysis.left_out, live_words.without_score(content)
    title = "What does not count, and how many" if found else "Left out: nothing"
    part("Left out", f"{title}. {missing}" if missing else title)
    if found:
        number = st.column_config.NumberColumn("number", width="small")
        table("left out", [{"number": each.n, "what": each.what} for each in found], columns={"number": number})
    rows = [
        {"arm": each["arm"], "reason": each["reason"], "trials": each["n"], "of": each["of"], "on": ", ".join(each["metrics"])}
        for each in live_words.unscored(content)
    ]
    if rows:
        with fold("unscored", "Trials without a score"):
            table("unscored", rows)
    outages = content.analysis.progress.outages
    if not outages:
        return
    part("Outages", f"The log could not be written {words.count(len(outages), 'time')}")
    shown = [
        {
            "from (UTC)": live_words.date(each.start),
            "to (UTC)": live_words.date(each.end),
            "refused": each.refused,
            "answered unlogged": each.unlogged,
            "what was said": words.without_credentials(each.reason),
        }
        for each in outages
    ]
    table("outages", shown)


def checks(content: LiveSummary) -> None:
    """Health checks, the most urgent first, and all metrics."""
    part("Health", live_words.checks(content))
    found = sorted(content.analysis.checks, key=lambda check: URGENCY.index(check.state))
    rows = [
        (
            badge(CHECK_TONES[check.state], CHECK_SIGNS[check.state], words.STATES[check.state]),
            live_words.check_name(check.name),
            check.detail,
        )
        for check in found
    ]
    urgent = [row for row, check in zip(rows, found, strict=True) if check.state != "pass"]
    if urgent:
        lines(urgent)
    passed = rows[len(urgent) :]
    if passed:
        with fold("passed", f"{words.count(len(passed), 'check')} that pass"):
            lines(passed)
    named = [(live_words.check_name(check.name), check) for check in found]
    downloads("health checks", [{"check": name, "state": check.state, "what was found": check.detail} for name, check in named])


def metrics(content: LiveSummary) -> None:
    """Every metric with its difference."""
    with fold("metrics", f"All {words.count(len(content.analysis.comparisons), 'metric')}"):
        rows = effects.live_metric_table(content)
        table(
            "live metrics", rows, columns=formats(rows), caption=f"{effects.LIVE_MEANS} {live_words.spending(content.analysis.progress)}."
        )
