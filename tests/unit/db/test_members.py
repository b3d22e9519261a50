"""Members: the newest row of a name counts, every change is in the audit log, and lookups are read-only."""

from pathlib import Path

import pytest

from ragtrial.db.access_reader import AccessReader
from ragtrial.db.keys import DEMONSTRATION, KeyStore
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.members import MemberStore
from ragtrial.db.schema import upgrade
from ragtrial.errors import InputError, StoreError
from unit.db.live_samples import Clock


def test_the_newest_row_of_a_name_counts(url: str) -> None:
    with MemberStore(url, clock=Clock()) as store:
        store.add("Ada@Example.com", "viewer")
        store.add("ada@example.com ", "operator", actor="grace")
        store.add("bob@example.com", "tester")
        assert [(member.name, member.role, member.actor) for member in store.list()] == [
            ("ada@example.com", "operator", "grace"),
            ("bob@example.com", "tester", "command line"),
        ]


def test_whoever_is_removed_is_out_and_can_come_back(url: str) -> None:
    with MemberStore(url, clock=Clock()) as store:
        store.add("ada@example.com", "admin")
        removed = store.remove("ADA@example.com", actor="grace")
        assert removed.role is None
        assert store.list() == ()
        with AccessReader(url) as reader:
            member = reader.member("ada@example.com")
            assert member is not None
            assert member.role is None
            store.add("ada@example.com", "viewer")
            again = reader.member("Ada@example.com")
            assert again is not None
            assert again.role == "viewer"


def test_the_names_by_which_providers_know_people_are_kept_in_their_case(url: str) -> None:
    with MemberStore(url, clock=Clock()) as store, AccessReader(url) as reader:
        store.add("https://login.example#aBc", "admin")
        store.add("https://login.example#ABC@corp", "viewer")
        for another in ("https://login.example#abc", "https://login.example#ABC", "https://login.example#abc@corp"):
            assert reader.member(another) is None, another
        assert [member.name for member in store.list()] == ["https://login.example#ABC@corp", "https://login.example#aBc"]


def test_every_change_is_in_the_audit_log_and_a_second_removal_is_none(url: str) -> None:
    with MemberStore(url, clock=Clock()) as store:
        store.add("ada@example.com", "viewer", actor="grace")
        store.remove("ada@example.com", actor="grace")
        store.remove("ada@example.com", actor="grace")
        with LiveReader(url) as reader:
            entries = [(entry.action, entry.subject, entry.actor, entry.detail) for entry in reader.audit_log()]
        assert sorted(entries) == [
            ("add member", "ada@example.com", "grace", {"role": "viewer"}),
            ("remove member", "ada@example.com", "grace", {"role": None}),
        ]


def test_what_is_no_name_no_role_or_no_member_is_refused_with_a_way_out(url: str) -> None:
    with MemberStore(url, clock=Clock()) as store:
        with pytest.raises(InputError, match="the address that the login provider knows"):
            store.add("  ", "viewer")
        with pytest.raises(InputError, match="give one of viewer, tester, operator, admin"):
            store.add("ada@example.com", "owner")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="members list"):
            store.remove("nobody@example.com")
        assert store.list() == ()


def test_nobody_is_named_before_the_first_key_or_member_and_ever_after_somebody_is(url: str) -> None:
    upgrade(url)
    with AccessReader(url) as reader:
        assert not reader.names_anybody()
        with MemberStore(url) as store:
            store.add("ada@example.com", "viewer")
            store.remove("ada@example.com")
        assert reader.names_anybody(), "taking the last role back must not open the door"


def test_a_key_that_was_revoked_still_closes_the_door_but_not_the_demonstrations_own(url: str) -> None:
    with KeyStore(url) as keys, AccessReader(url) as reader:
        demonstration = keys.create(DEMONSTRATION, "operator", pepper="p")
        assert not reader.names_anybody()
        keys.revoke(demonstration.split("_")[1], DEMONSTRATION)
        assert not reader.names_anybody()
        key = keys.create("a colleague", "viewer", pepper="p")
        keys.revoke(key.split("_")[1], "somebody")
        assert reader.names_anybody()


def test_a_key_is_found_by_its_secret_and_by_its_prefix(url: str) -> None:
    with KeyStore(url) as keys, AccessReader(url) as reader:
        key = keys.create("a colleague", "viewer", pepper="p")
        prefix = key.split("_")[1]
        found = reader.find(key, "p")
        assert found is not None
        assert found == reader.key(prefix)
        assert reader.find(key, "another pepper") is None
        assert reader.find(f"rt_{prefix}_0", "p") is None
        assert reader.key("0000000000") is None


def test_looking_somebody_up_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        AccessReader(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["guardrail", " Guardrail "])
def test_nobody_is_called_as_the_guardrails_are(sqlite_url: str, name: str) -> None:
    with MemberStore(sqlite_url) as members:
        with pytest.raises(InputError, match="would pass for those of a broken guardrail"):
            members.add(name, "operator")
        assert members.list() == ()
