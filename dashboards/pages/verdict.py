"""The verdict: whether to ship, how sure we are, and what it costs; of an evaluation or of a live experiment."""

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.live_verdict import Interval
from ragtrial.report import charts, cost_words, effects, findings, live_verdict_words, live_words, verdict_words, words
from ragtrial.report.anatomy_charts import Price, quality_against
from ragtrial.report.listing import evaluation_state
from ragtrial.report.live_summary import LiveSummary, read_live_summary
from ragtrial.report.next_step import live_next_step, next_step
from ragtrial.report.page import TONES
from ragtrial.report.summary import Summary, read_summary
from ragtrial_board import verdict_parts
from ragtrial_board.exporting import slide
from ragtrial_board.frame import chart, link, section, stores
from ragtrial_board.style import style
from ragtrial_board.subject import chosen_subject
from ragtrial_board.verdict_data import everything

REFRESH_SECONDS = 5
CAUTION = "What follows was measured, but must not be decided by: a health check fails."
ROLL_UP = "Wait a moment; if nothing happens, start the roll-up: ragtrial roll-up."


def show() -> None:
    """The whole page."""
    style("verdict")
    shown = chosen_subject()
    if shown is None:
        return
    with section("The verdict"):
        if isinstance(shown, Evaluation):
            _offline(shown)
        else:
            _live(shown)
    with section("The list of experiments"):
        here = ("evaluation", shown.evaluation_id) if isinstance(shown, Evaluation) else ("live", str(shown.live_id))
        verdict_parts.listing("Everything that was evaluated or served", everything(), here=here)


def _offline(evaluation: Evaluation) -> None:
    content = read_summary(stores().reader, stores().board, evaluation.evaluation_id)
    if content is None:
        _pending(evaluation.evaluation_id)
    else:
        _concluded(content)


@st.fragment(run_every=REFRESH_SECONDS)
def _pending(evaluation_id: str) -> None:
    """What stands here before there is a verdict: how far it is. It looks by itself whether that has come."""
    evaluation, board = stores().reader.evaluation(evaluation_id), stores().board
    if read_summary(stores().reader, board, evaluation_id) is not None:
        st.rerun()
    done, planned = board.n_trials_done(evaluation_id), stores().reader.n_trials_planned(evaluation_id)
    problem = board.problem(evaluation_id)
    state = evaluation_state(evaluation, done=done, planned=planned, concluded=False, problem=problem)
    said, then = "All trials are in the log; the verdict is being worked out and appears here by itself.", ROLL_UP
    if problem is not None:
        said, then = f"It can't be concluded: {problem}", "Once that is mended: ragtrial analyse EXPERIMENT.yaml"
    if evaluation.finished_at is None:
        said = "There is no verdict before all of it is there: numbers of a part would be read too early."
        then = "Wait; if it was interrupted, go on where it stopped: ragtrial evaluate EXPERIMENT.yaml --resume"
    verdict_parts.head(
        _kicker(evaluation),
        state[0].upper() + state[1:],
        tone="calm",
        sign="…",
        said=said,
        next_step=then,
        progress=(min(done, planned), max(planned, 1)),
    )


def _kicker(evaluation: Evaluation) -> str:
    return f"Verdict · {evaluation.experiment} · {(evaluation.finished_at or evaluation.started_at)[:10]}"


def _concluded(content: Summary) -> None:
    verdict = content.analysis.verdict
    verdict_parts.head(
        _kicker(content.evaluation),
        words.DECISIONS[verdict.decision],
        tone=TONES[verdict.decision],
        said=verdict_words.plain(content),
        next_step=next_step(content.analysis, content.experiment),
        sentence=verdict.sentence,
        caution=CAUTION if verdict.decision == "refused" else None,
    )
    verdict_parts.cards([verdict_words.gain(content), verdict_words.sure(content), verdict_words.cost(content)])
    slide(content)
    with section("The effect"):
        _effect(content)
    with section("Guardrails and health checks"):
        left, right = st.columns(2, gap="large")
        guards = [(g.name, c.guardrail.state if c.guardrail else "not shown", words.guardrail(c)) for g, c in content.guardrails]
        with left:
            verdict_parts.guardrails(
                "Guardrails" if guards else "No guardrails were planned",
                guards,
                effects.guardrail_table([c for _, c in content.guardrails]),
            )
        with right:
            checks = [(check, words.check_name(check.name)) for check in content.analysis.checks]
            verdict_parts.health(findings.checks(content), checks)
        verdict_parts.health_details(checks)
    with section("What the gain costs"):
        _price(content)
    with section("How it was measured"):
        verdict_parts.lines("How it was measured", verdict_words.measured(content))
        with verdict_parts.fold("statistics", "The statistics behind the verdict"):
            verdict_parts.statistics("statistics", verdict_words.statistics(content))


def _effect(content: Summary) -> None:
    primary, effect, of = content.primary, content.primary.effect, content.evaluation.evaluation_id
    if effect is not None:
        margin, level = content.experiment.metrics.primary.min_effect, content.level
        verdict_parts.part(findings.gain(primary, alpha=content.experiment.analysis.alpha))
        chart(
            "effect",
            lambda look: charts.primary_effect(primary.metric, effect, min_effect=margin, level=level, look=look),
            caption=f"Bar: {content.level} interval of the mean difference, n = {primary.n_scored}. Shaded: too small to be worth it.",
        )
    with st.container(horizontal=True):
        link("Compare the arms", "compare", evaluation=of)
        link("Look at the queries", "queries", evaluation=of)


