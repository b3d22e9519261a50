"""The queries of an evaluation or of live traffic: those that tell most, and a link to each one's page."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from ragtrial.db.board_reader import OutcomePage, OutcomeView
from ragtrial.db.live_board_reader import LiveBoardReader, TrialRow, TrialView
from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.errors import StoreError
from ragtrial.report import words
from ragtrial.report.summary import Summary, read_summary
from ragtrial_board import queries_parts as parts
from ragtrial_board.access import Visitor
from ragtrial_board.choosing import newest_first
from ragtrial_board.frame import address, chosen_evaluation, chosen_live, empty, heading, link, require, section, stores, table
from ragtrial_board.style import style
from ragtrial_board.verdict_parts import fold

ANY = "any tag"
MOST_VALUES = 200
MOST_ROWS = 10_000  # of a download
PORTION = 500  # rows read at once


def show() -> None:
    """The whole page."""
    who = require("read")
    style("query")
    try:
        live_there = bool(stores().live.experiments())
    except StoreError as error:
        empty("There is no database yet", str(error), "ragtrial demo")
        return
    if _looks_at_live(live_there=live_there):
        live = chosen_live()
        if live is not None:
            with section("Live traffic"):
                _live(live, who)
        return
    evaluation = chosen_evaluation()
    if evaluation is None:
        empty("Nothing was evaluated yet", "The queries of an evaluation stand here, with what each arm found.", "ragtrial demo")
    else:
        with section("The queries of this evaluation"):
            _offline(evaluation)


def _looks_at_live(*, live_there: bool) -> bool:
    """Whether live traffic is asked for; where there are both, a switch."""
    evaluated = bool(stores().reader.evaluations())
    if not (live_there and evaluated):
        return live_there
    asked = "live" if "live" in st.query_params else "evaluation"
    names = {"evaluation": "Evaluation", "live": "Live traffic"}
    picked = st.segmented_control(
        "Queries of",
        list(names),
        default=asked,
        required=True,
        format_func=names.__getitem__,
        key=f"kind {asked}",
        label_visibility="collapsed",
    )
    if picked != asked and asked in st.query_params:
        del st.query_params[asked]
        newest_first()
    return picked == "live"


def _first_page() -> None:
    """Another view or filter begins at its beginning."""
    st.session_state["page"] = 1


def _offline(evaluation: Evaluation) -> None:
    board, evaluation_id = stores().board, evaluation.evaluation_id
    summary = read_summary(stores().reader, board, evaluation_id)
    if summary is None:
        _not_concluded(evaluation)
        return
    top = st.container()
    view, tag, text, size = _filters(evaluation_id)
    chosen = _Chosen(evaluation_id=evaluation_id, view=view, tag=tag, text=text)
    found = chosen.rows(limit=1)
    with top:
        first, missed = next(iter(found.rows), None), board.missed(evaluation_id)
        title = parts.finding(view, found.total, missed, first, metric=summary.primary.metric, among=parts.among(tag, text))
        heading(f"Queries · {evaluation.experiment}", title, parts.SAID[view])
    with section("The table of queries"):
        _table(chosen, found.total, summary, size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Queries of an evaluation: those of a view, with this tag, and with these words in them."""

    evaluation_id: str
    view: OutcomeView
    tag: tuple[str, str] | None
    text: str

    def rows(self, *, limit: int, offset: int = 0) -> OutcomePage:
        """Some of them."""
        board = stores().board
        return board.outcomes(self.evaluation_id, view=self.view, tag=self.tag, text=self.text or None, limit=limit, offset=offset)

    def whole(self, summary: Summary) -> Callable[[], list[dict[str, object]]]:
        """What reads as many as a download holds; it may run outside of the page."""
        read = partial(stores().board.outcomes, self.evaluation_id, view=self.view, tag=self.tag, text=self.text or None, limit=MOST_ROWS)
        return lambda: parts.as_rows(read().rows, summary)

    @property
    def address(self) -> dict[str, str]:
        """As an address has them."""
        tagged = {} if self.tag is None else {"tag": f"{self.tag[0]}: {self.tag[1]}"}
        return {"view": self.view, **tagged, **({"text": self.text} if self.text else {})}


def _filters(evaluation_id: str) -> tuple[OutcomeView, tuple[str, str] | None, str, int]:
    view: OutcomeView = st.segmented_control(
        "View",
        parts.VIEWS,
        default=parts.VIEWS[0],
        required=True,
        key="view",
        bind="query-params",
        on_change=_first_page,
        label_visibility="collapsed",
    )
    tags = {f"{tag}: {value}": (tag, value) for tag, found in _tags(evaluation_id, stores().url).items() for value in found}
    left, middle, right = st.columns([3, 3, 1], vertical_alignment="bottom")
    text: str = left.text_input(
        "Search in queries", key="text", bind="query-params", on_change=_first_page, placeholder="words of the query", max_chars=200
    )
    tag: str = middle.selectbox("Tag", [ANY, *tags], key="tag", bind="query-params", on_change=_first_page) if tags else ANY
    size: int = right.selectbox(
        "Rows", parts.SIZES, index=parts.SIZES.index(parts.SIZE), key="size", bind="query-params", on_change=_first_page
    )
    return view, tags.get(tag), text.strip(), size


