"""YAML that remembers in which line each key and value stands, and refuses keys that stand twice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ragtrial.errors import Problem, ValidationError

Location = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"

LONGEST = 4_000_000
"""Characters of a document at most: the parser takes seconds for a megabyte."""

DEEPEST = 64
"""Mappings and lists inside of each other, at most."""

MOST_VALUES = 100_000
"""Values that a document may have when its aliases are unfolded: a few lines of them can stand for billions ("billion laughs")."""


class _Loader(yaml.SafeLoader):
    """The safe tags only, and no deeper than `DEEPEST`: at every opened bracket PyYAML goes through all that are open."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """As PyYAML's, which calls it for each node inside of another one."""
        if self._depth >= DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {DEEPEST} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML document.

    Attributes:
        value: As Python objects; None where the document is empty.
        root: Its nodes, which know their lines; None where it is empty.
        path: The file, for messages.
        problems: Keys that stand twice.
    """

    value: object
    root: Node | None
    path: str | None
    problems: tuple[Problem, ...]

    def line(self, location: Location) -> int | None:
        """The 1-based line of the key or item at `location`, or of the nearest one above it that is there."""
        node, line = self.root, 1
        for part in location:
            entry = _entry(node, part)
            if entry is None:
                break
            key, node = entry
            line = key.start_mark.line + 1
        return line if self.root is not None else None

    def odd_scalars(self) -> Iterator[tuple[Location, str]]:
        """Every truth value and every number that is not finite, with how it was written."""
        for location, node in _walk(self.root, (), set()):
            if isinstance(node, ScalarNode) and (node.tag == _BOOL or (node.tag == _FLOAT and not _finite(node.value))):
                yield location, node.value


def read_yaml(text: str, path: str | None) -> Document:
    """Read one YAML document with the safe tags only.

    Raises:
        ValidationError: It is no YAML, more than one document, longer than `LONGEST`, nested deeper than `DEEPEST`, or aliases make it larger
            than `MOST_VALUES` or put a value inside of itself.
    """
    if len(text) > LONGEST:
        raise ValidationError([Problem(message=f"is longer than {LONGEST:,} characters: no file of settings needs that", path=path)])
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        _check_size(root)
        problems = tuple(_duplicates(root, path))
        value = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ValidationError([Problem(message=f"broken YAML: {what}", path=path, line=None if mark is None else mark.line + 1)]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValidationError([Problem(message=f"broken YAML: {str(error).splitlines()[0]}", path=path)]) from error
    except RecursionError as error:
        raise ValidationError([Problem(message="broken YAML: nested too deeply", path=path)]) from error
    finally:
        if loader is not None:
            loader.dispose()
    return Document(value=value, root=root, path=path, problems=problems)


def _check_size(root: Node | None) -> None:
    """Refuse what would be too much once it is unfolded, before it is.

    Raises:
        yaml.YAMLError: It would.
    """
    sizes: dict[int, int] = {}
    open_now: set[int] = set()

    def size(node: Node) -> int:
        if id(node) in open_now:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"the value that begins in line {line} holds an alias of itself")
        if id(node) not in sizes:
            open_now.add(id(node))
            sizes[id(node)] = 1 + sum(map(size, _inside(node)))
            open_now.discard(id(node))
        return sizes[id(node)]

    if root is not None and size(root) > MOST_VALUES and len(sizes) < sizes[id(root)]:
        raise yaml.YAMLError(f"its aliases unfold to more than {MOST_VALUES:,} values")


def _inside(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for entry in node.value for part in entry]
    return list(node.value) if isinstance(node, SequenceNode) else []


def dotted(location: Location) -> str | None:
    """`arms[1].embedding.model`; None for the whole document."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or None


def _entry(node: Node | None, part: str | int) -> tuple[Node, Node] | None:
    """The key's node (an item's own node in a sequence) and the value's node."""
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, MappingNode):
        # from the end: construction puts what `<<` merges in before the mapping's own keys, and the last one holds
        for key, value in reversed(node.value):
            if isinstance(key, ScalarNode) and key.value == str(part):
                return key, value
    return None


def _walk(node: Node | None, location: Location, seen: set[int]) -> Iterator[tuple[Location, Node]]:
    """Every node once, with the first location that leads to it: aliases can make a tree that is too large to walk."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    yield location, node
    if isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*location, number), seen)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*location, str(key.value)), seen)


def _duplicates(root: Node | None, path: str | None) -> Iterator[Problem]:
    for location, node in _walk(root, (), set()):
        if not isinstance(node, MappingNode):
            continue
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                message = f"stands twice, first in line {first[key.value]}: keep one of them"
                yield Problem(message=message, path=path, line=line, field=dotted((*location, key.value)))
            first.setdefault(key.value, line)


def _finite(text: str) -> bool:
    """Whether YAML's way of writing a float names a finite number."""
    try:
        return math.isfinite(float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")))
    except ValueError:
        return True