def _price(content: Summary) -> None:
    """Quality against the time that a query takes, and against money where that is known."""
    arms = (content.control, content.treatment)
    timed = [content.latency_of(arm, "total").quantiles for arm in arms]
    costs = [verdict_words.cost_of(content.usage, arm) for arm in arms]
    if timed[0] is not None and timed[1] is not None:
        verdict_parts.part(verdict_words.gain_for_time(content))
        n = cost_words.timed([content.latency_of(arm, "total") for arm in arms], arms, "queries asked alone")
        _against(content, "milliseconds a query, at the median", [q.p50 for q in timed if q is not None], of=f"Medians: {n}.")
    if costs[0] and costs[1]:
        verdict_parts.part(verdict_words.gain_for_money(content))
        n = " and ".join(f"{usage.n_answers:,}" for arm in arms for usage in content.usage if usage.arm == arm)
        _against(
            content, "USD for the answers to 1,000 queries", [cost for cost in costs if cost is not None], of=f"Costs: of {n} answers."
        )


def _against(content: Summary, title: str, prices: list[float], *, of: str) -> None:
    primary = content.primary
    means = [mean for mean in (primary.baseline.mean, primary.custom.mean) if mean is not None]
    if len(means) < len(prices):
        return
    arms = zip((content.control, content.treatment), prices, means, strict=True)
    baseline, custom = (Price(arm=arm, price=price, mean=mean) for arm, price, mean in arms)
    free = {name: mean for name, mean in primary.references.items() if name == "bm25" and mean is not None}
    chart(
        f"{primary.metric.name} against {title}",
        lambda look: quality_against(baseline, custom, primary, title=title, form=".3~g", free=free, look=look),
        caption=f"Upright bar: {content.level} interval of the difference in {primary.metric.name}, n = {primary.n_scored:,}. {of}"
        + (" Dashed: plain BM25, which needs no model." if free else ""),
    )


def _live(experiment: LiveExperiment) -> None:
    content = read_live_summary(stores().live, stores().live_board, experiment.live_id)
    if content is None:
        _not_analysed(experiment.live_id, experiment.name)
    else:
        _so_far(content, str(experiment.live_id))


@st.fragment(run_every=REFRESH_SECONDS)
def _not_analysed(live_id: int, name: str) -> None:
    if read_live_summary(stores().live, stores().live_board, live_id) is not None:
        st.rerun()
    stored = stores().live_board.snapshot(live_id)
    problem = None if stored is None else stored.problem
    verdict_parts.head(
        f"Verdict · {name} · live",
        "Nothing to conclude yet",
        tone="calm",
        sign="…",
        said="It was not analysed yet." if problem is None else f"It can't be analysed: {problem}",
        next_step=ROLL_UP if problem is None else None,
    )


def _so_far(content: LiveSummary, live_id: str) -> None:
    analysis, primary, said = content.analysis, content.primary, live_verdict_words
    decision = analysis.verdict.decision
    verdict_parts.head(
        f"Verdict · {content.experiment.name} · live, as of {live_words.date(content.made_at)} UTC",
        live_words.HEADINGS[decision],
        tone=TONES[decision],
        said=live_words.plain(content),
        next_step=live_next_step(content),
        sentence=analysis.verdict.sentence,
        caution=CAUTION if decision == "refused" else None,
    )
    verdict_parts.cards([said.gain(content), said.sure(content), said.cost(content), said.far(content)])
    slide(content)
    with section("The effect"):
        if primary.interval is not None:
            _live_effect(content, primary.interval)
        with st.container(horizontal=True):
            link("See it live", "live", live=live_id)
            link("Compare the arms", "compare", live=live_id)
    with section("Guardrails and health checks"):
        left, right = st.columns(2, gap="large")
        with left:
            guards = [(g.name, live_words.guard_state(c), live_words.guardrail(c)) for g, c in content.guardrails]
            verdict_parts.guardrails(
                live_words.guardrail_heading(content), guards, effects.guardrail_table([c for _, c in content.guardrails])
            )
        with right:
            checks = [(check, live_words.check_name(check.name)) for check in analysis.checks]
            verdict_parts.health(live_words.checks(content), checks)
        verdict_parts.health_details(checks)
    with section("How it is measured"):
        verdict_parts.lines("How it is measured", (*said.measured(content), f"{live_words.NO_BM25}."))
        with verdict_parts.fold("statistics", "The statistics behind the verdict"):
            verdict_parts.statistics("statistics", said.statistics(content))


def _live_effect(content: LiveSummary, interval: Interval) -> None:
    primary, margin = content.primary, content.live.metrics.primary.min_effect
    level, counted = live_words.level(interval), live_words.counted(interval, content.analysis.progress)
    verdict_parts.part(live_words.gain(primary))
    chart(
        "effect",
        lambda look: charts.primary_effect(primary.metric, interval, min_effect=margin, level=level, look=look),
        caption=f"Bar: {level} interval of the difference, {counted}. Shaded: too small to be worth it.",
    )


show()
