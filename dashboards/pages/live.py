"""A live experiment as it runs: what it says, its traffic and who may change it, how it came about, and how long it takes."""

import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.live import TrafficState
from ragtrial.report import live_words
from ragtrial_board import live_sections as shown
from ragtrial_board.frame import chosen_live, empty, heading, require, stores, table
from ragtrial_board.live_parts import Seen, history_of, part, reading, seen_now
from ragtrial_board.live_planner import planner
from ragtrial_board.live_steering import controls, outdated
from ragtrial_board.live_votes import votes
from ragtrial_board.style import style

EVERY_S = 5


def page() -> None:
    """The page of the chosen experiment."""
    who = require("read")
    style("live")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        live = chosen_live()
    if live is None:
        heading("Live", "Nothing was served yet")
        empty("No live experiment is in the log", "Serve one, and every query is split, logged and analysed.", "ragtrial live-demo")
        return
    refreshes = right.toggle("Refresh by itself", value=True, key="refresh", bind="query-params", help=f"Every {EVERY_S} s, in place.")
    top = st.container(key="live top")
    with st.container(key="live steering"), reading("Changing the traffic"):
        controls(live, history_of(live.live_id), who)
    below = st.container(key="live below")
    st.fragment(run_every=EVERY_S if refreshes else None)(_look)(live, top, below)
    st.fragment(_plan)(live)
    if who.may("admin"):
        with reading("The audit log"):
            _audit(live)


def _look(live: LiveExperiment, top: DeltaGenerator, below: DeltaGenerator) -> None:
    """Everything that moves, read anew and drawn in its old place."""
    read: list[tuple[TrafficState, ...]] = []
    found: list[Seen] = []
    with top:
        with reading("The traffic's state"):
            read.append(history_of(live.live_id))
        history = read[0] if read else ()
        if outdated(live.live_id, history):
            st.rerun()
        with reading("The verdict"):
            found.append(seen_now(live, history))
            shown.verdict(found[0])
        with reading("The traffic"):
            shown.traffic_now(found[0] if found else Seen(live=live, history=history, now=time.time()))
    with below:
        for seen in found:
            _below(seen)


def _below(seen: Seen) -> None:
    with reading("Traffic over time"):
        shown.traffic_over_time(seen)
    content = seen.summary
    if content is None:
        return
    with reading("The difference over time"):
        shown.effect_over_time(content)
    with reading("The guardrails"):
        shown.guardrails(content)
    with reading("The split"):
        shown.the_split(content)
    with reading("The votes"):
        votes(seen, content)
    with reading("What is left out"):
        shown.left_out(content)
    with reading("The health checks"):
        shown.checks(content)
        shown.metrics(content)


def _plan(live: LiveExperiment) -> None:
    """Apart from what refreshes, so that nothing that is typed here is drawn anew."""
    with reading("The planner"):
        content = seen_now(live, ()).summary
        if content is not None:
            planner(content, live.live_id)


def _audit(live: LiveExperiment) -> None:
    entries = stores().live.audit_log(live.live_id, limit=200)
    part("Audit log", "Who changed what, and why" if entries else "Nobody has changed anything yet")
    rows = [
        {"when (UTC)": live_words.date(each.at), "who": each.actor, "did": each.action, "to": each.subject, "detail": str(each.detail)}
        for each in entries
    ]
    if rows:
        table("audit log", rows, caption="For admins. The newest 200 entries; entries are only ever added.")


page()
