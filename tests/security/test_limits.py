"""What one client may take: requests a minute, bytes of a head, bytes of a body, and time; exact also where many come at once."""

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from starlette.exceptions import HTTPException

from over_http import StandIn
from ragtrial.api import connection
from ragtrial.api.access import KeyGate
from ragtrial.api.app import ApiOptions, create_app
from ragtrial.api.border import MAX_BODY_BYTES
from ragtrial.api.connection import MAX_HEAD_BYTES, BoundedHttp
from ragtrial.domain.access import ApiKey


def key_of(token: str) -> ApiKey | None:
    return ApiKey(prefix=token[3:8], name=token, role="tester", created_at=0.0) if token.startswith("rt_good") else None


@contextlib.contextmanager
def served(**options):
    app = create_app(StandIn(), key_of, sql_url="sqlite://", options=ApiOptions(**options))
    config = uvicorn.Config(app, port=0, http=BoundedHttp, log_level="critical", access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port():
    with served() as port:
        yield port


def test_a_key_gets_exactly_its_rate_however_many_requests_come_at_once():
    now = [1000.0]

    async def run() -> list[int]:
        gate = KeyGate(key_of, per_minute=60, clock=lambda: now[0])

        async def one(token: str) -> bool:
            try:
                await gate.admit(token)
            except HTTPException as refused:
                return refused.status_code != 429
            return True

        async def many(token: str, n: int) -> int:
            return sum(await asyncio.gather(*(one(token) for _ in range(n))))

        counts = [await many("rt_good1", 300), await many("rt_good1", 300), await many("rt_good2", 5)]
        now[0] += 3  # a token a second
        counts.append(await many("rt_good1", 300))
        now[0] += 3600  # no more than ten seconds' worth is saved up
        counts.append(await many("rt_good1", 300))
        return counts

    assert asyncio.run(run()) == [10, 0, 5, 3, 10]


def test_the_rate_holds_over_http_under_load():
    with served(rate_per_minute=60) as port:
        client = httpx.Client(headers={"Authorization": "Bearer rt_good9"}, timeout=30)

        def one(_) -> int:
            return client.post(f"http://127.0.0.1:{port}/v1/ask", json={"query": "x"}).status_code

        begun = time.monotonic()
        with ThreadPoolExecutor(16) as threads:
            counts = Counter(threads.map(one, range(80)))
        took = time.monotonic() - begun
    assert set(counts) == {200, 429}
    assert 10 <= counts[200] <= 10 + int(took) + 1


def said_to(port: int, sent: bytes, *more: bytes) -> bytes:
    """What the server answers before it closes the connection or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected:
        answer = b""
        with contextlib.suppress(ConnectionError):
            for part in (sent, *more):
                connected.sendall(part)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := connected.recv(65536):
                answer += piece
        return answer


HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        [b"X-A: " + b"a" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n"],
        [b"X-A: ", *[b"a" * 4096] * 40],
        [*[b"X-A: " + b"a" * 100 + b"\r\n"] * 2000],
        [b"X-A: a\r\n" * 20_000 + b"\r\n"],
    ],
    ids=["one header", "a header without an end", "headers without an end", "many headers"],
)
def test_a_head_that_is_too_long_is_refused_before_it_is_kept(port, rest):
    assert said_to(port, HEAD, *rest)[:12] in (b"HTTP/1.1 431", b"")


def test_headers_behind_a_body_end_the_connection(port):
    """httptools hands them over like headers, without a limit on their number."""
    ask = b"POST /v1/ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer rt_good3\r\nContent-Type: application/json\r\n"
    chunked = ask + b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + b'{"query": "where"}' + b"\r\n0\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected, pytest.raises(ConnectionError):
        connected.sendall(chunked + b"a:b\r\n" * 4_000_000)


def test_a_head_within_the_limit_and_requests_on_one_connection_are_answered(port):
    assert said_to(port, HEAD, b"X-A: " + b"a" * (MAX_HEAD_BYTES - 1000), b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 8000 + b"\r\n\r\n"
    assert said_to(port, request * 8, HEAD + b"\r\n").count(b"HTTP/1.1 200") == 9  # each head is counted by itself
    body = b'{"query": "' + b"x" * 3000 + b'"}'
    ask = (
        b"POST /v1/ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer rt_good3\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        % len(body)
    )
    assert said_to(port, (ask + b"\r\n" + body) * 12, HEAD + b"\r\n").count(b"HTTP/1.1 200") == 13


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.3)  # seconds that a test has not
    with served() as port:
        assert said_to(port, b"GET /healthz HTTP/1.1\r\nHost:").startswith(b"HTTP/1.1 408")
        assert said_to(port, b"").startswith(b"HTTP/1.1 408")
        assert said_to(port, HEAD + b"\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused(port, announced):
    body = b'{"query": "' + b"x" * MAX_BODY_BYTES + b'"}'
    headers = {"Authorization": "Bearer rt_good4", "Content-Type": "application/json"}
    content = body if announced else (body[i : i + 1000] for i in range(0, len(body), 1000))
    assert httpx.post(f"http://127.0.0.1:{port}/v1/ask", content=content, headers=headers).status_code == 413


def test_a_small_body_that_stands_for_a_large_one_stays_small(port):
    """Bodies are not unpacked: what is compressed is no JSON."""
    import gzip

    headers = {"Authorization": "Bearer rt_good5", "Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/ask", content=gzip.compress(b'{"query": "' + b" " * 10_000_000 + b'x"}'), headers=headers
    )
    assert answer.status_code == 400


def test_every_answer_forbids_what_a_browser_could_make_of_it(port):
    for path, status in (("/healthz", 200), ("/nowhere", 404), ("/v1/models", 401)):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}")
        assert answer.status_code == status
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
