"""Which evaluation or live experiment a page shows: held in the address, and kept from page to page."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.access import Scope
from ragtrial.domain.evaluation import Evaluation
from ragtrial_board.saying import unmarked
from ragtrial_board.stores import stores

Thing = TypeVar("Thing")
Kind = Literal["evaluation", "live"]

_WIDTH = 460


def chosen_evaluation(needs: Scope = "read") -> Evaluation | None:
    """The evaluation of `?evaluation=`, by default the newest finished one, with a selector on top; None where there is none."""
    found = sorted(stores(needs).reader.evaluations(), key=lambda each: (each.finished_at is not None, each.started_at), reverse=True)
    return _chosen("evaluation", "Evaluation", found, lambda each: each.evaluation_id, _evaluation_name)


def chosen_live() -> LiveExperiment | None:
    """The live experiment of `?live=`, by default the newest, with a selector on top; None where there is none."""
    found = sorted(stores().live.experiments(), key=lambda each: each.created_at, reverse=True)
    return _chosen("live", "Live experiment", found, lambda each: str(each.live_id), lambda each: f"{each.name} (number {each.live_id})")


def kept(kind: Kind) -> str | None:
    """What was chosen last, on whatever page; None: nothing yet."""
    chosen: str | None = st.session_state.get(_kept(kind))
    return chosen


def _kept(kind: Kind) -> str:
    return f"kept {kind}"


def _evaluation_name(each: Evaluation) -> str:
    state = "" if each.finished_at is not None else ", not finished"
    return f"{each.experiment}, {each.started_at[:19].replace('T', ' ')} UTC{state}"


def _chosen(kind: Kind, label: str, found: Sequence[Thing], id_of: Callable[[Thing], str], name_of: Callable[[Thing], str]) -> Thing | None:
    if not found:
        return None
    by_id = {id_of(each): each for each in found}
    asked, widget = st.query_params.get(kind), f"chosen {kind}"
    at = next((each for each in (asked, kept(kind)) if each in by_id), next(iter(by_id)))
    st.session_state[widget] = at
    st.selectbox(
        label,
        list(by_id),
        format_func=lambda each: name_of(by_id[each]),
        key=widget,
        on_change=_move,
        args=(kind, widget),
        label_visibility="collapsed",
        width=_WIDTH,
    )
    st.session_state[_kept(kind)] = at
    if asked is not None and asked not in by_id:
        st.warning(unmarked(f"There is no {label.lower()} {asked!r} in this database: this is {name_of(by_id[at])}."))
    if asked != at:
        st.query_params[kind] = at
    return by_id[at]


def _move(kind: Kind, widget: str) -> None:
    st.query_params[kind] = st.session_state[widget]
    newest_first()


def newest_first() -> None:
    """Another list of live trials begins at its beginning, and not where the one before was left."""
    st.query_params.pop("before", None)
