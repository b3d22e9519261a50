"""Both arms beside each other: every metric, slices, where a lift in the answers comes from, and how far the rankings agree."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import Slice
from ragtrial.report import anatomy_charts, anatomy_words, charts, effects, findings, live_words, words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.effects import EffectRow
from ragtrial.report.page import ROLES
from ragtrial.report.summary import Summary
from ragtrial_board.frame import chart, heading, link, section, table
from ragtrial_board.saying import unmarked
from ragtrial_board.style import style
from ragtrial_board.subject import analysed, chosen_subject, concluded
from ragtrial_board.tables import formats
from ragtrial_board.verdict_parts import fold, lines, part

EVERY_TAG = "every tag"
MOST_PILLS = 12


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
    alpha = content.experiment.analysis.alpha
    heading(
        f"Compare arms · {evaluation.experiment}",
        findings.quality(content.analysis.comparisons, alpha=alpha),
        f"Every difference is {content.label(content.treatment)} minus {content.label(content.control)}, paired query by query.",
    )
    with section("The metrics"):
        _metrics(effects.effect_rows(content), rows=effects.metric_table(content), means=effects.OFFLINE_MEANS)
        missing = findings.without_effect(content.analysis.comparisons)
        if missing:
            lines("Not compared", [f"{each}." for each in missing])
    with section("Where the lift in the answers comes from"):
        _lift(content)
    with section("Query by query"):
        part(findings.win_loss(content))
        _gains(content)
    with section("Slices"):
        _slices(content)
    with section("Lengths"):
        _lengths(content)
    left, right = st.columns(2, gap="large")
    with left, section("Recall by depth"):
        _recall(content)
    with right, section("Overlap"):
        _overlap(content)


def _metrics(found: Sequence[EffectRow], *, rows: list[dict[str, Any]], means: str) -> None:
    """A forest plot of each role: what was planned first, what was not folded away; `means` says what those in the table are of."""
    planned = [row for row in found if row.role in ("primary", "secondary")]
    if planned:
        _forest("planned metrics", planned, caption=effects.family_words(planned))
    else:
        st.info("No planned metric could be compared; why is said below.")
    guarded = [row for row in found if row.role == "guardrail"]
    if guarded:
        part(ROLES["guardrail"])
        caption = (
            f"Bars: {effects.levels(guarded)} intervals, two-sided, to see them beside the others. What decides is the one-sided bound "
            "against the margin, on the page of the verdict."
        )
        _forest("guardrails", guarded, caption=caption)
    others = [row for row in found if row.role == "exploratory"]
    if others:
        with fold("exploratory", f"{words.count(len(others), 'exploratory metric')}: shown without a claim") as is_open:
            if is_open:
                _forest(
                    "exploratory metrics",
                    others,
                    caption=f"Bars: {effects.levels(others)} interval of each metric by itself. Not planned, so no claim: a hint where to look.",
                )
    with fold("numbers", "All numbers as a table"):
        caption = f"{means} Together: intervals of all planned metrics hold at once. The primary metric decides alone, by its own p: only "
        caption += "secondary metrics have an adjusted one."
        table("metrics", rows, columns=formats(rows), caption=caption)


def _forest(key: str, found: Sequence[EffectRow], *, caption: str) -> None:
    panels = effects.panels(found)
    for panel in panels:
        title = panel.title if len(panels) > 1 else None
        spec_of = partial(_drawn_forest, panel.rows)
        chart(f"{key}, {panel.title}", spec_of, finding=title, caption=caption if panel is panels[-1] else None)


def _drawn_forest(rows: Sequence[EffectRow], look: Look) -> Spec:
    return effects.forest(rows, look=look)


def _lift(content: Summary) -> None:
    anatomy, cells = content.anatomy, content.anatomy.lift
    part(anatomy_words.lift(anatomy, treatment=content.treatment))
    if anatomy.answer_metric is None or not any(cell.n_scored for cell in anatomy.lift):
        return
    metric, level = metric_named(anatomy.answer_metric), content.level
    chart(
        "where the lift comes from",
        lambda look: anatomy_charts.lift(cells, metric, level=level, look=look),
        caption=anatomy_words.lift_caption(anatomy),
    )


def _gains(content: Summary) -> None:
    anatomy, primary = content.anatomy, content.primary
    if not anatomy.gains:
        st.info(f"No query has a value of {primary.metric.name} in both arms.")
        return
    chart(
        "gain of each query",
        lambda look: anatomy_charts.gains(anatomy, primary, look=look),
        caption=f"Each query's gain in {primary.metric.name}, sorted: above the line {content.label(content.treatment)} is better, "
        f"below it {content.label(content.control)}. n = {anatomy.n_gains:,}.",
    )
    link("Look at the largest wins and losses", "queries", evaluation=content.evaluation.evaluation_id)


def _slices(content: Summary) -> None:
    every = content.analysis.slices
    if not every:
        part("No slices: the queries have no tags")
        return
    part(_found_in(content, every))
    tags = [EVERY_TAG, *dict.fromkeys(each.tag for each in every)]
    picked = _picked_tag(tags) if len(tags) > 2 else EVERY_TAG
    shown = [each for each in every if picked in (EVERY_TAG, each.tag)]
    _drawn_slices(content, shown, key=f"slices by {picked}")
    _sliced_numbers(content, shown, key="slices", over="all tags together")


def _lengths(content: Summary) -> None:
    """The same by the queries' length, which is no tag: with a correction of its own."""
    if content.anatomy.lengths:
        part(f"By length of the query: {_found_in(content, content.anatomy.lengths)}")
        _drawn_slices(content, content.anatomy.lengths, key="slices by length")
        _sliced_numbers(content, content.anatomy.lengths, key="lengths", over="lengths")


