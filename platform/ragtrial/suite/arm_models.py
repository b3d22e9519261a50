"""The models that arms name: whether they are there, archived, and trained on what they are tested on."""

from collections.abc import Collection, Mapping

from ragtrial.build import model_location
from ragtrial.domain.experiment import Arm
from ragtrial.domain.model import ModelIdentity
from ragtrial.finetuning.leakage import check_lineage
from ragtrial.finetuning.registry import Registry
from ragtrial.suite.foreign_arms import check_retriever
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.retrieving import check_reranker


def lineage_of(prepared: Prepared, arm: Arm, loaded: ModelIdentity) -> Mapping[str, object] | None:
    """The record of the version that was loaded, even where its alias, or the latest version, has become another one since."""
    if not arm.embedding.model.startswith("registry:") or not loaded.dimension:
        return None
    registry = Registry(prepared.around.registry)
    meant = registry.get(arm.embedding.model)
    exact = (model for model in registry.list() if f"{model.name}-{model.version}" == loaded.name)
    lineage = next(exact, meant).lineage
    return {name: value for name, value in lineage.items() if name != "files"}  # the checksum over all of them is enough for a log


def leakage(prepared: Prepared) -> tuple[str, str]:
    """Whether a registered model was trained on what it is tested on; models without a record are said to be unknown.

    Beyond a failure the treatment's state counts: what the control may have seen can only make custom's gain look smaller.
    """
    qrels = prepared.gold.qrels()
    relevant = sorted({passage_id for grades in qrels.values() for passage_id, grade in grades.items() if grade > 0})
    texts = [prepared.corpus.by_id[passage_id].content for passage_id in relevant]
    states: dict[str, str] = {}
    details = []
    for arm in (prepared.experiment.control, prepared.experiment.treatment):
        if arm.embedding.model.startswith("registry:"):
            model = Registry(prepared.around.registry).get(arm.embedding.model)
            found, detail = check_lineage(model, prepared.gold, texts)
            states[arm.role] = found
            details.append(f"{arm.name}: {detail}")
        else:
            what = f"the pipeline {own.path!r}" if (own := prepared.experiment.retrieval_of(arm).retriever) else repr(arm.embedding.model)
            details.append(f"{arm.name}: no training record of {what}")
    state = "fail" if "fail" in states.values() else states.get("treatment", "unknown")
    return state, "; ".join(details)


def archived(prepared: Prepared) -> dict[str, tuple[str, str]]:
    """That an arm runs a version which was archived, where that is so: a check of the evaluation, by name."""
    said = []
    registry = Registry(prepared.around.registry)
    for arm in prepared.experiment.arms:
        if arm.embedding.model.startswith("registry:"):
            model = registry.get(arm.embedding.model)
            why = registry.records(model.name).archived.get(model.version)
            if why is not None:
                said.append(f"{arm.name} runs {model.reference}, which is archived{f' ({why})' if why else ''}")
    return {"archived": ("warn", "; ".join(said))} if said else {}


def missing_models(prepared: Prepared) -> tuple[str, ...]:
    """Names of registered models that arms ask for and the registry lacks."""
    have = {model.name for model in Registry(prepared.around.registry).list()}
    names = [_registered_name(arm) for arm in prepared.experiment.arms]
    return tuple(dict.fromkeys(name for name in names if name is not None and name not in have))


def _registered_name(arm: Arm) -> str | None:
    model = arm.embedding.model
    return model.removeprefix("registry:").partition("@")[0] if model.startswith("registry:") else None


def check_models(prepared: Prepared, *, to_train: Collection[str] = ()) -> None:
    """Fail before any work where a model is missing.

    Args:
        prepared: The experiment.
        to_train: Registered models that will be trained first.

    Raises:
        ModelError: An arm's model does not exist.
    """
    for arm in prepared.experiment.arms:
        retrieval = prepared.experiment.retrieval_of(arm)
        if retrieval.rerank is not None:
            check_reranker(retrieval.rerank, prepared.around)
        if retrieval.retriever is not None:
            check_retriever(retrieval.retriever)
        if retrieval.method == "bm25":
            continue
        if arm.embedding.provider == "sentence-transformers" and _registered_name(arm) not in to_train:
            model_location(arm.embedding.model, prepared.around)
