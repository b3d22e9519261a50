"""The main job as a notebook would call it: prepare, plan, index, run, conclude."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from material import write_beir_folder, write_experiment
from ragtrial.build import build_index
from ragtrial.contracts import no_progress
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import Query
from ragtrial.embedding.retriever import DenseRetriever
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import milvus_uri, sql_url
from ragtrial.indexing import alias_of
from ragtrial.settings import read_settings
from ragtrial.suite.arm_models import leakage
from ragtrial.suite.checking import check
from ragtrial.suite.concluding import Outcome, conclude_file
from ragtrial.suite.folders import check_stores, output_folder
from ragtrial.suite.indexing import index_all, roll_back
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.running import embed_queries, metrics_of, plan, run

SETTINGS = read_settings({})
TRAINING = {"data": {"format": "beir", "path": "data"}, "name": "mine"}


def arms(**custom: Any) -> list[dict[str, Any]]:
    """A baseline, and a treatment with these changes."""
    treatment = {"name": "custom", "role": "treatment", "embedding": {"provider": "hashing", "model": "b", "dimensions": 64}}
    control = {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a", "dimensions": 32}}
    return [control, {**treatment, **custom}]


def made(folder: Path, *, answers: bool = True, **changes: Any) -> Path:
    """An experiment file on 40 passages and 20 queries."""
    if not (folder / "data").exists():
        write_beir_folder(folder / "data", n_passages=40, n_queries=20, answers=answers)
    changes.setdefault("arms", arms())
    return write_experiment(folder / "e.yaml", Path("data"), **changes)


def prepared(folder: Path, *, limit: int | None = None, **changes: Any) -> Prepared:
    return prepare(made(folder, **changes), settings=SETTINGS, limit=limit)


def register(folder: Path, *texts: str, record: bool = True) -> None:
    """A model `mine` that was trained on these texts."""

    def save(path: Path) -> None:
        (path / "config.json").write_text("{}")

    digests = frozenset(map(text_digest, texts)) if record else frozenset()
    Registry(folder / ".ragtrial" / "models").register("mine", save=save, lineage={"base": "a"}, training_texts=digests)


def finished(path: Path, evaluation_id: str | None = None) -> Outcome:
    return conclude_file(path, evaluation_id, output=None)


def logged(file: Prepared) -> tuple[Evaluation, ...]:
    with Reader(sql_url(file.file)) as reader:
        return reader.evaluations()


def checks_of(outcome: Outcome) -> dict[str, str]:
    return {check.name: check.state for check in outcome.analysis.checks}


# What is known before anything runs


def test_a_plan_counts_passages_queries_and_the_trials_of_every_line(tmp_path: Path) -> None:
    planned = plan(prepared(tmp_path, repetitions=3))
    assert (planned.n_passages, planned.n_queries) == (40, 20)
    assert planned.n_trials == 20 * 4 * 3  # queries x (2 arms, bm25, shuffled-context) x repetitions
    # a spread of 0.2 and 20 queries: (t(0.975, 19) + t(0.8, 19)) * 0.2 / sqrt(20) = (2.0930 + 0.8610) * 0.04472
    assert planned.mde == pytest.approx(0.1321, abs=2e-4)
    assert planned.to_train == ()
    assert not (tmp_path / ".ragtrial").exists()


def test_without_generation_there_is_no_shuffled_context_to_plan(tmp_path: Path) -> None:
    assert plan(prepared(tmp_path, generation={"provider": "none"})).n_trials == 20 * 3


def test_a_limit_is_a_random_sample_fixed_by_the_seed_and_the_same_each_time(tmp_path: Path) -> None:
    first, again = prepared(tmp_path, limit=5), prepared(tmp_path, limit=5)
    ids = [query.query_id for query in first.gold.queries]
    assert len(ids) == 5
    assert ids == [query.query_id for query in again.gold.queries]
    assert ids != [f"q{i}" for i in range(5)]
    assert {judgment.query_id for judgment in first.gold.judgments} <= set(ids)
    other = prepared(tmp_path, limit=5, analysis={"resamples": 1000, "seed": 8})
    assert ids != [query.query_id for query in other.gold.queries]
    assert len(prepared(tmp_path, limit=1000).gold.queries) == 20


def test_a_limit_of_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--limit is 0"):
        prepared(tmp_path, limit=0)


def test_one_query_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 query is asked, and a comparison needs at least 2"):
        plan(prepared(tmp_path, limit=1))


def test_queries_are_clustered_as_planned(tmp_path: Path) -> None:
    resamples = {"resamples": 1000}
    auto = prepared(tmp_path).gold.queries
    assert [query.cluster for query in auto] == [f"c{i}" for i in range(20)]
    none = prepared(tmp_path, analysis={**resamples, "cluster": "none"}).gold.queries
    assert {query.cluster for query in none} == {None}
    by_tag = prepared(tmp_path, analysis={**resamples, "cluster": "topic"}).gold.queries
    assert [query.cluster for query in by_tag] == [query.tags["topic"] for query in by_tag]
    with pytest.raises(InputError, match=r"analysis\.cluster is 'port', but 20 queries have no such tag, e\.g\. 'q0'"):
        prepared(tmp_path, analysis={**resamples, "cluster": "port"})


ANSWER = {"primary": {"name": "answer_f1"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metrics": ANSWER, "generation": {"provider": "none"}},
            r"'answer_f1' decides, but generation\.provider is 'none' in arm 'baseline'",
        ),
        ({"metrics": ANSWER, "arms": arms(generation={"provider": "none"})}, "is 'none' in arm 'custom'"),
        ({"metrics": ANSWER, "answers": False}, "'answer_f1' decides, but no query of gold set .* has reference answers"),
        ({"analysis": {"latency_queries": 0}}, r"'latency_ms' decides, but analysis\.latency_queries is 0"),
    ],
)
def test_what_decides_can_be_measured_or_the_plan_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        plan(prepared(tmp_path, **changes))


def test_answer_metrics_need_no_references_where_they_look_at_the_passages(tmp_path: Path) -> None:
    guarded = {"primary": {"name": "nDCG@10"}, "guardrails": [{"name": "citation_support", "max_decrease": 0.1}]}
    assert plan(prepared(tmp_path, answers=False, metrics=guarded)).n_queries == 20


def test_everything_free_is_measured_beside_the_plan(tmp_path: Path) -> None:
    file = prepared(tmp_path)
    names = [metric.name for metric in metrics_of(file.experiment, file.gold)]
    assert names[:5] == ["nDCG@10", "R@5", "RR@10", "answer_f1", "latency_ms"]  # as planned, the primary first
    assert {"Judged@10", "citation_support", "abstained", "answer_exact_match"} < set(names)
    assert len(set(names)) == len(names)
    bare = prepared(tmp_path, generation={"provider": "none"}, metrics={"primary": {"name": "R@5"}}, analysis={"latency_queries": 0})
    assert [metric.name for metric in metrics_of(bare.experiment, bare.gold)] == ["R@5", "Judged@10"]


def test_a_registered_model_that_is_missing_is_trained_only_where_that_is_asked_for(tmp_path: Path) -> None:
    wanting = arms(embedding={"model": "registry:mine"})
    assert plan(prepared(tmp_path, arms=wanting, training=TRAINING)).to_train == ("mine",)
    with pytest.raises(ModelError, match="no model 'mine' in the registry"):
        plan(prepared(tmp_path, arms=wanting, training=TRAINING), allow_training=False)
    with pytest.raises(ModelError, match="no model 'mine' in the registry"):
        plan(prepared(tmp_path, arms=wanting))


def test_another_missing_model_is_found_before_a_training_begins(tmp_path: Path) -> None:
    both = arms(embedding={"model": "registry:mine"})
    both[0]["embedding"] = {"model": "./nowhere"}
    with pytest.raises(ModelError, match="nowhere' does not exist"):
        run(prepared(tmp_path, arms=both, training=TRAINING))
    assert not (tmp_path / ".ragtrial").exists()


# Places


@pytest.mark.parametrize("store", ["milvus", "sql", "vectors"])
def test_a_store_below_a_file_is_refused_and_nothing_is_made(store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    place = {"milvus": "file/m.db", "sql": "sqlite:///file/s.db", "vectors": "file/v"}[store]
    file = prepared(tmp_path, stores={store: place})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=rf"give another place in stores\.{store}"):
        check_stores(file)
    with pytest.raises(StoreError, match=f"stores.{store}"):
        run(file)
    with pytest.raises(StoreError, match=f"stores.{store}"):
        index_all(file)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_folder_is_looked_at_and_not_made(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"can't be written .* --output"):
            output_folder(place)


# Running


def test_an_evaluation_is_logged_finished_and_taken_again_where_it_is_resumed(tmp_path: Path) -> None:
    said: list[str] = []
    path = made(tmp_path)
    first = run(prepare(path, settings=SETTINGS), resume=True, say=said.append)
    assert first.endswith("-1")
    assert run(prepare(path, settings=SETTINGS), resume=True, say=said.append) == first
    second = run(prepare(path, settings=SETTINGS), say=said.append)
    assert second == first.removesuffix("1") + "2"
    assert [text.partition(":")[0].replace(first, "E") for text in said] == [
        "nothing of this plan, data and models is logged yet",
        "evaluation E is finished",
    ]
    outcomes = [finished(path, evaluation_id) for evaluation_id in (first, second)]
    means = [[c.custom.mean for c in outcome.analysis.comparisons if c.metric.unit != "ms"] for outcome in outcomes]
    assert means[0] == means[1]
    assert finished(path).evaluation.evaluation_id == second  # the latest
    with pytest.raises(InputError, match=f"no evaluation 'nope' of 'small' is in the database: there are {first}, {second}"):
        finished(path, "nope")


def test_every_query_is_embedded_before_the_first_is_asked_and_a_failure_is_left_to_the_asking() -> None:
    class Embedder:
        identity = None

        def embed(self, texts: list[str], **_more: object) -> None:
            asked.append(texts)
            if len(asked) == 1:
                raise ModelError("the endpoint is down")

    asked: list[list[str]] = []
    retriever = DenseRetriever(embedder=Embedder(), index=None, collection="c")  # type: ignore[arg-type]  # nothing is searched here
    arm = SimpleNamespace(retriever=retriever)
    embed_queries([arm, arm], [Query(query_id="1", text="one"), Query(query_id="2", text="two")])  # type: ignore[list-item]  # as above
    assert asked == [["one", "two"], ["one", "two"]]


def test_a_changed_plan_is_another_evaluation_and_says_what_was_seen_before(tmp_path: Path) -> None:
    first = run(prepared(tmp_path))
    path = made(tmp_path, hypothesis="Now I know better.")
    assert finished(path, first).analysis.verdict.sentence.startswith("Exploratory")
    file = prepare(path, settings=SETTINGS)
    second = run(file, resume=True)
    assert second.split("-")[1] != first.split("-")[1]
    assert len(logged(file)) == 2
    assert "earlier_looks" in checks_of(finished(path, second))
    assert "earlier_looks" not in checks_of(finished(path, first))


def test_an_undeclared_difference_refuses_the_verdict_and_a_declared_one_does_not(tmp_path: Path) -> None:
    differing = arms(retrieval={"top_k": 20})
    path = made(tmp_path, arms=differing)
    run(prepare(path, settings=SETTINGS))
    refused = finished(path)
    assert refused.analysis.verdict.decision == "refused"
    assert refused.evaluation.parity.undeclared == ("retrieval.top_k: '10' / '20'",)
    path = made(tmp_path, arms=differing, subject=["embedding", "retrieval"])
    run(prepare(path, settings=SETTINGS))
    assert checks_of(finished(path))["parity"] == "pass"


def test_a_model_that_was_trained_on_a_gold_query_gets_no_verdict(tmp_path: Path) -> None:
    path = made(tmp_path, arms=arms(embedding={"provider": "hashing", "model": "registry:mine", "dimensions": 64}))
    file = prepare(path, settings=SETTINGS)
    register(tmp_path, "something else", f"  {file.gold.queries[3].text.upper()}!")
    run(file)
    outcome = finished(path)
    assert outcome.analysis.verdict.decision == "refused"
    assert "leakage: baseline: no training record of 'a'; custom: 1 of 20 gold queries" in outcome.analysis.verdict.reasons[0]


def test_a_relevant_passage_leaks_too_and_one_judged_not_relevant_does_not(tmp_path: Path) -> None:
    file = prepared(tmp_path, arms=arms(embedding={"provider": "hashing", "model": "registry:mine"}))
    grades = {judgment.target_id: judgment.grade for judgment in file.gold.judgments}
    relevant = next(target for target, grade in grades.items() if grade > 0)
    other = next(passage for passage in file.corpus.passages if passage.passage_id not in grades)
    register(tmp_path, other.content)
    assert leakage(file)[0] == "pass"
    register(tmp_path, file.corpus.by_id[relevant].content)  # the next version
    assert leakage(file)[0] == "fail"


def test_a_model_without_a_training_record_is_unknown_and_never_passes(tmp_path: Path) -> None:
    register(tmp_path, record=False)
    registered, plain = {"provider": "hashing", "model": "registry:mine"}, {"provider": "hashing", "model": "x"}
    file = prepared(tmp_path, arms=arms(embedding=registered))
    assert leakage(file)[0] == "unknown"
    register(tmp_path, "something else")
    assert leakage(file)[0] == "pass"
    swapped = arms(embedding=plain)
    swapped[0]["embedding"] = registered
    assert leakage(prepared(tmp_path, arms=swapped))[0] == "unknown"  # the control's record says nothing about the treatment


def test_the_judge_of_similarity_is_neither_arm(tmp_path: Path) -> None:
    metrics = {"primary": {"name": "nDCG@10"}, "secondary": ["answer_similarity"], "similarity": {"provider": "hashing", "model": "b"}}
    with pytest.raises(InputError, match=r"metrics\.similarity is arm '.*'s own model"):
        run(prepared(tmp_path, metrics=metrics))
    assert not (tmp_path / ".ragtrial").exists()


# Indexing


def test_what_is_indexed_is_not_embedded_again(tmp_path: Path) -> None:
    bars: list[tuple[str, int]] = []

    def progress(description: str, total: int) -> Callable[[int], None]:
        if description.startswith("index "):
            bars.append((description, total))
        return no_progress(description, total)

    file = prepared(tmp_path)
    first = index_all(file, progress=progress)
    assert [total for _, total in bars] == [40, 40]
    assert all(fact.embed_seconds is not None and fact.ann_recall == 1.0 for fact in first.values())
    again = index_all(file, progress=progress)
    assert len(bars) == 2
    assert [fact.collection for fact in again.values()] == [fact.collection for fact in first.values()]
    assert all(fact.embed_seconds is None for fact in again.values())


def test_another_model_gets_its_own_collection_and_a_rollback_goes_back(tmp_path: Path) -> None:
    old = index_all(prepared(tmp_path))["custom"].collection
    file = prepared(tmp_path, arms=arms(embedding={"provider": "hashing", "model": "b", "dimensions": 128}))
    new = index_all(file)["custom"].collection
    assert new != old
    index = build_index(milvus_uri(file.file), token=None)
    assert index.resolve(alias_of("small", "custom")) == new
    assert {old, new} < set(index.collections())
    index.close()
    assert roll_back(file, "custom") == old
    assert roll_back(file, "custom") == new


def test_there_is_nothing_to_roll_back_to_before_there_are_two(tmp_path: Path) -> None:
    file = prepared(tmp_path)
    with pytest.raises(InputError, match="--rollback 'nope': the experiment's arms are baseline, custom"):
        roll_back(file, "nope")
    with pytest.raises(StoreError, match="has no collection yet: ragtrial index"):
        roll_back(file, "custom")
    assert not (tmp_path / ".ragtrial").exists()
    index_all(file)
    with pytest.raises(StoreError, match="no previous collection to go back to"):
        roll_back(file, "custom")


# Validating


def test_a_sound_experiment_is_summed_up(tmp_path: Path) -> None:
    found = check(made(tmp_path), SETTINGS)
    assert (found.problems, found.warnings) == ((), ())
    assert found.summary[0].startswith("data (test): 40 passages, 20 queries, ")


def test_problems_of_the_data_and_of_the_training_data_come_together(tmp_path: Path) -> None:
    path = made(tmp_path, training={"data": {"format": "beir", "path": "nowhere"}})
    with (tmp_path / "data" / "qrels" / "test.tsv").open("a") as file:
        file.write("q0\tp999\t1\n")
    problems = [str(problem) for problem in check(path, SETTINGS).problems]
    assert any("'p999' is not in corpus.jsonl" in problem for problem in problems)
    assert any("nowhere" in problem for problem in problems)


def test_a_plan_that_can_not_be_measured_is_a_problem_and_a_model_elsewhere_a_warning(tmp_path: Path) -> None:
    path = made(tmp_path, arms=arms(embedding={"model": "./nowhere"}), metrics=ANSWER, generation={"provider": "none"})
    found = check(path, SETTINGS)
    assert [problem.message.partition(",")[0] for problem in found.problems] == ["'answer_f1' decides"]
    assert "nowhere' does not exist" in found.warnings[0].message
    assert not (tmp_path / ".ragtrial").exists()


def test_a_model_that_will_be_trained_is_no_warning(tmp_path: Path) -> None:
    path = made(tmp_path, arms=arms(embedding={"model": "registry:mine"}), training=TRAINING)
    assert check(path, SETTINGS).warnings == ()


def test_an_index_that_milvus_lite_would_not_build_is_a_problem(tmp_path: Path) -> None:
    index = {"index": {"type": "HNSW", "build": {"M": 8}}}
    assert "Milvus Lite" in check(made(tmp_path, retrieval=index), SETTINGS).problems[0].message
    server = yaml.safe_load((tmp_path / "e.yaml").read_text()) | {"stores": {"milvus": "http://nowhere:19530"}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(server))
    assert check(tmp_path / "e.yaml", SETTINGS).problems == ()
