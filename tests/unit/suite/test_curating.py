"""What may be chosen for the gold set and for training, and what an export of it can be used for: gold never leaks."""

import dataclasses
import json
from pathlib import Path

import pytest

from material import write_experiment
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.recorder import Recorder
from ragtrial.domain.access import Role
from ragtrial.domain.data import DataSpec
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.domain.trial import Hit, Ranking
from ragtrial.errors import ConflictError, InputError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.beir import load_beir
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.serving.asking import twin_id
from ragtrial.settings import read_settings
from ragtrial.suite.curated_export import CHOSEN_AGAIN, ERASED, NO_PASSAGE, OTHER_TEXT, SAID_ALREADY, export, listed
from ragtrial.suite.curating import Choice, UnconfirmedError, curate, take_back
from ragtrial.suite.preparing import load
from unit.db import live_samples, samples

EVALUATION = "e-1"
DOCUMENTS = {
    "berths": "A vessel that is late keeps its berth for two hours. After that the berth planner may give it to another vessel.",
    "cranes": "Crane 7 lifts 40 tonnes. It is inspected every Monday before the first shift begins.",
    "gates": "Gate passes are issued at the north office. They are valid for one day.",
    "fees": "Storage is free for three days. From the fourth day on it costs 20 euros a day and container.",
    "reefers": "Reefer containers are plugged in on arrival. Their temperature is read every four hours.",
}
QUERIES = {
    "q1": ("How long does a late vessel keep its berth?", {"berths": 2}),
    "q2": ("What does crane 7 lift?", {"cranes": 1, "gates": 0}),
}
STORAGE = "from which day on do I pay for storage"
ASKED = {
    "t-storage": (STORAGE, "full", None, ("fees", "gates", "berths")),
    "t-storage-too": ("From which day on do I pay for storage?", "full", None, ("fees", "reefers")),
    "t-near": ("how long does a late vessel keep its berth then", "full", None, ("reefers",)),
    "t-gold": ("how long does a late VESSEL keep its berth?", "full", "q1", ("berths", "fees")),
    "t-mail": ("write to <EMAIL_ADDRESS> when the reefer is warm", "redacted", None, ("reefers", "berths")),
    "t-hash": (None, "hash", None, ("fees",)),
}


