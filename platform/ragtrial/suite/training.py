"""Training as an experiment file asks for it: never on what the model will be tested on."""

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from ragtrial import __version__
from ragtrial.build import build_embedder, model_location
from ragtrial.contracts import Embedder, Progress, no_progress
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.domain.training import Loss, Method, TrainingSpec
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError
from ragtrial.finetuning.examples import check_spec
from ragtrial.finetuning.registry import RegisteredModel, Registry, check_name
from ragtrial.finetuning.training import check_size, train
from ragtrial.formats.experiment import resolve_path
from ragtrial.suite.environment import environment
from ragtrial.suite.model_facts import own_licence
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.training_pairs import gather, read_sources

_GIT_SECONDS = 10.0
_LIBRARIES_OF_TRAINING = ("transformers", "accelerate", "peft", "optuna")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Settings given on the command line instead of those of the file; None leaves the file's.

    Attributes:
        method: How the model is made.
        loss: What it learns by.
        base: The model to start from.
        per_pair: Hard negatives for each pair.
        epochs: Passes over the pairs.
        batch_size: Pairs per step.
        learning_rate: Peak learning rate of the method.
        seed: Of shuffling and initialisation.
    """

    method: str | None = None
    loss: str | None = None
    base: str | None = None
    per_pair: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None


def overridden(prepared: Prepared, given: Overrides) -> Prepared:
    """The experiment with these settings in its training section; all else stays, its plan included.

    Raises:
        InputError: There is no training section, or the settings can't be combined.
    """
    spec = _spec(prepared)
    try:
        changed = _changed(spec, given)
    except ValueError as error:
        raise InputError(f"{prepared.file.path}: training: {error}") from error
    experiment = dataclasses.replace(prepared.experiment, training=changed)
    return dataclasses.replace(prepared, file=dataclasses.replace(prepared.file, experiment=experiment))


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
    """Train as the experiment says and register the result as the next version of `name`.

    Raises:
        InputError: There is no training section, too few pairs are left without leaks, or settings can't be combined.
    """
    check_name(name)
    spec = _spec(prepared)
    check_spec(spec, ())
    sources = read_sources(prepared, spec)  # before a model is loaded: a faulty file is told at once
    check_spec(spec, sources.pairs, is_final=not spec.mining.per_pair)
    check_size(spec, sources.pairs)
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(_cache(prepared)) if _needs_vectors(spec) else None
        bare = build_embedder(EmbeddingSpec(model=spec.base), prepared.around)
        embedder = None if cache is None else CachedEmbedder(bare, cache)
        check_spec(spec, (), dimension=bare.identity.dimension)
        material = gather(prepared, spec, sources, embedder=embedder, progress=progress)
        location, _name = model_location(spec.base, prepared.around)
        model = train(
            spec=spec,
            base_folder=location,
            base=bare.identity,
            pairs=material.pairs,
            dev=material.dev,
            registry=Registry(prepared.around.registry),
            name=name,
            work_folder=prepared.around.registry / ".training",
            facts={**_facts(prepared, spec), **material.facts},
            inherited=_inherited(prepared, spec),
            base_licence=_base_licence(prepared, spec),
            embedder=embedder,
            teacher=_teacher(prepared, spec, cache),
            progress=progress,
        )
        if spec.method == "linear-adapter" and cache is not None:
            _share_vectors(prepared, spec, model, cache, progress)
        return model


def _changed(spec: TrainingSpec, given: Overrides) -> TrainingSpec:
    for name, value, known in (("method", given.method, get_args(Method)), ("loss", given.loss, get_args(Loss))):
        if value is not None and value not in known:
            raise ValueError(f"{name} {value!r} is unknown: give {', '.join(known)}")
    method = cast("Method", given.method or spec.method)
    plain: dict[str, Any] = {"method": method, "loss": cast("Loss", given.loss or spec.loss)}
    rates = {key: value for key in ("epochs", "batch_size", "learning_rate") if (value := getattr(given, key)) is not None}
    match method:
        case "linear-adapter":
            plain["adapter"] = dataclasses.replace(spec.adapter, **rates)
        case "lora":
            rate = {key: value for key, value in rates.items() if key == "learning_rate"}
            plain |= {
                "lora": dataclasses.replace(spec.lora, **rate),
                **{key: value for key, value in rates.items() if key != "learning_rate"},
            }
        case _:
            plain |= rates
    if given.per_pair is not None:
        plain["mining"] = dataclasses.replace(spec.mining, per_pair=given.per_pair)
    same = {key: value for key in ("base", "seed") if (value := getattr(given, key)) is not None}
    return dataclasses.replace(spec, **plain, **same)


def _needs_vectors(spec: TrainingSpec) -> bool:
    return spec.mining.per_pair > 0 or spec.method == "linear-adapter" or spec.distillation is not None


@contextlib.contextmanager
def _cache(prepared: Prepared) -> Iterator[VectorCache]:
    with VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)) as cache:
        yield cache


def _teacher(prepared: Prepared, spec: TrainingSpec, cache: VectorCache | None) -> Embedder | None:
    if spec.distillation is None or cache is None:
        return None
    return CachedEmbedder(build_embedder(EmbeddingSpec(model=spec.distillation.teacher), prepared.around), cache)


def _share_vectors(prepared: Prepared, spec: TrainingSpec, model: RegisteredModel, cache: VectorCache, progress: Progress) -> None:
    """Passages have the base's vectors in a model with a linear adapter: each is embedded once, for both."""
    texts = [passage.content for passage in prepared.corpus.passages]
    for arm in prepared.experiment.arms:
        if arm.embedding.model not in (f"registry:{model.name}", f"registry:{model.name}@{model.version}"):
            continue
        base = build_embedder(dataclasses.replace(arm.embedding, model=spec.base, revision=None), prepared.around)
        new = build_embedder(arm.embedding, prepared.around)
        advance = progress(f"embed the corpus for {spec.base} and {model.name}", len(texts))
        vectors = CachedEmbedder(base, cache).embed(texts, kind="passage", progress=advance)
        CachedEmbedder(new, cache).remember(texts, vectors, kind="passage")


