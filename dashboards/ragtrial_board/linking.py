"""Deep links: every view's state is in its address."""

from urllib.parse import urlencode

import streamlit as st
from streamlit.errors import StreamlitAPIException

from ragtrial_board.saying import escaped, unmarked

FIRST = "verdict"


def address(page: str, /, **params: str) -> str:
    """The address of a page of this dashboard, from the root of the server.

    Args:
        page: The page's file without `.py`, as `queries`.
        params: What stands behind the `?`.
    """
    path = "/" if page == FIRST else f"/{page}"
    return f"{path}?{urlencode(params)}" if params else path


def link(label: str, page: str, /, **params: str) -> None:
    """A link to another view, which keeps the session."""
    try:
        st.page_link(f"pages/{page}.py", label=unmarked(label), query_params=params)
    except StreamlitAPIException:  # a page that runs alone knows no other
        st.html(f'<a href="{escaped(address(page, **params))}" target="_self">{escaped(label)}</a>')
