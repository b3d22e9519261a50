"""What the HTTP layer does with everything that can go wrong, whatever the service behind it."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from over_http import StandIn, running, until_ready
from ragtrial.api.app import ApiOptions, create_app
from ragtrial.api.border import MAX_BODY_BYTES, Border
from ragtrial.api.logs import JsonLines
from ragtrial.domain.access import ApiKey

KEYS = {"rt_a_secret": ApiKey(prefix="a", name="portal", role="operator", created_at=0.0)}
HEADERS = {"Authorization": "Bearer rt_a_secret"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(StandIn(), KEYS.get, sql_url="sqlite:///nowhere/at/all.db")) as address:
        until_ready(address)
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=HEADERS, timeout=60) as one:
        yield one


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the service logs, as JSON lines."""
    found: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(JsonLines().format(record))

    handler = Keeping()
    names = ("ragtrial", "uvicorn")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(handler)
    yield found
    for name in names:
        logging.getLogger(name).setLevel(before[name])
        logging.getLogger(name).removeHandler(handler)


def until_logged(lines: list[str]) -> None:
    """Wait for the line of a request, which comes after its answer."""
    deadline = time.monotonic() + 60
    while not any('"request"' in line for line in lines):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("fault", 500, "internal_error"), ("overloaded", 503, "overloaded"), ("failing", 502, "answer_failed"), ("store", 503, "unavailable")],
)
def test_every_failure_of_the_service_has_a_status_and_a_body_that_openais_clients_read(
    client: httpx.Client, path: str, query: str, status: int, code: str
) -> None:
    body = {"query": query} if path == "/v1/ask" else {"model": "ragtrial", "messages": [{"role": "user", "content": query}]}
    response = client.post(path, json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert error["type"] == "server_error"
    if status == 503:
        assert int(response.headers["Retry-After"]) >= 1
    if query == "overloaded":
        assert response.headers["Retry-After"] == "2", "1.2 s, in whole seconds"
    if query == "failing":
        assert error["trial_id"] == "trial_f"
    assert "secret" not in response.text


def test_a_fault_is_logged_under_the_id_that_the_client_got_without_what_the_user_typed(client: httpx.Client, lines: list[str]) -> None:
    message = client.post("/v1/ask", json={"query": "fault", "unit": "bob"}).json()["error"]["message"]
    until_logged(lines)
    fault = next(json.loads(line) for line in lines if "exception" in line)
    assert fault["error_id"] in message
    assert fault["exception"] == "ZeroDivisionError"
    assert any("over_http.py" in frame for frame in fault["frames"])
    assert "secret words" not in "".join(lines)


def test_a_request_is_one_line_with_its_trial_and_key_and_without_texts(client: httpx.Client, lines: list[str]) -> None:
    client.post("/v1/ask", json={"query": "my private question", "unit": "bob-the-user"})
    until_logged(lines)
    requests = [json.loads(line) for line in lines if '"request"' in line]
    assert len(requests) == 1
    line = requests[0]
    expected = {"method": "POST", "route": "/v1/ask", "status": 200, "trial_id": "trial_1", "key": "portal", "level": "info"}
    assert expected.items() <= line.items()
    assert line["ms"] >= 0
    logged = "".join(lines)
    for secret in ("private question", "bob-the-user", "rt_a_secret", "Answer to"):
        assert secret not in logged


def test_an_unknown_path_is_not_logged_as_it_was_typed(client: httpx.Client, lines: list[str]) -> None:
    assert client.get("/my private question?q=private").status_code == 404
    until_logged(lines)
    assert "private" not in "".join(lines)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n\t"}, "query"),
        ({"query": "a\0b"}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"query": "x" * 8001}, "query"),
        ({"query": "x", "unit": ""}, "unit"),
        ({"query": "x", "unit": 7}, "unit"),
        ({"query": "x", "metadata": {"a": "\0"}}, "metadata.a"),
        ({"query": "x", "surprise": 1}, "surprise"),
        ({"query": "x", "\udfff": 1}, None),
        ([], None),
        ("x", None),
        (None, None),
    ],
)
def test_what_can_not_be_used_is_400_and_names_the_field(client: httpx.Client, body: object, param: str | None) -> None:
    response = client.post("/v1/ask", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 60000, b'{"query": NaN}'])
def test_broken_json_is_400(client: httpx.Client, content: bytes) -> None:
    assert client.post("/v1/ask", content=content, headers={"Content-Type": "application/json"}).status_code == 400


def test_a_body_that_is_not_announced_as_json_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/ask", content=b'{"query": "x"}', headers={"Content-Type": "text/plain"})
    assert response.status_code == 400, "or else any web page could send one without asking"
    assert response.json()["error"]["message"] == "send Content-Type: application/json"
    bare = client.post("/v1/ask", content=b'{"query": "x"}')
    assert (bare.status_code, bare.json()["error"]["message"]) == (400, "send Content-Type: application/json")


@pytest.mark.parametrize(
    ("body", "message"),
    [({"query": ""}, "query is blank"), ({"query": " \n\t"}, "query is blank"), ({"query": "a\0b"}, "query holds a NUL character")],
)
def test_a_query_that_says_nothing_is_told_so_in_words(client: httpx.Client, body: object, message: str) -> None:
    assert client.post("/v1/ask", json=body).json()["error"]["message"].startswith(message)


