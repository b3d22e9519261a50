"""A real HTTP server that reranks as Cohere's API or Text Embeddings Inference does, and misbehaves where a test tells it to."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ragtrial.reranking.overlap import OverlapReranker


@dataclass(kw_only=True)
class Reply:
    """What the server sends back: JSON, or raw bytes where these are given, after a wait."""

    body: Any = None
    status: int = 200
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0


Script = Callable[[dict[str, Any], Any], Reply | None]
"""Given the request and the right answer, another reply; None sends the right answer."""


class RerankServer(ThreadingHTTPServer):
    """Answers with the scores of `OverlapReranker`, best first; `script` may change an answer, `requests` holds what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []

    @property
    def base_url(self) -> str:
        """What a reranker is told."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: RerankServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers.get("Authorization", ""))
        right = _right(request)
        reply = self.server.script(request, right) if self.server.script else None
        reply = reply or (Reply(body=right) if self.path == "/v1/rerank" else Reply(status=404, body={}))
        if reply.after_s:
            time.sleep(reply.after_s)
        data = json.dumps(reply.body).encode() if reply.raw is None else reply.raw
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: pytest's output is for failures."""


def _right(request: dict[str, Any]) -> Any:
    tei = "texts" in request
    (scores,) = OverlapReranker("served").score([(request["query"], request["texts" if tei else "documents"])])
    name = "score" if tei else "relevance_score"
    rows = sorted(({"index": place, name: float(score)} for place, score in enumerate(scores)), key=lambda row: -row[name])
    return rows if tei else {"id": "1", "model": request["model"], "results": rows[: request["top_n"]], "usage": {"total_tokens": 1}}


@contextlib.contextmanager
def running() -> Iterator[RerankServer]:
    """A server on a free port, stopped at the end."""
    server = RerankServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
