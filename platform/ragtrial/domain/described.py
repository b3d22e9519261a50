"""Fields of specifications: described once, for readers of the code and for the JSON schema of the experiment file."""

from dataclasses import field
from typing import Any

STRICT = {"extra": "forbid"}
"""pydantic's setting by which an unknown key is an error."""


def described(description: str, *, later: bool = False, **options: Any) -> Any:
    """A dataclass field with its description.

    Args:
        description: For people.
        later: The field came after experiments had been logged: at its default it is left out of digests, so that their plans stay the same.
        options: Those of `dataclasses.field`.
    """
    return field(metadata={"description": description, **({"later": True} if later else {})}, **options)
