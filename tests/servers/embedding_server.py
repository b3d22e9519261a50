"""A real HTTP server that speaks OpenAI's `/v1/embeddings`, and misbehaves where a test tells it to."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ragtrial.embedding.hashing import HashingEmbedder

Body = dict[str, Any]


@dataclass(kw_only=True)
class Reply:
    """What the server sends back: JSON, or raw bytes where these are given."""

    body: Body
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


Script = Callable[[Body, Body], Reply | None]
"""Given the request and the right answer, another reply; None sends the right answer."""


class EmbeddingServer(ThreadingHTTPServer):
    """Answers with the vectors of `HashingEmbedder`; `script` may change an answer, `requests` holds what was asked.

    A script is a list of `Script`, taken one for each request; after the last one every answer is right.
    """

    daemon_threads = True

    def __init__(self, *, dimension: int = 8) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dimension = dimension
        self.script: list[Script] = []
        self.requests: list[Body] = []
        self.keys: list[str] = []

    @property
    def base_url(self) -> str:
        """What an embedder is told."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers.get("Authorization", ""))
        right = self._right(request)
        reply = self.server.script.pop(0)(request, right) if self.server.script else None
        reply = reply or Reply(body=right)
        data = json.dumps(reply.body).encode() if reply.raw is None else reply.raw
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _right(self, request: Body) -> Body:
        embedder = HashingEmbedder(model=request["model"], dimension=request.get("dimensions", self.server.dimension))
        rows = embedder.embed(request["input"], kind="query")
        data = [{"object": "embedding", "index": number, "embedding": row.tolist()} for number, row in enumerate(rows)]
        return {"object": "list", "model": request["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: pytest's output is for failures."""


@contextlib.contextmanager
def running(*, dimension: int = 8) -> Iterator[EmbeddingServer]:
    """A server on a free port, stopped at the end."""
    server = EmbeddingServer(dimension=dimension)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
