"""Who may do what with the live service: an API key has a role, a role has scopes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["viewer", "tester", "operator", "admin"]
Scope = Literal["ask", "feedback", "read", "operate", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
ALL_SCOPES: tuple[Scope, ...] = get_args(Scope)

SCOPES: Mapping[Role, frozenset[Scope]] = {
    "viewer": frozenset({"read"}),
    "tester": frozenset({"ask", "feedback"}),
    "operator": frozenset({"ask", "feedback", "read", "operate"}),
    "admin": frozenset({"ask", "feedback", "read", "operate", "admin"}),
}
"""viewer: reads results and changes nothing. tester, and every front end: asks and votes, reads no results, never learns which arm
answered. operator: both, and changes the traffic. admin: also makes and revokes keys, reads the audit log, erases."""


def allows(role: Role | None, scopes: Collection[Scope] | None, scope: Scope) -> bool:
    """Whether somebody may do this.

    Args:
        role: Theirs; None: nobody gave them one, so that they may do nothing.
        scopes: All that they may do of it; None: what the role may.
        scope: What they want to do.
    """
    return role is not None and scope in SCOPES.get(role, frozenset()) and (scopes is None or scope in scopes)


def reads_texts(scopes: Collection[Scope]) -> bool:
    """Whether whoever may do this much may read what users typed."""
    return "operate" in scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as it is known to the service; the secret itself is not kept.

    Attributes:
        prefix: The public part of `rt_<prefix>_<secret>`; what lists, logs and the audit name.
        name: Whose it is; logged as `caller`.
        role: Decides the scopes.
        may_assert_user: It may name the unit by a trusted header.
        rate_per_minute: Requests that it may make in a minute; None: no limit.
        limited_to: The only scopes of its role that it has (a front end needs `ask` and `feedback`); None: all of them.
        created_at: Seconds since 1970.
        revoked_at: Since when it is refused; None where it is valid.

    Raises:
        ValueError: No such role, an empty name, a rate below 1, or a scope that its role has not.
    """

    prefix: str
    name: str
    role: Role
    may_assert_user: bool = False
    rate_per_minute: int | None = None
    limited_to: frozenset[Scope] | None = None
    created_at: float
    revoked_at: float | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r}: give one of {', '.join(ROLES)}")
        if not self.name.strip():
            raise ValueError("a key without a name: say whose it is")
        if self.rate_per_minute is not None and self.rate_per_minute < 1:
            raise ValueError(f"rate_per_minute is {self.rate_per_minute}: give at least 1, or none")
        beyond = sorted((self.limited_to or frozenset()) - SCOPES[self.role])
        if beyond:
            raise ValueError(f"scope {beyond[0]!r} is not one of the role {self.role!r}: there are {', '.join(sorted(SCOPES[self.role]))}")

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it may do."""
        return SCOPES[self.role] if self.limited_to is None else self.limited_to

    @property
    def sees_arms(self) -> bool:
        """Whether it is told which arm an answer is of, and may choose one, which keeps the answer out of the analysis.

        Whoever reads results does; whoever only asks and votes is blind, so that votes are on answers and not on arms.
        """
        return "read" in self.scopes
