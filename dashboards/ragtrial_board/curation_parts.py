"""Choosing a passage of one query for the gold set or for training, and taking that back: for operators."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from ragtrial.domain.curation import Curation, CurationKind
from ragtrial.errors import RagtrialError
from ragtrial.suite.curating import Choice, UnconfirmedError, curate, take_back
from ragtrial_board.access import Visitor, visitor
from ragtrial_board.query_parts import ordinal
from ragtrial_board.query_reading import Asked, Place
from ragtrial_board.saying import badge, escaped, plain

KINDS: dict[CurationKind, str] = {
    "judgment": "Gold set: a judgment",
    "pair": "Training: a pair",
    "hard negative": "Training: a hard negative",
}
GRADES = {0: "0, not relevant", 1: "1, relevant", 2: "2, highly relevant", 3: "3, perfect"}
GOLD_ONLY = (
    "This query is in the gold set, so its passages can be judged, and never be trained on: a model trained on them would be tested on "
    "what it has learned."
)

_SAID, _DOUBTED = "curation said", "curation doubted"
_KIND, _PASSAGE, _GRADE, _NOTE = "curation kind", "curation passage", "curation grade", "curation note"
_LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a query's passages were found: an evaluation and its query, or a live trial."""

    evaluation_id: str | None = None
    query_id: str | None = None
    trial_id: str | None = None


def marks(standing: Sequence[Curation]) -> dict[str, str]:
    """What the passages of a query stand chosen for, by id."""
    return {each.passage_id: f"{each.chosen_as}, by {each.actor}" for each in standing}


def panel(url: str, asked: Asked, standing: Sequence[Curation], who: Visitor, found: Found) -> None:
    """What stands chosen of this query; for operators, with what chooses and takes back."""
    _tell()
    may = who.may("operate")
    for each in standing:
        with st.container(horizontal=True, vertical_alignment="center", key=f"curation {each.curation_id}"):
            st.html(_line(each, reads_texts=who.reads_texts))
            if may:
                st.button("Take back", key=f"take back {each.curation_id}", on_click=_take_back, args=(url, each))
    if not may:
        if not standing:
            st.html(
                '<p class="rt-muted">Nothing of this query was chosen for the gold set or for training. Operators can do that here.</p>'
            )
        return
    places = _places(asked)
    if not places or asked.text is None:
        st.html('<p class="rt-muted">There is no passage to choose, or the query is not in the log.</p>')
        return
    with st.container(border=True, key="choose"):
        _form(url, asked, places, found)


def _line(each: Curation, *, reads_texts: bool) -> str:
    """What was chosen; a note on what a user typed may quote it."""
    note = plain(each.note, name="q-small") if each.note and (reads_texts or each.trial_id is None) else ""
    when = each.created_at[:16].replace("T", " ")
    return (
        f'<div class="q-chosen"><p>{badge("good", "✓", each.chosen_as)} <span class="q-id">{escaped(each.passage_id)}</span></p>'
        f'<p class="q-small rt-muted">{escaped(each.actor)}, {when} UTC, number {each.curation_id}</p>{note}</div>'
    )


def _form(url: str, asked: Asked, places: dict[str, Place], found: Found) -> None:
    gold = asked.query_id is not None
    kinds: list[CurationKind] = ["judgment"] if gold else list(KINDS)
    kind: CurationKind = st.segmented_control("For", kinds, default="judgment", required=True, format_func=KINDS.__getitem__, key=_KIND)
    if gold:
        st.html(f'<p class="q-small rt-muted">{GOLD_ONLY}</p>')
    if any(line.live is not None and line.live.query.stored == "redacted" for line in asked.arms):
        st.html('<p class="q-small rt-muted">The query is kept redacted, and is chosen and exported as that.</p>')
    names = {passage_id: _option(place, asked) for passage_id, place in places.items()}
    st.selectbox("Passage", list(names), format_func=names.__getitem__, key=_PASSAGE)
    if kind == "judgment":
        st.segmented_control("Grade", list(GRADES), default=1, required=True, format_func=GRADES.__getitem__, key=_GRADE)
    st.text_input("Why (kept with it)", max_chars=_LONGEST_NOTE, key=_NOTE)
    label = "Add to the gold set" if kind == "judgment" else "Add to the training data"
    st.button(label, type="primary", key="curation add", on_click=_add, args=(url, found))
    _doubts(url, found)


