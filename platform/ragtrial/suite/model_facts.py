"""What is known of a registered model, from its record, the registry's notes and the log: for lists, cards, graphs and protection."""

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.domain.pair import Pair
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.finetuning.lineage_graph import Graph, graph_of
from ragtrial.finetuning.model_card import licence_of, model_card
from ragtrial.finetuning.registry import RegisteredModel, Registry, check_content
from ragtrial.finetuning.registry_changes import history
from ragtrial.finetuning.registry_records import Note
from ragtrial.formats.experiment import ExperimentFile, load_experiment, logged_experiment, milvus_uri, resolve_path, sql_url
from ragtrial.formats.pairs import read_pairs
from ragtrial.indexing import alias_of
from ragtrial.settings import Settings
from ragtrial.suite.arms import open_index
from ragtrial.suite.concluding import conclude
from ragtrial.suite.model_records import EVALUATION, evaluation_record, evaluations_with
from ragtrial.suite.preparing import prepare
from ragtrial.suite.promoting import PRODUCTION
from ragtrial.suite.promotion_journal import interrupted

INTRINSIC = "intrinsic"
"""The kind of note that `ragtrial intrinsic` leaves."""

_OWN = ("name", "version", "created_at", "checksum", "files", "curve", "seconds")
"""Of the record what differs between any two versions, or is no setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One version in a list.

    Attributes:
        name: Of the model.
        version: Of it.
        folder: Where it lies.
        aliases: That point to it; `archived` among them where it is.
        created_at: ISO 8601, or empty.
        base: The base model's name, or empty.
        pairs: Pairs used; None where that was not recorded.
        metric: That the dev set was measured with, or empty.
        before: Dev score before training; None where there is none.
        after: After it.
        verdict: Of the newest evaluation as the custom model; None where there is none.
        evaluation_id: Of that evaluation.
    """

    name: str
    version: str
    folder: str
    aliases: tuple[str, ...]
    created_at: str
    base: str
    pairs: int | None
    metric: str
    before: float | None
    after: float | None
    verdict: str | None
    evaluation_id: str | None


def lines(registry: Registry) -> tuple[Line, ...]:
    """Every version, by name, then number.

    Raises:
        ModelError: A record can't be read.
    """
    return tuple(_line(registry, model) for model in registry.list())


def _line(registry: Registry, model: RegisteredModel) -> Line:
    records, lineage = registry.records(model.name), model.lineage
    dev, pairs, base = (_mapping(lineage.get(key)) for key in ("dev", "pairs", "base"))
    said = [note.record for note in records.notes if (note.version, note.kind) == (model.version, EVALUATION)]
    verdict = next((record for record in reversed(said) if record.get("role") == "treatment"), None)
    return Line(
        name=model.name,
        version=model.version,
        folder=str(model.folder),
        aliases=(*records.aliases_of(model.version), *(["archived"] if model.version in records.archived else [])),
        created_at=str(lineage.get("created_at", "")),
        base=str(base.get("name", "")),
        pairs=pairs.get("used"),
        metric=str(dev.get("metric", "")),
        before=dev.get("before"),
        after=dev.get("after"),
        verdict=None if verdict is None else str(verdict.get("decision")),
        evaluation_id=None if verdict is None else str(verdict.get("id")),
    )


def waiting(registry: Registry) -> tuple[str, ...]:
    """Promotions that were interrupted, a sentence each, with what finishes them."""
    return tuple(
        f"a {each.action} of {each.name!r} in experiment {each.promotion.experiment!r} is not finished: if no such command is running, "
        f"ragtrial models recover {each.experiment_file} finishes it"
        for each in interrupted(registry)
    )


def verified(registry: Registry) -> dict[str, str | None]:
    """Each version with what is wrong with its files; None where nothing is."""
    found: dict[str, str | None] = {}
    for model in registry.list():
        try:
            check_content(model)
            found[model.reference] = None
        except ModelError as error:
            found[model.reference] = str(error)
    return found


def shown(registry: Registry, reference: str, experiment: Path | None = None) -> dict[str, Any]:
    """Everything that is known of a version, as JSON values; its files are verified where it is not deleted.

    Raises:
        ModelError: There is no such version, and never was, or its files were changed.
    """
    lineage = registry.lineage(reference)
    name, version = str(lineage["name"]), str(lineage["version"])
    records = registry.records(name)
    if version in records.deleted:
        state: dict[str, Any] = {"deleted": True, "aliases": [], "archived": None}
        evaluations: Sequence[Mapping[str, Any]] = [note.record for note in registry.notes(f"{name}@{version}", EVALUATION)]
    else:
        model = registry.get(f"{name}@{version}", verify=True)
        state = {"deleted": False, "aliases": list(records.aliases_of(version)), "archived": records.archived.get(version)}
        evaluations = evaluations_of(registry, model, experiment)
    licence = licence_of(lineage, own_licence(registry, f"{name}@{version}"))
    others = [{"kind": note.kind, "at": note.at, **note.record} for note in registry.notes(f"{name}@{version}") if note.kind != EVALUATION]
    return {**lineage, **state, "licence": licence, "evaluations": list(evaluations), "notes": others}


