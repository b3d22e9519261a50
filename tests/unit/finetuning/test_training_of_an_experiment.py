"""`ragtrial train` on an experiment file: where pairs, negatives and the dev set come from, and what is refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import AdapterSpec, TrainingSpec
from ragtrial.errors import InputError, ValidationError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.model_card import model_card
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.training import check_size
from ragtrial.formats.pairs import write_pairs
from ragtrial.settings import read_settings
from ragtrial.suite.model_facts import set_licence, shown
from ragtrial.suite.preparing import prepare
from ragtrial.suite.training import Overrides, commit, overridden, train_model
from ragtrial.suite.training_words import describe, sparkline

TEST, TRAIN, DEV = tiny_model.lesson(30, seed=1), tiny_model.lesson(64, seed=2), tiny_model.lesson(30, seed=3)


def named(pairs: tuple[Pair, ...], prefix: str, **changes: Any) -> list[Pair]:
    return [dataclasses.replace(pair, passage_id=f"{prefix}{n}", document_id=f"{prefix}{n}", **changes) for n, pair in enumerate(pairs)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def experiment(base: Path, tmp_path: Path) -> Path:
    """Judgments for the test alone; training and dev pairs come from a file; one query and one negative of it leak."""
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    test, train, dev = named(TEST, "t"), named(TRAIN, "p"), named(DEV, "d", split="dev")
    lines = [{"_id": pair.passage_id, "title": "", "text": pair.passage, "doc": pair.document_id} for pair in (*test, *train)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": pair.query}) + "\n" for n, pair in enumerate(test)))
    rows = "".join(f"q{n}\t{pair.passage_id}\t1\n" for n, pair in enumerate(test))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    leaking = dataclasses.replace(train[1], query=test[0].query)
    helped = dataclasses.replace(train[2], negatives=(test[0].passage, train[9].passage))
    write_pairs(tmp_path / "pairs.jsonl", [train[0], leaking, helped, *train[3:], *dev])
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "name: tiny\nhypothesis: it learns\ndata: {format: beir, path: data, split: test}\nchunking: {strategy: none}\n"
        "arms:\n"
        f"  - {{name: baseline, role: control, embedding: {{provider: sentence-transformers, model: '{base}'}}}}\n"
        "  - {name: custom, role: treatment, embedding: {provider: sentence-transformers, model: 'registry:tiny'}}\n"
        "metrics: {primary: {name: nDCG@10, min_effect: 0.01}}\n"
        f"training: {{pairs: [pairs.jsonl], base: '{base}', epochs: 2, batch_size: 16, learning_rate: 0.005, precision: fp32, max_seq_length: 32}}\n"
    )
    return path


def trained(experiment: Path, **given: Any) -> RegisteredModel:
    return train_model(overridden(prepare(experiment, settings=read_settings()), Overrides(**given)), name="tiny")


def test_pairs_and_dev_set_come_from_a_file_and_what_leaks_is_refused(experiment: Path) -> None:
    model = trained(experiment)
    lineage = model.lineage
    assert lineage["pairs"]["found"] == 64
    assert lineage["pairs"]["refused"] == {"its query is a gold query": 1}
    assert lineage["pairs"]["negatives_refused"] == 1
    assert text_digest(TRAIN[0].passage) in model.training_texts()
    assert lineage["dev"]["n_queries"] == len({pair.query for pair in DEV})
    assert lineage["dev_from"] == "the dev pairs of training.pairs"
    said = "\n".join(describe(model))
    assert "1 because its query is a gold query" in said
    assert "1 negatives of the files refused" in said
    assert "<- kept" in said


def test_what_is_needed_to_make_it_again_stands_in_the_lineage(experiment: Path) -> None:
    lineage = trained(experiment, seed=5, epochs=1).lineage
    assert (lineage["seed"], lineage["settings"]["epochs"], lineage["method"]) == (5, 1, "full")
    assert lineage["code"] == {"ragtrial": lineage["environment"]["ragtrial"], "commit": commit()}
    assert set(lineage["data_digests"]) == {"training_corpus", "gold", "dev"}
    assert "transformers" in lineage["environment"]


def test_mined_negatives_never_hold_what_answers_the_test(experiment: Path) -> None:
    model = trained(experiment, per_pair=2, loss="triplet")
    assert model.lineage["mining"]["passages_of_the_test_left_out"] == len(TEST)
    assert model.lineage["mining"]["negatives"] > 0
    answers = {text_digest(pair.passage) for pair in TEST} - {text_digest(pair.passage) for pair in (*TRAIN, *DEV)}
    assert not answers & model.training_texts()
    assert "negatives (2 a pair asked for" in "\n".join(describe(model))


def test_passages_of_an_adapted_model_are_not_embedded_again(experiment: Path) -> None:
    from ragtrial.build import build_embedder
    from ragtrial.embedding.cache import CachedEmbedder, VectorCache

    prepared = prepare(experiment, settings=read_settings())
    model = trained(experiment, method="linear-adapter", learning_rate=0.01)
    assert model.lineage["training"]["loss"].startswith("softmax")
    arm = prepared.experiment.arms[1].embedding
    with VectorCache(experiment.parent / ".ragtrial" / "vectors") as cache:
        embedder = CachedEmbedder(build_embedder(arm, prepared.around), cache)
        embedder.embed([passage.content for passage in prepared.corpus.passages], kind="passage")
        assert embedder.embedded == 0


def test_a_dev_query_that_is_trained_on_is_no_dev_query(experiment: Path) -> None:
    """Data whose dev split has 30 queries, and a file of pairs, as votes make it, in which one of them stands."""
    data = experiment.parent / "more"
    (data / "qrels").mkdir(parents=True)
    dev = named(DEV, "d")
    (data / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": pair.passage_id, "title": "", "text": pair.passage}) + "\n" for pair in dev)
    )
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": pair.query}) + "\n" for n, pair in enumerate(dev)))
    rows = [f"q{n}\t{pair.passage_id}\t1\n" for n, pair in enumerate(dev)]
    head = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "dev.tsv").write_text(head + "".join(rows))
    (data / "qrels" / "train.tsv").write_text(head + rows[29])
    text = experiment.read_text().replace("training: {", "training: {data: {format: beir, path: more, split: train}, ")
    experiment.write_text(text)
    voted = dataclasses.replace(named(TRAIN, "p")[0], query=DEV[0].query)
    write_pairs(experiment.parent / "pairs.jsonl", [voted, *named(TRAIN, "p")[1:]])
    lineage = trained(experiment, epochs=1).lineage
    assert lineage["dev_from"] == "split 'dev' of training.data"
    assert lineage["dev"]["n_queries"] == 28  # not the voted one, and not the one of the split train


def test_a_setting_that_there_is_none_of_is_refused(experiment: Path) -> None:
    prepared = prepare(experiment, settings=read_settings())
    with pytest.raises(InputError, match="method 'magic' is unknown: give full, lora"):
        overridden(prepared, Overrides(method="magic"))
    with pytest.raises(InputError, match="linear-adapter trains with loss multiple-negatives"):
        overridden(prepared, Overrides(method="linear-adapter", loss="cosent"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"epochs": 0}, "epochs is 0: give at least 1"),
        ({"batch_size": 1}, "batch_size is 1: give at least 2"),
        ({"patience": 0}, "patience is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: give more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup_ratio": 1.0}, "warmup_ratio is 1.0"),
    ],
)
def test_a_number_that_trains_nothing_is_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainingSpec(**setting)  # type: ignore[arg-type]  # as a file gives them


def test_a_loss_without_its_negatives_is_refused_with_what_to_do(experiment: Path) -> None:
    write_pairs(experiment.parent / "pairs.jsonl", named(TRAIN, "p"))
    with pytest.raises(InputError, match=r"set training\.mining\.per_pair to 1 or more"):
        trained(experiment, loss="triplet")


def test_a_row_of_bars_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline([float(n) for n in range(500)])) == 40


LONG = "A lost token is replaced at the gate desk against a deposit of twenty EUR, which comes back when the old one is found."
BESIDE = "The gate desk is open from six in the morning until ten at night, and on Sundays a guard at the pedestrian door takes over."


def test_a_file_of_pairs_is_held_against_the_gold_set_by_its_wording_too(experiment: Path) -> None:
    """As if somebody had cut the documents otherwise: the gold passages stand in the file under ids that the corpus doesn't know."""
    data = experiment.parent / "data"
    with (data / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "x1", "title": "", "text": LONG, "doc": "tokens"}) + "\n")
        file.write(json.dumps({"_id": "x2", "title": "", "text": BESIDE, "doc": "tokens"}) + "\n")
    with (data / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "q99", "text": "what does a lost token cost"}) + "\n")
    with (data / "qrels" / "test.tsv").open("a") as file:
        file.write("q99\tx1\t1\n")
    train = named(TRAIN, "p")
    near = dataclasses.replace(train[1], passage_id="n1", document_id="n1", passage=LONG.replace("twenty", "25"))
    beside = dataclasses.replace(train[2], passage_id="n2", document_id="n2", passage=f"It says so. {BESIDE}")
    pushed = dataclasses.replace(train[3], negatives=(BESIDE, train[9].passage))
    write_pairs(experiment.parent / "pairs.jsonl", [train[0], near, beside, pushed, *train[4:]])
    lineage = trained(experiment, epochs=1).lineage
    assert lineage["pairs"]["refused"] == {
        "its passage holds half of one that is relevant in the gold set, or is a part of one": 1,
        "its passage holds half of one of a document that answers a gold query, or is a part of one": 1,
    }
    assert lineage["pairs"]["negatives_refused"] == 1


