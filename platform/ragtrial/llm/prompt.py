"""Prompts as versioned files: instructions, a line of three dashes, and the template of the material."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ragtrial.domain.fingerprint import digest
from ragtrial.errors import InputError

_PLACE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: With its version, e.g. `answer-1`; of a file of the user's own, its name.
        system: The instructions, the same for every item.
        template: The material, with `{{name}}` where values go.
    """

    name: str
    system: str
    template: str

    @property
    def version(self) -> str:
        """The name with a digest of the text, so that a change of either is another prompt."""
        return f"{self.name}/{digest([self.system, self.template], length=8)}"

    def fill(self, values: Mapping[str, str]) -> str:
        """The material with its values, each put in as it is: what looks like a place inside a value stays text."""
        return _PLACE.sub(lambda match: values[match[1]], self.template)


def bundled_prompt(package: str, name: str) -> Prompt:
    """A prompt that comes with ragtrial, by its name and version.

    Raises:
        InputError: There is none of this name; the message lists those there are.
    """
    folder = files(package) / "prompts"
    found = folder / f"{name}.md"
    if not found.is_file():
        there = sorted(each.name.removesuffix(".md") for each in folder.iterdir() if each.name.endswith(".md"))
        raise InputError(f"there is no prompt {name!r}: there are {', '.join(there)}, or give the path of a .md file")
    return _parsed(found.read_text(encoding="utf-8"), name, str(found))


def read_prompt(path: Path, *, places: Collection[str]) -> Prompt:
    """A prompt of the user's own.

    Args:
        path: A .md file: instructions, a line of three dashes, the template.
        places: Names that must stand in the template, and no others.

    Raises:
        InputError: The file can't be read, has no such line, or its places are others.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"prompt {str(path)!r} can't be read: {error}") from error
    prompt = _parsed(text, path.stem, str(path))
    found = set(_PLACE.findall(prompt.template))
    if found != set(places):
        needs = ", ".join(f"{{{{{name}}}}}" for name in places)
        raise InputError(f"prompt {str(path)!r}: below the line it needs {needs}, and no other places; it has {sorted(found) or 'none'}")
    return prompt


def _parsed(text: str, name: str, where: str) -> Prompt:
    system, line, template = text.partition("\n---\n")
    if not line or not system.strip() or not template.strip():
        raise InputError(f"prompt {where!r} needs instructions, a line '---', and the template below it")
    return Prompt(name=name, system=system.strip(), template=template.strip())
