"""What operators do on the page of a live experiment: change the share, stop, start again; each said beforehand and kept in the audit log."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.live import LONGEST_REASON, TrafficState
from ragtrial.errors import ConflictError, RagtrialError
from ragtrial.suite.steering import change_traffic, consequences, percent
from ragtrial_board.access import Visitor
from ragtrial_board.frame import stores, visitor
from ragtrial_board.live_parts import history_of, holds_now, mode_of, notice, sentence
from ragtrial_board.saying import escaped

Step = Literal["share", "stop", "start"]

_OPEN = "steering"  # what is being decided on, over reruns of the page
_DONE = "steered"  # what was done last, said once
_SHOWN = "traffic version of the controls"

_TITLES: dict[Step, str] = {"share": "Change how many units take part", "stop": "Stop custom for everyone", "start": "Start it again"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """A change that somebody is deciding on.

    Attributes:
        step: What kind of change.
        live_id: Of the experiment.
        version: Of the traffic's state when they began: another one is another decision.
    """

    step: Step
    live_id: int
    version: int


def controls(live: LiveExperiment, history: tuple[TrafficState, ...], who: Visitor) -> None:
    """Buttons for those who may change traffic; nothing for all others."""
    if not who.may("operate") or not history:
        return
    state = history[-1]
    st.session_state[_SHOWN] = (live.live_id, state.version)
    with st.container(horizontal=True, key="traffic controls"):
        for label, step in _buttons(state):
            decided = Deciding(step=step, live_id=live.live_id, version=state.version)
            st.button(label, key=f"steer {step}", on_click=_begin, args=(decided,))
    under = f"A change is in force within a second, and stands in the audit log with your name ({who.name})."
    st.html(f'<p class="rt-muted">{escaped(f"{under}{_superseded(live)}")}</p>')
    done = st.session_state.pop(_DONE, None)
    if done is not None:
        notice("good", "✓", done)
    deciding = st.session_state.get(_OPEN)
    if isinstance(deciding, Deciding) and deciding.live_id == live.live_id:
        st.dialog(_TITLES[deciding.step], on_dismiss=_end, width="medium")(_decide)(live, deciding)
    else:
        _end()  # it was left open on the page of another experiment


def _superseded(live: LiveExperiment) -> str:
    """Where another plan of the same name was served since, a service may not listen to this one any more."""
    later = [each for each in stores().live.experiments() if each.name == live.name and each.live_id > live.live_id]
    if not later:
        return ""
    return f" Another plan of {live.name!r} was served later (number {later[-1].live_id}): only a service that still serves this one obeys."


def outdated(live_id: int, history: tuple[TrafficState, ...]) -> bool:
    """Whether the buttons were drawn for another state than holds now, and nobody is deciding at this moment."""
    shown = st.session_state.get(_SHOWN)
    return bool(shown and history and shown != (live_id, history[-1].version) and _OPEN not in st.session_state)


def _buttons(state: TrafficState) -> list[tuple[str, Step]]:
    if state.stopped:
        return [("Start again …", "start")]
    return [("Change the share …", "share"), ("Stop custom …", "stop")]


def _begin(deciding: Deciding) -> None:
    st.session_state[_OPEN] = deciding


def _end() -> None:
    st.session_state.pop(_OPEN, None)


def _decide(live: LiveExperiment, deciding: Deciding) -> None:
    """The dialog: what is to be, what that does to users, why, and the button that does it."""
    history = tuple(state for state in history_of(live.live_id) if state.version <= deciding.version)
    now = history[-1]
    scheme = st.context.theme.type or "light"  # a dialog stands beside the app, which says so of itself
    st.html(f'<style>.stDialog {{ color-scheme: {scheme}; }}</style><p class="rt-muted">Now: {escaped(holds_now(now, mode_of(live)))}.</p>')
    share = _share(now, deciding) if deciding.step != "stop" else None
    stopped = {"share": None, "stop": True, "start": False}[deciding.step]
    effects = consequences(history, mode=mode_of(live), share=share, stopped=stopped)
    st.html(f'<div class="rt-effects"><h3>What it does</h3><ul>{"".join(f"<li>{escaped(each)}</li>" for each in effects)}</ul></div>')
    reason = st.text_area(
        "Why",
        key=f"why {deciding}",
        max_chars=LONGEST_REASON,
        height=80,
        placeholder="Kept in the audit log, and shown to everybody who looks at this page",
    )
    then = percent(now.share if share is None else share)
    label = {"share": f"Set it to {then}", "stop": "Stop custom now", "start": f"Start with {then}"}[deciding.step]
    with st.container(horizontal=True, key="traffic decision"):
        # Another share is another button: a click on one that named the old share does nothing.
        wanted = st.button(label, key=f"do {deciding.step} {deciding} {share}", disabled=deciding.step == "share" and share is None)
        if st.button("Leave it as it is", key="leave"):
            _end()
            st.rerun()
    if wanted:
        _do(live, deciding, share=share, stopped=stopped, reason=reason)


def _share(now: TrafficState, deciding: Deciding) -> float | None:
    """The share that is wanted; None: as it is, which the box may show rounded."""
    shown = round(100 * now.share, 2)
    given = st.number_input(
        "Units that take part, in per cent",
        min_value=0.0,
        max_value=100.0,
        value=shown,
        step=5.0,
        format="%g",
        key=f"share {deciding}",
    )
    return None if given == shown else round(given / 100, 4)


def _do(live: LiveExperiment, deciding: Deciding, *, share: float | None, stopped: bool | None, reason: str) -> None:
    """Change it, by what the visitor may do at this moment."""
    if not reason.strip():
        notice("bad", "✕", "Say why: a change without a reason is not made.")
        return
    try:
        who = visitor()
        if who.role is None or not who.may("operate"):
            notice("bad", "✕", "You may not change traffic any more: ask an operator. Nothing was done.")
            return
        state = change_traffic(
            stores().url,
            live.live_id,
            expected_version=deciding.version,
            actor=who.name,
            role=who.role,
            scopes=who.scopes,
            reason=reason,
            share=share,
            stopped=stopped,
        )
    except ConflictError:
        _changed_meanwhile(live)
        return
    except RagtrialError as error:
        notice("bad", "✕", f"Nothing was done: {error}")
        return
    _end()
    st.session_state[_DONE] = f"Done: {holds_now(state, mode_of(live))}. It is version {state.version}."
    st.rerun()


def _changed_meanwhile(live: LiveExperiment) -> None:
    newest = history_of(live.live_id)[-1]
    now = sentence(holds_now(newest, mode_of(live)))
    notice("bad", "✕", f"Nothing was done: {newest.actor} has changed the traffic meanwhile. {now}. Close this, and look again.")
