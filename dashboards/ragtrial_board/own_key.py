"""The tester's own API key, and the unit that their questions count for."""

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from ragtrial.settings import read_settings
from ragtrial_board.tester_told import tester_told

LASTS_S = 12 * 3600
KEY_VARIABLE = "RAGTRIAL_TESTER_KEY"

_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody who asks and votes.

    Attributes:
        key: Their API key; empty where the service asks for none.
        unit: Who they are for the service's split of its users: it stores a pseudonym of it.
    """

    key: str
    unit: str


class Keyring:
    """Keys of those who signed in, in this process's memory alone: browsers hold a random name of theirs. Threads may share it."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str) -> str:
        """Keep a key; the name under which it is found again."""
        name, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            if len(self._held) >= _MOST:
                self._held = {name: held for name, held in self._held.items() if now - held[0] < LASTS_S}
            self._held[name] = (now, key)
        return name

    def find(self, name: str | None) -> str | None:
        """The key of this name; None where there is none, or it was kept for long enough."""
        with self._lock:
            at, key = self._held.get(name or "", (0.0, None))
        return key if key is not None and time.monotonic() - at < LASTS_S else None

    def drop(self, name: str | None) -> None:
        """Forget a key."""
        with self._lock:
            self._held.pop(name or "", None)


def cookie_name() -> str:
    """The cookie's name: browsers send cookies to every port of a host, so that the pages of two services need two."""
    return f"ragtrial_tester_{hashlib.sha256(tester_told().service.encode()).hexdigest()[:8]}"


@lru_cache(maxsize=1)
def keyring() -> Keyring:
    """The keyring of this process."""
    return Keyring()


def shared_key() -> str | None:
    """The key of a page that asks nobody for one, from the environment; None: everyone brings their own."""
    return read_settings().secret(KEY_VARIABLE)


def holder(*, everyone: bool) -> Holder | None:
    """Whose page this is; None where they have not signed in.

    Args:
        everyone: The service asks nobody for a key.
    """
    own = keyring().find(st.context.cookies.get(cookie_name()))
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
