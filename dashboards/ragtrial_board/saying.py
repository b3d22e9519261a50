"""Words on a page: headings, sections that fail alone, badges, facts, and texts of others as they are."""

import html
import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from ragtrial.errors import RagtrialError

_MARKS = re.compile(r"[\\`*\[\]<>$:~#!|]|(?<!\w)_|_(?!\w)")  # within a word, _ marks nothing
_ADDRESSES = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)(?=[-\w]+\.)", re.IGNORECASE)
_JOINER = "\u2060"  # takes no room
_log = logging.getLogger("ragtrial.board")

Fact = tuple[str, str, str]
"""What is asked, the answer in large type, and a line of explanation."""


def escaped(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text), quote=True)


def unmarked(text: object) -> str:
    """Text for labels and messages that Streamlit reads as Markdown: shown as it is.

    Addresses are no links either: those are looked for after escapes were read, so that only a character within keeps them from being found.
    """
    return _MARKS.sub(r"\\\g<0>", _ADDRESSES.sub(_JOINER, str(text)))


def plain(text: str, *, name: str = "") -> str:
    """A text that a user, a passage or a model wrote, as HTML that shows it as it is: but for `marked`, the only way to show one.

    Args:
        text: Theirs.
        name: Further classes of the element.
    """
    return f'<div class="rt-plain {escaped(name)}" dir="auto">{escaped(text)}</div>'


def heading(kicker: str, title: str, lead: str | None = None) -> None:
    """A page's first lines; the tab's title says the same.

    Args:
        kicker: What kind of page this is, and of which experiment.
        title: The finding.
        lead: One or two sentences below.
    """
    st.set_page_config(page_title=f"{title} · {kicker}")
    below = f'<p class="rt-lead">{escaped(lead)}</p>' if lead else ""
    st.html(f'<header class="rt-heading"><p class="rt-kicker">{escaped(kicker)}</p><h1>{escaped(title)}</h1>{below}</header>')


@contextmanager
def section(name: str) -> Iterator[None]:
    """A part of a page: where it fails, it says so, and the rest of the page goes on."""
    with st.container(border=False):
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one part that fails must not take the others with it
            failed(name, error)


def failed(name: str, error: Exception) -> None:
    """Say what can't be shown, and why: in the words of an error that is meant for people, else with a reference to the log."""
    if isinstance(error, RagtrialError):
        st.error(unmarked(f"{name} can't be shown: {error}"))
        return
    reference = secrets.token_hex(4)
    _log.error("%s can't be shown (%s)", name, reference, exc_info=error)
    what = f"{name} can't be shown: something went wrong ({type(error).__name__})"
    st.error(unmarked(f"{what}. The dashboard's log has it under {reference}."))


def badge(tone: str, sign: str, text: str) -> str:
    """A small mark as HTML: its tone (`good`, `calm`, `open`, `bad`), a sign for those who don't see colours, and its words."""
    return (
        f'<span class="rt-badge rt-{escaped(tone)}"><span class="rt-sign" aria-hidden="true">{escaped(sign)}</span>{escaped(text)}</span>'
    )


def facts(cards: Sequence[Fact]) -> None:
    """Cards beside each other: what is asked, the answer, and a line below it."""
    cells = "".join(
        f'<div class="rt-fact"><p class="rt-ask">{escaped(ask)}</p><p class="rt-big">{escaped(big)}</p><p>{escaped(said)}</p></div>'
        for ask, big, said in cards
    )
    st.html(f'<div class="rt-facts">{cells}</div>')


def said(title: str, text: str) -> None:
    """A title with a paragraph, where a page has nothing else to show."""
    st.html(f'<div class="rt-empty"><h1>{escaped(title)}</h1><p>{escaped(text)}</p></div>')


def empty(title: str, text: str, command: str | None = None) -> None:
    """What stands where there is nothing yet: why, and what to run next."""
    st.html(f'<div class="rt-empty"><h2>{escaped(title)}</h2><p>{escaped(text)}</p></div>')
    if command is not None:
        st.code(command, language="bash")