@pytest.fixture
def file(tmp_path: Path) -> ExperimentFile:
    """An experiment that was evaluated and served, with its data on disk."""
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in DOCUMENTS.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, (text, _) in QUERIES.items()))
    rows = [f"{name}\t{target}\t{grade}" for name, (_, grades) in QUERIES.items() for target, grade in grades.items()]
    (data / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    path = write_experiment(
        tmp_path / "experiment.yaml", data, live={"metrics": {"primary": {"name": "nDCG@10"}}}, stores={"sql": "sqlite:///.ragtrial/log.db"}
    )
    made = load_experiment(path)
    _evaluated(made)
    _served(made)
    return made


def _evaluated(file: ExperimentFile, evaluation_id: str = EVALUATION) -> None:
    corpus, gold, _ = load(file.experiment.data, file)
    evaluation = dataclasses.replace(
        samples.evaluation(evaluation_id, started_at=f"2026-11-01T11:00:0{evaluation_id[-1]}+00:00"),
        experiment=file.experiment.name,
        plan_digest=file.experiment.plan_digest(),
        corpus_fingerprint=corpus.fingerprint,
        gold_fingerprint=gold.fingerprint,
        n_queries=len(gold.queries),
    )
    with Recorder(sql_url(file)) as recorder:
        recorder.open_evaluation(evaluation, experiment=file.experiment, gold=gold, n_trials_planned=4, passages=corpus.passages)


def _served(file: ExperimentFile) -> None:
    corpus, _, _ = load(file.experiment.data, file)
    with LiveRecorder(sql_url(file), file.experiment, facts={"corpus_fingerprint": corpus.fingerprint}) as recorder:
        for trial_id, (text, stored, gold_id, passages) in ASKED.items():
            plain = live_samples.live_trial(trial_id, unit=f"user of {trial_id}")
            hits = tuple(Hit(passage_id=corpus_id(file, name), similarity=0.5) for name in passages)
            ranking = Ranking(query_id=plain.trial.query_id, hits=hits)
            query = StoredQuery(text=text, digest="0" * 32, stored=stored, gold_query_id=gold_id)  # type: ignore[arg-type]  # from a table
            made = dataclasses.replace(plain.trial, ranking=ranking, answer=None)
            recorder.log(dataclasses.replace(plain, experiment=file.experiment.name, query=query, trial=made)).result(10)


def corpus_id(file: ExperimentFile, document: str) -> str:
    """The id of a document's first passage."""
    corpus, _, _ = load(file.experiment.data, file)
    return next(passage.passage_id for passage in corpus.passages if passage.document_id == document)


def offline(**what: object) -> Choice:
    return Choice(**{"kind": "judgment", "grade": 1, "evaluation_id": EVALUATION, "query_id": "q2", "passage_id": "reefers", **what})


def live(trial_id: str, passage_id: str = "fees", **what: object) -> Choice:
    return Choice(**{"kind": "pair", "trial_id": trial_id, "passage_id": passage_id, **what})


def chosen(file: ExperimentFile, choice: Choice, **how: object) -> int:
    made = curate(sql_url(file), choice, **{"actor": "ann", "role": "operator", **how})
    assert made.curation_id is not None
    return made.curation_id


def exported(file: ExperimentFile, name: str = "out"):
    return export(file.path, file.folder / name, settings=read_settings())


@pytest.mark.parametrize("role", ["viewer", "tester", None])
def test_whoever_may_not_operate_is_refused_and_nothing_is_written(file: ExperimentFile, role: Role | None) -> None:
    number = chosen(file, offline())
    for change in (
        lambda: chosen(file, live("t-storage"), actor="eve", role=role),
        lambda: take_back(sql_url(file), number, actor="eve", role=role),
    ):
        with pytest.raises(InputError, match=r"'eve' .* may not choose for the gold set or for training: ask an operator"):
            change()
    with BoardReader(sql_url(file)) as board:
        assert [each.curation_id for each in board.curations("small", history=True)] == [number]


def test_a_limited_key_may_not_choose_whatever_its_role(file: ExperimentFile) -> None:
    with pytest.raises(InputError, match="may not choose"):
        chosen(file, live("t-storage"), role="admin", scopes={"ask"})


def test_an_unjudged_passage_of_a_gold_query_becomes_a_judgment_with_where_it_came_from(file: ExperimentFile) -> None:
    number = chosen(file, offline(grade=2, note="  says it  "))
    (made,) = (each.curation for each in listed(file.path))
    assert (made.curation_id, made.kind, made.grade, made.query_id, made.query_text) == (number, "judgment", 2, "q2", QUERIES["q2"][0])
    assert (made.passage_text, made.evaluation_id, made.trial_id, made.note) == (DOCUMENTS["reefers"], EVALUATION, None, "says it")


@pytest.mark.parametrize("kind", ["pair", "hard negative"])
def test_a_query_of_the_gold_set_is_never_trained_on(file: ExperimentFile, kind: str) -> None:
    for choice in (offline(kind=kind, grade=None), live("t-gold", kind=kind)):
        with pytest.raises(
            InputError, match=r"this can't be used for training: its query is query 'q[12]' of the gold set.*what it has learned"
        ):
            chosen(file, choice)
    assert listed(file.path) == ()


def test_nor_is_a_query_that_is_nearly_of_the_gold_set_or_a_passage_that_answers_one(file: ExperimentFile) -> None:
    near = "How long does a late vessel keep its berth, then?"  # 10 of 11 words
    with LiveRecorder(sql_url(file), file.experiment) as recorder:
        plain = live_samples.live_trial("t-nearly", unit="zoe")
        query = dataclasses.replace(plain.query, text=near)
        made = dataclasses.replace(
            plain.trial, ranking=Ranking(query_id=plain.trial.query_id, hits=(Hit(passage_id="fees", similarity=1.0),))
        )
        recorder.log(dataclasses.replace(plain, experiment="small", query=query, trial=made)).result(10)
    with pytest.raises(InputError, match="its query is nearly a gold query"):
        chosen(file, live("t-nearly"))
    with pytest.raises(InputError, match="its passage is relevant in the gold set"):
        chosen(file, live("t-storage", "berths", kind="hard negative"))


def test_a_live_query_that_is_not_gold_becomes_a_pair_and_its_redaction_shows(file: ExperimentFile) -> None:
    chosen(file, live("t-storage"))
    chosen(file, live("t-mail", "reefers"))
    found = listed(file.path)
    assert [(each.text, each.curation.trial_id, each.curation.passage_text) for each in found] == [
        ("full", "t-storage", DOCUMENTS["fees"]),
        ("redacted", "t-mail", DOCUMENTS["reefers"]),
    ]


def test_what_the_log_does_not_hold_can_not_be_chosen(file: ExperimentFile) -> None:
    faults = {
        "only the hash": live("t-hash"),
        "no live trial 't-none'": live("t-none"),
        "did not find passage 'cranes'": live("t-storage", "cranes"),
        "'q9' was not asked": offline(query_id="q9"),
        "holds no passage 'p9'": offline(passage_id="p9"),
        "there is no evaluation 'e9'": offline(evaluation_id="e9"),
        "say where the passage was found": offline(evaluation_id=None),
        "a judgment has a grade": offline(grade=None),
        "grade -1 is below 0": offline(grade=-1),
    }
    for message, choice in faults.items():
        with pytest.raises(InputError, match=message):
            chosen(file, choice)


def test_a_passage_that_only_the_silent_answer_was_made_from_can_be_chosen_too(file: ExperimentFile) -> None:
    plain = live_samples.live_trial(twin_id("t-storage"), unit="user of t-storage", arm="custom", request_id="t-storage")
    ranking = Ranking(query_id=plain.trial.query_id, hits=(Hit(passage_id="reefers", similarity=0.5),))
    twin = dataclasses.replace(plain, experiment="small", trial=dataclasses.replace(plain.trial, ranking=ranking, answer=None))
    with LiveRecorder(sql_url(file), file.experiment) as recorder:
        recorder.log(twin).result(10)
    chosen(file, live("t-storage", "reefers"))
    assert [each.curation.passage_id for each in listed(file.path)] == ["reefers"]


def test_another_grade_than_the_gold_sets_has_to_be_confirmed(file: ExperimentFile) -> None:
    choice = offline(passage_id="gates", grade=1)
    with pytest.raises(UnconfirmedError, match="has to be confirmed") as refused:
        chosen(file, choice)
    assert refused.value.warnings == ("the gold set judges this passage with grade 0 for this query already: yours would replace it",)
    chosen(file, choice, despite_warnings=True)
    done = exported(file)
    assert [(each.replaces, each.curation.grade) for each in done.kept("judgment")] == [(0, 1)]


def test_what_is_in_training_becomes_gold_only_with_a_warning_and_then_leaves_the_training(file: ExperimentFile) -> None:
    chosen(file, live("t-storage"))
    again = live("t-storage-too", kind="judgment", grade=2)
    with pytest.raises(InputError, match=r"training pair 1 of ann has .nearly. this query or this passage"):
        chosen(file, again)
    chosen(file, again, despite_warnings=True)
    done = exported(file)
    assert [each.curation.trial_id for each in done.kept("judgment", "pair", "hard negative")] == ["t-storage-too"]
    assert done.left_out == {"its query is a gold query (chosen for the gold set)": 1}


def test_what_was_chosen_for_the_gold_set_is_never_chosen_for_training(file: ExperimentFile) -> None:
    chosen(file, live("t-storage", kind="judgment", grade=1))
    with pytest.raises(InputError, match=r"this can.t be used for training: its query is a gold query .chosen for the gold set."):
        chosen(file, live("t-storage-too", "reefers"))
    chosen(file, live("t-mail", "reefers"))


def test_a_model_that_was_trained_on_the_query_is_named_before_it_becomes_gold(file: ExperimentFile) -> None:
    registry = Registry(file.folder / ".ragtrial" / "models")
    registry.register("port", save=Path.touch, lineage={}, training_texts=frozenset({text_digest(STORAGE)}))
    baseline, custom = file.experiment.arms
    model = dataclasses.replace(custom.embedding, model="registry:port", provider="sentence-transformers", dimensions=None)
    arms = (baseline, dataclasses.replace(custom, embedding=model))
    _evaluated(dataclasses.replace(file, experiment=dataclasses.replace(file.experiment, arms=arms)), "e-2")
    choice = live("t-storage", kind="judgment", grade=1)
    with pytest.raises(UnconfirmedError) as refused:
        chosen(file, choice)
    assert refused.value.warnings == ("port@v1 was trained on this query: an evaluation of it would be refused as leaking",)


def test_without_a_gold_set_in_the_database_a_pair_has_to_be_confirmed(tmp_path: Path, file: ExperimentFile) -> None:
    alone = dataclasses.replace(
        file, experiment=dataclasses.replace(file.experiment, stores=dataclasses.replace(file.experiment.stores, sql="sqlite:///alone.db"))
    )
    _served(alone)
    with pytest.raises(InputError, match="no gold set of this experiment or corpus is in the database"):
        chosen(alone, live("t-storage"))
    made = curate(sql_url(alone), live("t-storage"), actor="ann", role="operator", despite_warnings=True)
    assert made.passage_text == ""  # nothing but the corpus has it


def test_the_export_extends_the_gold_set_and_is_read_back_as_it_was_chosen(file: ExperimentFile) -> None:
    chosen(file, offline(grade=2))
    chosen(file, live("t-storage", kind="judgment", grade=1))
    chosen(file, live("t-gold", "fees", kind="judgment", grade=0))
    done = exported(file)
    data = file.folder / "data"
    with (data / "queries.jsonl").open("a") as queries:
        queries.write((done.folder / "gold" / "queries.jsonl").read_text())
    with (data / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("".join((done.folder / "gold" / "qrels" / "test.tsv").read_text().splitlines(keepends=True)[1:]))
    gold = load_beir(data).gold
    new = next(query for query in gold.queries if query.query_id.startswith("live-"))
    assert new.text == STORAGE
    assert gold.qrels() == {
        "q1": {"berths": 2, "fees": 0},
        "q2": {"cranes": 1, "gates": 0, "reefers": 2},
        new.query_id: {"fees": 1},
    }


@pytest.mark.parametrize("chunking", [{"strategy": "none"}, {"strategy": "text", "max_chars": 60}])
def test_exported_pairs_are_read_by_training_as_they_were_chosen(file: ExperimentFile, chunking: dict[str, object]) -> None:
    path = write_experiment(
        file.path,
        file.folder / "data",
        chunking=chunking,
        live={"metrics": {"primary": {"name": "nDCG@10"}}},
        stores={"sql": "sqlite:///.ragtrial/chunked.db"},
    )
    made = load_experiment(path)
    _evaluated(made)
    _served(made)
    fees, gates, reefers = (corpus_id(made, name) for name in ("fees", "gates", "reefers"))
    for choice in (live("t-storage", fees), live("t-storage", gates, kind="hard negative"), live("t-mail", reefers)):
        chosen(made, choice)
    done = export(path, made.folder / "chosen", settings=read_settings())
    table = DataSpec(format="table", path="chosen/training/pairs.jsonl", corpus="data/corpus.jsonl")
    corpus, gold, _ = load(table, made)
    assert [(pair.query, pair.passage_id) for pair in training_pairs(corpus, gold)] == [(STORAGE, fees), (ASKED["t-mail"][0], reefers)]
    folder = "qrels" if chunking["strategy"] == "none" else "spans"
    assert f"training/{folder}/train.tsv" in done.files
    grades = [line.split("\t")[-1] for line in (done.folder / "training" / folder / "train.tsv").read_text().splitlines()[1:]]
    assert grades == ["1", "0", "1"]


def test_the_same_choices_give_the_same_files_and_nothing_is_overwritten(file: ExperimentFile) -> None:
    for choice in (offline(grade=0), live("t-storage"), live("t-mail", "reefers", note="naïve")):
        chosen(file, choice)
    one, two = exported(file, "one"), exported(file, "two")
    assert (
        one.files
        == two.files
        == (
            "gold/qrels/test.tsv",
            "provenance.jsonl",
            "training/pairs.jsonl",
            "training/qrels/train.tsv",
            "training/queries.jsonl",
        )
    )
    assert all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in one.files)
    before = (one.folder / "provenance.jsonl").stat().st_mtime_ns
    with pytest.raises(InputError, match="is there already"):
        exported(file, "one")
    assert (one.folder / "provenance.jsonl").stat().st_mtime_ns == before
    assert sorted(path.name for path in file.folder.iterdir()) == [".ragtrial", "data", "experiment.yaml", "one", "two"]


def test_every_choice_has_a_line_of_provenance_with_the_reason_where_it_was_left_out(file: ExperimentFile) -> None:
    chosen(file, offline(passage_id="gates", grade=0), despite_warnings=True)
    chosen(file, live("t-storage"))
    chosen(file, live("t-storage-too"))
    chosen(file, live("t-mail", "reefers"))
    with erasing(sql_url(file)) as eraser:
        eraser.forget_unit("user of t-mail", actor="test")
    done = exported(file)
    lines = [json.loads(line) for line in (done.folder / "provenance.jsonl").read_text().splitlines()]
    assert [(line["number"], line["left_out"], line["query_text"]) for line in lines] == [
        (1, SAID_ALREADY, "gold"),
        (2, CHOSEN_AGAIN, "full"),
        (3, None, "full"),
        (4, ERASED, "erased"),
    ]
    assert lines[3]["query"] is None
    assert (lines[2]["actor"], lines[2]["trial_id"], lines[2]["evaluation_id"]) == ("ann", "t-storage-too", None)
    assert "EMAIL" not in "".join(path.read_text() for path in done.folder.rglob("*") if path.is_file())


def test_what_the_corpus_no_longer_holds_as_it_was_is_left_out(file: ExperimentFile) -> None:
    chosen(file, offline())
    chosen(file, live("t-storage"))
    kept = {name: text for name, text in DOCUMENTS.items() if name != "reefers"} | {"fees": "Storage is never free."}
    (file.folder / "data" / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in kept.items())
    )
    assert exported(file).left_out == {NO_PASSAGE: 1, OTHER_TEXT: 1}


def test_an_export_of_nothing_is_refused(file: ExperimentFile) -> None:
    number = chosen(file, offline())
    take_back(sql_url(file), number, actor="bob", role="operator")
    with pytest.raises(InputError, match="nothing stands chosen for 'small'"):
        exported(file)
    assert not (file.folder / "out").exists()


def test_what_was_taken_back_can_not_be_taken_back_again(file: ExperimentFile) -> None:
    number = chosen(file, offline())
    take_back(sql_url(file), number, actor="bob", role="admin", note="misread")
    with pytest.raises(ConflictError, match="bob took curation"):
        take_back(sql_url(file), number, actor="ann", role="operator")
    assert [(each.curation.takes_back, each.curation.note) for each in listed(file.path, history=True)] == [(None, ""), (number, "misread")]
