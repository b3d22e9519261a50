"""Two answers beside each other, of which the tester does not know which is which, and which one they prefer."""

from dataclasses import replace

import streamlit as st

from ragtrial.domain.live_preference import Choice
from ragtrial_board.answered import LONGEST_COMMENT, show_answer, show_question, show_sources
from ragtrial_board.asking import Compared, Preferred, Service
from ragtrial_board.saving import Slot, choice_button, settle, slot_of

_CHOICES: tuple[tuple[Choice, str, str], ...] = (
    ("left", "Left is better", "Left"),
    ("right", "Right is better", "Right"),
    ("both", "Both are good", "B"),
    ("neither", "Neither is good", "N"),
)
_WORDS: dict[Choice, str] = {
    "left": "left is better",
    "right": "right is better",
    "both": "both are good",
    "neither": "neither is good",
    "withdrawn": "your choice is withdrawn",
}


def show_compared(compared: Compared, service: Service, *, shortcuts: bool) -> None:
    """Both answers, and the choice between them."""
    show_question(compared.query)
    for column, side, title in zip(st.columns(2, gap="medium"), (compared.left, compared.right), ("Left", "Right"), strict=True):
        with column:
            show_answer(side, title=title)
    _choose(compared, service, shortcuts=shortcuts)
    for column, side, title in zip(st.columns(2, gap="medium"), (compared.left, compared.right), ("Left", "Right"), strict=True):
        with column:
            show_sources(side.sources, of=title)


def _choose(compared: Compared, service: Service, *, shortcuts: bool) -> None:
    name = compared.comparison_id
    slot = slot_of(name, None if compared.choice is None else Preferred(choice=compared.choice, comment=compared.comment))
    latest = slot.latest
    chosen = None if latest is None or latest.choice == "withdrawn" else latest.choice

    def sending(preferred: Preferred, key: str) -> None:
        service.prefer(name, preferred, key=key)

    with st.container(key="choice", gap="small"):
        st.html('<h2 class="t-head">Your choice</h2>')
        if (compared.left.answer, compared.left.abstained) == (compared.right.answer, compared.right.abstained):
            st.html('<p class="t-note">Both say the same, word for word: say whether that is good.</p>')
        with st.container(horizontal=True, gap="small"):
            for choice, label, shortcut in _CHOICES:
                choice_button(
                    label,
                    key=f"{choice}-{name}",
                    chosen=choice == chosen,
                    on_click=_prefer,
                    args=(slot, choice),
                    shortcut=shortcut if shortcuts else None,
                )
            if chosen is not None:
                withdrawn = (Preferred(choice="withdrawn"),)
                st.button("Withdraw", key=f"withdraw-{name}", type="tertiary", icon=":material/undo:", on_click=slot.say, args=withdrawn)
        settle(slot, sending, _words, name=name)
        if chosen is not None:
            _details(slot, name)


def _prefer(slot: Slot[Preferred], choice: Choice) -> None:
    """A choice; the comment stays."""
    before = slot.latest
    slot.say(Preferred(choice=choice, comment="" if before is None or before.choice == "withdrawn" else before.comment))


def _details(slot: Slot[Preferred], name: str) -> None:
    said = slot.latest
    comment = f"comment-{name}"
    with st.form(f"details-{name}", border=False):
        st.text_area("Why? (optional)", value="" if said is None else said.comment, max_chars=LONGEST_COMMENT, height=100, key=comment)
        st.form_submit_button("Save comment", on_click=_tell, args=(slot, comment))


def _tell(slot: Slot[Preferred], comment: str) -> None:
    before = slot.latest
    if before is not None:
        slot.say(replace(before, comment=st.session_state[comment].strip()))


def _words(preferred: Preferred) -> str:
    return f"{_WORDS[preferred.choice]}{', with a comment' if preferred.comment else ''}."
