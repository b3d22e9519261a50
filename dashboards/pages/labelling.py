"""The labelling queue: people say what they think of judged answers, one after the other, without knowing which arm gave them."""

import time

import streamlit as st

from ragtrial.domain.access import Scope
from ragtrial.domain.label import LABEL_WORDS
from ragtrial.errors import RagtrialError
from ragtrial.report import words
from ragtrial.suite import labelling
from ragtrial.suite.labelling import Queue, QueueItem, Standing
from ragtrial_board import judge_parts
from ragtrial_board.frame import Visitor, badge, chosen_evaluation, empty, heading, link, require, section, stores, visitor
from ragtrial_board.marked import marked
from ragtrial_board.saying import escaped
from ragtrial_board.style import style

SCOPE: Scope = "feedback"
UNDO, SKIP = "U", "S"
LONG = 280  # characters from which a question is no headline


@st.cache_resource(
    max_entries=8, show_spinner="Opening the queue: until the evaluation is concluded, this reads all of the judge's scores."
)
def drawn(url: str, evaluation_id: str, metric: str) -> Queue:  # noqa: ARG001 - another database has another queue
    """The queue, made once per process: it is the same for everybody."""
    return labelling.open_queue(stores(SCOPE).reader, evaluation_id, metric, stores(SCOPE).board)


def show() -> None:
    """The whole page."""
    who = require(SCOPE)
    style("judges")
    style("marked")
    evaluation = chosen_evaluation(SCOPE)
    if evaluation is None:
        empty("Nothing was evaluated yet", "There is nothing to label.", "ragtrial demo")
        return
    kicker = f"Labelling · {evaluation.experiment}"
    with section("The labelling queue"):
        metrics = labelling.metrics_to_ask(stores(SCOPE).reader, evaluation.evaluation_id)
        if not metrics:
            heading(kicker, "There is nothing to label here")
            empty(
                "No metric that people can be asked about",
                "This evaluation has no judge whose answers a person could check: plan judge_correctness or judge_groundedness, and evaluate again.",
                "ragtrial evaluate EXPERIMENT.yaml --dry-run",
            )
            return
        if evaluation.finished_at is None:
            heading(kicker, "Not finished yet")
            empty("The evaluation is in progress", "What people are asked is drawn when all answers are there.")
            return
        head = st.container()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            metric = metrics[0] if len(metrics) == 1 else _picked(metrics)
            name = _name(who)
        with head:
            heading(kicker, "Does the answer stand in the passages?" if "grounded" in LABEL_WORDS[metric] else "Is the answer right?")
        _work(drawn(stores(SCOPE).url, evaluation.evaluation_id, metric), who, name)


def _picked(metrics: tuple[str, ...]) -> str:
    """The metric of `?metric=`, with a switch between them."""
    picked: str = st.segmented_control(
        "Judged metric", metrics, default=metrics[0], required=True, key="metric", bind="query-params", label_visibility="collapsed"
    )
    return picked


def _name(who: Visitor) -> str:
    """Who labels: the visitor; where everyone is let in, whoever they say they are."""
    if who.how != "open":
        return who.name
    said = st.text_input("Your name", key="labeller", value="people", bind="query-params", max_chars=labelling.LONGEST_NAME, width=260)
    return said.strip() or "people"


