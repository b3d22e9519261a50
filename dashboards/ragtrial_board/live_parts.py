"""What the page of a live experiment is put together from: what it has read, and pieces of its page."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import streamlit as st

from ragtrial.db.live_board_reader import BUCKET_SECONDS, LiveBucket, SnapshotMade
from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.live import Mode, TrafficState
from ragtrial.report import live_words, words
from ragtrial.report.live_summary import SNAPSHOT_FORM, LiveSummary, read_live_summary
from ragtrial.report.live_time_charts import width_for
from ragtrial_board.frame import badge, section, stores
from ragtrial_board.saying import escaped

STILL_HOLDS = "What still holds: the service splits, logs and guards its traffic without this page, which only reads what is logged."

_DAY = 86_400

GUARD_BADGES = {"holds": ("good", "✓", "holds"), "broken": ("bad", "✕", "broken"), "not shown": ("calm", "?", "not shown")}
CHECK_BADGES = {"pass": ("good", "✓", "pass"), "warn": ("open", "!", "warning"), "fail": ("bad", "✕", "fail")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at a live experiment has read.

    Attributes:
        live: The experiment.
        history: The traffic's states, oldest first; empty where they can't be read.
        stored: The newest snapshot; None before the first one.
        summary: What it says, with the traffic of now; None where there is none, or where it can't be read.
        now: Seconds since 1970.
    """

    live: LiveExperiment
    history: tuple[TrafficState, ...] = ()
    stored: SnapshotMade | None = None
    summary: LiveSummary | None = None
    now: float

    @property
    def mode(self) -> Mode:
        """How the traffic is split."""
        return mode_of(self.live)

    @property
    def arms(self) -> tuple[str, str]:
        """Names of control and treatment."""
        by_role = {arm["role"]: str(arm["name"]) for arm in self.live.plan["arms"]}
        return by_role["control"], by_role["treatment"]

    @property
    def names(self) -> dict[str, str]:
        """What an arm is called in charts."""
        control, treatment = self.arms
        names = {
            control: words.with_role(control, "baseline"),
            treatment: words.with_role(treatment, "custom"),
            "interleaved": "both models",
        }
        return {**names, treatment: f"{names[treatment]}, silent"} if self.mode == "shadow" else names


def mode_of(live: LiveExperiment) -> Mode:
    """How an experiment in the log splits its traffic."""
    return cast("Mode", live.plan["live"].get("mode", "split"))


def holds_now(state: TrafficState, mode: Mode) -> str:
    """What holds of the traffic; why it was stopped is told apart, for that can be long."""
    return f"stopped by {state.actor}: everyone gets the baseline" if state.stopped else live_words.traffic_state(state, mode)


def history_of(live_id: int) -> tuple[TrafficState, ...]:
    """The traffic's states, as they are now."""
    return stores().live.traffic_history(live_id)


def seen_now(live: LiveExperiment, history: tuple[TrafficState, ...]) -> Seen:
    """Read the newest snapshot; what it says is only taken apart anew where there is a newer one."""
    stored, summary = stores().live_board.snapshots_made().get(live.live_id), None
    if stored is not None and stored.problem is None and stored.form == SNAPSHOT_FORM:
        summary = _summary(stores().url, live.live_id, stored.made_at)
    if summary is not None and history:
        progress = dataclasses.replace(summary.analysis.progress, traffic=history[-1], n_changes=len(history) - 1)
        summary = dataclasses.replace(summary, analysis=dataclasses.replace(summary.analysis, progress=progress))
    return Seen(live=live, history=history, stored=stored, summary=summary, now=time.time())


@st.cache_resource(max_entries=16, show_spinner=False)
def _summary(url: str, live_id: int, made_at: float) -> LiveSummary | None:  # noqa: ARG001 - they are what it is kept under
    return read_live_summary(stores().live, stores().live_board, live_id)


def buckets_of(seen: Seen) -> tuple[int, tuple[LiveBucket, ...]]:
    """Trials by time, arm and reason, in stretches of which a chart shows some dozens; with their width in seconds."""
    rolled = stores().live_board.rolled_up_at(seen.live.live_id)
    begin, end = _span(seen, rolled)
    width = width_for(end - begin, finest_s=BUCKET_SECONDS)
    return width, _buckets(stores().url, seen.live.live_id, width, rolled)


def _span(seen: Seen, rolled: float | None) -> tuple[float, float]:
    """From the first to the last trial, or to the day."""
    progress = None if seen.summary is None else seen.summary.analysis.progress
    if progress is not None and progress.started_at is not None and progress.seen_at is not None:
        return progress.started_at, progress.seen_at
    days = [bucket.start for bucket in _buckets(stores().url, seen.live.live_id, _DAY, rolled)]
    return (max(min(days), seen.live.created_at), max(days) + _DAY) if days else (seen.live.created_at, seen.now)


@st.cache_data(max_entries=64, show_spinner=False)
def _buckets(url: str, live_id: int, width_s: int, rolled: float | None) -> tuple[LiveBucket, ...]:  # noqa: ARG001 - what they are kept under
    return stores().live_board.buckets(live_id, width_s=width_s)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """A part of the page that fails alone, and says what holds in spite of that."""
    whole = False
    with section(name):
        yield
        whole = True
    if not whole:
        st.caption(STILL_HOLDS)


def part(kicker: str, title: str, lead: str | None = None) -> None:
    """The first lines of a part: what it is about, what was found, and a sentence or two below."""
    below = f'<p class="rt-lead">{escaped(lead)}</p>' if lead else ""
    st.html(f'<header class="rt-part"><p class="rt-kicker">{escaped(kicker)}</p><h2>{escaped(sentence(title))}</h2>{below}</header>')


def sentence(text: str) -> str:
    """The text with its first letter large, but for names as `nDCG@10` and `p95`."""
    first = text.partition(" ")[0].rstrip(",.;:")
    return text[:1].upper() + text[1:] if first.replace("'", "").isalpha() and first.islower() else text


def lines(rows: list[tuple[str, str, str]]) -> None:
    """A list: a badge, a name, and what is said of it."""
    cells = "".join(
        f'<div role="listitem"><p class="rt-name">{mark} {escaped(name)}</p><p class="rt-detail">{escaped(said)}</p></div>'
        for mark, name, said in rows
    )
    st.html(f'<div class="rt-lines" role="list">{cells}</div>')


def notice(tone: str, sign: str, text: str) -> None:
    """What has just happened, read out by screen readers; the text may hold names that others gave, so it is no Markdown."""
    st.html(f'<p class="rt-notice rt-{tone}" role="alert"><span aria-hidden="true">{sign}</span> {escaped(text)}</p>')


def mark(badges: Mapping[str, tuple[str, str, str]], state: str) -> str:
    """The badge of a state; what is not known has one, too."""
    return badge(*badges.get(state, ("calm", "?", words.STATES.get("unknown", state))))
