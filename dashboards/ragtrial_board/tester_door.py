"""The door and the border of the tester's page: the service says which keys open it, and the key stays on this side."""

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ragtrial_board.asking import Trouble
from ragtrial_board.border import asks_for_page, foreign, from_this_machine, with_headers
from ragtrial_board.door import Doorkeeper, from_here, local_path
from ragtrial_board.own_key import cookie_name, shared_key
from ragtrial_board.sessions import LASTS_S, sessions
from ragtrial_board.tester_told import asks_for_no_key, service_for, tester_told
from ragtrial_board.told import LOOPBACK_NAMES

_PAGE = Path(__file__).parent.parent / "assets" / "tester-login.html"
_ELSEWHERE = "This page asks nobody for a key, so it answers on this machine alone, under localhost, and not through a proxy.\n"


class TesterBorder:
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
        guarded = with_headers(send, headers.get("host", "")) if scope["type"] == "http" else send
        if answer is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "http":
            await answer(scope, receive, guarded)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is said at the border itself; None: let it pass."""
        socket = scope["type"] == "websocket"
        if socket and foreign(headers):
            return PlainTextResponse("another site may not use this page", status_code=403)
        if not socket and not asks_for_page(scope, headers):
            return None
        if sessions().key(cookie_parser(headers.get("cookie", "")).get(cookie_name())) is not None:
            return None
        shared = shared_key() is not None
        if shared or await run_in_threadpool(asks_for_no_key):
            told_so = shared and tester_told().host not in LOOPBACK_NAMES
            return None if told_so or from_this_machine(headers) else PlainTextResponse(_ELSEWHERE, status_code=403)
        return None if socket else _sent_to_door(scope)


def _sent_to_door(scope: Scope) -> Response:
    query = scope["query_string"].decode("latin-1")
    towards = quote(scope["path"], safe="/") + (f"?{query}" if query else "")
    return RedirectResponse("/login" if towards == "/" else f"/login?next={quote(towards, safe='')}", status_code=303)


class TesterDoor:
    """The routes. One door for each server: it counts failures.

    Args:
        keeper: Counts them.
    """

    def __init__(self, keeper: Doorkeeper | None = None) -> None:
        self.keeper = keeper or Doorkeeper()

    def routes(self) -> list[Route]:
        """Login by key, and logout."""
        return [
            Route("/login", self.show, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """The form."""
        return _page(local_path(request.query_params.get("next")))

    async def enter(self, request: Request) -> Response:
        """Let in whoever has a key that the service takes."""
        form = await request.form(max_files=0, max_fields=4)
        towards, token = local_path(str(form.get("next", ""))), str(form.get("key", "")).strip()
        if not from_here(request):
            return _page(towards, problem="This form was sent by another site. Try again here.", status=403)
        trouble = await run_in_threadpool(_trouble_with, token)
        said = "" if trouble is None else f"{trouble.title} {trouble.advice}"
        if trouble is not None and trouble.kind == "key":
            problem, status, headers = self.keeper.refusal(request, said)
            return _page(towards, problem=problem, status=status, headers=headers)
        if trouble is not None:
            return _page(towards, problem=said, status=503)
        response = RedirectResponse(towards, status_code=303)
        secure = request.url.scheme == "https"
        response.set_cookie(cookie_name(), sessions().begin(token), max_age=LASTS_S, httponly=True, samesite="lax", secure=secure)
        return response

    async def leave(self, request: Request) -> Response:
        """Forget the key."""
        if not from_here(request):
            return _page("/", problem="Another site wanted to sign you out. You still are signed in.", status=403)
        sessions().end(request.cookies.get(cookie_name()))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(cookie_name())
        return response


def _trouble_with(token: str) -> Trouble | None:
    """What the service says against a key; None: nothing."""
    if not token:
        return Trouble("key", "There is no key.", "Type or paste yours.")
    try:
        service_for(token).check()
    except Trouble as trouble:
        return trouble
    return None


def _page(towards: str, *, problem: str = "", status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    page = Template(_PAGE.read_text(encoding="utf-8")).substitute(
        next=html.escape(towards),
        problem=f'<p class="problem" role="alert" id="problem">{html.escape(problem)}</p>' if problem else "",
        described='aria-describedby="problem" aria-invalid="true"' if problem else "",
    )
    return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})