@st.cache_data(max_entries=64, show_spinner=False)
def _tags(evaluation_id: str, database: str) -> dict[str, list[str]]:
    """Values of tags that can be chosen from; a tag with a value for nearly every query is none to filter by. A gold set never changes."""
    del database  # part of what is remembered
    return {tag: list(found) for tag, found in stores().board.tags(evaluation_id).items() if len(found) <= MOST_VALUES}


def _table(chosen: _Chosen, total: int, summary: Summary, *, size: int) -> None:
    if not total:
        filtered = chosen.tag is not None or chosen.text
        st.html(f'<p class="rt-muted">{"No query of this kind passes the filter." if filtered else "No query of this kind."}</p>')
        return
    pages = -(-total // size)
    place = st.container()
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    begin = size * (page - 1)
    rows, seen = chosen.rows(limit=size, offset=begin).rows, {**chosen.address, **_sized(size)}
    links = [parts.query_address(chosen.evaluation_id, row, at=begin + number, **seen) for number, row in enumerate(rows)]
    with place:
        st.html(parts.rows_of_outcomes(rows, summary, links))
    counted = words.count(total, "query", "queries")
    shown = f"{begin + 1:,} to {begin + len(rows):,} of {counted}"
    st.caption(shown)
    with fold("table", "As a table to sort and download") as opened:
        if opened:
            table(
                f"queries {chosen.view}",
                parts.as_rows(rows, summary),
                caption=f"{shown}; a download holds {'all' if total <= MOST_ROWS else f'the first {MOST_ROWS:,}'} of them.",
                whole=chosen.whole(summary),
            )


def _sized(size: int) -> dict[str, str]:
    """Rows of a page for an address; nothing for the usual ones."""
    return {} if size == parts.SIZE else {"size": str(size)}


def _not_concluded(evaluation: Evaluation) -> None:
    done, planned = stores().board.n_trials_done(evaluation.evaluation_id), stores().reader.n_trials_planned(evaluation.evaluation_id)
    heading(
        f"Queries · {evaluation.experiment}", f"{words.share(done, planned)} trials are in the log", "Queries can be compared when all are."
    )
    said = "It is finished and not concluded yet: the roll-up does that." if evaluation.finished_at else "It runs, or was interrupted."
    if (problem := stores().board.problem(evaluation.evaluation_id)) is not None:
        said = f"It can't be concluded: {problem}"
    empty(
        "There is nothing to compare yet",
        said,
        "ragtrial roll-up" if evaluation.finished_at else "ragtrial evaluate EXPERIMENT.yaml --resume",
    )


def _live(live: LiveExperiment, who: Visitor) -> None:
    top = st.container()
    left, right = st.columns([6, 1], vertical_alignment="bottom")
    view: TrialView = left.segmented_control(
        "View",
        parts.LIVE_VIEWS,
        default=parts.LIVE_VIEWS[0],
        required=True,
        key="trials",
        bind="query-params",
        on_change=newest_first,
        label_visibility="collapsed",
    )
    size: int = right.selectbox("Rows", parts.SIZES, index=parts.SIZES.index(parts.SIZE), key="size", bind="query-params")
    trail = parts.trail(st.query_params.get("before", ""))
    found = stores().live_board.trials(live.live_id, view=view, limit=size, before=trail[-1] if trail else None)
    with top:
        heading(f"Queries · {live.name}", _live_title(view, found.total), parts.LIVE_SAID[view])
    seen = {"live": str(live.live_id), "trials": view, **_sized(size)}
    with section("The table of live trials"):
        links = [address("query", trial=row.trial_id, n=str(row.number), **parts.towards(trail), **seen) for row in found.rows]
        if found.rows:
            st.html(parts.rows_of_trials(found.rows, links, reads_texts=who.reads_texts))
        else:
            st.html('<p class="rt-muted">No trial of this kind.</p>')
        with st.container(horizontal=True):
            if len(trail) > 1:
                link("Newest", "queries", **seen)
            if trail:
                link("Newer", "queries", **parts.towards(trail[:-1]), **seen)
            if found.next is not None:
                link("Older", "queries", **parts.towards((*trail, found.next)), **seen)
        with fold("table", "As a table to sort and download") as opened:
            if opened:
                table(
                    f"live {view}",
                    parts.as_trial_rows(found.rows, reads_texts=who.reads_texts),
                    caption=f"The rows above; a download holds all of this view, or the newest {MOST_ROWS:,} of them.",
                    whole=partial(_every_trial, stores().live_board, live.live_id, view, reads_texts=who.reads_texts),
                )


def _every_trial(board: LiveBoardReader, live_id: int, view: TrialView, *, reads_texts: bool) -> list[dict[str, object]]:
    """All rows of a view, or as many as a download holds, read in portions."""
    rows: list[TrialRow] = []
    before: int | None = None
    while len(rows) < MOST_ROWS:
        found = board.trials(live_id, view=view, limit=PORTION, before=before)
        rows, before = [*rows, *found.rows], found.next
        if before is None:
            break
    return parts.as_trial_rows(rows, reads_texts=reads_texts)


def _live_title(view: TrialView, total: int | None) -> str:
    said: dict[TrialView, str] = {
        "latest": "in the log",
        "thumbs down": "got a thumb down",
        "failures": "failed",
        "abstained": "got no answer from the passages",
        "not scored": "lack a score",
        "commented": "have a comment",
    }
    if total is None:
        return {"latest": "What was asked last", "failures": "Live trials that failed"}.get(view, f"Live trials that {said[view]}")
    return f"{words.count(total, 'live trial')} {said[view]}"


show()
