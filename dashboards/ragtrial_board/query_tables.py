"""Tables of one query's page: time, tokens, and what became of a live trial."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import streamlit as st

from ragtrial.db.live_board_reader import TrialView
from ragtrial.report import words
from ragtrial_board.queries_parts import LIVE_VIEWS
from ragtrial_board.query_reading import Asked, Line
from ragtrial_board.saying import badge, escaped, plain
from ragtrial_board.tables import table

_STAGES = {
    "embed": "embed_ms",
    "search": "search_ms",
    "of it reranking": "rerank_ms",
    "generate": "generate_ms",
    "in all": "latency_ms",
}
_TOKENS = {"prompt tokens": "prompt_tokens", "of them cached": "cached_tokens", "completion tokens": "completion_tokens"}
_SIGNALS = {"copied": "copied the answer", "rephrased": "asked again in other words", "citation_clicked": "opened a source"}
_THUMBS = {"up": ("good", "▲", "thumb up"), "down": ("bad", "▼", "thumb down"), "withdrawn": ("open", "○", "vote withdrawn")}


def effort_rows(asked: Asked) -> tuple[list[dict[str, Any]], list[str]]:
    """What each line took, a row for each stage and kind of token, and the names of what was measured or reported of none."""
    lines = (*asked.arms, *asked.references)
    rows = [_row(stage, "ms", lines, partial(_stage, name=name)) for stage, name in _STAGES.items()]
    if any(line.live is not None for line in lines):
        rows.append(_row("waited", "ms", lines, _waited))
    rows += [_row(token, "tokens", lines, partial(_reported, name=name)) for token, name in _TOKENS.items()]
    rows.append(_row("cost", "USD", lines, partial(_reported, name="cost_usd")))
    known = [row for row in rows if any(row[line.label] is not None for line in lines)]
    return known, [row["what"] for row in rows if row not in known]


def _row(what: str, unit: str, lines: Sequence[Line], value: Callable[[Line], float | None]) -> dict[str, Any]:
    return {"what": what, "unit": unit, **{line.label: value(line) for line in lines}}


def effort(asked: Asked) -> None:
    """Time, tokens and cost of each line, or why there are none."""
    rows, unknown = effort_rows(asked)
    timed = any(line.trial is not None and line.trial.timings is not None for line in asked.arms)
    said = [] if timed else ["This query was not among those that were timed alone (analysis.latency_queries)."]
    if timed and not any(line.live is not None for line in asked.arms):
        said.append("Milliseconds of the query asked alone.")
    reported = [name for name in unknown if name not in _STAGES]
    if reported:
        said.append(f"Not reported by the generator: {', '.join(reported)}.")
    if rows:
        lines = (*asked.arms, *asked.references)
        columns = {line.label: st.column_config.NumberColumn(format="%.6g") for line in lines}
        table("time and tokens", rows, columns=columns, caption=" ".join(said) or None, height=height(rows))
    else:
        st.html(f'<p class="rt-muted">{escaped(" ".join(said))}</p>')


def _stage(line: Line, name: str) -> float | None:
    timings = None if line.trial is None else line.trial.timings
    return None if timings is None else getattr(timings, name)


def _waited(line: Line) -> float | None:
    return None if line.live is None else line.live.waited_ms


def _reported(line: Line, name: str) -> float | None:
    answer = None if line.trial is None else line.trial.answer
    return None if answer is None else getattr(answer.usage, name)


def height(rows: Sequence[Mapping[str, Any]]) -> int:
    """Pixels of a table that shows all its rows, up to a screen of them."""
    return min(36 * (len(rows) + 1) + 2, 900)


def repetitions(asked: Asked) -> str:
    """Of which trials the scores are."""
    most = max((line.repetitions for line in asked.arms), default=1)
    of = "" if most == 1 else f" Means over {most} repetitions; passages and answers are those of the first one that has a ranking."
    return f"n: trials with a value, of those that were scored; arms in the order of the columns.{of}"


def found(line: Line, asked: Asked) -> str:
    """What a reference line found, in a few words."""
    if not line.places:
        return "it retrieves nothing of its own"
    if asked.relevant:
        return f"{line.found} of {asked.relevant} relevant found"
    return words.count(len(line.places), "passage")


def live_view(name: str) -> TrialView:
    """The view of this name, or the first one."""
    return next((view for view in LIVE_VIEWS if view == name), LIVE_VIEWS[0])


def trace(asked: Asked) -> None:
    """Who got which answer and why, and the id that traces and logs have it under."""
    kept = {"full": "", "redacted": " The query is redacted: what looked like personal data is replaced by its kind.", "hash": ""}
    for trial in (line.live for line in asked.arms if line.live is not None):
        when = datetime.fromtimestamp(trial.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        how = "served" if trial.served else "answered silently"
        counted = "" if trial.assignment.reason == "split" else f", so that it is not counted: {trial.assignment.reason}"
        st.html(f'<p class="q-small">{escaped(trial.trial.arm)}: {how} at {when} UTC{escaped(counted)}.{kept[trial.query.stored]}</p>')
        st.code(trial.trial_id, language=None)
    st.caption("Trial ids: spans have them as ragtrial.trial_id, answers as their id.")


def said(asked: Asked) -> str:
    """Votes with their history and signals, in the order in which they came."""
    items = []
    for vote in asked.votes:
        about = "" if vote.passage_id is None else f' on source <span class="q-id">{escaped(vote.passage_id)}</span>'
        tags = "".join(f' <span class="q-mark">{escaped(tag)}</span>' for tag in vote.tags)
        comment = plain(vote.comment, name="q-small") if vote.comment else ""
        items.append((vote.at, f"{badge(*_THUMBS[vote.thumb])}{about}{tags} {_at(vote.at)}{comment}"))
    items += [(signal.at, f"{escaped(_SIGNALS[signal.signal])} {_at(signal.at)}") for signal in asked.signals]
    if not items:
        return '<p class="rt-muted q-small">Nobody voted on it or did anything with it.</p>'
    return f'<ul class="q-votes">{"".join(f"<li>{item}</li>" for _, item in sorted(items, key=lambda each: each[0]))}</ul>'


def _at(at: float) -> str:
    return f'<span class="rt-muted q-small">{datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")} UTC</span>'
