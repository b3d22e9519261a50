"""Promote a registered model to production, and roll back: only on evidence, and the registry's alias together with the Milvus alias."""

import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragtrial.contracts import CollectionInfo, VectorIndex
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Arm
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.finetuning.registry import RegisteredModel, Registry, now
from ragtrial.finetuning.registry_changes import check_usable
from ragtrial.finetuning.registry_records import Change, Promotion, Records
from ragtrial.formats.experiment import milvus_uri
from ragtrial.indexing import alias_of
from ragtrial.settings import Settings
from ragtrial.suite.arms import open_index
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.promotion_evidence import Evidence, evidence
from ragtrial.suite.promotion_journal import Intent, carry_out, interrupted, recover

PRODUCTION = "production"
"""Stands for an arm's name in the Milvus alias: `rt_<experiment>_production_<6 hexadecimal digits>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a promotion or rollback came to.

    Attributes:
        name: Of the model.
        version: In production now; None where no version of the name is.
        before: In production before.
        milvus_alias: Of the experiment's production.
        collection: That it points to now.
        evaluation_id: The evidence; None for a rollback, and where there is none.
        evidence: Its verdict, with what it warns of.
        overridden: What was forced.
        changed: Whether anything moved.
        recovered: What interrupted promotions were brought to an end first.
        elsewhere: Other experiments whose Milvus alias still points to another version of the name.
    """

    name: str
    version: str | None
    before: str | None
    milvus_alias: str
    collection: str
    evaluation_id: str | None = None
    evidence: str | None = None
    overridden: tuple[str, ...] = ()
    changed: bool = True
    recovered: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


def promote(
    path: Path,
    reference: str,
    *,
    settings: Settings,
    who: str,
    arm: str | None = None,
    reason: str = "",
    force: bool = False,
    against: Sequence[str] = (),
) -> Moved:
    """Put a version into production for an experiment.

    Args:
        path: The experiment file.
        reference: `NAME@VERSION`, or an alias; the files are compared with the checksums of the registration.
        settings: The environment.
        who: For the history.
        arm: Which arm ran it; default: the treatment.
        reason: For the history; needed with `force`.
        force: Do it against what the evidence says; what was overridden is recorded.
        against: What else speaks against it, a sentence each.

    Raises:
        InputError: No such arm, or a reason is missing.
        ModelError: There is no such version, it was changed or archived, or the evidence refuses it.
        StoreError: Its collection is not there or not complete, or Milvus is held by another process.
    """
    if force and not reason.strip():
        raise InputError("--force needs --reason: it is recorded with what it overrides")
    prepared = prepare(path, settings=settings)
    registry = Registry(prepared.around.registry)
    chosen = _arm(prepared, arm)
    recovered = recover_prepared(prepared)
    model = registry.get(reference, verify=True)
    found = evidence(prepared, model, chosen)
    refusals = (*found.refusals, *against)
    if refusals and not force:
        raise ModelError(_refused(model, prepared, refusals))
    alias = alias_of(prepared.experiment.name, PRODUCTION)
    with closing(_production_index(prepared)) as index:
        collection = _collection(prepared, index, model, chosen, found)

        def plan(records: Records) -> Intent | None:
            check_usable(records, model)
            pointed = index.resolve(alias)
            if records.aliases.get(PRODUCTION) == model.version and pointed == collection:
                return None
            promotion = Promotion(
                promotion_id=uuid.uuid4().hex[:12],
                experiment=prepared.experiment.name,
                version=model.version,
                collection=collection,
                milvus_alias=alias,
                evaluation_id=None if found.evaluation is None else found.evaluation.evaluation_id,
                before_version=records.aliases.get(PRODUCTION),
                before_collection=pointed or _baseline(prepared, index, chosen, found.evaluation),
                at=now(),
                who=who,
                reason=reason,
                overridden=refusals,
            )
            return _intent("promote", model.name, model.version, promotion, prepared, who=who, reason=reason)

        before = registry.records(model.name).aliases.get(PRODUCTION)
        intent = carry_out(registry, index, plan, name=model.name)
    return Moved(
        name=model.name,
        version=model.version,
        before=before if intent is None else intent.promotion.before_version,
        milvus_alias=alias,
        collection=collection,
        evaluation_id=None if found.evaluation is None else found.evaluation.evaluation_id,
        evidence=found.sentence,
        overridden=refusals,
        changed=intent is not None,
        recovered=recovered,
        elsewhere=_elsewhere(registry.records(model.name), prepared.experiment.name, model.version),
    )


