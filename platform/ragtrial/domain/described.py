"""Fields of specifications: described once, for readers of the code and for the JSON schema of the experiment file."""

from dataclasses import field
from typing import Any

STRICT = {"extra": "forbid"}
"""pydantic's setting by which an unknown key is an error."""


def described(description: str, **options: Any) -> Any:
    """A dataclass field with its description; `options` are those of `dataclasses.field`."""
    return field(metadata={"description": description}, **options)
