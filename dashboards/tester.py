"""The tester's page: ask, read the answer, say whether it is good; or say which of two is better. Started by `ragtrial tester`.

It talks to the service as any other front end does, with the tester's key, and knows nothing of experiments. What is shown is in the
address, so that a reload shows it again with the votes that the service has.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from ragtrial.domain.live_trial import LONGEST_QUERY
from ragtrial_board.answered import show_answered, show_question
from ragtrial_board.asking import Answered, Compared, Service, Trouble
from ragtrial_board.own_key import Holder, holder, shared_key
from ragtrial_board.saving import forget_slots, show_trouble
from ragtrial_board.saying import escaped
from ragtrial_board.side_by_side import show_compared
from ragtrial_board.tester_told import asks_for_no_key, service_for

ASSETS = Path(__file__).parent / "assets"
SIDE = "side"


@dataclass(kw_only=True)
class Pending:
    """A question on its way: sent with one key, however often, until there is an answer.

    Attributes:
        text: As it was typed.
        side: Two answers are wanted.
        key: Idempotency key.
        trouble: Why there is no answer yet; None: it was not tried, or it shall be tried again.
    """

    text: str
    side: bool
    key: str
    trouble: Trouble | None = None


def page() -> None:
    """All of it."""
    side = st.query_params.get("mode") == SIDE
    _dress(side=side)
    who = holder(everyone=False) or holder(everyone=asks_for_no_key())
    if who is None:
        _say(Trouble("key", "You have not signed in, or your session has ended.", "Sign in with your key."))
        return
    service = service_for(who.key)
    _heading(side=side)
    _question_box(side=side)
    pending: Pending | None = st.session_state.get("pending")
    if pending is not None:
        _work_on(pending, service, who)
    else:
        _show(service, side=side)
    _foot(side=side)


def _say(trouble: Trouble) -> None:
    """What happened, and the way to the door where another key may help."""
    show_trouble(trouble)
    if trouble.kind == "key" and shared_key() is None:
        st.html('<a class="t-button" href="/login" target="_self">Sign in</a>')


def _dress(*, side: bool) -> None:
    st.set_page_config(
        page_title="Which answer is better?" if side else "Ask and vote",
        page_icon=str(ASSETS / "icon.png"),
        layout="wide" if side else "centered",
    )
    for sheet in ("tester", "marked"):
        st.html(f"<style>{(ASSETS / f'{sheet}.css').read_text(encoding='utf-8')}</style>")


def _heading(*, side: bool) -> None:
    title = "Which answer is better?" if side else "Ask, read, vote"
    lead = (
        "You get two answers to one question. Which one stands left is drawn anew each time."
        if side
        else "Ask what you would really ask, read the answer, and say whether it helps you."
    )
    wide = " t-wide" if side else ""
    st.html(f'<header class="t-heading{wide}"><h1>{escaped(title)}</h1><p>{escaped(lead)}</p></header>')


def _question_box(*, side: bool) -> None:
    refill = st.session_state.pop("refill", None)
    if refill is not None:
        st.session_state["question"] = refill
    with st.container(key="ask"):
        st.chat_input(
            "Your question; Enter sends it",
            key="question",
            max_chars=LONGEST_QUERY,
            submit_mode="disable",
            on_submit=_asked,
            args=(side,),
        )


def _asked(side: bool) -> None:
    """A question was sent: it gets its key here, once; the same text again, after trouble, is the same question."""
    text = (st.session_state["question"] or "").strip()
    before: Pending | None = st.session_state.get("pending")
    if not text:
        return
    if before is not None and (before.text, before.side) == (text, side):
        before.trouble = None
        return
    st.session_state["pending"] = Pending(text=text, side=side, key=uuid.uuid4().hex)
    _leave_answer()


def _leave_answer() -> None:
    for name in ("trial", "comparison"):
        st.query_params.pop(name, None)
    st.session_state.pop("shown", None)
    forget_slots()


def _work_on(pending: Pending, service: Service, who: Holder) -> None:
    """Wait for the answer, or say why there is none."""
    show_question(pending.text)
    if pending.trouble is None:
        with st.spinner("Looking for two answers" if pending.side else "Looking for an answer", show_time=True):
            _send(pending, service, who)
        st.rerun()
    _say(pending.trouble)
    st.button("Ask again", key="ask-again", type="primary", icon=":material/refresh:", on_click=_try_again, args=(pending,))


def _try_again(pending: Pending) -> None:
    pending.trouble = None


def _send(pending: Pending, service: Service, who: Holder) -> None:
    asking: Callable[..., Answered | Compared] = service.compare if pending.side else service.ask
    try:
        found = asking(pending.text, unit=who.unit, key=pending.key)
    except Trouble as trouble:
        pending.trouble = trouble
        st.session_state["refill"] = pending.text
        return
    st.session_state["shown"] = found
    del st.session_state["pending"]
    if isinstance(found, Compared):
        st.query_params["comparison"] = found.comparison_id
    elif found.logged:
        st.query_params["trial"] = found.trial_id


def _show(service: Service, *, side: bool) -> None:
    """What the address names; what is not there yet is fetched."""
    named = st.query_params.get("comparison" if side else "trial")
    shown: Answered | Compared | None = st.session_state.get("shown")
    if named is None and not (isinstance(shown, Answered) and not shown.logged):
        return
    if named is not None and (shown is None or _name(shown) != named):
        shown = _fetched(named, service, side=side)
    if isinstance(shown, Compared):
        show_compared(shown, service, shortcuts=_shortcuts())
    elif shown is not None:
        show_answered(shown, service, shortcuts=_shortcuts())


def _fetched(named: str, service: Service, *, side: bool) -> Answered | Compared | None:
    """What this tester was shown before, with the votes that the service has; None where it does not come, which is said."""
    forget_slots()
    found: Answered | Compared
    try:
        with st.spinner("Fetching it"):
            found = service.comparison(named) if side else service.answer(named)
    except Trouble as trouble:
        _say(trouble)
        if trouble.kind != "not there":
            st.button("Try again", key="fetch-again", icon=":material/refresh:")
        return None
    st.session_state["shown"] = found
    return found


def _name(shown: Answered | Compared) -> str:
    return shown.comparison_id if isinstance(shown, Compared) else shown.trial_id


def _shortcuts() -> bool:
    return bool(st.session_state.get("shortcuts", st.query_params.get("shortcuts") != "false"))


def _foot(*, side: bool) -> None:
    with st.container(key="foot", horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.toggle("Keyboard shortcuts", value=True, key="shortcuts", help=_SHORTCUTS_SIDE if side else _SHORTCUTS, bind="query-params")
        st.button("Ask for one answer" if side else "Compare two answers", key="mode", type="tertiary", on_click=_change, args=(not side,))


_SHORTCUTS = "G: good answer. P: poor answer. They do nothing while you type."
_SHORTCUTS_SIDE = "Left and right arrow: that one is better. B: both are good. N: neither. They do nothing while you type."


def _change(side: bool) -> None:
    st.session_state.pop("pending", None)
    _leave_answer()
    if side:
        st.query_params["mode"] = SIDE
    else:
        st.query_params.pop("mode", None)


st.navigation([st.Page(page, title="Ask and vote", default=True)], position="hidden").run()
