"""Judges: whether an LLM that scores answers can be trusted, beside people and beside itself."""

import streamlit as st

from ragtrial.domain.calibration import Calibration
from ragtrial.domain.verdict import JudgeQuality
from ragtrial.report import findings, judge_charts, judge_words
from ragtrial.report.summary import Summary, read_summary
from ragtrial_board import judge_parts
from ragtrial_board.frame import chart, chosen_evaluation, empty, facts, heading, link, require, section, stores, table
from ragtrial_board.style import style
from ragtrial_board.verdict_parts import fold


def show() -> None:
    """The whole page."""
    require("read")
    style("judges")
    evaluation = chosen_evaluation()
    if evaluation is None:
        empty(
            "Nothing was evaluated yet", "Judges are measured on evaluations: run the demo, or an experiment of your own.", "ragtrial demo"
        )
        return
    kicker = f"Judges · {evaluation.experiment}"
    with section("What is known of the judges"):
        content = read_summary(stores().reader, stores().board, evaluation.evaluation_id)
        if content is None:
            heading(kicker, "Nothing is concluded of this evaluation yet")
            if evaluation.finished_at is None:
                empty(
                    "It is not finished",
                    "Judges are measured when all trials are there. If it was interrupted, this goes on where it stopped:",
                    "ragtrial evaluate EXPERIMENT.yaml --resume",
                )
            elif (problem := stores().board.problem(evaluation.evaluation_id)) is not None:
                empty("It can't be concluded", problem)
            else:
                empty("It is being worked out", "All trials are in the log. If nothing comes, start the roll-up.", "ragtrial roll-up")
        elif not judge_words.metrics_of(content):
            _no_judge(kicker)
        else:
            _judged(kicker, content)


def _no_judge(kicker: str) -> None:
    heading(
        kicker,
        "No LLM judged these answers",
        "Its metrics come from relevance judgments and from the words of the answers, which need no judge.",
    )
    empty(
        "To have answers judged",
        "Plan a judged metric, such as judge_correctness, and name the LLM that judges (metrics.judge); docs/judging.md shows how. "
        "A dry run says what that would cost. Then evaluate again.",
        "ragtrial evaluate EXPERIMENT.yaml --dry-run",
    )


def _judged(kicker: str, content: Summary) -> None:
    names = judge_words.metrics_of(content)
    head = st.container()
    metric = names[0] if len(names) == 1 else _picked(names)
    people = judge_words.beside_people(content, metric)
    judge = next((each for each in content.analysis.judges if each.metric == metric), None)
    with head:
        scorer = (people.scorer if people else judge.scorer if judge else "") or "an LLM judge"
        worth = (
            " A judge is worth what people agree with: a random few of its answers are labelled, and correct it on all." if people else ""
        )
        title = judge_words.headline(people, judge, treatment=content.treatment)
        heading(kicker, title, f"{metric}, judged by {scorer}.{worth}")
    if people is not None:
        with section("The judge beside people"):
            facts(judge_words.cards(people, control=content.control, treatment=content.treatment, level=content.level))
            _beside_people(content, people)
    with section("The judge beside itself"):
        _beside_itself(content, judge)
    with section("Answers without a judged value"):
        _unscored(content, metric)
    with section("Calls and money"):
        _calls(content)
    with section("All numbers"), fold("numbers", "All numbers, to read and to download"):
        rows = judge_parts.people_rows(content.analysis.calibrations, control=content.control, treatment=content.treatment)
        if rows:
            table("judges beside people", rows, caption=f"Intervals: {content.level}.")
        table("judges beside themselves", judge_parts.judge_rows(content.analysis.judges))


def _picked(names: tuple[str, ...]) -> str:
    """The metric of `?metric=`, with a switch between them."""
    picked: str = st.segmented_control(
        "Judged metric", names, default=names[0], required=True, key="metric", bind="query-params", label_visibility="collapsed"
    )
    return picked


def _beside_people(content: Summary, found: Calibration) -> None:
    evaluation_id = content.evaluation.evaluation_id
    since = judge_words.came_since(found, stores().reader.labels(content.experiment.name), evaluation_id)
    judge_parts.notes(judge_parts.not_counted(found, since=since))
    if found.agreements:
        _agreement(content, found)
    if found.bias.difference is not None or found.corrected.difference is not None:
        _by_arm(content, found)
    with section("More labels"):
        if found.planned:
            judge_parts.part(judge_words.more_labels(found))
            chart("more labels", lambda look: judge_charts.half_widths(judge_words.plan_rows(found), metric=found.metric, look=look))
        elif not found.n_labels:
            judge_parts.part(
                "Forty labelled answers, drawn at random, tell whether to trust it", "About twenty minutes of work with the keyboard."
            )
        link("Label answers", "labelling", evaluation=evaluation_id, metric=found.metric)


