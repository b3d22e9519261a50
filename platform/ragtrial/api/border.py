"""The outermost layer, in plain ASGI, which costs microseconds: size of the body, security headers, one log line, no error unanswered."""

import asyncio
import contextlib
import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragtrial.api.errors import error_response
from ragtrial.api.logs import log

MAX_BODY_BYTES = 64 * 1024
BODY_S = 30.0
"""A body that takes longer to come gets 408: a slow client must not hold a connection for ever."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Border:
    """What every request passes on its way in, and every response on its way out.

    Args:
        app: What is inside.
        max_body_bytes: Larger bodies get 413, before they are read where their length is announced.
        body_s: Slower bodies get 408.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int = MAX_BODY_BYTES, body_s: float = BODY_S) -> None:
        self._app = app
        self._max, self._body_s = max_body_bytes, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, seen = time.perf_counter(), _Seen()
        scope.setdefault("state", {})

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, sending, seen)
        finally:
            _say(scope, seen, (time.perf_counter() - start) * 1000)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, seen: "_Seen") -> None:
        too_large = f"the body is larger than {self._max} bytes"
        if _announced(scope) > self._max:
            await error_response(413, too_large, headers={"Connection": "close"})(scope, receive, send)
            return
        read, complete = 0, False
        until = asyncio.get_running_loop().time() + self._body_s

        async def counting() -> Message:
            nonlocal read, complete
            if complete:  # what comes now is the end of the connection, and may come late
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {self._body_s:g} s", headers={"Connection": "close"}) from None
            complete = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self._max:
                raise HTTPException(413, too_large, headers={"Connection": "close"})
            return message

        try:
            await self._app(scope, counting, send)
        except Exception as error:
            seen.fault = f"err_{secrets.token_hex(8)}"
            log.error("a fault of the service", exc_info=error, extra={"error_id": seen.fault})
            if seen.status is None:
                await error_response(500, f"the service has a fault; it is logged as {seen.fault}")(scope, receive, send)
            else:
                raise  # half a response is out: the server must break the connection


class _Seen:
    __slots__ = ("fault", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.fault: str | None = None


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            with contextlib.suppress(ValueError):
                return int(value)
    return 0


def _say(scope: Scope, seen: _Seen, ms: float) -> None:
    state: dict[str, Any] = scope["state"]
    quiet = scope["path"] in ("/healthz", "/readyz", "/metrics") and (seen.status or 500) < 500
    (log.debug if quiet else log.info)(
        "request",
        extra={
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", None) or "none",
            "status": seen.status,
            "ms": round(ms, 2),
            "trial_id": state.get("trial_id"),
            "key": state.get("caller"),
            "error_id": seen.fault,
        },
    )
