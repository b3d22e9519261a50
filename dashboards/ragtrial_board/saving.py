"""What a tester says is shown as saved when the service has said that it is, and not before.

A decision gets its idempotency key when it is made, in a callback, which runs once. It is sent with that key, by whatever run of the page
comes to it, until the service has taken it: a rerun, a retry and a lost answer count once.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import streamlit as st

from ragtrial_board.asking import Trouble
from ragtrial_board.saying import escaped

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[Said]):
    """What was decided once; None: nothing.

    Attributes:
        said: What.
        key: Idempotency key; empty for what the service had already.
    """

    said: Said | None
    key: str = ""


class Slot(Generic[Said]):
    """What was said of one thing.

    A click while a decision is on its way runs in a thread of its own, beside the one that sends. So a decision is never changed, only
    followed by another; what became of it is recorded with it; and one is sent at a time, so that the last one is the last to arrive.

    Args:
        saved: What the service has; None: nothing.
    """

    def __init__(self, saved: Said | None = None) -> None:
        self._last = self._taken = Decision(said=saved)
        self._failed: tuple[Decision[Said], Trouble] | None = None
        self._sending = threading.Lock()

    @property
    def latest(self) -> Said | None:
        """What was said last, whether it is saved or not."""
        return self._last.said

    @property
    def saved(self) -> bool:
        """Whether the service has what was said last."""
        return self._last is self._taken

    @property
    def trouble(self) -> Trouble | None:
        """Why the service has not got what was said last; None: it was not tried, it shall be tried again, or it has it."""
        failed = self._failed
        return failed[1] if failed is not None and failed[0] is self._last else None

    def say(self, said: Said) -> None:
        """Decide; what was decided before and is not on its way is overtaken. The same again changes nothing."""
        if said != self.latest:
            self._last = Decision(said=said, key=uuid.uuid4().hex)
        self._failed = None

    def again(self) -> None:
        """Try once more what was not saved, as the same decision."""
        self._failed = None

    def send(self, sending: Callable[[Said, str], None]) -> None:
        """Send what was said last; no line of this shows anything, so that nothing interrupts it between the answer and its record."""
        with self._sending:
            decision = self._last
            if decision.said is None or decision is self._taken or self.trouble is not None:
                return
            try:
                sending(decision.said, decision.key)
            except Trouble as trouble:
                self._failed = decision, trouble
            else:
                self._taken = decision


def slot_of(name: str, saved: Said | None) -> "Slot[Said]":
    """The slot of this name in this visitor's session; a new one holds what the service has."""
    slots: dict[str, Slot[Said]] = st.session_state.setdefault("slots", {})
    return slots.setdefault(name, Slot(saved=saved))


def forget_slots() -> None:
    """Begin anew with what the service has."""
    st.session_state.pop("slots", None)


def settle(slot: "Slot[Said]", sending: Callable[[Said, str], None], words: Callable[[Said], str], *, name: str) -> None:
    """The line that says whether it is saved; sends what is not, and runs the page again when that has ended.

    Args:
        slot: What was said.
        sending: Sends it with its key; raises `Trouble`.
        words: What was said, in words, to follow "Saved: ".
        name: Of the slot, for its widgets.
    """
    line, button = st.empty(), st.empty()  # always there: what is below must keep its place, or it would lose the keyboard's focus
    if not slot.saved and slot.trouble is None:
        line.html(_line("saving", "…", "Saving"))
        slot.send(sending)
        st.rerun()
    trouble, said = slot.trouble, slot.latest
    if trouble is not None:
        line.html(_line("unsaved", "!", f"Not saved. {trouble.title} {trouble.advice}", role="alert"))
        button.button("Try to save it again", key=f"again-{name}", on_click=slot.again, icon=":material/refresh:")
    elif said is not None:
        line.html(_line("saved", "✓", f"Saved: {words(said)}"))


def _line(tone: str, sign: str, text: str, *, role: str = "status") -> str:
    return f'<p class="t-line t-{tone}" role="{role}"><span class="t-sign" aria-hidden="true">{sign}</span>{escaped(text)}</p>'


def choice_button(label: str, *, key: str, chosen: bool, on_click: Callable[..., None], args: tuple[Any, ...], **more: Any) -> None:
    """A button of several of which one can be chosen: with a check mark and filled.

    The type of a chosen button is that of the others, or the browser would get a new one in its place and lose the keyboard's focus.
    """
    st.button(f"✓ {label}" if chosen else label, key=key, on_click=on_click, args=args, **more)
    if chosen:
        st.html(f"<style>.st-key-{key} button {{ {_CHOSEN} }} .st-key-{key} button * {{ color: inherit !important; }}</style>")


_CHOSEN = "background: var(--t-link) !important; border-color: var(--t-link) !important; color: var(--t-on-link) !important; padding-inline: .75rem;"


def show_trouble(trouble: Trouble) -> None:
    """What happened and what to do."""
    st.html(f'<div class="t-trouble" role="alert"><p><b>{escaped(trouble.title)}</b> {escaped(trouble.advice)}</p></div>')
