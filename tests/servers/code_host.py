"""GitHub's and GitLab's comments over a socket, as far as their REST APIs document them: pages, tokens, rights, and bad moments."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "let-me-write"  # noqa: S105 - of this server
READ_ONLY = "let-me-read"
_GITHUB = re.compile(r"/repos/acme/rag/issues/(?:7/comments|comments/(?P<id>\d+))")
_GITLAB = re.compile(r"/projects/42/merge_requests/7/notes(?:/(?P<id>\d+))?")


@dataclass
class CodeHost:
    """What the server holds, and how it is to behave.

    Attributes:
        kind: `github` or `gitlab`.
        url: The API's base URL.
        comments: All of them, oldest first.
        asked: Method and path of every request.
        bad: Answers to give before the next requests are taken: a status, or `drop` for a comment that is written and never answered.
        knows_itself: Whether the token may ask who it is; a job's token at GitHub may not.
    """

    kind: str
    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bad: list[int | str] = field(default_factory=list)
    knows_itself: bool = True

    @property
    def me(self) -> dict[str, Any]:
        return {"login": "github-actions[bot]" if not self.knows_itself else "rag-bot", "id": 11}

    def add(self, body: str, *, by: dict[str, Any] | None = None) -> dict[str, Any]:
        number = len(self.comments) + 100
        author = "user" if self.kind == "github" else "author"
        comment = {"id": number, "body": body, author: by or self.me, "html_url": f"https://code.example/{number}"}
        self.comments.append(comment)
        return comment

    def writes(self) -> list[str]:
        return [line for line in self.asked if not line.startswith("GET")]


class _Handler(BaseHTTPRequestHandler):
    host: CodeHost

    def log_message(self, *arguments: object) -> None:
        del arguments

    def _answer(self, code: int, content: object, **headers: str) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        host, parts = self.host, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length) or b"{}")
        host.asked.append(f"{self.command} {parts.path}")
        given = (
            (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if host.kind == "github"
            else self.headers.get("PRIVATE-TOKEN")
        )
        if given not in (TOKEN, READ_ONLY):
            return self._answer(401, {"message": "Bad credentials"})
        bad = host.bad.pop(0) if host.bad and (host.bad[0] != "drop" or self.command == "POST") else None
        if isinstance(bad, int):
            return self._answer(bad, {"message": "a bad moment"}, **({"Retry_After": "3"} if bad == 429 else {}))
        if parts.path == "/user":
            return (
                self._answer(200, host.me)
                if host.knows_itself
                else self._answer(403, {"message": "Resource not accessible by integration"})
            )
        found = (_GITHUB if host.kind == "github" else _GITLAB).fullmatch(parts.path)
        if found is None:
            return self._answer(404, {"message": "Not Found"})
        if self.command == "GET":
            query = parse_qs(parts.query)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return self._answer(200, host.comments[size * (page - 1) : size * page])
        if given == READ_ONLY:
            return self._answer(403, {"message": "Resource not accessible by integration"})
        if self.command == "POST":
            made = host.add(sent["body"])
            if bad == "drop":
                return self.connection.close()
            return self._answer(201, made)
        if self.command != ("PATCH" if host.kind == "github" else "PUT"):
            return self._answer(405, {})
        comment = next(each for each in host.comments if str(each["id"]) == found["id"])
        comment["body"] = sent["body"]
        return self._answer(200, comment)

    do_GET = do_POST = do_PATCH = do_PUT = _handle  # noqa: N815 - what http.server calls


@contextmanager
def running(kind: str) -> Iterator[CodeHost]:
    host = CodeHost(kind=kind)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": host}))
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
