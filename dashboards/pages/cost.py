"""What the arms cost: waiting stage by stage, tokens and money, the index, and what smaller vectors would save."""

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.report import charts, cost_charts, cost_words, findings, words
from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.summary import StageLatency, Summary, read_summary
from ragtrial_board.frame import chart, heading, section, stores, table
from ragtrial_board.saying import escaped
from ragtrial_board.style import style
from ragtrial_board.subject import analysed, chosen_subject, concluded
from ragtrial_board.verdict_parts import fold, part

MOST_EVALUATIONS = 20
ALONE, LIVE = "queries asked alone", "live trials"


def show() -> None:
    """The whole page."""
    style("verdict")
    shown = chosen_subject()
    if isinstance(shown, Evaluation):
        _offline(shown)
    elif shown is not None:
        _live(shown)


def _offline(evaluation: Evaluation) -> None:
    content = concluded(evaluation)
    if content is None:
        return
    arms = (content.control, content.treatment)
    heading(f"Cost and speed · {evaluation.experiment}", cost_words.speed(content), cost_words.latency_lead(content.latency, arms))
    _latency(content.latency, arms, ALONE)
    with section("Tokens and money"):
        _money(content)
    with section("The indexes"):
        _indexes(content)
    with section("What smaller vectors would save"):
        _smaller(content)
    with section("Other evaluations on the same queries"):
        _others(evaluation)


def _latency(rows: tuple[StageLatency, ...], arms: tuple[str, str], asked: str) -> None:
    """Distribution of the whole, then stage by stage; in tables what charts can't say."""
    baseline, custom = arms
    total = [row for row in rows if row.stage == "total"]
    with section("The waiting time"):
        if any(row.quantiles is not None for row in total):
            chart(
                "waits",
                lambda look: cost_charts.waits(total, baseline=baseline, custom=custom, asked=asked, look=look),
                finding=cost_words.answered_by(total, arms, asked),
                caption="Each line climbs as queries are answered: the further left, the faster. Marks: 95% are answered by then. "
                "The slowest are beyond the right edge; p99 stands below.",
            )
        if any(row.quantiles is not None for row in rows):
            chart(
                "stages",
                lambda look: charts.latency(rows, baseline=baseline, custom=custom, look=look, asked=asked),
                finding=cost_words.slowest_stage(rows, custom),
            )
        with fold("stages", "All stages as a table"):
            table("latency", cost_words.latency_rows(rows))


def _money(content: Summary) -> None:
    heading_of(cost_words.money_finding(content), cost_words.gain_for_a_dollar(content))
    table("usage", cost_words.usage_rows(content.usage), caption="Reference lines are measured, and cost nobody anything in production.")


def _indexes(content: Summary) -> None:
    left, right = content.facts(content.control), content.facts(content.treatment)
    heading_of(findings.index(content), cost_words.build_finding(left, right))
    table("indexes", cost_words.index_rows(content.evaluation.arms))


def _smaller(content: Summary) -> None:
    facts = content.facts(content.treatment)
    if facts is None or not cost_words.other_forms(facts):
        return
    chart(
        "index sizes",
        lambda look: cost_charts.index_sizes(cost_words.other_forms(facts), look=look),
        finding=cost_words.forms_finding(facts),
        caption="Sizes are arithmetic: vectors times dimensions times bytes. Milvus Lite keeps int8 and binary codes as float32; a server does not.",
    )


def _others(evaluation: Evaluation) -> None:
    """Every other model that was measured on the same queries, with its size and speed."""
    same = [
        each
        for each in stores().reader.evaluations()
        if each.gold_fingerprint == evaluation.gold_fingerprint and each.finished_at is not None
    ][-MOST_EVALUATIONS:]
    rows = [row for each in reversed(same) for row in _measured(each)]
    if len({row["model"] for row in rows}) < 3:
        return
    heading_of(f"{words.count(len({row['model'] for row in rows}), 'model')} were measured on these queries", None)
    table("models measured", rows)


def _measured(evaluation: Evaluation) -> list[dict[str, object]]:
    content = read_summary(stores().reader, stores().board, evaluation.evaluation_id)
    if content is None:
        return []
    primary = content.primary
    rows: list[dict[str, object]] = []
    for arm, mean in ((content.control, primary.baseline.mean), (content.treatment, primary.custom.mean)):
        facts, total = content.facts(arm), content.latency_of(arm, "total").quantiles
        if facts is None or facts.model is None or facts.index is None:
            continue
        rows.append(
            {
                "evaluation": evaluation.started_at[:16].replace("T", " "),
                "arm": arm,
                "model": facts.model.name,
                "dimensions": facts.model.dimension,
                "vectors": words.size(facts.index.bytes),
                primary.metric.name: mean,
                "n": primary.n_scored,
                "p50 ms": None if total is None else total.p50,
            }
        )
    return rows


def _live(experiment: LiveExperiment) -> None:
    content = analysed(experiment)
    if content is None:
        return
    arms = (content.control, content.treatment)
    heading(f"Cost and speed · {experiment.name} · live", cost_words.live_speed(content), cost_words.latency_lead(content.latency, arms))
    _latency(content.latency, arms, LIVE)
    with section("Tokens and money"):
        _live_money(content)


def _live_money(content: LiveSummary) -> None:
    heading_of(cost_words.live_money_finding(content), "All trials, whatever the reason of their assignment; below, those that count.")
    table("spent", cost_words.live_usage_rows(content.spent))
    with fold("usage", "Of the trials that belong to the analysis"):
        table("usage", cost_words.live_usage_rows(content.usage))


def heading_of(finding: str, lead: str | None) -> None:
    """A section's finding."""
    part(finding)
    if lead:
        st.html(f'<p class="rt-lead">{escaped(lead)}</p>')


show()
