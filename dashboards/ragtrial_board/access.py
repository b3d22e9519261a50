"""Who looks at a page, and what they may do: looked up in the database at every run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import streamlit as st

from ragtrial.domain.access import SCOPES, Role, Scope
from ragtrial.settings import read_settings
from ragtrial.suite.visiting import Visitors
from ragtrial_board.readers import anything_there
from ragtrial_board.saying import escaped, said
from ragtrial_board.sessions import Sessions, cookie_name
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
        return "operate" in self.scopes


EVERYONE = Visitor(name="no-auth", role="admin", scopes=SCOPES["admin"], how="open")
"""Where nobody is asked who they are; named as the API names them."""
NOBODY = Visitor(name="", role=None, scopes=frozenset(), how=None)


_THIS_RUN = "visitor of this run"


def visitor() -> Visitor:
    """Who looks at this page now: looked up at the beginning of each run of the page, and each time that anything asks outside of one.

    Raises:
        StoreError: The database can't be asked.
    """
    found: Visitor | None = st.session_state.get(_THIS_RUN)
    return looked_up() if found is None else found


def remember(who: Visitor) -> None:
    """Take this visitor for the one who looks until `forget`: a page asks often, and who looks is one question for each run."""
    st.session_state[_THIS_RUN] = who


def forget() -> None:
    """Look who it is when next somebody asks: a part of the page that refreshes by itself, a button that was pressed, or the next run."""
    st.session_state.pop(_THIS_RUN, None)


def looked_up() -> Visitor:
    """Who looks, by what the database says now.

    Raises:
        StoreError: The database can't be asked.
    """
    if is_open():
        return EVERYONE
    visitors = _visitors()
    if visitors is None:
        return NOBODY
    return _by_key(visitors, _cookies()) or _by_login(visitors) or NOBODY


def is_open() -> bool:
    """Whether everyone is an admin: the server was told so, or nobody was ever named and only this machine reaches it."""
    given = told()
    if given.open or not given.loopback:
        return given.open
    visitors = _visitors()
    return not has_provider() and (visitors is None or not visitors.named())


def sessions() -> Sessions | None:
    """What signs and reads the sessions of this dashboard; None where there is no database yet."""
    url, visitors = database_url(), _visitors()
    return None if url is None or visitors is None else _sessions(url, visitors.session_secret())


def providers() -> tuple[str | None, ...]:
    """Login providers that are configured under `[auth]` in the secrets file: by name, None for the one without a name."""
    section = _auth_section()
    named = tuple(name for name, value in section.items() if isinstance(value, Mapping) and "client_id" in value)
    return ((None,) if "client_id" in section else ()) + named


def has_provider() -> bool:
    """Whether people can sign in with a login provider."""
    return bool(providers())


def _auth_section() -> Mapping[str, Any]:
    if not st.secrets.load_if_toml_exists():
        return {}
    section = st.secrets.get("auth", {})
    return section if isinstance(section, Mapping) else {}


def visitors_of_board() -> Visitors | None:
    """The keys and members of this dashboard's database; None where there is no database yet."""
    return _visitors()


def _visitors() -> Visitors | None:
    url = database_url()
    return _opened(url, told().folder) if url is not None and anything_there() else None


@lru_cache(maxsize=8)
def _opened(url: str, folder: str) -> Visitors:
    return Visitors(url, Path(folder), read_settings())


@lru_cache(maxsize=8)
def _sessions(url: str, secret: str) -> Sessions:
    del url
    return Sessions(secret)


def _cookies() -> Mapping[str, str]:
    """The cookies that this page's connection was opened with."""
    return st.context.cookies


def _by_key(visitors: Visitors, cookies: Mapping[str, str]) -> Visitor | None:
    cookie = cookies.get(cookie_name(database_url() or ""))
    known = None if cookie is None else sessions()
    session = None if known is None else known.read(cookie)
    key = None if session is None else visitors.key(session.key)
    return None if key is None else Visitor(name=key.name, role=key.role, scopes=key.scopes, how="key")


def _by_login(visitors: Visitors) -> Visitor | None:
    if not has_provider() or not st.user.get("is_logged_in"):
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
        st.code(f"ragtrial members add EXPERIMENT.yaml {who.name or 'NAME'} --role viewer", language="bash")
    elif who.role == "tester":
        said(
            "This page is not for testers",
            "Testers don't read results, so that their votes are on answers and not on arms. "
            "The tester's page has an address of its own, which ragtrial tester serves: ask whoever gave you your key.",
        )
    else:
        said("This page is not for your role", f"It is for those who may {NEEDS[scope]}; your role is {who.role}.")


def signed_in_as(who: Visitor) -> str:
    """Who looks, as HTML, with the way out; nothing where nobody knows."""
    if who.how == "open":
        return '<p class="rt-who"><b>No sign-in.</b> Whoever reaches this address is an admin. It answers on this machine alone.</p>'
    if who.how is None:
        return ""
    return f'<p class="rt-who">{escaped(who.name)}, {escaped(who.role or "no role")} · <a href="/logout" target="_self">Sign out</a></p>'