def test_an_unknown_path_is_told_where_the_routes_are(client: httpx.Client) -> None:
    for response in (client.get("/nowhere"), client.post("/v1/responses", json={})):
        assert response.status_code == 404
        assert response.json()["error"]["message"] == "no such route: see /openapi.json"
    assert "no model 'x'" in client.get("/v1/models/x").json()["error"]["message"]


def test_what_is_asked_before_it_is_warm_is_503_with_the_code_starting(client: httpx.Client) -> None:
    response = client.post("/v1/ask", json={"query": "starting"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "starting"
    assert int(response.headers["Retry-After"]) >= 1


def test_nul_in_a_path_is_400(client: httpx.Client) -> None:
    assert client.get("/v1/models/a%00b").status_code == 400


def test_a_body_over_the_limit_is_413_whether_its_length_is_announced_or_not(client: httpx.Client) -> None:
    room = json.dumps({"query": "x", "metadata": {}}).encode()
    largest = room[:-1] + b" " * (MAX_BODY_BYTES - len(room)) + b"}"
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/ask", content=largest, headers=headers).status_code == 200
    assert client.post("/v1/ask", content=largest + b" ", headers=headers).status_code == 413
    pieces = iter([largest, b" "])
    response = client.post("/v1/ask", content=pieces, headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_a_body_that_does_not_come_is_408_and_one_that_came_may_take_long_to_answer() -> None:
    app = Border(create_app(StandIn(), KEYS.get, sql_url="sqlite:///nowhere.db"), body_s=0.3)
    with running(app) as url:
        until_ready(url)
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            head = ["POST /v1/ask HTTP/1.1", "Host: localhost", f"Authorization: {HEADERS['Authorization']}", "Content-Length: 20", "", "{"]
            slow.sendall("\r\n".join(head).encode())
            said = slow.recv(4096)
        answered = httpx.post(f"{url}/v1/ask", json={"query": "slow"}, headers=HEADERS, timeout=60)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert answered.status_code == 200


def test_responses_carry_security_headers_and_no_name_of_the_server(client: httpx.Client) -> None:
    for response in (client.get("/healthz"), client.post("/v1/ask", json={}), client.get("/nowhere")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_no_page_of_another_origin_may_read_answers_unless_it_was_named() -> None:
    preflight = {
        "Origin": "https://chat.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for origins, allowed in (((), None), (("https://chat.example",), "https://chat.example"), (("https://other.example",), None)):
        options = ApiOptions(cors_origins=origins)
        with running(create_app(StandIn(), KEYS.get, sql_url="sqlite:///nowhere.db", options=options)) as address:
            asked = httpx.options(f"{address}/v1/ask", headers=preflight)
            answer = httpx.get(f"{address}/healthz", headers={"Origin": "https://chat.example"})
        assert asked.headers.get("Access-Control-Allow-Origin") == allowed
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        assert asked.headers.get("Access-Control-Allow-Credentials") is None


def test_nothing_is_loaded_from_elsewhere_and_the_openapi_document_needs_a_key(client: httpx.Client, url: str) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
    assert httpx.get(f"{url}/openapi.json").status_code == 401
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            assert operation["summary"], path
            assert "Scope: " in operation["description"], path
    assert document["components"]["schemas"]["AskIn"]["examples"]


def test_before_it_is_warm_the_service_lives_but_is_not_ready() -> None:
    with running(create_app(StandIn(starts_after_s=4.0), KEYS.get, sql_url="sqlite:///nowhere.db")) as address:
        assert httpx.get(f"{address}/healthz").status_code == 200
        early = httpx.get(f"{address}/readyz")
        assert early.status_code == 503
        assert early.json()["warm"] is False
        assert "Retry-After" in early.headers
        until_ready(address)
        assert httpx.get(f"{address}/readyz").json() == {"ready": True, "warm": True, "database": None, "milvus": None, "degraded": False}


def test_a_service_that_warms_first_takes_no_connection_before() -> None:
    start = time.monotonic()
    with running(
        create_app(StandIn(starts_after_s=0.5), KEYS.get, sql_url="sqlite:///x.db", options=ApiOptions(warm_first=True))
    ) as address:
        assert time.monotonic() - start >= 0.5
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_requests_under_way_are_answered_when_the_service_is_stopped() -> None:
    service = StandIn()
    statuses: list[int] = []
    with running(create_app(service, KEYS.get, sql_url="sqlite:///nowhere.db")) as address:
        until_ready(address)

        def ask() -> None:
            statuses.append(httpx.post(f"{address}/v1/ask", headers=HEADERS, json={"query": "slow"}, timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while service.asked < 4:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert service.closed


def test_metrics_need_a_key_that_may_read_unless_they_are_open(client: httpx.Client, url: str) -> None:
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert "ragtrial_" in client.get("/metrics").text
    options = ApiOptions(open_metrics=True)
    with running(create_app(StandIn(), KEYS.get, sql_url="sqlite:///nowhere.db", options=options)) as address:
        response = httpx.get(f"{address}/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")


def test_a_log_that_is_out_of_reach_is_503_for_those_who_read_it(client: httpx.Client) -> None:
    response = client.get("/v1/experiments")
    assert response.status_code == 503
    assert "nowhere/at/all" not in response.text


def test_a_connection_that_breaks_in_the_middle_of_a_body_troubles_nobody(url: str, client: httpx.Client, lines: list[str]) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(b"POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    time.sleep(0.2)
    assert client.get("/healthz").status_code == 200
    assert not [line for line in lines if '"exception"' in line]
