"""The dashboard's door without a server: sessions, who has to wait, and where a login may lead."""

import time

import pytest

from ragtrial_board.access import login_name
from ragtrial_board.door import Doorkeeper, local_path
from ragtrial_board.sessions import LASTS_S, Sessions, cookie_name


def test_a_session_names_its_key_until_it_is_ended_or_twelve_hours_old(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions("a secret")
    cookie = sessions.begin("0a1b2c")
    session = sessions.read(cookie)
    assert session is not None
    assert session.key == "0a1b2c"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LASTS_S - 2)
    assert sessions.read(cookie) == session
    monkeypatch.setattr(time, "time", lambda: now + LASTS_S + 2)
    assert sessions.read(cookie) is None
    monkeypatch.undo()
    sessions.end(session)
    assert sessions.read(cookie) is None
    assert sessions.read(sessions.begin("0a1b2c")) is not None, "ending one session ends no other"


@pytest.mark.parametrize("cookie", [None, "", "x", "WyIwYSIsICIxIl0.aaaa.bbbb", "é", "\0"])
def test_what_nobody_signed_is_no_session(cookie: str | None) -> None:
    assert Sessions("a secret").read(cookie) is None


def test_a_cookie_that_another_secret_signed_or_that_was_changed_is_no_session() -> None:
    sessions = Sessions("a secret")
    cookie = sessions.begin("0a1b2c")
    assert Sessions("another secret").read(cookie) is None
    payload, rest = cookie.split(".", 1)
    assert sessions.read(Sessions("another secret").begin("ffffff").split(".", 1)[0] + "." + rest) is None
    assert sessions.read(payload + "." + rest) is not None


def test_two_dashboards_on_one_host_have_cookies_of_their_own() -> None:
    assert cookie_name("sqlite:////a.db") != cookie_name("sqlite:////b.db")


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
