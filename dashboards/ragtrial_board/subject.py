"""What a page is about where it can show an evaluation as well as a live experiment."""

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.report.listing import Kind
from ragtrial.report.live_summary import LiveSummary, read_live_summary
from ragtrial.report.summary import Summary, read_summary
from ragtrial_board.choosing import chosen_evaluation, chosen_live
from ragtrial_board.linking import link
from ragtrial_board.saying import empty
from ragtrial_board.stores import stores

_NAMES: dict[Kind, str] = {"evaluation": "Evaluation", "live": "Live experiment"}


def chosen_subject() -> Evaluation | LiveExperiment | None:
    """What the address asks for, with selectors on top; None where there is nothing at all."""
    there: list[Kind] = ["evaluation"] if stores().reader.evaluations() else []
    if stores().live.experiments():
        there.append("live")
    if not there:
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        return chosen_live() if _kind(there) == "live" else chosen_evaluation()


def concluded(evaluation: Evaluation) -> Summary | None:
    """What an evaluation came to; where that is not known yet the page says so and where to look, and this is None."""
    content = read_summary(stores().reader, stores().board, evaluation.evaluation_id)
    if content is None:
        problem = stores().board.problem(evaluation.evaluation_id)
        if problem is None:
            empty("Not worked out yet", "The evaluation is not finished, or its verdict is still being worked out.")
        else:
            empty("It can't be concluded", problem)
        link("See how far it is", "verdict", evaluation=evaluation.evaluation_id)
    return content


def analysed(experiment: LiveExperiment) -> LiveSummary | None:
    """The same of a live experiment."""
    content = read_live_summary(stores().live, stores().live_board, experiment.live_id)
    if content is None:
        empty("Not worked out yet", "The live experiment was not analysed yet: the live page says why.")
        link("See it live", "live", live=str(experiment.live_id))
    return content


def _kind(there: list[Kind]) -> Kind:
    """Evaluations or live experiments, as the address says; where there are both, a switch between them."""
    asked: Kind = "live" if "live" in st.query_params else "evaluation"
    at = asked if asked in there else there[0]
    if len(there) == 1:
        return at
    picked: Kind = st.segmented_control(
        "Show", there, default=at, required=True, format_func=_NAMES.__getitem__, key=f"kind {at}", label_visibility="collapsed"
    )
    if picked != at and at in st.query_params:
        del st.query_params[at]
    return picked
