"""JSON out of what a model wrote, also where the server does not enforce the schema."""

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

_THOUGHTS = re.compile(r"\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_NOT_KEPT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DEEPEST = 200


def keepable(text: str) -> str:
    """The text as any file and database takes it: without control characters and lone surrogates, which JSON's escapes may bring."""
    return _NOT_KEPT.sub(" ", encodable(text))


def encodable(text: str) -> str:
    """The text with half surrogate pairs (a cut emoji), which JSON may bring and UTF-8 can't hold, replaced; whole pairs are joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def without_thoughts(text: str) -> str:
    """The text behind a `<think>` block at its beginning, as reasoning models leave one where the server does not cut it off."""
    return _THOUGHTS.sub("", text, count=1) if _THOUGHTS.match(text) else text


def json_object(text: str) -> Mapping[str, Any] | None:
    """The first whole JSON object in the text, be it fenced or among words; None where there is none.

    A cut object is not mended: a guess about what a judge would have said is no judgment. What stands in a leading `<think>` block is
    not an answer.
    """
    decoder, text = json.JSONDecoder(), without_thoughts(text)
    if _depth(text) > _DEEPEST:  # Python's decoder recurses
        return None
    start = text.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None


def _depth(text: str) -> int:
    """Most brackets that are open at once, those inside strings among them."""
    opened = accumulate(1 if bracket[0] in "[{" else -1 for bracket in _BRACKET.finditer(text))
    return max(opened, default=0)
