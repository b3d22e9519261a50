"""Sessions of keys: found by the name that a browser holds, for a while, in this process alone, by nobody else."""

import pytest

from ragtrial_board import sessions as module
from ragtrial_board.sessions import LASTS_S, Sessions, cookie_name


def test_a_key_is_found_by_its_name_alone_until_its_session_is_ended() -> None:
    sessions = Sessions()
    first, second = sessions.begin("rt_a_1"), sessions.begin("rt_b_2")
    assert (sessions.key(first), sessions.key(second)) == ("rt_a_1", "rt_b_2")
    assert "rt_" not in first
    assert [sessions.key(name) for name in (None, "", "rt_a_1", first[:-1], "é", "\0")] == [None] * 6
    sessions.end(first)
    sessions.end("nobody")
    assert (sessions.key(first), sessions.key(second)) == (None, "rt_b_2"), "ending one session ends no other"


def test_a_session_lasts_half_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, now = Sessions(), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    name = sessions.begin("rt_a_1")
    now[0] += LASTS_S - 1
    assert sessions.key(name) == "rt_a_1"
    now[0] += 2
    assert sessions.key(name) is None


def test_no_session_outlives_its_process_so_that_one_that_was_ended_does_not_come_back() -> None:
    before = Sessions()
    ended, open_ = before.begin("0a1b2c"), before.begin("0a1b2c")
    before.end(ended)
    after_a_restart = Sessions()
    assert [after_a_restart.key(name) for name in (ended, open_)] == [None, None]


def test_two_dashboards_on_one_host_have_cookies_of_their_own() -> None:
    assert cookie_name("sqlite:////a.db") != cookie_name("sqlite:////b.db")
