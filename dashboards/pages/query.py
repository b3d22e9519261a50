"""One query: what both arms found and answered beside each other, how it was scored, and what can be made of it."""

import streamlit as st

from ragtrial.db.board_reader import OutcomeView
from ragtrial.domain.curation import Curation
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.errors import InputError
from ragtrial.report import words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.query_charts import two_rankings
from ragtrial.report.summary import read_summary
from ragtrial_board import curation_parts, query_parts, query_tables
from ragtrial_board.access import Visitor
from ragtrial_board.frame import chart, empty, facts, heading, link, require, section, stores, table
from ragtrial_board.queries_parts import LIVE_VIEWS, LONGEST_NUMBER, SIZE, SIZES, VIEWS
from ragtrial_board.query_reading import Asked, asked_live, asked_offline, without_texts
from ragtrial_board.saying import unmarked
from ragtrial_board.style import style
from ragtrial_board.tables import formats
from ragtrial_board.verdict_parts import fold

SHOWN = 10


def show() -> None:
    """The whole page."""
    who = require("read")
    style("query")
    style("marked")
    trial_id, query_id = st.query_params.get("trial"), st.query_params.get("query")
    with section("This query"):
        try:
            if trial_id is not None:
                _live(trial_id, who)
            elif query_id is not None:
                _offline(st.query_params.get("evaluation", ""), query_id, who)
            else:
                empty("Which query?", "Choose one from the table of queries.")
                link("To the queries", "queries")
        except InputError as error:
            empty("There is no such query", str(error))
            link("To the queries", "queries")


def _offline(evaluation_id: str, query_id: str, who: Visitor) -> None:
    evaluation = stores().reader.evaluation(evaluation_id)
    asked = asked_offline(stores(), evaluation, query_id)
    if asked is None:
        raise InputError(f"query {query_id!r} was not asked in evaluation {evaluation_id!r}")
    _neighbours(evaluation)
    heading(f"Query {query_id} · {asked.experiment}", query_parts.finding(asked))
    _parts(asked, who, curation_parts.Found(evaluation_id=evaluation_id, query_id=query_id), cards=_cards(evaluation, asked))


def _live(trial_id: str, who: Visitor) -> None:
    asked = asked_live(stores(), trial_id)
    if asked is None:
        raise InputError(f"there is no live trial {trial_id!r} in the log; it may have been erased")
    if not who.reads_texts:
        asked = without_texts(asked)
    _live_neighbours()
    heading(f"Live query · {asked.experiment}", query_parts.finding(asked))
    _parts(asked, who, curation_parts.Found(trial_id=trial_id), cards=[])


def _parts(asked: Asked, who: Visitor, found: curation_parts.Found, *, cards: list[tuple[str, str, str]]) -> None:
    live = found.trial_id is not None
    st.html(query_parts.question(asked))
    if cards:
        facts(cards)
    with section("The answers"):
        st.subheader("Answers", anchor="answers")
        st.html(query_parts.answers(asked))
    if live:
        with section("Votes"):
            st.subheader("Votes", anchor="votes")
            st.html(query_tables.said(asked))
    chosen: tuple[Curation, ...] | None = None
    with section("What was chosen"):
        chosen = stores().board.curations_of(asked.experiment, query_id=asked.query_id, text=asked.text)
    with section("The passages"):
        _passages(asked, curation_parts.marks(chosen or ()))
    if chosen is not None:
        with section("What was chosen"):
            st.subheader("Gold set and training", anchor="curation")
            curation_parts.panel(stores().url, asked, chosen, who, found)
    with section("The scores"):
        st.subheader("Scores", anchor="scores")
        rows = query_parts.score_rows(asked)
        if rows:
            table("scores", rows, columns=formats(rows), caption=query_tables.repetitions(asked), height=query_tables.height(rows))
        else:
            st.html('<p class="rt-muted">Nothing was scored.</p>')
    with section("Time and tokens"):
        st.subheader("Time and tokens", anchor="time")
        query_tables.effort(asked)
    if live:
        with section("Trace"):
            st.subheader("Trace", anchor="trace")
            query_tables.trace(asked)
    for line in asked.references:
        with (
            section(line.label),
            fold(f"beside_{line.label}", unmarked(f"{line.label}, for comparison: {query_tables.found(line, asked)}")),
        ):
            st.html(query_parts.alone(line, asked))


def _passages(asked: Asked, chosen: dict[str, str]) -> None:
    st.subheader("Passages", anchor="passages")
    if len(asked.arms) == 2 and all(line.places for line in asked.arms):
        _rankings(asked)
    if asked.missing:
        st.html(f'<h3 class="q-sub">{query_parts.missing_title(asked)}</h3>{query_parts.missing(asked.missing, asked)}')
    deepest = max((len(line.places) for line in asked.arms), default=0)
    most = deepest
    if deepest > SHOWN:
        every = st.toggle(f"All {deepest} ranks", key="ranks", bind="query-params")
        most = deepest if every else SHOWN
    st.html(query_parts.passages(asked, most=most, chosen=chosen))


