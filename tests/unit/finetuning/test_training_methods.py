"""Every method and loss of a training, for real, on a model of two tiny layers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_model
from ragtrial.domain.data import DataSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import AdapterSpec, DistillationSpec, LoraSpec, MiningSpec, TrainingSpec
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, content_hash
from ragtrial.errors import InputError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.training import train
from ragtrial.suite.training_words import curve_lines, describe

PAIRS = tiny_model.lesson(128, seed=1)
WITH_NEGATIVES = tuple(
    dataclasses.replace(pair, negatives=(PAIRS[(place + 7) % 128].passage, PAIRS[(place + 31) % 128].passage))
    for place, pair in enumerate(PAIRS)
)
DEV = tiny_model.examination(60, seed=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def teacher(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RegisteredModel:
    """Trained long: it knows what the student doesn't."""
    return run(base, tmp_path_factory.mktemp("teacher"), spec(epochs=8), dev=DEV)


def spec(**changes: Any) -> TrainingSpec:
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "max_seq_length": 32, "precision": "fp32", "seed": 1, **changes}
    return TrainingSpec(data=DataSpec(path="data"), **settings)


def run(base: Path, folder: Path, settings: TrainingSpec, **changes: Any) -> RegisteredModel:
    given: dict[str, Any] = {
        "base_folder": base,
        "base": ModelIdentity(name="tiny", revision="0123", dimension=32),
        "pairs": PAIRS,
        "dev": DEV,
        "registry": Registry(folder / "models"),
        "name": "tiny",
        "work_folder": folder / "work",
        "facts": {},
    }
    return train(spec=settings, **(given | changes))


def gain(model: RegisteredModel) -> float:
    dev = model.lineage["dev"]
    return float(dev["after"] - dev["before"])


@pytest.mark.parametrize(
    ("loss", "name", "least"),
    [
        ("multiple-negatives", "MultipleNegativesRankingLoss", 0.3),
        ("cached-multiple-negatives", "CachedMultipleNegativesRankingLoss", 0.3),
        ("triplet", "TripletLoss", 0.1),
        ("cosent", "CoSENTLoss", 0.1),
        ("cosine", "CosineSimilarityLoss", 0.1),
    ],
)
def test_each_loss_learns_from_pairs_with_negatives(base: Path, tmp_path: Path, loss: str, name: str, least: float) -> None:
    model = run(base, tmp_path, spec(loss=loss, mini_batch_size=8), pairs=WITH_NEGATIVES)
    assert gain(model) > least
    assert model.lineage["training"]["loss"] == name
    assert text_digest(WITH_NEGATIVES[0].negatives[0]) in model.training_texts()


def test_the_cached_loss_gives_the_same_model_as_its_plain_form_in_a_big_batch(base: Path, tmp_path: Path) -> None:
    """Gradient caching (Gao et al. 2021) changes the memory and not the gradient: weights agree up to float rounding."""
    from safetensors.numpy import load_file

    models = [
        run(base, tmp_path / loss, spec(loss=loss, batch_size=64, mini_batch_size=8, epochs=1), dev=None)
        for loss in ("multiple-negatives", "cached-multiple-negatives")
    ]
    weights = [load_file(model.folder / "model.safetensors") for model in models]
    assert max(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-4


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RegisteredModel:
    return run(base, tmp_path_factory.mktemp("plain"), spec())


@pytest.mark.parametrize("loss", ["multiple-negatives", "cached-multiple-negatives"])
def test_matryoshka_makes_truncated_vectors_work(base: Path, plain: RegisteredModel, tmp_path: Path, loss: str) -> None:
    nested = run(base, tmp_path / "nested", spec(loss=loss, matryoshka=(8, 4)))
    assert nested.lineage["training"]["loss"].startswith("MatryoshkaLoss(")
    assert truncated_score(nested.folder, 4) > truncated_score(plain.folder, 4)


def truncated_score(folder: Path, dimension: int) -> float:
    """Share of the dev queries whose passage is the nearest one by the first dimensions."""
    embedder = SentenceTransformersEmbedder(folder)
    queries = embedder.embed([query.text for query in DEV.gold.queries], kind="query")[:, :dimension]
    passages = embedder.embed([passage.content for passage in DEV.passages], kind="passage")[:, :dimension]
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    return float(np.mean((queries @ passages.T).argmax(axis=1) == np.arange(len(queries))))


def test_a_truncation_above_the_bases_dimension_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"matryoshka: 64 is more than the 32 dimensions"):
        run(base, tmp_path, spec(matryoshka=(64, 16)))


@pytest.mark.parametrize("loss", ["triplet", "cosent", "cosine"])
def test_a_loss_that_needs_negatives_is_refused_without_any_before_anything_is_loaded(tmp_path: Path, loss: str) -> None:
    with pytest.raises(InputError, match=r"learns from passages that don't answer.*per_pair"):
        run(tmp_path / "no such model", tmp_path, spec(loss=loss))


