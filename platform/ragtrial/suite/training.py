"""Training as an experiment file asks for it: never on what the model will be tested on."""

import dataclasses
from typing import Any

from ragtrial.build import build_embedder, model_location
from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.leakage import Leaks, find_leaks
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.training import DevSet, dev_set, train
from ragtrial.formats.data import check_data
from ragtrial.formats.pairs import read_pairs
from ragtrial.suite.environment import environment
from ragtrial.suite.preparing import Prepared, load

_EXAMPLES = 3


def model_name(prepared: Prepared) -> str:
    """The name under which the experiment's model is registered.

    Raises:
        InputError: The experiment has no training section, or no name can be told from it.
    """
    spec = _spec(prepared)
    asked = [arm.embedding.model for arm in prepared.experiment.arms if arm.embedding.model.startswith("registry:")]
    name = spec.name or (asked[0].removeprefix("registry:").partition("@")[0] if asked else None)
    if name is None:
        raise InputError(f"{prepared.file.path}: training.name: no arm asks for a registered model, so say how the new one is called")
    return name


def train_model(prepared: Prepared, *, name: str, progress: Progress = no_progress) -> RegisteredModel:
    """Fine-tune as the experiment says and register the result as the next version of `name`.

    Raises:
        InputError: There is no training section, or too few pairs are left without leaks.
    """
    spec = _spec(prepared)
    found = _found(prepared, spec)
    leaks = _leaks(prepared, found)
    pairs = [pair for position, pair in enumerate(found) if position not in leaks.reasons]
    base = build_embedder(EmbeddingSpec(model=spec.base), prepared.around)
    location, _name = model_location(spec.base, prepared.around)
    return train(
        spec=spec,
        base_folder=location,
        base=base.identity,
        pairs=pairs,
        dev=_dev(prepared, spec),
        registry=Registry(prepared.around.registry),
        name=name,
        work_folder=prepared.around.registry / ".training",
        facts=_facts(prepared, spec, found, leaks),
        inherited=_inherited(prepared, spec),
        progress=progress,
    )


def _found(prepared: Prepared, spec: TrainingSpec) -> tuple[Pair, ...]:
    """Pairs of the judgments, then those of the files that are for training."""
    found: list[Pair] = []
    if spec.data is not None:
        corpus, gold, _ = load(spec.data, prepared.file)
        found += training_pairs(corpus, gold)
    for path in spec.pairs:
        found += [pair for pair in read_pairs(prepared.file.folder / path) if pair.split == "train"]
    return tuple(found)


def _inherited(prepared: Prepared, spec: TrainingSpec) -> frozenset[str]:
    """What the base was trained on is in the new model too."""
    registry = Registry(prepared.around.registry)
    return registry.get(spec.base).training_texts() if spec.base.startswith("registry:") else frozenset()


def describe(model: RegisteredModel) -> list[str]:
    """What a training came to, in a few lines."""
    lineage = model.lineage
    pairs, dev = lineage["pairs"], lineage["dev"]
    refused = ", ".join(f"{n} because {reason}" for reason, n in pairs["refused"].items()) or "none"
    lines = [
        f"registered registry:{model.name}@{model.version} in {model.folder}",
        f"{pairs['used']:,} pairs used, refused: {refused}; {lineage['seconds']:.0f} s",
        *(f"  refused: {example}" for example in pairs["examples"]),
    ]
    if dev["before"] is not None and dev["after"] is not None:
        lines.append(
            f"dev {dev['metric']} {dev['before']:.4f} -> {dev['after']:.4f} ({dev['n_queries']} queries; the verdict needs the test split)"
        )
    return lines


def _spec(prepared: Prepared) -> TrainingSpec:
    spec = prepared.experiment.training
    if spec is None:
        raise InputError(f"{prepared.file.path}: there is no 'training' section: add one with 'data' and 'base'")
    return spec


def _leaks(prepared: Prepared, pairs: tuple[Pair, ...]) -> Leaks:
    """Against the whole gold set, also where only a sample of it is asked."""
    corpus, gold, _ = load(prepared.experiment.data, prepared.file)
    return find_leaks(pairs, gold=gold, corpus=corpus)


def _dev(prepared: Prepared, spec: TrainingSpec) -> DevSet | None:
    """The dev split, where the data have one, without what the test will ask: it would choose the checkpoint by its own test."""
    if spec.data is None:
        return None
    data = dataclasses.replace(spec.data, split=spec.dev_split)
    if spec.data.format != "beir" or check_data(data, prepared.file.folder).problems:
        return None
    corpus, gold, _ = load(data, prepared.file)
    pairs = training_pairs(corpus, gold)
    leaking = {pairs[position].query for position in _leaks(prepared, pairs).reasons}
    queries = tuple(query for query in gold.queries if query.text not in leaking)
    kept = {query.query_id for query in queries}
    judgments = tuple(judgment for judgment in gold.judgments if judgment.query_id in kept)
    return dev_set(dataclasses.replace(gold, queries=queries, judgments=judgments), corpus.passages, seed=spec.seed)


def _facts(prepared: Prepared, spec: TrainingSpec, found: tuple[Pair, ...], leaks: Leaks) -> dict[str, Any]:
    examples = [f"{found[position].query!r}: {reason}" for position, reason in list(leaks.reasons.items())[:_EXAMPLES]]
    return {
        "experiment": prepared.experiment.name,
        "data": None if spec.data is None else dataclasses.asdict(spec.data),
        "pair_files": list(spec.pairs),
        "pairs": {"found": len(found), "refused": leaks.counts(), "examples": examples},
        "environment": environment(),
    }