def roll_back_production(path: Path, name: str, *, settings: Settings, who: str, reason: str = "") -> Moved:
    """Take the last promotion back: the version and the collection that were in production before it are again.

    Before the first promotion no version was; then the Milvus alias goes back to the baseline's collection, where that was known.

    Raises:
        ModelError: Nothing of the name was promoted for this experiment, another experiment promoted it since, or the version before was
            archived.
        StoreError: The previous collection is not there or not complete, or Milvus is held by another process.
    """
    prepared = prepare(path, settings=settings)
    registry = Registry(prepared.around.registry)
    experiment = prepared.experiment.name
    begun = [each for each in interrupted(registry, experiment) if (each.name, each.action) == (name, "rollback")]
    recovered = recover_prepared(prepared)
    if begun and registry.records(name).aliases.get(PRODUCTION) == begun[0].version:  # once more would go back twice
        return _rolled_back(registry, begun[0], recovered)
    with closing(_production_index(prepared)) as index:

        def plan(records: Records) -> Intent:
            last = _to_take_back(records, name, experiment)
            target = last.before_collection
            if target is None:
                raise ModelError(
                    f"nothing was in production of experiment {experiment!r} before {name}@{last.version}: promote another version"
                )
            info = index.describe(target)
            if info is None or not info.complete:
                raise StoreError(
                    f"collection {target!r}, which was in production before, is {'not there' if info is None else 'not complete'}: "
                    "ragtrial index makes it again, with the experiment file as it was then"
                )
            if last.before_version is not None:
                _check_before(records, registry.get(f"{name}@{last.before_version}", verify=True))
            return _intent("rollback", name, last.before_version, last, prepared, who=who, reason=reason)

        check = registry.records(name)  # says that there is no such name before a lock is made for it
        _to_take_back(check, name, experiment)
        intent = carry_out(registry, index, plan, name=name)
    if intent is None:
        raise ModelError(f"nothing of {name!r} is to be rolled back")
    return _rolled_back(registry, intent, recovered)


def _check_before(records: Records, model: RegisteredModel) -> None:
    """Refuse to go back to a version that somebody has archived since: it is not to be used any more.

    Raises:
        ModelError: It is.
    """
    if model.version not in records.archived:
        return
    why = records.archived[model.version]
    raise ModelError(
        f"{model.reference}, which was in production before, was archived since{f' ({why})' if why else ''}: take that back (ragtrial models "
        f"archive {model.reference} --undo) and roll back again, or promote another version"
    )


def _rolled_back(registry: Registry, intent: Intent, recovered: tuple[str, ...]) -> Moved:
    return Moved(
        name=intent.name,
        version=intent.version,
        before=intent.promotion.version,
        milvus_alias=intent.promotion.milvus_alias,
        collection=intent.collection,
        recovered=recovered,
        elsewhere=_elsewhere(registry.records(intent.name), intent.promotion.experiment, intent.version),
    )


def recover_file(path: Path, *, settings: Settings) -> tuple[str, ...]:
    """Bring interrupted promotions of the file's experiment to an end; what was done, a sentence each.

    Raises:
        RagtrialError: As `promotion_journal.recover`, or the file is wrong.
    """
    return recover_prepared(prepare(path, settings=settings))


def recover_prepared(prepared: Prepared) -> tuple[str, ...]:
    """`recover_file` for an experiment that is read already."""
    return recover(Registry(prepared.around.registry), prepared.experiment.name, lambda: _production_index(prepared))


def _arm(prepared: Prepared, name: str | None) -> Arm:
    if name is None:
        return prepared.experiment.treatment
    found = next((arm for arm in prepared.experiment.arms if arm.name == name), None)
    if found is None:
        raise InputError(f"--arm {name!r}: the experiment's arms are {', '.join(arm.name for arm in prepared.experiment.arms)}")
    return found


def _refused(model: RegisteredModel, prepared: Prepared, refusals: Sequence[str]) -> str:
    said = "; ".join(refusal.removesuffix(".") for refusal in refusals)
    return (
        f"{model.reference} is not promoted to production of experiment {prepared.experiment.name!r}: {said}. --force --reason WHY promotes "
        "it all the same, and records that"
    )


