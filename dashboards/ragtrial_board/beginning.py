"""What every page begins with: its look, who looks, and what to do where there is nothing to show yet."""

from collections.abc import Mapping
from functools import lru_cache

import streamlit as st

from ragtrial.domain.access import Scope
from ragtrial.errors import RagtrialError
from ragtrial_board.access import EVERYONE, Visitor, looked_up, looking, providers, refuse, signed_in_as
from ragtrial_board.choosing import Kind, kept
from ragtrial_board.readers import anything_there, opened_stores
from ragtrial_board.saying import escaped, failed, said, unmarked
from ragtrial_board.style import dress
from ragtrial_board.told import database_url, looked_for

_LOOK_AGAIN_S = 2.0
_LIVE = "live"
_FIRST_STEPS = (
    ("See a whole run in a few minutes, on bundled documents: train, compare, decide. No network, no key.", "ragtrial demo"),
    ("Compare two embedding models on your own documents and queries.", "ragtrial evaluate EXPERIMENT.yaml"),
    ("Watch a live verdict form under simulated users.", "ragtrial live-demo"),
)


def begin(pages: Mapping[str, st.Page], *, needs: Scope = "read") -> Visitor:
    """Set up the page that is about to run, and look who looks; ends the run where there is nothing that this visitor may see.

    Args:
        pages: Those that there are, by name; hidden ones are not in the navigation.
        needs: What whoever sees this page must be allowed to do; who may not read results gets no navigation.
    """
    dress()
    _sign_in()
    try:
        who = looked_up()
        _side(pages if who.may("read") else {}, who)
        if not who.may(needs):
            refuse(who, needs)
            st.stop()
        if not (anything_there() and _anything_in_it(database_url() or "")):
            _start_page()
            st.stop()
    except RagtrialError as error:
        said("The dashboard can't be shown", str(error))
        st.stop()
    return who


def run(page: st.Page, who: Visitor) -> None:
    """Run the page for this visitor; what a database says that can't be read any more is shown in its place."""
    try:
        with looking(who):
            page.run()
    except RagtrialError as error:
        failed("This page", error)
    finally:
        if who.how == "open":  # where the navigation is folded away nobody reads it there
            st.html(f'<footer class="rt-foot">{signed_in_as(EVERYONE)}</footer>')


def _side(pages: Mapping[str, st.Page], who: Visitor) -> None:
    """The navigation, whose links take along what was chosen, and who looks."""
    with st.sidebar:
        st.html('<p class="rt-brand">rag<span>trial</span></p>')
        for name, page in pages.items():
            if page.visibility == "visible":
                st.page_link(page, query_params=_taken_along(name))
        if who.how is not None:
            st.html(signed_in_as(who))


def _taken_along(page: str) -> dict[str, str]:
    kind: Kind = "live" if page == _LIVE else "evaluation"
    chosen = st.query_params.get(kind) or kept(kind)
    return {} if chosen is None else {kind: chosen}


def _sign_in() -> None:
    """Go to the login provider, for somebody who comes from `/login`."""
    wanted = st.query_params.get("sign_in")
    if wanted is not None and not st.user.get("is_logged_in"):
        names = {name or "": name for name in providers()}
        if wanted in names:
            st.login(names[wanted])
            st.stop()


def _anything_in_it(url: str) -> bool:
    try:
        return _something(url)
    except LookupError:
        return False


@lru_cache(maxsize=8)
def _something(url: str) -> bool:
    stores = opened_stores(url)
    if not (stores.reader.evaluations() or stores.live.experiments()):
        raise LookupError(url)  # which is not remembered
    return True


def _start_page() -> None:
    """What to run next; goes on by itself as soon as there is something to show."""
    st.set_page_config(page_title="Nothing measured yet · ragtrial")
    said("Nothing was measured yet", "Run one of these in a terminal, and leave this page open: it goes on by itself.")
    for text, command in _FIRST_STEPS:
        st.html(f'<p class="rt-step">{escaped(text)}</p>')
        st.code(command, language="bash")
    st.html(f'<p class="rt-caption">It looks for {escaped(looked_for())}.</p>')
    _look_again()


@st.fragment(run_every=_LOOK_AGAIN_S)
def _look_again() -> None:
    try:
        if anything_there() and _anything_in_it(database_url() or ""):
            st.rerun()
    except RagtrialError as error:
        st.error(unmarked(error))
