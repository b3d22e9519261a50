"""Who looks at the dashboard: keys and members are looked up anew each time, and nothing is made on the way."""

import stat
from pathlib import Path

import pytest

from ragtrial.db.engine import upgrade
from ragtrial.db.keys import KeyStore
from ragtrial.db.members import MemberStore
from ragtrial.db.pepper import pepper_for
from ragtrial.errors import SetupError
from ragtrial.settings import read_settings
from ragtrial.suite.opening import url_of
from ragtrial.suite.visiting import Visitors

SETTINGS = read_settings({})


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = url_of(tmp_path / "log.db")
    upgrade(made)
    return made


def test_a_key_lets_in_until_it_is_revoked(url: str, tmp_path: Path) -> None:
    visitors = Visitors(url, tmp_path, SETTINGS)
    with KeyStore(url) as keys:
        token = keys.create("a colleague", "viewer", pepper=pepper_for(url, tmp_path, SETTINGS))
        prefix = token.split("_")[1]
        found = visitors.find(token)
        assert found is not None
        assert visitors.key(prefix) == found
        keys.revoke(prefix, "somebody")
    assert visitors.key(prefix) is None
    again = visitors.find(token)
    assert again is not None
    assert again.revoked_at is not None


def test_a_member_has_the_role_that_was_given_last(url: str, tmp_path: Path) -> None:
    visitors = Visitors(url, tmp_path, SETTINGS)
    assert visitors.role("ada@example.com") is None
    with MemberStore(url) as members:
        members.add("ada@example.com", "viewer")
        assert visitors.role("Ada@Example.com") == "viewer"
        members.add("ada@example.com", "admin")
        assert visitors.role("ada@example.com") == "admin"
        members.remove("ada@example.com")
    assert visitors.role("ada@example.com") is None


def test_without_the_pepper_keys_are_not_called_wrong_and_no_pepper_is_made(url: str, tmp_path: Path) -> None:
    visitors = Visitors(url, tmp_path, SETTINGS)
    with pytest.raises(SetupError, match="RAGTRIAL_KEY_PEPPER"):
        visitors.find("rt_0a1b2c3d4e_" + "0" * 64)
    assert not (tmp_path / "key-pepper").exists()


def test_what_does_not_look_like_a_key_is_not_looked_up(url: str, tmp_path: Path) -> None:
    visitors = Visitors(url, tmp_path, SETTINGS)
    assert visitors.find("") is None
    assert visitors.find("password") is None
    assert visitors.find("rt_" + "0" * 10_000) is None


def test_the_secret_of_sessions_is_made_once_for_its_owner_alone(url: str, tmp_path: Path) -> None:
    first = Visitors(url, tmp_path, SETTINGS).session_secret()
    assert Visitors(url, tmp_path, SETTINGS).session_secret() == first
    file = tmp_path / "session-secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(SetupError, match="others may read the session secret"):
        Visitors(url, tmp_path, SETTINGS).session_secret()