def _agreement(content: Summary, found: Calibration) -> None:
    agreed, level = judge_words.drawn(found), content.level
    left, right = st.columns(2, gap="large")
    with left:
        chart(
            "agreement with people",
            lambda look: judge_charts.agreement(found.agreements, level=level, look=look),
            finding=None if agreed is None else f"{agreed.share.estimate:.0%} of answers get the same word from both",
            caption=f"Bars: {level} intervals. Labels weigh by the chance of their query to be drawn. Hollow: labels that came by themselves.",
        )
    with right:
        shown = agreed or found.agreements[0]
        chart(
            "people and judge",
            lambda look: judge_charts.confusion(shown, look=look),
            finding=judge_words.confused(shown),
            caption=f"Labels as they are (n = {shown.n:,}); framed: the same word. Darker: more of the row.",
        )


def _by_arm(content: Summary, found: Calibration) -> None:
    control, treatment, level = content.control, content.treatment, content.level
    left, right = st.columns(2, gap="large")
    with left:
        if found.bias.difference is not None:
            chart(
                "bias by arm",
                lambda look: judge_charts.bias(found, control=control, treatment=treatment, level=level, look=look),
                finding=judge_words.lenience(found, control=control, treatment=treatment),
                caption=f"Bars: {level} intervals, n = {found.n_answers:,} labelled answers. Difference: {treatment} minus {control}.",
            )
        else:
            judge_parts.part(judge_words.lenience(found, control=control, treatment=treatment))
    with right:
        if found.corrected.difference is not None:
            primary = content.experiment.metrics.primary
            worth = primary.min_effect if primary.name == found.metric else None
            chart(
                "corrected difference",
                lambda look: judge_charts.corrected(found, min_effect=worth, level=level, look=look),
                finding=judge_words.correction(found),
                caption=f"Bars: {level} intervals. Corrected by prediction-powered inference from {found.n_queries:,} labelled queries.",
            )
        else:
            judge_parts.part(judge_words.correction(found))


def _beside_itself(content: Summary, judge: JudgeQuality | None) -> None:
    judges, level = content.analysis.judges, content.level
    place = findings.position_bias(content)
    if place is not None and judge is not None and judge.n_pairs:
        counted, _, first = place.partition("; ")
        judge_parts.part(first or counted, f"{counted}." if first else None)
    judge_parts.part(
        judge_words.wavering(judge),
        "What a judge says otherwise when it is asked again is noise. The intervals hold it already; here is how much of them it is.",
    )
    left, right = st.columns(2, gap="large")
    with left:
        if any(each.noise_share is not None for each in judges):
            chart("noise", lambda look: judge_charts.noise(judges, look=look))
        if judge is not None and judge_words.doublings(judge):
            chart(
                "twice as many",
                lambda look: judge_charts.half_widths(judge_words.doublings(judge), metric=judge.metric, look=look),
                finding=judge_words.worth(judge),
            )
    with right:
        if any(each.flipped is not None for each in judges):
            chart(
                "changed its mind",
                lambda look: judge_charts.flips(judges, level=level, look=look),
                finding=judge_words.changed_mind(judges),
                caption=f"Bars: {level} intervals; n: answers judged more than once.",
            )
    if judge is not None and judge.why_not:
        judge_parts.notes([("calm", "i", "Not told", f"{judge.metric}: {judge.why_not}.")])


def _unscored(content: Summary, metric: str) -> None:
    found = judge_words.unscored(content, metric)
    judge_parts.part(judge_words.unscored_title(found, metric, control=content.control, treatment=content.treatment))
    if found:
        columns = {"share": st.column_config.NumberColumn(format="percent")}
        caption = "A reason that meets one arm more than the other is itself a finding."
        table(f"unscored {metric}", judge_parts.unscored_rows(found), columns=columns, caption=caption)


def _calls(content: Summary) -> None:
    said = findings.calls(content)
    if said is None:
        judge_parts.part("No call to an LLM is on record")
        return
    title, _, rest = said.partition("; ")
    judge_parts.part(title, f"{rest[:1].upper()}{rest[1:]}." if rest else None)
    usd = st.column_config.NumberColumn(format="%.4f")
    table("calls", judge_parts.call_rows(content.analysis.calls), columns={"cost in USD": usd, "each arm alone, in USD": usd})


show()
