"""Both doors without a server: who has to wait, and where a login may lead."""

import asyncio
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ragtrial_board import door, tester_door
from ragtrial_board.access import login_name
from ragtrial_board.asking import Trouble
from ragtrial_board.door import Door, Doorkeeper, local_path


def test_whoever_fails_five_times_a_minute_waits_and_others_do_not() -> None:
    now = [0.0]
    keeper = Doorkeeper(clock=lambda: now[0])
    for _ in range(5):
        assert keeper.wait_s("10.0.0.1") == 0
        keeper.failure("10.0.0.1")
        now[0] += 1
    assert keeper.wait_s("10.0.0.1") == 55  # until the first of the five is a minute old
    assert keeper.wait_s("10.0.0.2") == 0
    now[0] += 55
    assert keeper.wait_s("10.0.0.1") == 0
    assert keeper.failed == 5


def test_a_hundred_failures_a_minute_make_everyone_wait() -> None:
    keeper = Doorkeeper(clock=lambda: 0.0)
    for i in range(100):
        keeper.failure(f"10.0.0.{i}")
    assert keeper.wait_s("10.0.1.1") == 60


def test_addresses_that_fail_are_not_kept_without_end() -> None:
    keeper = Doorkeeper(clock=lambda: 0.0)
    for i in range(10_000):
        keeper.failure(str(i))
    assert len(keeper._by_address) <= 4096


def entered(at: Door | tester_door.TesterDoor, key: str) -> Response:
    """What a door answers to somebody behind a proxy, who types this key."""
    body = urlencode({"key": key}).encode()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/login", "query_string": b"", "headers": headers, "client": ("10.0.0.1", 1)}
    return asyncio.run(at.enter(Request({**scope, "scheme": "http", "server": ("board", 80)}, receive)))


@pytest.mark.parametrize("which", [Door, tester_door.TesterDoor])
def test_a_stranger_who_tries_keys_waits_and_locks_nobody_out(
    monkeypatch: pytest.MonkeyPatch, which: "type[Door] | type[tester_door.TesterDoor]"
) -> None:
    monkeypatch.setattr(door, "_opened_by", lambda key: ("a_session", "a_name", "") if key == "right" else (None, "", "No."))
    monkeypatch.setattr(tester_door, "_trouble_with", lambda key: None if key == "right" else Trouble("key", "No.", ""))
    monkeypatch.setattr(door.access, "providers", lambda: ())
    at = which(Doorkeeper(clock=lambda: 0.0))
    assert [entered(at, "wrong").status_code for _ in range(7)] == [401] * 5 + [429] * 2
    assert entered(at, "wrong").headers["Retry-After"] == "60"
    assert at.keeper.failed == 5, "and fills no log meanwhile"
    assert entered(at, "right").status_code == 303


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "/login?next=/",
        "/logout",
        "compare",
        "",
        None,
        "/" + "x" * 3_000,
    ],
)
def test_a_login_leads_to_no_other_site(address: str | None) -> None:
    assert local_path(address) == "/"


@pytest.mark.parametrize("address", ["/", "/compare?evaluation=small-1&metric=nDCG%4010", "/query?query=%D7%A9"])
def test_a_login_leads_back_to_any_view(address: str) -> None:
    assert local_path(address) == address


def test_only_an_address_that_the_provider_has_verified_is_a_name() -> None:
    claims = {"iss": "https://login.example", "sub": "42", "email": "ada@example.com"}
    assert login_name({**claims, "email_verified": True}) == "ada@example.com"
    assert login_name({**claims, "email_verified": "true"}) == "ada@example.com"
    for unverified in ({}, {"email_verified": False}, {"email_verified": "false"}, {"email_verified": None}):
        assert login_name({**claims, **unverified}) == "https://login.example#42"
    assert login_name({"email_verified": True}) is None
