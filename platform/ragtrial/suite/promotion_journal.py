"""Two stores changed as one: the registry's alias `production` and the Milvus alias of an experiment's production.

An intent is on the disk before either moves, then the Milvus alias moves, then the registry's records are replaced, then the intent goes.
Each step can be done twice. So a process that is killed in between leaves an intent that the next command on the experiment carries out;
where its collection is gone and nothing moved yet, it is dropped instead. Either way both aliases mean the same version afterwards.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ragtrial.contracts import VectorIndex
from ragtrial.errors import ModelError, StoreError
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_records import (
    INTENT,
    Change,
    Promotion,
    Records,
    locked,
    read_records,
    sync,
    write_json,
    write_records,
)
from ragtrial.indexing import move_alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a promotion or a rollback is about to do.

    Attributes:
        action: Which of both.
        name: Of the model.
        version: That will be in production; None: none of this name any more.
        collection: That the Milvus alias will point to.
        promotion: That comes into force, or is taken back.
        change: For the history; its `operation` in `details` is unique.
        experiment_file: For messages.
    """

    action: Literal["promote", "rollback"]
    name: str
    version: str | None
    collection: str
    promotion: Promotion
    change: Change
    experiment_file: str


def carry_out(registry: Registry, index: VectorIndex, plan: Callable[[Records], Intent | None], *, name: str) -> Intent | None:
    """Plan and do a change of production while no other process changes this name; what was done, or None where there was nothing to do.

    Args:
        registry: Where the model is.
        index: The experiment's store.
        plan: Told the records that hold; what it raises leaves everything as it is.
        name: Of the model.

    Raises:
        ModelError: Another experiment's promotion of this name was interrupted, or the records can't be read.
        StoreError: Milvus refused.
        SetupError: The registry can't be written.
    """
    home = registry.home(name)
    with locked(home):
        waiting = read_intent(home)
        if waiting is not None:
            raise ModelError(
                f"a {waiting.action} of {name!r} in experiment {waiting.promotion.experiment!r} was interrupted: finish it first with "
                f"ragtrial models recover {waiting.experiment_file}"
            )
        intent = plan(read_records(home))
        if intent is None:
            return None
        write_json(home / INTENT, asdict(intent))
        _finish(home, intent, index)
    return intent


def interrupted(registry: Registry, experiment: str | None = None) -> tuple[Intent, ...]:
    """Intents that are on the disk: killed ones, and those that another process is carrying out; of one experiment if asked.

    Raises:
        ModelError: One can't be read.
    """
    found = (read_intent(path.parent) for path in sorted(registry.folder.glob(f"*/{INTENT}")))
    return tuple(each for each in found if each is not None and experiment in (None, each.promotion.experiment))


def recover(registry: Registry, experiment: str, open_index: Callable[[], VectorIndex]) -> tuple[str, ...]:
    """Bring every interrupted change of an experiment's production to an end; what was done, a sentence each. Without one, nothing happens.

    Args:
        registry: Where the models are.
        experiment: Its name.
        open_index: Opens its store; called only where there is something to do.

    Raises:
        StoreError: The store can't be opened, or refused.
        ModelError: An intent or the records can't be read.
        SetupError: The registry can't be written.
    """
    said = []
    for intent in interrupted(registry, experiment):
        home = registry.home(intent.name)
        with closing(open_index()) as index, locked(home):
            again = read_intent(home)  # another process may have finished it while this one waited
            if again is not None:
                said.append(_recovered(home, again, index))
    return tuple(said)


def read_intent(home: Path) -> Intent | None:
    """The intent of a name; None where there is none.

    Raises:
        ModelError: It can't be read.
    """
    path = home / INTENT
    try:
        read = json.loads(path.read_text("utf-8"))
        return _intent(read)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{str(path)!r} can't be read ({error}): compare both aliases (ragtrial models list), then remove it") from error


def _recovered(home: Path, intent: Intent, index: VectorIndex) -> str:
    what = f"the interrupted {intent.action} of {intent.name!r} in experiment {intent.promotion.experiment!r}"
    info = index.describe(intent.collection)
    moved = index.resolve(intent.promotion.milvus_alias) == intent.collection
    if not moved and (info is None or not info.complete):
        _remove(home)
        return f"{what} was undone: its collection {intent.collection!r} is not complete any more"
    _finish(home, intent, index)
    return f"{what} was finished: production is {intent.version or 'no version of it'}"


def _finish(home: Path, intent: Intent, index: VectorIndex) -> None:
    alias, before = intent.promotion.milvus_alias, intent.promotion.before_collection
    if index.resolve(alias) is None and before is not None:  # so that the way back is kept from the first promotion on
        with contextlib.suppress(StoreError):
            index.point(f"{alias}_previous", before)
    move_alias(index, alias, intent.collection)
    records = read_records(home)
    if all(change.details.get("operation") != intent.change.details["operation"] for change in records.history):
        write_records(home, _applied(records, intent))
    _remove(home)


def _applied(records: Records, intent: Intent) -> Records:
    aliases = {alias: version for alias, version in records.aliases.items() if alias != "production"}
    if intent.version is not None:
        aliases["production"] = intent.version
    others = tuple(each for each in records.promotions if each.promotion_id != intent.promotion.promotion_id)
    return dataclasses.replace(
        records,
        aliases=aliases,
        promotions=(*others, intent.promotion) if intent.action == "promote" else others,
        history=(*records.history, intent.change),
    )


def _remove(home: Path) -> None:
    (home / INTENT).unlink()
    sync(home)


def _intent(read: Mapping[str, Any]) -> Intent:
    promotion = Promotion(**{**read["promotion"], "overridden": tuple(read["promotion"]["overridden"])})
    return Intent(**{**read, "promotion": promotion, "change": Change(**read["change"])})
