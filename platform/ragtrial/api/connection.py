"""Connections that send a head which is too long, or never whole, are closed: before any key was asked for.

uvicorn over httptools takes a head of any length into memory and waits for its end for ever, where its other parser stops at 64 KiB. What
comes after the head is limited by `api.border`.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ragtrial.api.logs import log

MAX_HEAD_BYTES = 32 * 1024
"""Of request line and headers together; nginx and Apache allow 8 to 32 KiB."""

HEAD_S = 20.0
"""From the opening of a connection, or from the first byte of a further request, to the end of the head."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the head's bytes, and one on its time."""

    _in_head = True
    _read = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """The clock runs from here, whether anything comes or not."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """No clock outlives its connection."""
        self._stop_clock()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        if not self._in_head:
            self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """From here on the body is counted, elsewhere."""
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; one that comes behind a chunked body (a trailer) is read by nobody here, and there is no end to them."""
        if self._in_head:
            super().on_header(name, value)
        elif not self.transport.is_closing():
            log.info("refused", extra={"what": "a request with trailers"})
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head has become too long."""
        was_in_head = self._in_head
        if was_in_head:
            self._read += len(data)
        for start in range(0, len(data), MAX_HEAD_BYTES) if len(data) > MAX_HEAD_BYTES else (0,):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + MAX_HEAD_BYTES] if len(data) > MAX_HEAD_BYTES else data)
            if self._in_head and was_in_head and self._read > MAX_HEAD_BYTES:
                self._refuse(_TOO_LARGE, "a request with a head that is too long")
                return

    def _begin(self) -> None:
        self._in_head, self._read = True, 0
        self._stop_clock()
        self._timer = self.loop.call_later(HEAD_S, self._refuse, _TOO_SLOW, "a request whose head did not come")

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, answer: bytes, what: str) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        log.info("refused", extra={"what": what})
        transport.write(answer)
        transport.close()
