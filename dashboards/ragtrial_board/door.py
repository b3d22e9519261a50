"""The door: a plain page at `/login` that takes an API key or leads to a login provider, and `/logout`. None of it needs a script."""

import html
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from urllib.parse import quote, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ragtrial.errors import RagtrialError
from ragtrial_board import access
from ragtrial_board.sessions import LASTS_S, cookie_name, sessions
from ragtrial_board.told import database_url

NEXT_COOKIE = "ragtrial_next"
"""Where somebody was going when they went to their login provider, which does not keep it."""

_PAGE = Path(__file__).parent.parent / "assets" / "login.html"
_NEXT_LASTS_S = 900
_LONGEST_ADDRESS = 2_000
_FAILURES, _WITHIN_S = 5, 60.0
_FAILURES_OF_ALL = 100
_MOST_ADDRESSES = 4_096
_log = logging.getLogger("ragtrial.board")


class Doorkeeper:
    """Counts failed logins, and says who has failed too often: five times a minute from one address, a hundred times from all.

    Keys have 256 bits, so nobody guesses one, and behind a proxy everybody may have one address. So a valid key is taken at any time, and
    whoever has failed too often is told to wait with other ones, and fills no log.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failed = 0
        self._clock = clock
        self._of_all: deque[float] = deque(maxlen=_FAILURES_OF_ALL)
        self._by_address: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> int:
        """Whole seconds until this address may try again; 0: now."""
        now = self._clock()
        with self._lock:
            waits = [_wait(self._by_address.get(address), _FAILURES, now), _wait(self._of_all, _FAILURES_OF_ALL, now)]
        return math.ceil(max(waits))

    def failure(self, address: str) -> None:
        """Somebody failed."""
        now = self._clock()
        with self._lock:
            self.failed += 1
            self._of_all.append(now)
            if address not in self._by_address and len(self._by_address) >= _MOST_ADDRESSES:
                self._by_address.pop(next(iter(self._by_address)))
            self._by_address.setdefault(address, deque(maxlen=_FAILURES)).append(now)

    def refusal(self, request: Request, problem: str) -> tuple[str, int, dict[str, str]]:
        """What is said to whoever brought a wrong key: why, the status, and headers."""
        address = request.client.host if request.client is not None else ""
        wait = self.wait_s(address)
        if wait:
            return f"{problem} Too many keys were refused: look for the right one, or wait {wait} s.", 429, {"Retry-After": str(wait)}
        self.failure(address)
        _log.warning("login refused (%d since the start)", self.failed)
        return problem, 401, {}


def _wait(failures: "deque[float] | None", most: int, now: float) -> float:
    if not failures or len(failures) < most:
        return 0.0
    return max(0.0, failures[0] + _WITHIN_S - now)


def local_path(address: str | None) -> str:
    """The address where it is a path of this server, else the first page: a login must not send people elsewhere."""
    if not address or len(address) > _LONGEST_ADDRESS or not address.startswith("/") or address.startswith("//"):
        return "/"
    if "\\" in address or any(ord(character) < 33 or ord(character) == 127 for character in address):
        return "/"
    parts = urlsplit(address)
    return "/" if parts.scheme or parts.netloc or parts.path.startswith(("/login", "/logout")) else address


def from_here(request: Request) -> bool:
    """Whether a page of this server sent the request, as browsers say; those that say nothing are believed."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


class Door:
    """The routes. One door for each server: it counts failures.

    Args:
        keeper: Counts them.
    """

    def __init__(self, keeper: Doorkeeper | None = None) -> None:
        self.keeper = keeper or Doorkeeper()

    def routes(self) -> list[Route]:
        """Login by key, by provider, and logout."""
        return [
            Route("/login", self.show, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/login/with", self.leave_for_provider, methods=["GET"]),
            Route("/logout", self.leave, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """The form."""
        return await self._page(local_path(request.query_params.get("next")))

    async def enter(self, request: Request) -> Response:
        """Let in whoever has a valid key."""
        form = await request.form(max_files=0, max_fields=4)
        towards, token = local_path(str(form.get("next", ""))), str(form.get("key", "")).strip()
        if not from_here(request):
            return await self._page(towards, problem="This form was sent by another site. Try again here.", status=403)
        try:
            value, name, problem = await run_in_threadpool(_opened_by, token)
        except RagtrialError as error:
            return await self._page(towards, problem=str(error), status=503)
        if value is None:
            problem, status, headers = self.keeper.refusal(request, problem)
            return await self._page(towards, problem=problem, status=status, headers=headers)
        response = RedirectResponse(towards, status_code=303)
        response.set_cookie(name, value, max_age=LASTS_S, httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return response

    async def leave_for_provider(self, request: Request) -> Response:
        """Keep where somebody was going, then let Streamlit send them to their provider."""
        provider = request.query_params.get("provider", "")
        if provider not in [name or "" for name in access.providers()]:
            return await self._page("/", problem="There is no such login provider.", status=404)
        response = RedirectResponse(f"/?sign_in={quote(provider)}", status_code=303)
        towards = quote(local_path(request.query_params.get("next")), safe="/")
        response.set_cookie(
            NEXT_COOKIE, towards, max_age=_NEXT_LASTS_S, httponly=True, samesite="lax", secure=request.url.scheme == "https"
        )
        return response

    async def leave(self, request: Request) -> Response:
        """End the session of a key, here and in pages of it that are open elsewhere.

        Who came by a login provider is out where a page is opened anew: one that is open keeps whom its connection was opened by.
        """
        if not from_here(request):
            return await self._page("/", problem="Another site wanted to sign you out. You still are signed in.", status=403)
        name = cookie_name(database_url() or "")
        sessions().end(request.cookies.get(name))
        response = RedirectResponse("/auth/logout" if "_streamlit_user" in request.cookies else "/login", status_code=303)
        response.delete_cookie(name)
        response.delete_cookie(NEXT_COOKIE)
        return response

    async def _page(self, towards: str, *, problem: str = "", status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        links = "".join(_provider_link(name, towards) for name in await run_in_threadpool(access.providers))
        page = Template(_PAGE.read_text(encoding="utf-8")).substitute(
            next=html.escape(towards),
            problem=f'<p class="problem" role="alert" id="problem">{html.escape(problem)}</p>' if problem else "",
            described='aria-describedby="problem" aria-invalid="true"' if problem else "",
            providers=links,
        )
        return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def _provider_link(name: str | None, towards: str) -> str:
    address = "/login/with?" + urlencode({"provider": name or "", "next": towards})
    return f'<a class="provider" href="{html.escape(address)}">Sign in with {html.escape(name or "your account")}</a>'


def _opened_by(token: str) -> tuple[str | None, str, str]:
    """The session's cookie and its name, where the key opens the door; else why it doesn't."""
    visitors, name = access.visitors_of_board(), cookie_name(database_url() or "")
    if visitors is None:
        return None, name, "There is no database yet, and so there are no keys."
    key = visitors.find(token)
    if key is None:
        return None, name, "That is no valid key. A key begins with rt_, and is shown once, when it is made."
    if key.revoked_at is not None:
        return None, name, "That key was revoked. Ask whoever gave it to you for another one."
    return sessions().begin(key.prefix), name, ""