def test_every_fault_of_every_file_is_told_before_a_model_is_looked_at(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_arguments: object, **_named: object) -> None:
        raise AssertionError("the base is loaded")

    monkeypatch.setattr("ragtrial.suite.training.build_embedder", load)
    folder = experiment.parent
    (folder / "pairs.jsonl").write_text('{"query": "a"}\n')
    (folder / "more.jsonl").write_text("{broken\n")
    experiment.write_text(experiment.read_text().replace("pairs: [pairs.jsonl]", "pairs: [pairs.jsonl, more.jsonl, none.jsonl]"))
    with pytest.raises(ValidationError) as caught:
        trained(experiment)
    said = "\n".join(map(str, caught.value.problems))
    assert "pairs.jsonl:1: passage" in said
    assert "more.jsonl:1" in said
    assert "none.jsonl: there is no such file" in said


@pytest.mark.parametrize(
    ("keep", "given", "said"),
    [
        (8, {}, "8 training pairs are fewer than one batch of 16"),
        (64, {"loss": "triplet"}, "no pair has any: set training.mining.per_pair"),
    ],
)
def test_so_is_what_the_pairs_are_too_few_or_too_plain_for(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, keep: int, given: dict[str, str], said: str
) -> None:
    monkeypatch.setattr("ragtrial.suite.training.build_embedder", lambda *_: pytest.fail("the base is loaded"))
    write_pairs(experiment.parent / "pairs.jsonl", named(TRAIN, "p")[:keep])
    with pytest.raises(InputError, match=said):
        trained(experiment, **given)


