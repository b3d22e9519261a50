"""Who looks at the dashboard: keys and members are looked up anew each time, and nothing is made on the way."""

from pathlib import Path

import pytest

from ragtrial.db.keys import KeyStore
from ragtrial.db.members import MemberStore
from ragtrial.db.pepper import pepper_for
from ragtrial.db.schema import upgrade
from ragtrial.errors import InputError, SetupError
from ragtrial.settings import read_settings
from ragtrial.suite.opening import url_of
from ragtrial.suite.visiting import Visitors, check_secrets, login_providers

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


COMPLETE = {"client_id": "ragtrial", "client_secret": "s", "server_metadata_url": "https://login.example/.well-known/openid-configuration"}
SHARED = {"redirect_uri": "https://board.example/oauth2callback", "cookie_secret": "s"}


def test_only_a_provider_that_is_configured_completely_is_one() -> None:
    assert login_providers({"auth": {**SHARED, **COMPLETE}}) == (None,)
    assert login_providers({"auth": {**SHARED, "okta": COMPLETE, "entra": COMPLETE}}) == ("okta", "entra")
    assert login_providers({"auth": {**SHARED, **COMPLETE, "okta": {**COMPLETE, "client_secret": ""}}}) == (None,)
    for broken in ({}, {"auth": "x"}, {"auth": COMPLETE}, {"auth": SHARED}, {"auth": {**SHARED, "a_b": COMPLETE}}):
        assert login_providers(broken) == ()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.toml", None, "there is no secrets file"),
        ("secrets.txt", "", "ends in .toml"),
        ("secrets.toml", "[auth\n", "can't be read"),
        ("secrets.toml", "[auth]\nclient_id = 'x'\n", "configures no login provider"),
        ("secrets.toml", "", "configures no login provider"),
    ],
)
def test_a_secrets_file_by_which_nobody_could_sign_in_is_refused(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        check_secrets(tmp_path / name)
