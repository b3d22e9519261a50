"""The experiment of a candidate: the model in production against it, on the same data, and how it runs beside production in silence."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import LiveSpec
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.retraining import LoopPolicy
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import load_experiment, resolve_path
from ragtrial.formats.files import write_lines
from ragtrial.formats.policy import PolicyFile

PRODUCTION = "production"


def production_of(registry: Registry, name: str) -> str | None:
    """`NAME@VERSION` of the version in production; None where none was promoted yet."""
    version = registry.records(name).aliases.get(PRODUCTION)
    return None if version is None else f"{name}@{version}"


def registry_of(file: PolicyFile) -> Registry:
    """The registry of the policy's experiment."""
    experiment = load_experiment(file.experiment)
    return Registry(resolve_path(experiment.folder, experiment.experiment.stores.registry))


def candidate_name(experiment: str, number: int) -> str:
    """What the experiment of a cycle's candidate is called."""
    return f"{experiment}-candidate-{number}"


def candidate_path(file: PolicyFile, number: int) -> Path:
    """Beside the policy's experiment, so that relative paths mean the same."""
    return file.experiment.with_name(f"{file.experiment.stem}.candidate-{number}.yaml")


def write_candidate(file: PolicyFile, number: int, *, pairs: Path, model: str | None) -> Path:
    """Write the candidate's experiment; what stood in the file is replaced.

    Args:
        file: The policy.
        number: Of the cycle.
        pairs: What it is trained on.
        model: `NAME@VERSION` of the candidate; None before it is trained.

    Raises:
        InputError: The policy's experiment has no `training`, or no `live`, and the policy gives none.
        ValidationError: What comes of it is no experiment.
    """
    policy, path = file.policy, candidate_path(file, number)
    template = yaml.safe_load(file.experiment.read_text("utf-8"))
    experiment = load_experiment(file.experiment).experiment
    production = production_of(registry_of(file), policy.model)
    control, treatment = _arm(template, "control"), _arm(template, "treatment")
    if production is not None:
        control["embedding"] = _registered(control["embedding"], production)
    treatment["embedding"] = _registered(treatment["embedding"], model or policy.model)
    base = production if production is not None and policy.from_production else None
    relative = Path(os.path.relpath(pairs, path.parent)).as_posix()
    template |= {
        "name": candidate_name(experiment.name, number),
        "hypothesis": f"What users taught candidate {number} makes it better than the model in production.",
        "arms": [control, treatment],
        "training": _training(policy, experiment, relative, base),
        "live": _live(policy, experiment),
    }
    head = f"# Candidate {number} of {file.path.name}: written by ragtrial loop, which replaces it. Serve it for the shadow run."
    write_lines(path, [head, yaml.safe_dump(template, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")])
    load_experiment(path)
    return path


def _arm(template: Mapping[str, Any], role: str) -> dict[str, Any]:
    return next(dict(arm) for arm in template["arms"] if arm["role"] == role)


def _registered(embedding: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The arm's embedding with a registered model; what else it says holds, but for what belongs to another provider."""
    if embedding.get("provider", "sentence-transformers") != "sentence-transformers":
        return {"model": f"registry:{model}"}
    return {**{key: value for key, value in embedding.items() if key != "revision"}, "model": f"registry:{model}"}


def _training(policy: LoopPolicy, experiment: Experiment, pairs: str, base: str | None) -> dict[str, Any]:
    spec = policy.training or experiment.training
    if spec is None:
        raise InputError(f"neither the policy nor experiment {experiment.name!r} has a 'training' section: say how candidates are trained")
    plain: dict[str, Any] = TypeAdapter(TrainingSpec).dump_python(spec, mode="json", exclude_defaults=True)
    plain |= {"pairs": [*spec.pairs, pairs], "name": policy.model}
    return plain if base is None else plain | {"base": f"registry:{base}"}


def _live(policy: LoopPolicy, experiment: Experiment) -> dict[str, Any]:
    """The policy's own plan of the shadow run; else the experiment's, without what silent answers can't have.

    Nobody votes on an answer that nobody sees, so metrics of what users do are taken out, and the offline primary metric decides in their
    place. A number of users that was planned for a split says nothing here.
    """
    if policy.shadow is not None:
        own: dict[str, Any] = TypeAdapter(LiveSpec).dump_python(policy.shadow, mode="json", exclude_defaults=True)
        return own | {"mode": "shadow"}
    if experiment.live is None:
        raise InputError(
            f"neither the policy has 'shadow' nor experiment {experiment.name!r} 'live': say how candidates run beside production"
        )
    plain: dict[str, Any] = TypeAdapter(LiveSpec).dump_python(experiment.live, mode="json", exclude_defaults=True)
    metrics = plain["metrics"]
    if _is_seen(metrics["primary"]["name"]):
        metrics["primary"] = TypeAdapter(PrimaryMetric).dump_python(experiment.metrics.primary, mode="json")
    taken = metrics["primary"]["name"]
    for role in ("secondary", "exploratory"):
        metrics[role] = [name for name in metrics.get(role, ()) if not _is_seen(name) and name != taken]
    metrics["guardrails"] = [each for each in metrics.get("guardrails", ()) if not _is_seen(each["name"])]
    return {**plain, "mode": "shadow", "metrics": metrics, "units_planned": None}


def _is_seen(name: str) -> bool:
    """Whether a metric is of what users do with an answer that they see."""
    return metric_named(name).kind == "feedback"
