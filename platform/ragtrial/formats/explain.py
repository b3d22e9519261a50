"""What pydantic finds in a file of settings, in our words: what was found, what was expected, what to do."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from ragtrial.errors import Problem
from ragtrial.formats.validation import found
from ragtrial.formats.yaml_lines import Document, Location, dotted

_UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden", "invalid_key"})
_EXPECTED = {
    "string_type": "expected a text: put it in quotes",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "tuple_type": "expected a list, e.g. [one, two]",
    "dict_type": "expected a mapping of names to values, e.g. {nprobe: 8} or {judge_correctness: 5}",
    "mapping_type": "expected a mapping of names to values, e.g. {nprobe: 8} or {judge_correctness: 5}",
}


def explain(adapter: pydantic.TypeAdapter[Any], root: type, document: Document) -> list[Problem]:
    """Everything that keeps the document from being what is wanted; empty where nothing does.

    Unknown keys are taken out for a second look, because pydantic doesn't run the checks of a dataclass that has any.

    Args:
        adapter: Of `root`.
        root: The dataclass that the document has to describe.
        document: The file.
    """
    errors = _errors(adapter, document.value)
    unknown = [error["loc"] for error in errors if error["type"] in _UNKNOWN]
    if unknown:
        known = {(error["loc"], error["type"]) for error in errors}
        errors += [error for error in _errors(adapter, _without(document.value, unknown)) if (error["loc"], error["type"]) not in known]
    reported = {error["loc"] for error in errors}
    problems = [_problem(root, error, document) for error in errors]
    return problems + [
        Problem(message=_odd(text), path=document.path, line=document.line(location), field=dotted(location))
        for location, text in document.odd_scalars()
        if not any(location[: len(place)] == place for place in reported if place) and not _takes(root, location, text)
    ]


def _takes(root: type, location: Location, text: str) -> bool:
    """Whether a truth value stands where one belongs, written as YAML 1.2 knows it."""
    return _hint(root, location) is bool and text in {"true", "false"}


def _errors(adapter: pydantic.TypeAdapter[Any], value: object) -> list[ErrorDetails]:
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError as error:
        return error.errors(include_url=False)
    return []


def _odd(text: str) -> str:
    if text.lower() in {"yes", "no", "on", "off", "true", "false"}:
        return f"{text} is a truth value in YAML, and this key takes none: put it in quotes if it is a text"
    return f"is {text}: expected a finite number"


def _problem(root: type, error: ErrorDetails, document: Document) -> Problem:
    location = error["loc"]
    if error["type"] == "invalid_key":
        location = (*location[:-1], str(location[-1]))
    return Problem(message=_message(root, error, location), path=document.path, line=document.line(location), field=dotted(location))


def _message(root: type, error: ErrorDetails, location: Location) -> str:
    kind, given = error["type"], error["input"]
    if kind == "missing":
        return f"is missing. {_description(root, location)}".strip()
    if kind in _UNKNOWN:
        return _unknown(root, location)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        return _not_among(_choices(root, location), given, error["ctx"]["expected"])
    if kind == "dataclass_type":
        keys = ", ".join(_keys(root, location))
        return f"is {'empty' if given is None else found(given)}: expected a mapping with the keys {keys}"
    return f"is {found(given)}: {_EXPECTED.get(kind, error['msg'])}"


def _not_among(choices: Sequence[str], given: object, expected: str) -> str:
    near = difflib.get_close_matches(str(given), choices, n=1)
    return f"is {found(given)}: expected {expected}" + (f"; did you mean {near[0]!r}?" if near else "")


def _unknown(root: type, location: Location) -> str:
    key, above = str(location[-1]), location[:-1]
    keys = _keys(root, above)
    by_lower = {name.lower(): name for name in keys}
    near = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.7)
    if near:
        return f"unknown key: did you mean {by_lower[near[0]]!r}?"
    homes = sorted((place for place, name in _all_keys(root, ()) if name == key and place != _pattern(above)), key=_depth)
    if homes:
        return f"unknown key here: it belongs under {homes[0]!r}" if homes[0] else "unknown key here: it belongs at the top of the file"
    return f"unknown key: there are {', '.join(keys)}" if keys else "unknown key"


def _pattern(location: Location) -> str:
    """`arms[].embedding`: a location without its numbers."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _depth(pattern: str) -> tuple[int, str]:
    return (len(pattern.split(".")) if pattern else 0, pattern)


def _all_keys(kind: Any, location: Location) -> Iterator[tuple[str, str]]:
    """Every key of the file, with where it belongs."""
    for name, hint in typing.get_type_hints(kind).items():
        yield _pattern(location), name
        item, is_list = _dataclass_in(hint)
        if item is not None:
            yield from _all_keys(item, (*location, name, 0) if is_list else (*location, name))


def _dataclass_in(hint: Any) -> tuple[Any, bool]:
    """The dataclass that a field holds, and whether it holds a list of them; (None, False) where it holds none."""
    if dataclasses.is_dataclass(hint):
        return hint, False
    parts = [_dataclass_in(part)[0] for part in typing.get_args(hint)]
    kind = next((part for part in parts if part is not None), None)
    return kind, kind is not None and typing.get_origin(hint) is tuple


def _hint(root: type, location: Location) -> Any:
    """The type of the field at `location`, without its None; None where there is no such field."""
    hint: Any = root
    for part in location:
        if isinstance(part, int):
            hint = next(iter(typing.get_args(hint)), None)
        else:
            hint = typing.get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
        if typing.get_origin(hint) in {typing.Union, types.UnionType}:
            hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _keys(root: type, location: Location) -> list[str]:
    hint = _hint(root, location)
    return [field.name for field in dataclasses.fields(hint)] if dataclasses.is_dataclass(hint) else []


def _choices(root: type, location: Location) -> list[str]:
    hint = _hint(root, location)
    return [str(choice) for choice in typing.get_args(hint)] if typing.get_origin(hint) is typing.Literal else []


def _description(root: type, location: Location) -> str:
    hint = _hint(root, location[:-1])
    if not dataclasses.is_dataclass(hint):
        return ""
    return next((str(field.metadata.get("description", "")) for field in dataclasses.fields(hint) if field.name == location[-1]), "")


def _without(value: object, locations: Sequence[Location]) -> object:
    """The value without what is at `locations`; the original is left as it is."""
    here = {location[0] for location in locations if len(location) == 1}
    below: dict[str | int, list[Location]] = {}
    for location in locations:
        if len(location) > 1:
            below.setdefault(location[0], []).append(location[1:])
    if isinstance(value, dict):
        return {key: _without(item, below[key]) if key in below else item for key, item in value.items() if key not in here}
    if isinstance(value, list):
        return [_without(item, below[number]) if number in below else item for number, item in enumerate(value)]
    return value
