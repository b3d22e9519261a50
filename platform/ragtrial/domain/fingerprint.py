"""Content hashes: two things with one fingerprint are the same thing."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable


def digest(value: object, *, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    Dataclasses count as their fields, without those that came later (`described(later=True)`) and are at their default. Sets and tuples
    count as lists (sets sorted). Floats keep all their digits.

    Raises:
        TypeError: `value` holds something that has no canonical JSON form.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_lines(lines: Iterable[str], *, length: int = 16) -> str:
    """The digest of many strings in their order, without holding them all: each is hashed with its length before it."""
    sha = LineDigest()
    for line in lines:
        sha.add(line)
    return sha.value(length=length)


class LineDigest:
    """`digest_lines` of strings that come one by one."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, line: str) -> None:
        """The next string."""
        data = line.encode()
        self._sha.update(len(data).to_bytes(8, "big"))
        self._sha.update(data)

    def value(self, *, length: int = 16) -> str:
        """The digest of those so far."""
        return self._sha.hexdigest()[:length]


def _unused(value: object, field: dataclasses.Field[object]) -> bool:
    """Whether a field that came later is at its default: then the value is what it was before there was the field."""
    return bool(field.metadata.get("later")) and getattr(value, field.name) == field.default


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if not _unused(value, field)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form to hash: {value!r}")
