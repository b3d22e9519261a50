"""The tester's own API key, and the unit that their questions count for."""

import hashlib
import secrets
from dataclasses import dataclass

import streamlit as st

from ragtrial.settings import read_settings
from ragtrial_board.sessions import sessions
from ragtrial_board.tester_told import tester_told

KEY_VARIABLE = "RAGTRIAL_TESTER_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody who asks and votes.

    Attributes:
        key: Their API key; empty where the service asks for none.
        unit: Who they are for the service's split of its users: it stores a pseudonym of it.
    """

    key: str
    unit: str


def cookie_name() -> str:
    """The cookie's name: browsers send cookies to every port of a host, so that the pages of two services need two."""
    return f"ragtrial_tester_{hashlib.sha256(tester_told().service.encode()).hexdigest()[:8]}"


def shared_key() -> str | None:
    """The key of a page that asks nobody for one, from the environment; None: everyone brings their own."""
    return read_settings().secret(KEY_VARIABLE)


def holder(*, everyone: bool) -> Holder | None:
    """Whose page this is; None where they have not signed in.

    Args:
        everyone: The service asks nobody for a key.
    """
    own = sessions().key(st.context.cookies.get(cookie_name()))
    if own is not None:
        return Holder(key=own, unit=f"tester-{_prefix(own)}")
    shared = shared_key()
    if shared is None and not everyone:
        return None
    visit = st.session_state.setdefault("visit", secrets.token_hex(8))  # who they are is not known, so each visit is a unit
    return Holder(key=shared or "", unit=f"tester-{_prefix(shared or '')}-{visit}")


def _prefix(key: str) -> str:
    """The part of a key that is no secret."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 else "visit"
