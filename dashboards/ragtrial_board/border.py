"""The border of the dashboard's server: who may connect at all, where they are sent, and what browsers are told to refuse."""

import logging
import re
from urllib.parse import quote, unquote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragtrial.errors import RagtrialError
from ragtrial_board import access
from ragtrial_board.door import NEXT_COOKIE, local_path
from ragtrial_board.sessions import cookie_name
from ragtrial_board.told import LOOPBACK_NAMES, database_url

_log = logging.getLogger("ragtrial.board")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_STREAMLITS = ("_stcore", "static", "media", "component", "auth", "oauth2callback", "login", "logout", "drawn", "app")
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:{sockets}; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Border:
    """Middleware around everything.

    Args:
        app: What is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, redirect, or pass on, with headers that keep the page to itself."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = await self._answer(scope, headers)
        if answer is None:
            await self._app(scope, receive, with_headers(send, headers.get("host", "")) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await answer(scope, receive, with_headers(send, headers.get("host", "")))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is said at the border itself; None: let it pass."""
        socket = scope["type"] == "websocket"
        if socket and foreign(headers):
            what = "a page of %r may not use this dashboard, which was asked for as %r; a proxy must pass the Host header on"
            _log.warning(what, headers.get("origin"), headers.get("host"))
            return PlainTextResponse("another site may not use this dashboard", status_code=403)
        if not socket and not asks_for_page(scope, headers):
            return None
        try:
            everyone = await run_in_threadpool(access.is_open)
        except RagtrialError:
            return None  # the page says what is wrong
        if everyone:
            return None if from_this_machine(headers) else PlainTextResponse(_OPEN_TO_LOOPBACK, status_code=403)
        return None if socket else _sent_to_door(scope, headers)


_OPEN_TO_LOOPBACK = (
    "This dashboard asks nobody to sign in, so it answers on this machine alone, under localhost, and not through a proxy.\n"
    "To open it to others, make a key: ragtrial keys create EXPERIMENT.yaml NAME --role viewer\n"
)


def foreign(headers: Headers) -> bool:
    """Whether a page of another origin opens a socket. Streamlit would look up this machine's outer address to find that out."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def from_this_machine(headers: Headers) -> bool:
    """Whether the browser asked for this machine by one of its own names (a name that an attacker lets point here is none), unforwarded."""
    name = urlsplit(f"//{headers.get('host', '')}").hostname
    return name in LOOPBACK_NAMES and not any(header in headers for header in _FORWARDED)


def asks_for_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for one of the pages, and not for a part of one."""
    parts = scope["path"].strip("/").split("/")
    return scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "") and parts[0] not in _STREAMLITS


def _sent_to_door(scope: Scope, headers: Headers) -> Response | None:
    """To the login, where nobody has signed in; back to where they were going, where they just have."""
    query = scope["query_string"].decode("latin-1")
    cookies = cookie_parser(headers.get("cookie", ""))
    provider = "_streamlit_user" in cookies
    if NEXT_COOKIE in cookies and provider and scope["path"] == "/" and not query:
        response = RedirectResponse(local_path(unquote(cookies[NEXT_COOKIE])), status_code=303)
        response.delete_cookie(NEXT_COOKIE)
        return response
    if provider or cookie_name(database_url() or "") in cookies or query.startswith("sign_in="):
        return None  # whether that is still worth anything is for the page to find out, at every run
    towards = quote(scope["path"], safe="/") + (f"?{query}" if query else "")
    return RedirectResponse("/login" if towards == "/" else f"/login?next={quote(towards, safe='')}", status_code=303)


def with_headers(send: Send, host: str) -> Send:
    """`send`, with headers that keep a page of this host to itself."""
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    policy = _POLICY.format(sockets=sockets)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = policy
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