def licensed(pairs: list[Pair], licence: str) -> list[Pair]:
    return [dataclasses.replace(pair, provenance={"licence": licence}) for pair in pairs]


def test_the_licence_of_the_data_is_in_the_lineage_and_on_the_card_beside_that_of_the_base(experiment: Path, base: Path) -> None:
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    train = named(TRAIN, "p")
    try:
        write_pairs(experiment.parent / "pairs.jsonl", [*licensed(train[:60], "CC-BY-NC-4.0"), *train[60:]])
        model = trained(experiment, epochs=1)
        assert model.lineage["data_licences"] == {"CC-BY-NC-4.0": 60, "not stated": 4}
        whole = "data: CC-BY-NC-4.0 (4 of 64 pairs not stated), base model: apache-2.0"
        assert f"| Licence | {whole} |" in model_card(model)
        assert f"licence: {whole}" in describe(model)
        assert shown(Registry(experiment.parent / ".ragtrial" / "models"), model.reference)["licence"] == whole

        assert describe(model, own="MIT")[-1] == "licence: MIT", "what the card says"

        write_pairs(experiment.parent / "pairs.jsonl", licensed(train, "Apache-2.0"))
        assert "license: apache-2.0\n" in model_card(trained(experiment, epochs=1)), "where both are one, it is said once"
    finally:
        (base / "README.md").unlink()


