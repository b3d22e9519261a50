"""What the versions of a registry are now: in production, the candidate, archived."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ragtrial.errors import ModelError
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_records import RECORDS, Records

State = Literal["production", "candidate", "archived"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """The registry as it is now.

    Attributes:
        known: What a version is, by `NAME@VERSION`, in the order of `STATES`; versions that are nothing special are left out.
        contents: The same by `NAME@VERSION` and the checksum of its registration, for whatever may come from another registry.
        unread: Why a name can't be told of, a sentence each.
    """

    known: Mapping[str, tuple[State, ...]] = field(default_factory=dict)
    contents: Mapping[tuple[str, str], tuple[State, ...]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def having(self, state: State) -> tuple[str, ...]:
        """The versions in this state, by name."""
        return tuple(sorted(reference for reference, states in self.known.items() if state in states))


def states_of(folder: Path) -> States:
    """Of the models in a registry's folder, which may not exist; a name whose records can't be read takes no other one with it."""
    registry, known, contents, unread = Registry(folder), {}, {}, []
    for path in sorted(folder.glob(f"*/{RECORDS}")):  # a name without records has no version in any of these states
        name = path.parent.name
        try:
            records = registry.records(name)
        except ModelError as error:
            unread.append(str(error))
            continue
        for version in sorted({*records.aliases.values(), *records.archived}):
            reference = f"{name}@{version}"
            known[reference] = tuple(state for state in STATES if _is(records, version, state))
            try:
                contents[reference, str(registry.lineage(reference).get("checksum", ""))] = known[reference]
            except ModelError as error:
                unread.append(str(error))
    return States(known=known, contents=contents, unread=tuple(unread))


def _is(records: Records, version: str, state: State) -> bool:
    return version in records.archived if state == "archived" else records.aliases.get(state) == version
