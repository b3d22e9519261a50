"""A webhook's receiver behind a real socket."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What arrived, and what it says: one status for each request, then 200.

    Attributes:
        url: Where to send to.
        bodies: What arrived, parsed.
        raw: As it arrived.
        headers: Of each.
        statuses: What it will say.
    """

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@contextlib.contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    """Listen on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # its name is given
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.raw.append(body)
            found.bodies.append(json.loads(body))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = found.statuses.pop(0) if found.statuses else 200
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", found.url + "elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name is given
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(url=f"http://127.0.0.1:{server.server_address[1]}/hook", statuses=list(statuses))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
