"""What a role and the limits of a key allow."""

import pytest

from ragtrial.domain.access import ROLES, Role, Scope, allows, reads_texts


@pytest.mark.parametrize(
    ("scope", "roles"),
    [
        ("read", {"viewer", "operator", "admin"}),
        ("feedback", {"tester", "operator", "admin"}),
        ("operate", {"operator", "admin"}),
        ("admin", {"admin"}),
    ],
)
def test_a_role_allows_what_its_scopes_say_and_no_role_allows_nothing(scope: Scope, roles: set[Role]) -> None:
    assert {role for role in ROLES if allows(role, None, scope)} == roles
    assert not allows(None, None, scope)
    assert not allows(None, {scope}, scope)


def test_a_limited_key_may_do_no_more_than_it_was_limited_to_nor_more_than_its_role() -> None:
    assert allows("operator", {"read", "operate"}, "operate")
    assert not allows("operator", {"read"}, "operate")
    assert not allows("admin", frozenset(), "read")
    assert not allows("viewer", {"operate"}, "operate")


def test_texts_of_users_are_for_those_who_may_operate() -> None:
    assert reads_texts({"read", "operate"})
    assert not reads_texts({"read", "feedback"})