def _choice(found: Found) -> Choice:
    """What the widgets say now; a click comes together with what was typed just before it."""
    state = st.session_state
    kind: CurationKind = state[_KIND]
    return Choice(
        kind=kind,
        passage_id=state[_PASSAGE],
        grade=state[_GRADE] if kind == "judgment" else None,
        note=state[_NOTE],
        evaluation_id=found.evaluation_id,
        query_id=found.query_id,
        trial_id=found.trial_id,
    )


def _places(asked: Asked) -> dict[str, Place]:
    """Every passage that an arm found, those without a judgment first."""
    found: dict[str, Place] = {}
    for line in asked.arms:
        for place in line.places:
            found.setdefault(place.passage_id, place)
    return dict(sorted(found.items(), key=lambda each: (each[1].grade is not None, each[1].rank)))


def _option(place: Place, asked: Asked) -> str:
    ranks = [f"{line.label} {ordinal(each.rank)}" for line in asked.arms for each in line.places if each.passage_id == place.passage_id]
    grade = "not judged" if place.grade is None else f"grade {place.grade}"
    name = place.title or place.passage_id
    return f"{', '.join(ranks)} · {grade} · {name}"


def _add(url: str, found: Found) -> None:
    """Add what the widgets say, where nothing has to be confirmed first."""
    choice = _choice(found)
    try:
        _write(url, choice, despite_warnings=False)
    except UnconfirmedError as error:
        st.session_state[_DOUBTED] = (choice, error.warnings)
    except RagtrialError as error:
        st.session_state[_SAID] = ("bad", "✕", str(error))


def _add_all_the_same(url: str, choice: Choice) -> None:
    try:
        _write(url, choice, despite_warnings=True)
    except RagtrialError as error:
        st.session_state[_SAID] = ("bad", "✕", str(error))


def _write(url: str, choice: Choice, *, despite_warnings: bool) -> None:
    """Write it, as whoever looks at this moment: the page was drawn for whoever looked then."""
    st.session_state.pop(_DOUBTED, None)
    who = visitor()
    made = curate(url, choice, actor=who.name, role=who.role, scopes=who.scopes, despite_warnings=despite_warnings)
    where = "the gold set" if made.kind == "judgment" else "the training data"
    st.session_state[_NOTE] = ""
    st.session_state[_SAID] = (
        "good",
        "✓",
        f"Kept as number {made.curation_id}; ragtrial curated export writes it as an addition to {where}.",
    )


def _take_back(url: str, curation: Curation) -> None:
    try:
        who = visitor()
        take_back(url, curation.curation_id or 0, actor=who.name, role=who.role, scopes=who.scopes)
    except RagtrialError as error:
        st.session_state[_SAID] = ("bad", "✕", str(error))
    else:
        st.session_state[_SAID] = ("good", "✓", f"Number {curation.curation_id} is taken back; it stays in the history.")


def _tell() -> None:
    """What became of the last click."""
    said = st.session_state.pop(_SAID, None)
    if said is not None:
        tone, sign, text = said
        st.html(
            f'<div class="q-told rt-{tone}" role="status">{badge(tone, sign, "done" if tone == "good" else "not done")} {escaped(text)}</div>'
        )


def _doubts(url: str, found: Found) -> None:
    """What has to be confirmed, as long as the choice is still the same."""
    doubted = st.session_state.get(_DOUBTED)
    if doubted is None or doubted[0] != _choice(found):
        return
    items = "".join(f"<li>{escaped(warning)}</li>" for warning in doubted[1])
    st.html(f'<div class="q-told rt-open" role="alert">{badge("open", "?", "to confirm")}<ul>{items}</ul></div>')
    st.button("Add it all the same", key="curation confirm", on_click=_add_all_the_same, args=(url, doubted[0]))
