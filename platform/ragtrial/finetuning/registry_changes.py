"""Aliases set, versions archived and deleted: each with who, when and why, and none that pulls a model from under who uses it."""

import dataclasses
import json
import shutil
import uuid
from collections.abc import Sequence

from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning.registry import RegisteredModel, Registry, now
from ragtrial.finetuning.registry_records import ALIASES, INTENT, Change, Records, change_records


def set_alias(registry: Registry, reference: str, alias: str, *, who: str, reason: str = "") -> RegisteredModel:
    """Let an alias mean a version; nothing is written where it does already.

    Args:
        registry: Where it is.
        reference: Which version.
        alias: `candidate`; `production` is moved by a promotion only, which moves the Milvus alias with it.
        who: For the history.
        reason: Likewise.

    Raises:
        InputError: There is no such alias, or it is not to be set by hand.
        ModelError: There is no such version, or it is archived.
        SetupError: The registry can't be written.
    """
    _check_alias(alias)
    model = registry.get(reference)

    def update(records: Records) -> Records:
        check_usable(records, model)
        before = records.aliases.get(alias)
        if before == model.version:
            return records
        change = _change("alias", model.version, who, reason, alias=alias, before=before, after=model.version)
        return _with(records, change, aliases={**records.aliases, alias: model.version})

    change_records(registry.home(model.name), update)
    return model


def remove_alias(registry: Registry, name: str, alias: str, *, who: str, reason: str = "") -> str:
    """Let an alias mean nothing; the version that it meant.

    Raises:
        InputError: There is no such alias, or it is not to be removed by hand.
        ModelError: It is not set.
        SetupError: The registry can't be written.
    """
    _check_alias(alias)
    model = registry.get(f"{name}@{alias}")

    def update(records: Records) -> Records:
        before = records.aliases.get(alias, model.version)
        rest = {known: version for known, version in records.aliases.items() if known != alias}
        return _with(records, _change("alias", before, who, reason, alias=alias, before=before), aliases=rest)

    change_records(registry.home(model.name), update)
    return model.version


def archive(registry: Registry, reference: str, *, who: str, reason: str = "", undo: bool = False) -> RegisteredModel:
    """Mark a version as one that is not to be used any more, or take that back; by its number it can still be loaded.

    Raises:
        ModelError: There is no such version, it has an alias, or a change of production was interrupted, whose end may need it.
        SetupError: The registry can't be written.
    """
    model = registry.get(reference)

    def update(records: Records) -> Records:
        if not undo:
            _refuse_interrupted(registry, model)
        aliases = records.aliases_of(model.version)
        check_usable(records, model, archived_too=True)
        if aliases and not undo:
            raise ModelError(f"model {model.reference} is {' and '.join(aliases)}: give the alias to another version before it is archived")
        if (model.version in records.archived) != undo:
            return records
        archived = {version: why for version, why in records.archived.items() if version != model.version}
        if not undo:
            archived[model.version] = reason
        return _with(records, _change("unarchive" if undo else "archive", model.version, who, reason), archived=archived)

    change_records(registry.home(model.name), update)
    return model


def uses(registry: Registry, model: RegisteredModel, records: Records | None = None) -> list[str]:
    """Why a version must stay, as far as the registry knows, a sentence each.

    Args:
        registry: Where it is.
        model: The version.
        records: Of its name; default: as they are now.
    """
    kept = registry.records(model.name) if records is None else records
    found = [f"it has the alias {alias!r}" for alias in kept.aliases_of(model.version)]
    found += [
        f"production of experiment {each.experiment!r} would go back to it"
        for each in kept.promotions[-1:]
        if each.before_version == model.version
    ]
    if (registry.home(model.name) / INTENT).exists():
        found.append(f"a promotion of {model.name!r} was interrupted and is not finished")
    for other in registry.list():
        base = other.lineage.get("base")
        location = str(base.get("location", "")) if isinstance(base, dict) else ""
        revision = str(base.get("revision", "")) if isinstance(base, dict) else ""
        named = location.removeprefix("registry:").partition("@")[0] == model.name and location.startswith("registry:")
        if other.reference != model.reference and named and (location.endswith(f"@{model.version}") or revision == model.revision):
            found.append(f"it is the base of {other.reference}")
    return found