class _Place:
    """Where somebody is in a queue, in this session; what they said is in the log."""

    def __init__(self, queue: Queue, name: str) -> None:
        self._key = f"labelling {queue.evaluation_id} {queue.metric} {name}"
        st.session_state.setdefault(f"{self._key} skipped", [])

    @property
    def skipped(self) -> list[str]:
        """Items put aside, in order."""
        found: list[str] = st.session_state[f"{self._key} skipped"]
        return found

    @property
    def again(self) -> str | None:
        """The item that is to be said anew, or None."""
        found: str | None = st.session_state.get(f"{self._key} again")
        return found

    @again.setter
    def again(self, item_id: str | None) -> None:
        st.session_state[f"{self._key} again"] = item_id

    @property
    def told(self) -> tuple[str, str, str] | None:
        """What became of the last key: tone, sign and words."""
        found: tuple[str, str, str] | None = st.session_state.get(f"{self._key} told")
        return found

    @told.setter
    def told(self, said: tuple[str, str, str] | None) -> None:
        st.session_state[f"{self._key} told"] = said

    def shown(self, item_id: str) -> None:
        """All of this item went to the screen just now, unless it stood there before."""
        if self._shown[0] != item_id:
            self._shown = (item_id, time.monotonic())

    def unread(self, item_id: str) -> bool:
        """Whether a key for this item came before anybody can have read it; each key starts the clock again, as a held one must not get through."""
        seen, since = self._shown
        now = time.monotonic()
        early = seen != item_id or now - since < judge_parts.LEAST_SECONDS
        self._shown = (seen, now) if early else ("", now)
        return early

    @property
    def _shown(self) -> tuple[str, float]:
        found: tuple[str, float] = st.session_state.get(f"{self._key} shown", ("", 0.0))
        return found

    @_shown.setter
    def _shown(self, item: tuple[str, float]) -> None:
        st.session_state[f"{self._key} shown"] = item


def _work(queue: Queue, who: Visitor, name: str) -> None:
    place = _Place(queue, name)
    at = labelling.standing(queue, stores(SCOPE).reader, name)
    item = queue.item(place.again) if place.again else labelling.next_item(queue, at, place.skipped)
    _progress(queue, at, place)
    if item is None:
        _done(queue, place, who)
        return
    _asked(queue, item)
    with st.container(key="say"):
        _keys(queue, at, place, item, name)
    before = at.said.get(item.item_id)
    st.text_input(
        "Note",
        key=_note_key(item.item_id, name),
        value=before.note if before else "",
        placeholder="A note, if you like (Tab leaves it)",
        max_chars=labelling.LONGEST_NOTE,
        label_visibility="collapsed",
    )
    with st.expander("What the words mean, and how this works"):
        _help(queue)
    place.shown(item.item_id)


def _progress(queue: Queue, at: Standing, place: _Place) -> None:
    done = len(at.said)
    goal = labelling.FIRST_ESTIMATE
    while goal <= done:
        goal *= 2
    goal = min(goal, len(queue.items))
    st.progress(min(1.0, done / goal) if goal else 1.0, text=f"**{done:,} of {goal:,}** answers labelled by you. {_outlook(queue, at)}")
    told = place.told
    skipped = f"<span>{len(place.skipped):,} skipped</span>" if place.skipped else ""
    st.html(f'<div class="rt-state" role="status">{badge(*told) if told else ""}{skipped}</div>')


def _outlook(queue: Queue, at: Standing) -> str:
    """What the labels of all people have come to, without telling anything of the result."""
    if len(queue.items) < labelling.FIRST_ESTIMATE:
        return "There are too few to correct the judge by; they show how far it agrees with people."
    if at.half_width is None:
        left = labelling.FIRST_ESTIMATE - at.n_answers
        return f"About {left:,} more allow a first correction of the judge." if left > 0 else "A correction can't be told yet: go on."
    now = f"The corrected difference is known to ±{at.half_width:.3f} ({at.n_answers:,} answers labelled in all)"
    if at.to_halve is not None:
        return f"{now}; about {at.to_halve:,} more halve that."
    return f"{now}; all that is left would make it ±{at.planned[-1].half_width:.3f}." if at.planned else f"{now}."


def _asked(queue: Queue, item: QueueItem) -> None:
    box = judge_parts.said_by_others
    st.html(box("Question", [item.question], empty="(empty)", name="rt-asked rt-long" if len(item.question) > LONG else "rt-asked"))
    answer = box("Answer", [item.answer], empty="No answer: the system said that it found none.", name="rt-answer", shown=marked)
    if item.passages or "grounded" in queue.words:
        left, right = st.columns([2, 3], gap="medium")
        right.html(box(f"What it had read: {words.count(len(item.passages), 'passage')}", item.passages, empty="Nothing.", name="rt-read"))
    else:
        left, right = st.columns(2, gap="medium")
        right.html(
            box("Reference answers", item.references, empty="There are none: go by what you know.", name="rt-reference", shown=marked)
        )
    left.html(answer)