def test_what_a_base_was_trained_on_binds_what_is_trained_from_it_and_is_said_once(experiment: Path, base: Path) -> None:
    """Three generations on the same data: the sentence of the third is that of the second."""
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    train = named(TRAIN, "p")
    try:
        write_pairs(experiment.parent / "pairs.jsonl", [*licensed(train[:60], "CC-BY-NC-4.0"), *train[60:]])
        trained(experiment, epochs=1)
        write_pairs(experiment.parent / "pairs.jsonl", licensed(train, "cc-by-nc-4.0"))
        second, third = (trained(experiment, epochs=1, base=f"registry:tiny@v{n}") for n in (1, 2))
    finally:
        (base / "README.md").unlink()
    said = "data: cc-by-nc-4.0 (some of what the base was trained on not stated), base model: apache-2.0"
    assert [describe(each)[-1] for each in (second, third)] == [f"licence: {said}"] * 2
    assert second.lineage["data_licences"] == {"cc-by-nc-4.0": 64}
    assert second.lineage["inherited_licences"] == {"CC-BY-NC-4.0": 60, "not stated": 4}
    assert third.lineage["inherited_licences"] == {"cc-by-nc-4.0": 124, "not stated": 4}
    assert third.lineage["base"]["licence"] == "apache-2.0"


def test_the_owners_licence_of_a_base_is_the_bases_and_hides_nothing_of_its_data(experiment: Path) -> None:
    write_pairs(experiment.parent / "pairs.jsonl", licensed(named(TRAIN, "p"), "CC-BY-NC-4.0"))
    model = trained(experiment, epochs=1)
    set_licence(Registry(experiment.parent / ".ragtrial" / "models"), model.reference, "MIT", who="ana")
    assert describe(trained(experiment, epochs=1, base="registry:tiny@v1"))[-1] == "licence: data: CC-BY-NC-4.0, base model: MIT"


def test_pairs_of_a_file_and_mined_negatives_have_the_licence_of_the_corpus_they_are_of(experiment: Path) -> None:
    """The file says nothing of licences; its passages, and those that are mined, are of the corpus beside the card."""
    (experiment.parent / "data" / "card.json").write_text(json.dumps({"licence": "CC-BY-4.0"}))
    train = named(TRAIN, "p")
    elsewhere = dataclasses.replace(train[0], passage_id="x0", document_id="x0")
    write_pairs(experiment.parent / "pairs.jsonl", [elsewhere, *licensed(train[1:3], "MIT"), *train[3:]])
    lineage = trained(experiment, epochs=1, per_pair=2).lineage
    assert lineage["data_licences"] == {"CC-BY-4.0": 61, "MIT": 2, "not stated": 1}
    assert lineage["negatives_licences"] == {"CC-BY-4.0": 64 - lineage["mining"]["pairs_without"]}
    (experiment.parent / "data" / "card.json").unlink()
    bare = trained(experiment, epochs=1, per_pair=2).lineage
    assert bare["data_licences"] == {"MIT": 2, "not stated": 62}
    assert list(bare["negatives_licences"]) == ["not stated"], "negatives are training text too"
    assert "mined negatives of " in bare["data_licence"]


def test_a_broken_data_card_is_told_before_the_base_is_loaded(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragtrial.suite.training.build_embedder", lambda *_: pytest.fail("the base is loaded"))
    card = experiment.parent / "data" / "card.json"
    card.write_text('{"licence": "CC-BY')
    with pytest.raises(InputError, match=r"card\.json: the data card can't be read .*prepare the corpus again \(ragtrial prepare\)"):
        trained(experiment)


def test_a_linear_adapter_asks_for_a_batch_of_its_own_size_and_no_other() -> None:
    pairs = named(TRAIN, "p")
    check_size(TrainingSpec(method="linear-adapter", batch_size=500), pairs)
    with pytest.raises(InputError, match=r"64 training pairs are fewer than one batch of 65: .* a smaller training\.adapter\.batch_size"):
        check_size(TrainingSpec(method="linear-adapter", adapter=AdapterSpec(batch_size=65)), pairs)
    with pytest.raises(InputError, match=r"fewer than one batch of 65: .* a smaller training\.batch_size"):
        check_size(TrainingSpec(method="lora", batch_size=65), pairs)


def test_the_command_tells_a_broken_file_before_it_imports_what_trains(experiment: Path) -> None:
    """In a process of its own, in which nothing is imported yet: neither torch nor numpy by the time that the fault is told."""
    (experiment.parent / "pairs.jsonl").write_text("{broken\n")
    code = (
        "import sys\nsys.argv = ['ragtrial', 'train', sys.argv[1]]\nimport ragtrial.cli.main\ntry:\n    ragtrial.cli.main.main()\n"
        "finally:\n    print([name for name in ('torch', 'numpy', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(experiment)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (2, "[]"), done.stderr
    assert "pairs.jsonl:1: broken JSON" in done.stderr