def _production_index(prepared: Prepared) -> VectorIndex:
    """The experiment's store, which must be there already.

    Raises:
        StoreError: It isn't, or another process holds it.
    """
    uri = milvus_uri(prepared.file)
    lite = "://" not in uri
    if lite and not Path(uri).exists():
        raise StoreError(f"there is no Milvus store {uri!r} yet: ragtrial index {prepared.file.path} makes it, with the arms' collections")
    try:
        return open_index(prepared)
    except StoreError as error:
        if not lite or "open in another process" not in str(error):
            raise
        raise StoreError(
            f"{error}. A service (ragtrial serve) or an evaluation of the experiment holds it: stop it for the promotion, "
            "or point stores.milvus to a Milvus server, which many processes share"
        ) from error


def _collection(prepared: Prepared, index: VectorIndex, model: RegisteredModel, arm: Arm, found: Evidence) -> str:
    """The complete collection of this version on the corpus as it is now: the evaluated one, or, without evidence, the arm's."""
    index_of = f"ragtrial index {prepared.file.path} (arm {arm.name!r} with 'model: registry:{model.reference}')"
    if found.facts is not None and found.facts.index is not None:
        name = found.facts.index.collection
    else:
        name = index.resolve(alias_of(prepared.experiment.name, arm.name)) or ""
    info = index.describe(name) if name else None
    if info is None:
        raise StoreError(f"{model.reference} has no collection {name!r} in {prepared.experiment.stores.milvus!r}: {index_of} makes it")
    problem = _not_this(info, model, prepared, found.facts)
    if problem is not None:
        raise StoreError(f"collection {info.name!r} {problem}: {index_of} makes it")
    return info.name


def _not_this(info: CollectionInfo, model: RegisteredModel, prepared: Prepared, facts: ArmFacts | None) -> str | None:
    if facts is not None and facts.model is not None:
        if info.model != facts.model:
            return f"holds vectors of {info.model}, not of {facts.model}"
    elif info.model.name != f"{model.name}-{model.version}":
        return f"holds vectors of {info.model}, not of {model.reference}"
    if info.corpus != prepared.corpus.fingerprint:
        return "holds another corpus than the experiment's"
    if not info.complete or info.n_passages != len(prepared.corpus.passages):
        return f"is not complete: it holds {info.n_passages:,} of {len(prepared.corpus.passages):,} passages"
    return None


def _baseline(prepared: Prepared, index: VectorIndex, arm: Arm, evaluation: Evaluation | None) -> str | None:
    """The other arm's collection: what the first rollback goes back to."""
    other = next((each for each in prepared.experiment.arms if each.name != arm.name), None)
    if other is None:
        return None
    facts = next((each for each in evaluation.arms if each.arm == other.name), None) if evaluation is not None else None
    name = (
        facts.index.collection
        if facts is not None and facts.index is not None
        else index.resolve(alias_of(prepared.experiment.name, other.name))
    )
    info = index.describe(name) if name else None
    return info.name if info is not None and info.complete else None


def _to_take_back(records: Records, name: str, experiment: str) -> Promotion:
    mine = [each for each in records.promotions if each.experiment == experiment]
    if not mine:
        raise ModelError(f"no promotion of {name!r} is in force for experiment {experiment!r}: there is nothing to roll back")
    last = records.promotions[-1]
    if last.experiment != experiment:
        raise ModelError(
            f"{name!r} was promoted for experiment {last.experiment!r} since ({name}@{last.version}, {last.at}): roll that back first, or promote"
        )
    return last


def _intent(
    action: Literal["promote", "rollback"],
    name: str,
    version: str | None,
    promotion: Promotion,
    prepared: Prepared,
    *,
    who: str,
    reason: str,
) -> Intent:
    forward = action == "promote"
    collection = promotion.collection if forward else promotion.before_collection
    change = Change(
        at=now(),
        who=who,
        action=action,
        version=promotion.version,
        alias=PRODUCTION,
        before=promotion.before_version if forward else promotion.version,
        after=version,
        reason=reason,
        details={
            "operation": uuid.uuid4().hex[:12],
            "experiment": promotion.experiment,
            "evaluation": promotion.evaluation_id,
            "milvus_alias": promotion.milvus_alias,
            "from_collection": promotion.before_collection if forward else promotion.collection,
            "to_collection": collection,
            "overridden": list(promotion.overridden) if forward else [],
        },
    )
    return Intent(
        action=action,
        name=name,
        version=version,
        collection=collection or "",
        promotion=promotion,
        change=change,
        experiment_file=str(prepared.file.path),
    )


def _elsewhere(records: Records, experiment: str, version: str | None) -> tuple[str, ...]:
    """Experiments whose last promotion was of another version than the one that is in production now."""
    last = {each.experiment: each.version for each in records.promotions}
    return tuple(sorted(name for name, at in last.items() if name != experiment and at != version))