def _inherited(prepared: Prepared, spec: TrainingSpec) -> frozenset[str]:
    """What the base was trained on is in the new model too."""
    registry = Registry(prepared.around.registry)
    return registry.get(spec.base).training_texts() if spec.base.startswith("registry:") else frozenset()


def _base_licence(prepared: Prepared, spec: TrainingSpec) -> str | None:
    """Of a registered base what its owner gave it, else that of the model it was trained from; None: its own folder tells.

    What it was trained on has licences of its own, which the new model inherits (`suite.training_pairs`): here they would be said twice.
    """
    if not spec.base.startswith("registry:"):
        return None
    registry = Registry(prepared.around.registry)
    model = registry.get(spec.base)
    base = model.lineage.get("base")
    return own_licence(registry, model.reference) or (base.get("licence") if isinstance(base, Mapping) else None)


def _spec(prepared: Prepared) -> TrainingSpec:
    spec = prepared.experiment.training
    if spec is None:
        raise InputError(f"{prepared.file.path}: there is no 'training' section: add one with 'data' and 'base'")
    return spec


def _facts(prepared: Prepared, spec: TrainingSpec) -> dict[str, Any]:
    return {
        "experiment": prepared.experiment.name,
        "data": None if spec.data is None else dataclasses.asdict(spec.data),
        "pair_files": list(spec.pairs),
        "code": {"ragtrial": __version__, "commit": commit()},
        "environment": environment(_LIBRARIES_OF_TRAINING),
    }


def commit() -> str | None:
    """The commit of the code, `+changes` where it was changed since; None where it isn't a checkout."""
    home = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                ["git", "-C", str(home), *arguments],  # noqa: S607 - git is wherever it is installed
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", ".")
    return f"{head}+changes" if head and changes else head
