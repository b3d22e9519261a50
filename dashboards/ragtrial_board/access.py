"""Who looks at a page, and what they may do: looked up in the database at every run."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import streamlit as st

from ragtrial.domain.access import SCOPES, Role, Scope, reads_texts
from ragtrial.settings import read_settings
from ragtrial.suite.visiting import Visitors, login_providers
from ragtrial_board.readers import anything_there
from ragtrial_board.saying import escaped, said
from ragtrial_board.sessions import cookie_name, sessions
from ragtrial_board.told import database_url, told

NEEDS: Mapping[Scope, str] = {
    "ask": "ask",
    "feedback": "vote",
    "read": "read results",
    "operate": "change the traffic and read what users typed",
    "admin": "administer",
}
"""What a scope allows, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks.

    Attributes:
        name: As the audit log names them; empty where nobody knows who they are.
        role: Theirs; None: nobody gave them one.
        scopes: What they may do.
        how: They came by an API key, by a login provider, or everyone is let in; None: they have not signed in.
    """

    name: str
    role: Role | None
    scopes: frozenset[Scope]
    how: Literal["open", "key", "login"] | None

    def may(self, scope: Scope) -> bool:
        """Whether they may do this."""
        return scope in self.scopes

    @property
    def reads_texts(self) -> bool:
        """Whether they may read what users typed."""
        return reads_texts(self.scopes)


EVERYONE = Visitor(name="no-auth", role="admin", scopes=SCOPES["admin"], how="open")
"""Where nobody is asked who they are; named as the API names them."""
NOBODY = Visitor(name="", role=None, scopes=frozenset(), how=None)


_LOOKS: ContextVar[Visitor | None] = ContextVar("visitor of this run", default=None)


def visitor() -> Visitor:
    """Who looks at this page now: looked up at the beginning of each run of the page, and each time that anything asks outside of one.

    A part of the page that refreshes by itself and a button that was pressed are outside of one.

    Raises:
        StoreError: The database can't be asked.
    """
    return _LOOKS.get() or looked_up()


@contextmanager
def looking(who: Visitor) -> Iterator[None]:
    """Take this visitor for the one who looks in here: a page asks often, and who looks is one question for each run.

    It is not kept in the session's state: in a run that was stopped nothing can be taken out of that any more.
    """
    before = _LOOKS.set(who)
    try:
        yield
    finally:
        _LOOKS.reset(before)


def looked_up() -> Visitor:
    """Who looks, by what the database says now.

    Raises:
        StoreError: The database can't be asked.
    """
    if is_open():
        return EVERYONE
    visitors = visitors_of_board()
    if visitors is None:
        return NOBODY
    return _by_key(visitors, _cookies()) or _by_login(visitors) or NOBODY


def is_open() -> bool:
    """Whether everyone is an admin: the server was told so, or nobody was ever named and only this machine reaches it.

    Whoever has named a file for a login provider wants people to sign in, whatever that file says (now).
    """
    given = told()
    if given.open or not given.loopback:
        return given.open
    if given.secrets is not None or _secrets_are_broken() or providers():
        return False
    visitors = visitors_of_board()
    return visitors is None or not visitors.named()


def providers() -> tuple[str | None, ...]:
    """Login providers that are configured under `[auth]` in the secrets file: by name, None for the one without a name."""
    return login_providers(st.secrets.to_dict()) if st.secrets.load_if_toml_exists() else ()


def _secrets_are_broken() -> bool:
    """Whether a file where login providers are configured is there and can't be read, which Streamlit takes for none."""
    return any(Path(file).exists() for file in st.get_option("secrets.files")) and not st.secrets.load_if_toml_exists()


def visitors_of_board() -> Visitors | None:
    """The keys and members of this dashboard's database; None where there is no database yet."""
    url = database_url()
    return _opened(url, told().folder) if url is not None and anything_there() else None


@lru_cache(maxsize=8)
def _opened(url: str, folder: str) -> Visitors:
    return Visitors(url, Path(folder), read_settings())


def _cookies() -> Mapping[str, str]:
    """The cookies that this page's connection was opened with."""
    return st.context.cookies


def _by_key(visitors: Visitors, cookies: Mapping[str, str]) -> Visitor | None:
    prefix = sessions().key(cookies.get(cookie_name(database_url() or "")))
    key = None if prefix is None else visitors.key(prefix)
    return None if key is None else Visitor(name=key.name, role=key.role, scopes=key.scopes, how="key")


def _by_login(visitors: Visitors) -> Visitor | None:
    if not providers() or not st.user.get("is_logged_in"):
        return None
    name = login_name(st.user.to_dict())
    role = None if name is None else visitors.role(name)
    return Visitor(name=name or "", role=role, scopes=frozenset() if role is None else SCOPES[role], how="login")


def login_name(claims: Mapping[str, Any]) -> str | None:
    """The name under which somebody is a member: the address that their provider has verified, or the provider with their subject there.

    An address that the provider has not verified may be anybody's.
    """
    email, verified = claims.get("email"), claims.get("email_verified")
    if isinstance(email, str) and email and (verified is True or str(verified).lower() == "true"):
        return email
    issuer, subject = claims.get("iss"), claims.get("sub")
    return f"{issuer}#{subject}" if issuer and subject else None


def here() -> str:
    """The address of this view, from the root of the server."""
    parts = urlsplit(st.context.url or "/")
    query = "&".join(f"{quote(name)}={quote(value)}" for name in st.query_params for value in st.query_params.get_all(name))
    return f"{parts.path or '/'}?{query}" if query else parts.path or "/"


def require(scope: Scope) -> Visitor:
    """The visitor, where they may do this; a page that they may not see ends here, and says why in plain words."""
    who = visitor()
    if not who.may(scope):
        refuse(who, scope)
        st.stop()
    return who


def refuse(who: Visitor, scope: Scope) -> None:
    """Say why somebody may not see a page, and what they can do about it."""
    st.set_page_config(page_title="Not for this role · ragtrial" if who.role else "Sign in · ragtrial")
    if who.how is None:
        said("Sign in to see this page", "Your session has ended, or you have not signed in yet.")
        st.html(f'<a class="rt-button" href="/login?next={quote(here(), safe="")}" target="_self">Sign in</a>')
    elif who.role is None:
        said(
            "Nobody has given you a role yet",
            f"You are signed in as {who.name or 'somebody without a verified address'}. Ask an admin to run:",
        )
        st.code(f"ragtrial members add EXPERIMENT.yaml {shlex.quote(who.name or 'NAME')} --role viewer", language="bash")
    elif who.role == "tester":
        said(
            "This page is not for testers",
            "Testers don't read results, so that their votes are on answers and not on arms. "
            "The tester's page has an address of its own, which ragtrial tester serves: ask whoever gave you your key. "
            "Here you can say what you think of judged answers, without their arm.",
        )
        st.html('<a class="rt-button" href="/labelling" target="_self">Label answers</a>')
    else:
        said("This page is not for your role", f"It is for those who may {NEEDS[scope]}; your role is {who.role}.")


def signed_in_as(who: Visitor) -> str:
    """Who looks, as HTML, with the way out; nothing where nobody knows."""
    if who.how == "open":
        return '<p class="rt-who"><b>No sign-in.</b> Whoever reaches this address is an admin. It answers on this machine alone.</p>'
    if who.how is None:
        return ""
    return f'<p class="rt-who">{escaped(who.name)}, {escaped(who.role or "no role")} · <a href="/logout" target="_self">Sign out</a></p>'
