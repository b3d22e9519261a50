"""What a judge wrote, read strictly: a verdict of the closed set, or no verdict at all.

Lenient about the wrapping (code fences, prose around the object, case and white space of the verdict), because not every server
enforces a schema; strict about everything else, because a guess at what a judge meant is no judgment.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ragtrial.llm.structured import keepable, without_thoughts

_BEGINS_AS_OBJECT = re.compile(r'\{\s*(?:"|\Z)')


def read_object(text: str, *, required: Sequence[str]) -> Mapping[str, Any]:
    """The one JSON object in the text that has the required keys.

    An object that begins and does not end well makes the whole text unusable: an object inside of it may be a part of it, and no answer.
    Two different objects with the keys are unusable too: one of them may be quoted from the text under judgment. What stands in a leading
    `<think>` block is a draft and no answer.

    Raises:
        ValueError: There is none, or the text is unusable; the message says why, in a few words.
    """
    found = [each for each in _objects(without_thoughts(text)) if set(required) <= each.keys()]
    if not found:
        raise ValueError(f"no JSON object with {' and '.join(map(repr, required))}")
    if any(each != found[0] for each in found):
        raise ValueError("several JSON objects that contradict each other")
    return found[0]


def read_choice(value: object, choices: Sequence[str]) -> str:
    """The choice that is meant: case, white space, hyphens and underscores make no difference.

    Raises:
        ValueError: It is none of the choices.
    """
    meant = {_bare(choice): choice for choice in choices}
    if not isinstance(value, str) or _bare(value) not in meant:
        raise ValueError(f"verdict {str(value)[:40]!r} is none of {', '.join(choices)}")
    return meant[_bare(value)]


def read_text(value: object, *, name: str) -> str:
    """A text that a judge wrote, as any database can keep it: without control characters and lone surrogates.

    Raises:
        ValueError: It is no text.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is no text but {type(value).__name__}")  # noqa: TRY004  # the caller's contract is ValueError
    return keepable(value).strip()


def read_verdict(text: str, choices: Sequence[str]) -> tuple[str, str]:
    """Rationale and verdict of an object that has both.

    Raises:
        ValueError: Not such an object, or the verdict is none of the choices.
    """
    found = read_object(text, required=("rationale", "verdict"))
    return read_text(found["rationale"], name="rationale"), read_choice(found["verdict"], choices)


def verdict_schema(choices: Sequence[str]) -> Mapping[str, Any]:
    """JSON schema of a rationale and then, so that it follows from it, a verdict."""
    return closed_object({"rationale": {"type": "string"}, "verdict": {"type": "string", "enum": list(choices)}})


def closed_object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON schema of an object with these properties in this order, all of them and no others (OpenAI's strict form)."""
    return {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}


def _bare(value: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", value).split()).casefold()


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in the text.

    Raises:
        ValueError: One begins and is broken, or is too deep.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_without_repeats)
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        end = start + 1
        if _BEGINS_AS_OBJECT.match(text, start):
            try:
                value, end = decoder.raw_decode(text, start)
            except RecursionError as error:
                raise ValueError("a JSON object that is too deep") from error
            except ValueError as error:
                raise ValueError(f"a broken JSON object: {error}") from error
            found.append(value)
        start = text.find("{", end)
    return found


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result