def evaluations_of(registry: Registry, model: RegisteredModel, experiment: Path | None = None) -> tuple[Mapping[str, Any], ...]:
    """Evaluations that a version was part of, oldest first: as noted, and, where an experiment file is given, those in its log.

    Raises:
        StoreError: The log can't be read.
    """
    found = {str(note.record.get("id")): note.record for note in registry.notes(model.reference, EVALUATION)}
    if experiment is not None:
        url = sql_url(load_experiment(experiment))
        with Reader(url) as reader:
            for evaluation, facts in evaluations_with(reader.evaluations(), model):
                if evaluation.evaluation_id in found:
                    continue
                planned = logged_experiment(reader.experiment_plan(evaluation.evaluation_id), f"evaluation {evaluation.evaluation_id!r}")
                analysis = conclude(reader, evaluation, planned).analysis
                record = evaluation_record(evaluation, facts, analysis, alpha=planned.analysis.alpha)
                found[evaluation.evaluation_id] = record
    return tuple(sorted(found.values(), key=lambda record: str(record.get("started_at"))))


def own_licence(registry: Registry, reference: str) -> str | None:
    """The licence that the owner gave a version; None where there is none, and those of data and base hold."""
    notes = registry.notes(reference, "licence")
    return str(notes[-1].record["licence"]) if notes else None


def set_licence(registry: Registry, reference: str, licence: str, *, who: str) -> RegisteredModel:
    """Note the owner's own licence of a version.

    Raises:
        InputError: It is empty.
        ModelError: There is no such version.
    """
    if not licence.strip():
        raise InputError("the licence is empty: give its SPDX identifier, such as apache-2.0, or a name of your own")
    model = registry.get(reference)
    registry.note(model.reference, kind="licence", record={"id": "licence", "licence": licence.strip(), "who": who})
    return model


def card(registry: Registry, reference: str, experiment: Path | None = None) -> str:
    """The model card of a version as of now.

    Raises:
        ModelError: There is no such version.
        StoreError: The experiment's log can't be read.
    """
    model = registry.get(reference)
    records, intrinsic = registry.records(model.name), registry.notes(model.reference, INTRINSIC)
    return model_card(
        model,
        evaluations=evaluations_of(registry, model, experiment),
        intrinsic=intrinsic[-1].record if intrinsic else None,
        aliases=records.aliases_of(model.version),
        licence=own_licence(registry, model.reference),
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    """What differs in the records of two versions: name of the field, dotted, and both values; None where one has no such field."""
    left, right = _flat(first), _flat(second)
    return tuple((name, left.get(name), right.get(name)) for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name))


def graph(registry: Registry, reference: str, experiment: Path | None = None) -> Graph:
    """Where a version comes from and what became of it.

    Args:
        registry: Where it is.
        reference: Which version.
        experiment: The file that it was trained with: its files of pairs are read for votes and other origins, its log for evaluations.

    Raises:
        ModelError: There is no such version.
    """
    model = registry.get(reference)
    files: dict[str, Sequence[Pair]] = {}
    for path in model.lineage.get("pair_files") or () if experiment is not None else ():
        with contextlib.suppress(InputError):  # moved since: the node stays, without where its pairs come from
            files[str(path)] = read_pairs((experiment or Path()).absolute().parent / str(path))
    notes = registry.notes(model.reference)
    noted = {str(note.record.get("id")) for note in notes}
    logged = [
        Note(version=model.version, kind=EVALUATION, at=str(record.get("started_at")), record=record)
        for record in evaluations_of(registry, model, experiment)
        if str(record.get("id")) not in noted
    ]
    return graph_of(model, notes=[*notes, *logged], history=history(registry, model.name), pair_files=files)


def uses_in(experiment: Path, model: RegisteredModel, *, settings: Settings) -> list[str]:
    """Why a version must stay, as far as an experiment knows, a sentence each: its arms, its live traffic, its collections' aliases.

    Raises:
        InputError: The file is wrong.
        StoreError: Milvus is there and can't be asked, so that nobody knows.
    """
    file = load_experiment(experiment)
    registry = Registry(resolve_path(file.folder, file.experiment.stores.registry))
    found = []
    for arm in file.experiment.arms:
        if arm.embedding.model.startswith("registry:"):
            with contextlib.suppress(ModelError):
                if registry.get(arm.embedding.model).reference == model.reference:
                    found.append(f"arm {arm.name!r} of {str(experiment)!r} runs it")
    return [*found, *_live_uses(sql_url(file), model), *_pointed(file, model, settings)]


def _live_uses(url: str, model: RegisteredModel) -> list[str]:
    """Live experiments that serve it and were not stopped."""
    try:
        with LiveReader(url) as reader:
            served = [each for each in reader.experiments() if any(_is_served(arm, model) for arm in each.facts.get("arms") or ())]
            running = [each.name for each in served if not reader.traffic(each.live_id).stopped]
    except StoreError:
        return []  # no database yet: nothing was served
    return [f"live experiment {name!r} serves it and was not stopped" for name in dict.fromkeys(running)]


def _is_served(arm: Mapping[str, Any], model: RegisteredModel) -> bool:
    lineage = _mapping(arm.get("lineage"))
    return (lineage.get("name"), lineage.get("version")) == (model.name, model.version)


def _pointed(file: ExperimentFile, model: RegisteredModel, settings: Settings) -> list[str]:
    uri = milvus_uri(file)
    if "://" not in uri and not Path(uri).exists():
        return []
    names = [*(arm.name for arm in file.experiment.arms), PRODUCTION]
    aliases = [alias_of(file.experiment.name, name) for name in names]
    found = []
    with closing(open_index(prepare(file.path, settings=settings))) as index:
        for alias in (*aliases, *(f"{alias}_previous" for alias in aliases)):
            info = index.describe(alias) if index.resolve(alias) is not None else None
            if info is not None and info.model.name == f"{model.name}-{model.version}":
                found.append(f"Milvus alias {alias!r} points to its collection {info.name!r}")
    return found


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        if not before and name in _OWN:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