def _found_in(content: Summary, shown: Sequence[Slice]) -> str:
    higher = content.primary.metric.higher_is_better
    return findings.slices(shown, alpha=content.experiment.analysis.alpha, higher_is_better=higher)


def _drawn_slices(content: Summary, shown: Sequence[Slice], *, key: str) -> None:
    metric, level, alpha = content.primary.metric, content.level, content.experiment.analysis.alpha
    tested = sum(each.effect is not None for each in shown)
    if tested:
        most = f", the {charts.MOST_SLICES} with the most queries of {tested}" if tested > charts.MOST_SLICES else ""
        chart(
            key,
            lambda look: charts.slice_effects(shown, metric, alpha=alpha, level=level, look=look),
            caption=f"{metric.name}{most}. A filled mark is shown beyond chance, by its p adjusted over the slices (it stands in the table); "
            "bars are intervals of each slice alone. Not planned, so no claim.",
        )
    else:
        st.info("None of these slices has enough queries to be compared.")


def _sliced_numbers(content: Summary, shown: Sequence[Slice], *, key: str, over: str) -> None:
    with fold(f"{key}_numbers", "All numbers as a table"):
        rows = [_slice_row(content, each) for each in shown]
        table(key, rows, columns=formats(rows), caption=f"p is adjusted over {over} by Benjamini and Hochberg.")


def _picked_tag(tags: list[str]) -> str:
    """Which tag's slices are shown: held in the address."""
    if len(tags) > MOST_PILLS:
        return st.selectbox("Slices by", tags, key="tag", bind="query-params", width=460) or EVERY_TAG
    picked = st.pills("Slices by", tags, default=EVERY_TAG, required=True, format_func=unmarked, key="tag", bind="query-params")
    return picked or EVERY_TAG


def _slice_row(content: Summary, each: Slice) -> dict[str, Any]:
    effect = each.effect
    return {
        "tag": each.tag,
        "value": each.value,
        "n": each.n_scored,
        content.control: each.baseline_mean,
        content.treatment: each.custom_mean,
        "difference": None if effect is None else effect.estimate,
        "low": None if effect is None else effect.low,
        "high": None if effect is None else effect.high,
        "p": None if effect is None else effect.p_value,
        "adjusted p": each.p_adjusted,
        "why not compared": each.no_effect or "",
    }


def _recall(content: Summary) -> None:
    curves, arms = content.anatomy.recall_curves, {"baseline": content.control, "custom": content.treatment}
    part(anatomy_words.recall(curves, **arms))
    if curves:
        chart(
            "recall by depth",
            lambda look: anatomy_charts.recall_curves(curves, **arms, look=look),
            caption=f"Bands: {content.level} interval of each arm's own mean at each k; arms are compared by the difference in R@k, above.",
        )


def _overlap(content: Summary) -> None:
    overlaps = content.anatomy.overlaps
    part(anatomy_words.overlap(overlaps))
    if overlaps:
        chart(
            "overlap",
            lambda look: anatomy_charts.overlap(overlaps, look=look),
            caption="Whatever their order within the first k.",
        )


def _live(experiment: LiveExperiment) -> None:
    content = analysed(experiment)
    if content is None:
        return
    heading(
        f"Compare arms · {experiment.name} · live",
        live_words.gain(content.primary),
        f"Every difference is {content.label(content.treatment)} minus {content.label(content.control)}, with errors by unit: "
        "all queries of one user count as one voice.",
    )
    with section("The metrics"):
        _metrics(effects.live_effect_rows(content), rows=effects.live_metric_table(content), means=effects.LIVE_MEANS)
        missing = findings.without_effect(content.analysis.comparisons)
        if missing:
            lines("Not compared", [f"{each}." for each in missing])
    with section("What live traffic can't tell"):
        said = "Slices, recall by depth and overlap need queries with judged passages, asked of both arms: an evaluation has them."
        lines("What live traffic can't tell", [said])


show()
