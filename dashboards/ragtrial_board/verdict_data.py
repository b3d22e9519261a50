"""What the list of experiments is made of: read from the stores, and kept for a few seconds."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from ragtrial.report.listing import Listed, listed_evaluation, listed_live
from ragtrial.report.live_summary import SNAPSHOT_FORM
from ragtrial.report.summary import CONCLUSION_FORM
from ragtrial_board.stores import Stores, stores

KEPT_SECONDS = 10
_BY_URL: dict[str | type[Any], Callable[[Any], Any]] = {Stores: lambda each: each.url}


def everything() -> list[Listed]:
    """All evaluations and live experiments, the newest first."""
    found = stores()
    rows = [_evaluation(found, each.evaluation_id) for each in found.reader.evaluations()]
    rows += [_live(found, each.live_id) for each in found.live.experiments()]
    return sorted(rows, key=lambda row: row.at, reverse=True)


@st.cache_data(ttl=KEPT_SECONDS, max_entries=500, show_spinner=False, hash_funcs=_BY_URL)
def _evaluation(found: Stores, evaluation_id: str) -> Listed:
    stored = found.board.conclusion(evaluation_id)
    return listed_evaluation(
        found.reader.evaluation(evaluation_id),
        done=found.board.n_trials_done(evaluation_id),
        planned=found.reader.n_trials_planned(evaluation_id),
        document=stored.document if stored is not None and stored.form == CONCLUSION_FORM else None,
    )


@st.cache_data(ttl=KEPT_SECONDS, max_entries=500, show_spinner=False, hash_funcs=_BY_URL)
def _live(found: Stores, live_id: int) -> Listed:
    experiment = next(each for each in found.live.experiments() if each.live_id == live_id)
    stored = found.live_board.snapshot(live_id)
    known = stored is not None and stored.form == SNAPSHOT_FORM
    return listed_live(
        live_id,
        experiment.name,
        experiment.created_at,
        traffic=found.live.traffic(live_id),
        document=stored.document if stored is not None and known else None,
        problem=stored.problem if stored is not None and known else None,
    )