def _keys(queue: Queue, at: Standing, place: _Place, item: QueueItem, name: str) -> None:
    before = at.said.get(item.item_id)
    if before is not None:
        st.html(f'<p class="rt-steps">You said <b>{escaped(before.word)}</b>. Choose again to replace it, or go on with {SKIP}.</p>')
    with st.container(horizontal=True):
        for number, word in enumerate(queue.words, start=1):
            st.button(
                word.capitalize(),
                key=f"say {item.item_id} {word} {name}",
                shortcut=str(number),
                type="primary" if before is not None and before.word == word else "secondary",
                on_click=_say,
                args=(queue, place, item.item_id, word, name),
            )
        st.button("Skip", key=f"skip {item.item_id}", shortcut=SKIP, type="tertiary", on_click=_skip, args=(place, item.item_id))
        st.button(
            "Undo",
            key=f"undo {item.item_id}",
            shortcut=UNDO,
            type="tertiary",
            disabled=not at.said,
            on_click=_undo,
            args=(place, at, item.item_id),
        )


def _note_key(item_id: str, name: str) -> str:
    return f"note {item_id} {name}"


def _say(queue: Queue, place: _Place, item_id: str, word: str, name: str) -> None:
    """Record a word, as whoever looks at this moment; `name` is what they say they are called, where everyone is let in."""
    if place.unread(item_id):
        place.told = ("open", "!", "Not counted: that key came before anybody could have read the answer")
        return
    note = str(st.session_state.get(_note_key(item_id, name)) or "")
    try:
        who, url = visitor(), stores(SCOPE).url
        labeller = name if who.how == "open" else who.name
        labelling.record(url, queue, item_id, word, labeller=labeller, role=who.role, scopes=who.scopes, note=note)
    except RagtrialError as error:
        place.told = ("bad", "✕", f"Not saved: {error}")
        return
    place.again = None
    if item_id in place.skipped:
        place.skipped.remove(item_id)
    place.told = ("good", "✓", f"Saved: {word}")


def _skip(place: _Place, item_id: str) -> None:
    if place.again is not None:
        place.again, place.told = None, ("calm", "i", "Left as it was")
        return
    if item_id not in place.skipped:
        place.skipped.append(item_id)
    place.told = ("calm", "i", "Skipped")


def _undo(place: _Place, at: Standing, item_id: str) -> None:
    """Back to what was said last, or before the one that is shown."""
    said = list(at.said)
    earlier = said[: said.index(item_id)] if item_id in said else said
    if earlier:
        place.again, place.told = earlier[-1], None


def _done(queue: Queue, place: _Place, who: Visitor) -> None:
    if place.skipped:
        empty("Only skipped answers are left", "Leaving out the hard ones makes what people say look better than it is.")
        st.button("Show them again", key="skipped again", type="primary", shortcut="Enter", on_click=place.skipped.clear)
    elif queue.items:
        empty(
            "You have labelled everything that was drawn",
            "Thank you. The dashboard takes the labels in half a minute after the last one; beside one with --no-roll-up, this does:",
            "ragtrial analyse EXPERIMENT.yaml",
        )
    if who.may("read"):
        link("What the labels say of the judge", "judges", evaluation=queue.evaluation_id, metric=queue.metric)


def _help(queue: Queue) -> None:
    meanings = "".join(f"<dt>{escaped(word)}</dt><dd>{escaped(judge_parts.meaning(word, queue.words))}</dd>" for word in queue.words)
    st.html(f'<dl class="rt-words">{meanings}</dl>')
    st.html(
        '<p class="rt-steps">Answers are drawn at random and shown without their arm or what the judge thinks of them. Length, style and '
        f"politeness do not count. Keys: 1 to {len(queue.words)} label, {SKIP} skips, {UNDO} goes back to what you said last. Stopping early "
        "is fine; leaving out hard ones is not.</p>"
    )


show()
