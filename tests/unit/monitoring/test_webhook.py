"""Delivery over a real socket: once, in order, signed, tried again, and not repeated by a restart."""

import contextlib
import hashlib
import hmac
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ragtrial.db.monitoring import MonitorStore
from ragtrial.db.schema import upgrade
from ragtrial.domain.monitor import Alert
from ragtrial.errors import ConflictError, InputError
from ragtrial.monitoring.webhook import body_of, deliver, post
from ragtrial.settings import read_settings
from ragtrial.suite.monitoring import look
from unit.monitoring.receiver import receiving
from unit.monitoring.watched import NEW_WORDS, watched

AT = 1_800_000_000.0


def alert(change: str = "raised", **more: object) -> Alert:
    given = {
        "experiment": "small",
        "signal": "new_terms",
        "change": change,
        "at": AT,
        "look": 3,
        "sentence": "words never seen",
        "effect": 0.5,
    }
    return Alert(**{**given, "low": 0.3, "high": 0.7, **more})  # type: ignore[arg-type]  # forwarded by keyword


def test_what_is_sent_is_signed_json_with_an_id() -> None:
    with receiving() as receiver:
        assert post(alert(alert_id=7), receiver.url, secret="hush") is None
    assert receiver.bodies == [
        {
            "id": 7,
            "experiment": "small",
            "signal": "new_terms",
            "change": "raised",
            "at": "2027-01-15T08:00:00+00:00",
            "look": 3,
            "effect": 0.5,
            "low": 0.3,
            "high": 0.7,
            "text": "words never seen",
        }
    ]
    assert receiver.headers[0]["content-type"] == "application/json"
    assert receiver.headers[0]["idempotency-key"] == "alert-7"
    expected = hmac.new(b"hush", receiver.raw[0], hashlib.sha256).hexdigest()
    assert receiver.headers[0]["x-ragtrial-signature"] == f"sha256={expected}"
    assert receiver.raw[0] == body_of(alert(alert_id=7))


@pytest.mark.parametrize(
    ("statuses", "tries", "problem"),
    [
        ((503,), 2, None),
        ((500, 429), 3, None),
        ((500, 500, 502), 3, "the receiver said 502"),
        ((404,), 1, "the receiver said 404"),
        ((307,), 1, "the receiver said 307, and where it has moved to is not followed"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_will_not_is_not(statuses: tuple[int, ...], tries: int, problem: str | None) -> None:
    waited: list[float] = []
    with receiving(*statuses) as receiver:
        assert post(alert(alert_id=1), receiver.url, sleep=waited.append) == problem
    assert len(receiver.bodies) == tries
    assert waited == [1.0, 4.0][: tries - 1]


def test_a_receiver_that_is_not_there_or_answers_late_is_a_problem_and_no_crash() -> None:
    with receiving() as receiver:
        pass
    assert "out of reach" in str(post(alert(alert_id=1), receiver.url, waits_s=()))
    import socket

    with socket.create_server(("127.0.0.1", 0)) as late:

        def answer() -> None:
            connection, _ = late.accept()
            time.sleep(3)
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        url = f"http://127.0.0.1:{late.getsockname()[1]}/"
        assert "out of reach" in str(post(alert(alert_id=1), url, waits_s=(), timeout_s=0.2))
        answering.join()


def test_each_change_is_delivered_once_and_in_order(url: str) -> None:
    upgrade(url)
    now = [AT]
    with MonitorStore(url, clock=lambda: now[0]) as store, receiving(500) as receiver:
        store.add_look("small", "s", 1, seen="a", document={}, alerts=[alert(), alert(signal="query_length")])
        store.add_look("small", "s", 2, seen="b", document={}, alerts=[alert("cleared")])

        def send(each: Alert) -> str | None:
            return post(each, receiver.url, waits_s=())

        assert deliver(store, "small", receiver.url, send=send) == 0  # refused: the others wait behind it
        assert [each.problem for each in reversed(store.alerts("small"))] == ["the receiver said 500", None, None]
        assert deliver(store, "small", receiver.url, send=send) == 3
        assert deliver(store, "small", receiver.url, send=send) == 0
        assert [(each["signal"], each["change"]) for each in receiver.bodies[1:]] == [
            ("new_terms", "raised"),
            ("query_length", "raised"),
            ("new_terms", "cleared"),
        ]
        assert [each.delivered_at for each in store.alerts("small")] == [AT] * 3


def test_two_processes_never_send_the_same_message_or_make_the_same_look(url: str) -> None:
    upgrade(url)
    now = [AT]
    with MonitorStore(url, clock=lambda: now[0]) as one, MonitorStore(url, clock=lambda: now[0]) as other:
        one.add_look("small", "s", 1, seen="a", document={}, alerts=[alert()])
        with pytest.raises(ConflictError, match="made by another process"):
            other.add_look("small", "s", 1, seen="a", document={}, alerts=[alert()])
        assert len(one.alerts("small")) == 1
        assert one.claim("small", for_s=60) is not None
        assert other.claim("small", for_s=60) is None
        now[0] += 61  # the first one died while it sent
        again = other.claim("small", for_s=60)
        assert again is not None
        assert again.attempts == 2


def test_what_is_a_day_old_is_not_sent_to_a_webhook_that_is_named_later(url: str) -> None:
    upgrade(url)
    now = [AT]
    with MonitorStore(url, clock=lambda: now[0]) as store:
        store.add_look("small", "s", 1, seen="a", document={}, alerts=[alert()])
        now[0] += 86_401
        assert store.claim("small", for_s=60) is None


def test_a_url_that_is_none_is_refused_without_being_quoted(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    with MonitorStore(sqlite_url) as store, pytest.raises(InputError) as found:
        deliver(store, "small", "file:///etc/secret", send=lambda _: None)
    assert "secret" not in str(found.value)


def test_a_monitor_that_is_killed_and_started_again_repeats_no_alarm(tmp_path: Path) -> None:
    with receiving() as receiver:
        log = watched(tmp_path, webhook="env:TEST_HOOK", webhook_secret_env="TEST_SECRET")
        log.serve(200)
        log.serve(200, words=NEW_WORDS)
        environment = {**os.environ, "TEST_HOOK": receiver.url, "TEST_SECRET": "hush"}
        command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "monitor", str(log.path), "--watch", "1s", "--quiet"]

        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and len(receiver.bodies) < 2:
            log.serve(1, words=NEW_WORDS)
            time.sleep(0.3)
        with MonitorStore(log.url) as store:  # a kill between the receiver's 2xx and the commit sends it again
            while time.monotonic() < deadline and not all(each.delivered_at for each in store.alerts(log.name)):
                time.sleep(0.05)
        process.kill()
        process.wait()
        assert sorted(each["signal"] for each in receiver.bodies) == ["new_terms", "query_embedding"]
        log.serve(1, words=NEW_WORDS)
        settings = read_settings(environment)
        assert len(look(log.path, settings=settings).raised) == 2
        assert len(receiver.bodies) == 2
        assert all("x-ragtrial-signature" in headers for headers in receiver.headers)