def delete(registry: Registry, reference: str, *, who: str, reason: str = "", used: Sequence[str] = ()) -> RegisteredModel:
    """Remove a version's weights for good; its lineage, notes and history stay, so that old verdicts still name it.

    The record that it is gone is written before anything is removed: a kill in between leaves a version that nobody finds.

    Args:
        registry: Where it is.
        reference: Which version, by its number.
        who: For the history.
        reason: Likewise.
        used: What else needs it, found by the caller.

    Raises:
        InputError: The reference names no version.
        ModelError: There is no such version, or it is in use.
        SetupError: The registry can't be written.
    """
    if not reference.removeprefix("registry:").partition("@")[2]:
        raise InputError(f"{reference!r} names no version: say which one is to be deleted, NAME@VERSION")
    model = registry.get(reference)

    def update(records: Records) -> Records:
        reasons = [*uses(registry, model, records), *used]
        if reasons:
            raise ModelError(f"model {model.reference} is in use and can't be deleted: {'; '.join(reasons)}")
        change = _change("delete", model.version, who, reason)
        archived = {version: why for version, why in records.archived.items() if version != model.version}
        return _with(records, change, deleted={**records.deleted, model.version: model.lineage}, archived=archived)

    change_records(registry.home(model.name), update)
    gone = model.folder.with_name(f".part-{uuid.uuid4().hex[:8]}")  # a name that the next registration cleans up after a kill
    try:
        model.folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise SetupError(f"model {model.reference} is marked as deleted, but {str(gone)!r} can't be removed ({error.strerror})") from error
    return model


def history(registry: Registry, name: str) -> tuple[Change, ...]:
    """Everything that became of a name, registrations included, oldest first.

    Raises:
        ModelError: There is no such name.
    """
    records = registry.records(name)
    lineages = {model.version: model.lineage for model in registry.list() if model.name == name} | dict(records.deleted)
    if not lineages:
        registry.get(name)  # says what there is
    made = [_registered(version, lineage) for version, lineage in lineages.items()]
    return tuple(sorted([*made, *records.history], key=lambda change: change.at))


def _registered(version: str, lineage: object) -> Change:
    record = lineage if isinstance(lineage, dict) else {}
    base, experiment = record.get("base"), record.get("experiment")
    details = {"base": base.get("name") if isinstance(base, dict) else None, "experiment": experiment}
    return Change(
        at=str(record.get("created_at", "")),
        who=str(record.get("created_by", "")),
        action="register",
        version=version,
        details={key: value for key, value in details.items() if value is not None},
    )


def check_usable(records: Records, model: RegisteredModel, *, archived_too: bool = False) -> None:
    """Refuse a version that was deleted while this process looked at it, or is archived.

    Raises:
        ModelError: It was, or is.
    """
    if model.version in records.deleted:
        raise ModelError(f"model {model.reference} was deleted meanwhile: take another version")
    if model.version in records.archived and not archived_too:
        raise ModelError(f"model {model.reference} is archived: ragtrial models archive {model.reference} --undo takes it back first")


def _refuse_interrupted(registry: Registry, model: RegisteredModel) -> None:
    """Refuse while an intent is on the disk: to be asked under the lock of the name, where no other process is carrying one out.

    Raises:
        ModelError: One is.
    """
    try:
        intent = json.loads((registry.home(model.name) / INTENT).read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        intent = None
    file = intent.get("experiment_file", "EXPERIMENT.yaml") if isinstance(intent, dict) else "EXPERIMENT.yaml"
    raise ModelError(
        f"a change of production of {model.name!r} was interrupted, and its end may put {model.reference} into production: finish it first "
        f"with ragtrial models recover {file}"
    )


def _check_alias(alias: str) -> None:
    if alias not in ALIASES:
        raise InputError(f"alias {alias!r} is unknown: there are {', '.join(ALIASES)} (archived is a state: ragtrial models archive)")
    if alias == "production":
        raise InputError("alias 'production' moves together with the Milvus alias: ragtrial models promote NAME@VERSION EXPERIMENT.yaml")


def _with(records: Records, change: Change, **fields: object) -> Records:
    return dataclasses.replace(records, history=(*records.history, change), **fields)  # type: ignore[arg-type]  # fields of Records, given here


def _change(
    action: str, version: str, who: str, reason: str, *, alias: str | None = None, before: str | None = None, after: str | None = None
) -> Change:
    return Change(at=now(), who=who, action=action, version=version, alias=alias, before=before, after=after, reason=reason)
