"""Keys are known by digests: the right key with the right pepper is found, and nothing else."""

import hashlib
import hmac
from pathlib import Path

import pytest

from ragtrial.db.keys import KeyStore
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.access import ALL_SCOPES, ROLES, SCOPES, ApiKey
from ragtrial.errors import InputError
from unit.db.live_samples import START, Clock

PEPPER = "a pepper that is kept elsewhere"


def test_a_key_is_found_by_itself_with_the_same_pepper_only(url: str) -> None:
    with KeyStore(url, clock=Clock()) as keys:
        key = keys.create("front end", "tester", pepper=PEPPER, may_assert_user=True, rate_per_minute=60, limited_to=["ask", "feedback"])
        begin, prefix, secret = key.split("_")
        expected = ApiKey(
            prefix=prefix,
            name="front end",
            role="tester",
            may_assert_user=True,
            rate_per_minute=60,
            limited_to=frozenset({"ask", "feedback"}),
            created_at=START,
        )
        assert begin == "rt"
        assert keys.find(key, PEPPER) == expected
        assert expected.scopes == {"ask", "feedback"}
        wrong = (key[:-1], key + "0", f"rt_{prefix}_", f"rt_{prefix}", f"xx_{prefix}_{secret}", f"rt_0_{secret}", "", "rt", "\0_\ud800_x")
        assert [keys.find(one, PEPPER) for one in wrong] == [None] * len(wrong)
        assert keys.find(key, "another pepper") is None
        assert keys.list() == (expected,)


def test_the_database_holds_the_hmac_of_the_secret_and_no_secret(sqlite_url: str) -> None:
    with KeyStore(sqlite_url) as keys:
        secret = keys.create("ann", "admin", pepper=PEPPER).split("_")[2]
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    held = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert secret.encode() not in held
    assert hmac.new(PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest().encode() in held
    assert len(bytes.fromhex(secret)) == 32


def test_a_revoked_key_says_since_when_and_both_changes_are_audited(url: str) -> None:
    clock = Clock()
    with KeyStore(url, clock=clock) as keys:
        key = keys.create("bob", "operator", pepper=PEPPER)
        prefix = key.split("_")[1]
        clock.now += 5
        assert keys.revoke(prefix, "ann").revoked_at == START + 5
        clock.now += 5
        assert keys.revoke(prefix, "ann").revoked_at == START + 5
        found = keys.find(key, PEPPER)
        assert found is not None
        assert found.revoked_at == START + 5
        with pytest.raises(InputError, match="there is no key 'nobody'"):
            keys.revoke("nobody", "ann")
    with LiveReader(url) as reader:
        entries = reader.audit_log()
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("ann", "revoke key", prefix),
        ("command line", "create key", prefix),
    ]
    assert entries[1].detail == {"name": "bob", "role": "operator", "scopes": ["ask", "feedback", "operate", "read"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "root"}, "role 'root': give one of viewer, tester, operator, admin"),
        ({"name": " "}, "a key without a name"),
        ({"rate_per_minute": 0}, "rate_per_minute is 0"),
        ({"limited_to": ["operate"]}, "scope 'operate' is not one of the role 'viewer'"),
    ],
)
def test_keys_that_make_no_sense_are_not_made(url: str, options: dict, message: str) -> None:
    with KeyStore(url) as keys:
        with pytest.raises(InputError, match=message):
            keys.create(**{"name": "ann", "role": "viewer", "pepper": PEPPER, **options})
        assert keys.list() == ()


def test_who_asks_and_votes_is_blind_and_who_reads_changes_nothing() -> None:
    assert SCOPES["viewer"] == {"read"}
    assert SCOPES["tester"] == {"ask", "feedback"}
    assert SCOPES["viewer"] | SCOPES["tester"] < SCOPES["operator"] < SCOPES["admin"] == set(ALL_SCOPES)
    sees = [role for role in ROLES if ApiKey(prefix="p", name="n", role=role, created_at=0).sees_arms]
    assert sees == ["viewer", "operator", "admin"]


@pytest.mark.parametrize("name", ["guardrail", " Guardrail "])
def test_nobody_is_called_as_the_guardrails_are(sqlite_url: str, name: str) -> None:
    with KeyStore(sqlite_url) as keys:
        with pytest.raises(InputError, match="would pass for those of a broken guardrail"):
            keys.create(name, "operator", pepper=PEPPER)
        assert keys.list() == ()


def test_a_key_that_was_made_elsewhere_is_taken_once_and_stays_refused_when_it_was_revoked(url: str) -> None:
    given = f"rt_0a1b2c_{'s' * 40}"
    with KeyStore(url, clock=Clock()) as keys:
        assert keys.create("prometheus", "viewer", pepper=PEPPER, key=f"{given}\n") == given
        assert keys.create("prometheus", "viewer", pepper=PEPPER, key=given) == given
        assert [one.prefix for one in keys.list()] == ["0a1b2c"]
        assert keys.find(given, PEPPER) == keys.list()[0]
        for changed in ({"key": given[:-1] + "t"}, {"key": given, "pepper": "another"}, {"key": given, "role": "admin"}):
            with pytest.raises(InputError, match="has another secret or was made with another pepper"):
                keys.create("prometheus", **{"role": "viewer", "pepper": PEPPER, **changed})
        keys.revoke("0a1b2c", "ann")
        keys.create("prometheus", "viewer", pepper=PEPPER, key=given)
        found = keys.find(given, PEPPER)
        assert found is not None
        assert found.revoked_at is not None


@pytest.mark.parametrize("key", ["", "rt_0a1b2c_short", f"xx_0a1b2c_{'s' * 40}", f"rt_0A_{'s' * 40}", f"rt_0a1b2c_{'s' * 39}_"])
def test_what_is_no_key_is_refused_and_not_repeated(sqlite_url: str, key: str) -> None:
    with KeyStore(sqlite_url) as keys, pytest.raises(InputError, match="that is no key") as refused:
        keys.create("prometheus", "viewer", pepper=PEPPER, key=key)
    assert "s" * 39 not in str(refused.value)
