"""What the list of experiments is made of: states are read each time, verdicts out of large documents once."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from ragtrial.db.board_reader import Made
from ragtrial.db.live_board_reader import SnapshotMade
from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.evaluation import Evaluation
from ragtrial.report.listing import Essence, Listed, essence, listed_evaluation, listed_live
from ragtrial.report.live_summary import SNAPSHOT_FORM
from ragtrial.report.summary import CONCLUSION_FORM
from ragtrial_board.stores import Stores, stores

_BY_URL: dict[str | type[Any], Callable[[Any], Any]] = {Stores: lambda each: each.url}


def everything() -> list[Listed]:
    """All evaluations and live experiments, the newest first."""
    found = stores()
    concluded, analysed = found.board.made(), found.live_board.snapshots_made()
    rows = [_evaluation(found, each, concluded.get(each.evaluation_id)) for each in found.reader.evaluations()]
    rows += [_live(found, each, analysed.get(each.live_id)) for each in found.live.experiments()]
    return sorted(rows, key=lambda row: row.at, reverse=True)


def _evaluation(found: Stores, each: Evaluation, made: Made | None) -> Listed:
    done = planned = 0
    if each.finished_at is None:
        done, planned = found.board.n_trials_done(each.evaluation_id), found.reader.n_trials_planned(each.evaluation_id)
    current = made if made is not None and made.form == CONCLUSION_FORM else None
    known = _conclusion(found, each.evaluation_id, current.at) if current is not None and current.problem is None else None
    return listed_evaluation(each, done=done, planned=planned, known=known, problem=None if current is None else current.problem)


@st.cache_data(max_entries=1000, show_spinner=False, hash_funcs=_BY_URL)
def _conclusion(found: Stores, evaluation_id: str, made_at: float) -> Essence | None:
    del made_at  # it is remembered by this
    stored = found.board.conclusion(evaluation_id)
    return None if stored is None else essence(stored.document)


def _live(found: Stores, each: LiveExperiment, made: SnapshotMade | None) -> Listed:
    current = made if made is not None and made.form == SNAPSHOT_FORM else None
    known = _snapshot(found, each.live_id, current.made_at) if current is not None and current.problem is None else None
    problem, traffic = None if current is None else current.problem, found.live.traffic(each.live_id)
    return listed_live(each.live_id, each.name, each.created_at, traffic=traffic, known=known, problem=problem)


@st.cache_data(max_entries=1000, show_spinner=False, hash_funcs=_BY_URL)
def _snapshot(found: Stores, live_id: int, made_at: float) -> Essence | None:
    del made_at  # likewise
    stored = found.live_board.snapshot(live_id)
    return None if stored is None or stored.document is None else essence(stored.document)
