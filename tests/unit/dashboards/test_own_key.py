"""Keys of testers: found by the name that their browser holds, for a while, by nobody else."""

import pytest

from ragtrial_board import own_key
from ragtrial_board.own_key import LASTS_S, Keyring


def test_a_key_is_found_by_its_name_alone_until_it_is_dropped() -> None:
    ring = Keyring()
    first, second = ring.keep("rt_a_1"), ring.keep("rt_b_2")
    assert (ring.find(first), ring.find(second)) == ("rt_a_1", "rt_b_2")
    assert "rt_" not in first
    assert [ring.find(name) for name in (None, "", "rt_a_1", first[:-1])] == [None] * 4
    ring.drop(first)
    ring.drop("nobody")
    assert (ring.find(first), ring.find(second)) == (None, "rt_b_2")


def test_a_key_is_kept_for_half_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, now = Keyring(), [100.0]
    monkeypatch.setattr(own_key.time, "monotonic", lambda: now[0])
    name = ring.keep("rt_a_1")
    now[0] += LASTS_S - 1
    assert ring.find(name) == "rt_a_1"
    now[0] += 2
    assert ring.find(name) is None