def _rankings(asked: Asked) -> None:
    baseline, custom = ([place.passage_id for place in line.places] for line in asked.arms)
    names = (asked.arms[0].label, asked.arms[1].label)
    places = {place.passage_id: place for line in asked.arms for place in line.places}
    titles = {passage_id: place.title for passage_id, place in places.items()}
    grades = {passage_id: place.grade for passage_id, place in places.items() if place.grade is not None}

    def drawn(look: Look) -> Spec:
        return two_rankings(baseline, custom, names=names, titles=titles, grades=grades, look=look)

    caption = "A line joins the places of a passage that both found; ★ and filled: relevant."
    chart("two rankings", drawn, finding=query_parts.overlap(asked), caption=caption)


def _cards(evaluation: Evaluation, asked: Asked) -> list[tuple[str, str, str]]:
    """The primary metric, the headline answer metric, and what was found."""
    plan = stores().reader.experiment_plan(evaluation.evaluation_id)
    summary = read_summary(stores().reader, stores().board, evaluation.evaluation_id)
    names = [plan["metrics"]["primary"]["name"]]
    if summary is not None and summary.headline is not None:
        names.append(summary.headline.metric.name)
    cards = [_card(metric_named(name), asked) for name in dict.fromkeys(names)]
    counts = " → ".join(str(line.found) for line in asked.arms)
    return [*cards, ("Relevant passages found", f"{counts} of {asked.relevant}", query_parts.overlap(asked))]


def _card(metric: Metric, asked: Asked) -> tuple[str, str, str]:
    scores = [line.scores.get(metric.name) for line in asked.arms]
    values = [None if score is None else score.value for score in scores]
    big = " → ".join(words.number(value, metric) for value in values)
    if len(values) == 2 and values[0] is not None and values[1] is not None:
        return metric.name, big, f"{words.signed(values[1] - values[0], metric)}, custom minus baseline; {words.direction(metric)}"
    reasons = dict.fromkeys(score.reason for score in scores if score is not None and score.reason)
    return metric.name, big, "; ".join(reasons) or "not scored"


def _neighbours(evaluation: Evaluation) -> None:
    """Back to the view that this was opened from, and the queries before and behind it there."""
    asked = st.query_params
    view: OutcomeView = next((each for each in VIEWS if each == asked.get("view")), "all")
    tag, text, at, size = asked.get("tag", ""), asked.get("text", ""), _number("at"), _number("size")
    seen = {"evaluation": evaluation.evaluation_id, "view": view, **_taken_along("tag", "text", "size")}
    page = {} if at is None else {"page": str(at // (size if size in SIZES else SIZE) + 1)}
    with st.container(horizontal=True, key="neighbours"):
        link("All queries" if view == "all" else f"All of “{view}”", "queries", **seen, **page)
        if at is None:
            return
        name, _, value = tag.partition(": ")
        begin = max(at - 1, 0)
        found = stores().board.outcomes(
            evaluation.evaluation_id, view=view, tag=(name, value) if tag else None, text=text or None, limit=at - begin + 2, offset=begin
        )
        if at > 0 and found.rows:
            link("← Previous", "query", query=found.rows[0].query_id, at=str(at - 1), **seen)
        if len(found.rows) > at - begin + 1:
            link("Next →", "query", query=found.rows[at - begin + 1].query_id, at=str(at + 1), **seen)
        st.caption(f"{at + 1:,} of {found.total:,}")


def _live_neighbours() -> None:
    asked = st.query_params
    live, live_id, number, view = asked.get("live", ""), _number("live"), _number("n"), query_tables.live_view(asked.get("trials", ""))
    seen = {"live": live, "trials": view, **_taken_along("size", "before")} if live else {}
    with st.container(horizontal=True, key="neighbours"):
        link("All live queries" if not live or view == LIVE_VIEWS[0] else f"All of “{view}”", "queries", **seen)
        if live_id is None or number is None:
            return
        older = stores().live_board.trials(live_id, view=view, limit=1, before=number).rows
        if older:
            link("Older →", "query", trial=older[0].trial_id, n=str(older[0].number), **seen)


def _number(name: str) -> int | None:
    """A number of the address; None where there is none that a database could hold."""
    given = st.query_params.get(name, "")
    return int(given) if given.isdecimal() and len(given) <= LONGEST_NUMBER else None


def _taken_along(*names: str) -> dict[str, str]:
    """What the address says of the list that this was opened from."""
    return {name: st.query_params[name] for name in names if st.query_params.get(name)}


show()