def test_lora_trains_adapters_and_registers_a_plain_folder(base: Path, tmp_path: Path) -> None:
    model = run(base, tmp_path, spec(method="lora", lora=LoraSpec(rank=8, learning_rate=2e-2), epochs=6))
    assert gain(model) > 0.1
    assert {path.name for path in model.folder.glob("*.safetensors")} == {"model.safetensors"}
    assert (names(base), SentenceTransformersEmbedder(model.folder).identity.dimension) == (names(model.folder), 32)


def names(folder: Path) -> set[str]:
    from safetensors.numpy import load_file

    return set(load_file(folder / "model.safetensors"))


def test_lora_that_harms_keeps_the_base_without_adapters(teacher: RegisteredModel, tmp_path: Path) -> None:
    shuffled = [dataclasses.replace(a, passage=b.passage) for a, b in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    model = run(teacher.folder, tmp_path, spec(method="lora", lora=LoraSpec(rank=8, learning_rate=5e-2), patience=2), pairs=tuple(shuffled))
    assert model.lineage["training"]["kept_step"] == 0
    texts = ["aska askb", "tellc"]
    before, after = (SentenceTransformersEmbedder(folder).embed(texts, kind="query") for folder in (teacher.folder, model.folder))
    assert np.allclose(before, after, atol=1e-6)


def test_from_scratch_the_base_is_forgotten_and_the_lineage_warns(teacher: RegisteredModel, tmp_path: Path) -> None:
    model = run(teacher.folder, tmp_path, spec(method="scratch", epochs=6))
    assert model.lineage["dev"]["before"] < 0.4 < teacher.lineage["dev"]["after"]
    assert gain(model) > 0.2
    assert "random weights" in model.lineage["warnings"][0]
    once = [run(teacher.folder, tmp_path, spec(method="scratch", epochs=1), dev=None, pairs=PAIRS[:32]).folder for _ in range(2)]
    assert content_hash(once[0]) == content_hash(once[1])


def test_a_linear_adapter_turns_queries_and_leaves_passages_as_they_are(base: Path, tmp_path: Path) -> None:
    embedder = SentenceTransformersEmbedder(base)
    settings = spec(method="linear-adapter", adapter=AdapterSpec(learning_rate=1e-2))
    model = run(base, tmp_path, settings, embedder=embedder)
    adapted = SentenceTransformersEmbedder(model.folder)
    texts = [passage.content for passage in DEV.passages]
    assert np.allclose(adapted.embed(texts, kind="passage"), embedder.embed(texts, kind="passage"), atol=1e-6)
    assert not np.allclose(adapted.embed(texts, kind="query"), embedder.embed(texts, kind="query"), atol=1e-2)
    assert gain(model) > 0.1
    assert content_hash(run(base, tmp_path, settings, embedder=embedder).folder) == content_hash(model.folder)


def test_what_a_linear_adapter_was_scored_at_in_training_is_what_its_folder_gives(base: Path, tmp_path: Path) -> None:
    from ragtrial.finetuning.dev import scorer

    settings = spec(method="linear-adapter", adapter=AdapterSpec(learning_rate=1e-2))
    model = run(base, tmp_path, settings, embedder=SentenceTransformersEmbedder(base))
    adapted = SentenceTransformersEmbedder(model.folder)
    scores = scorer(DEV, None)(lambda texts, kind: adapted.embed(texts, kind=kind))
    assert scores.dev.mean() == pytest.approx(model.lineage["dev"]["after"], abs=1e-6)


def test_a_model_with_a_linear_adapter_can_be_trained_further(base: Path, tmp_path: Path) -> None:
    adapter = run(base, tmp_path / "one", spec(method="linear-adapter"), embedder=SentenceTransformersEmbedder(base))
    assert gain(run(adapter.folder, tmp_path / "two", spec())) > 0.1


@pytest.mark.parametrize("loss", ["multiple-negatives", "triplet", "cosent"])
def test_a_student_learns_from_its_teacher_alone(base: Path, teacher: RegisteredModel, tmp_path: Path, loss: str) -> None:
    """With a weight of 1 the judgments say nothing: what is gained comes from the teacher's similarities, here of another dimension."""
    settings = spec(loss=loss, distillation=DistillationSpec(teacher="larger", weight=1.0))
    wise = run(base, tmp_path / "wise", settings, pairs=WITH_NEGATIVES, teacher=Padded(SentenceTransformersEmbedder(teacher.folder)))
    assert gain(wise) > 0.1
    assert wise.lineage["training"]["loss"].startswith("Distilled(")
    assert wise.lineage["training"]["teacher"]["dimension"] == 40


class Padded:
    """An embedder with eight more dimensions of nothing."""

    def __init__(self, inner: SentenceTransformersEmbedder) -> None:
        self._inner = inner
        self.identity = dataclasses.replace(inner.identity, dimension=40)

    def embed(self, texts: Any, *, kind: Any, progress: Any = None) -> Any:
        return np.pad(self._inner.embed(texts, kind=kind, progress=progress), ((0, 0), (0, 8)))


def test_distillation_and_matryoshka_and_checkpointing_go_together(base: Path, teacher: RegisteredModel, tmp_path: Path) -> None:
    settings = spec(matryoshka=(16,), distillation=DistillationSpec(teacher="larger", weight=0.5), gradient_checkpointing=True)
    model = run(base, tmp_path, settings, teacher=SentenceTransformersEmbedder(teacher.folder))
    assert model.lineage["training"]["loss"] == "MatryoshkaLoss(Distilled(MultipleNegativesRankingLoss))"
    assert gain(model) > 0.2


def test_distillation_and_the_cached_loss_are_refused_together(base: Path, tmp_path: Path) -> None:
    settings = spec(loss="cached-multiple-negatives", distillation=DistillationSpec(teacher="larger"))
    with pytest.raises(InputError, match="whole batch at once"):
        run(base, tmp_path, settings)


def test_gradient_checkpointing_changes_no_weight(base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    models = [run(base, tmp_path / str(on), spec(epochs=1, gradient_checkpointing=on), dev=None) for on in (False, True)]
    weights = [load_file(model.folder / "model.safetensors") for model in models]
    assert max(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-5


def test_only_so_many_of_the_mined_negatives_are_used_as_the_settings_say(base: Path, tmp_path: Path) -> None:
    model = run(base, tmp_path, spec(epochs=1, mining=MiningSpec(per_pair=1)), pairs=WITH_NEGATIVES, dev=None)
    assert model.lineage["training"]["examples"] == {}


def test_training_queries_are_watched_beside_the_dev_queries(base: Path, tmp_path: Path) -> None:
    few: tuple[Pair, ...] = tiny_model.lesson(32, seed=9)
    lineage = run(base, tmp_path, spec(epochs=6, patience=99), pairs=few).lineage
    points = [point for point in lineage["curve"] if "nDCG@10" in point]
    assert points[-1]["train nDCG@10"] > points[0]["train nDCG@10"]
    assert lineage["dev"]["training_queries"]["n_queries"] == 32
    assert "training queries gained" in lineage["overfitting"]


def test_without_a_dev_set_overfitting_is_not_denied(base: Path, tmp_path: Path) -> None:
    assert run(base, tmp_path, spec(epochs=1), dev=None).lineage["overfitting"].startswith("overfitting was not watched")


FACTS = {"pairs": {"found": 128, "refused": {}, "examples": []}}


class Counted:
    """A progress that adds up what it is told, by description."""

    def __init__(self) -> None:
        self.told: dict[str, list[int]] = {}

    def __call__(self, description: str, total: int) -> Callable[[int], None]:
        counts = self.told.setdefault(description, [total, 0])

        def advance(done: int) -> None:
            counts[1] += done

        return advance

    def of(self, what: str) -> list[int]:
        """What was to be done, and what was told to be."""
        return next(counts for description, counts in self.told.items() if what in description)


def test_a_linear_adapter_that_stops_early_says_so_and_keeps_the_epoch_that_scored_best_on_dev(base: Path, tmp_path: Path) -> None:
    progress = Counted()
    settings = spec(method="linear-adapter", epochs=7, adapter=AdapterSpec(learning_rate=5e-2, epochs=40), patience=3)
    embedder = SentenceTransformersEmbedder(base)
    model = run(base, tmp_path, settings, embedder=embedder, progress=progress, facts=FACTS)
    training = model.lineage["training"]
    evaluated = {point["step"]: point["nDCG@10"] for point in model.lineage["curve"] if "nDCG@10" in point}
    steps_of_an_epoch = 4  # 128 pairs in batches of 32
    epochs = training["steps"] // steps_of_an_epoch
    assert epochs < 40
    assert progress.of("linear adapter") == [40, epochs], "what was not done is not told to be"
    assert list(evaluated) == [steps_of_an_epoch * epoch for epoch in range(epochs + 1)]
    best = max(evaluated.values())
    assert training["kept_step"] == max(step for step, score in evaluated.items() if score == best)
    assert model.lineage["dev"]["after"] == best
    assert list(evaluated.values())[-3:] != [best] * 3
    said = "\n".join(describe(model))
    assert f"stopped early, after {epochs} of at most 40 epochs ({training['steps']} steps): 3 evaluations in a row" in said
    assert "training.epochs is 7 and not used by method linear-adapter: its own is training.adapter.epochs, 40" in said


def test_a_training_that_stops_early_tells_the_steps_that_it_did(base: Path, tmp_path: Path) -> None:
    progress = Counted()
    model = run(base, tmp_path, spec(learning_rate=1e-12, patience=2), progress=progress, facts=FACTS)
    training = model.lineage["training"]
    assert training["steps"] < training["planned_steps"]
    assert progress.of("train tiny") == [training["planned_steps"], training["steps"]]
    said = "\n".join(describe(model))
    assert f"stopped early, after {training['steps']} of {training['planned_steps']} steps: 2 evaluations in a row" in said


def test_a_long_curve_says_which_step_is_kept_and_with_which_score() -> None:
    curve = [{"step": step, "nDCG@10": score} for step, score in enumerate([0.1, 0.5, *[0.25] * 30])]
    assert curve_lines(curve, kept=1)[0].endswith("(32 evaluations, kept is step 1 with 0.5000)")
