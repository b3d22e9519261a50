"""Content hashes: two things with one fingerprint are the same thing."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable


def digest(value: object, *, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    Dataclasses count as their fields, sets and tuples as lists (sets sorted). Floats keep all their digits.

    Raises:
        TypeError: `value` holds something that has no canonical JSON form.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_lines(lines: Iterable[str], *, length: int = 16) -> str:
    """The digest of many strings in their order, without holding them all: each is hashed with its length before it."""
    sha = hashlib.sha256()
    for line in lines:
        data = line.encode()
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:length]


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form to hash: {value!r}")
