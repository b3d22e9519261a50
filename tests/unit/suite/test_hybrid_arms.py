"""Arms that search by words, with vectors or alone: indexed, certified and served as any other arm."""

import asyncio
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragtrial.contracts import no_progress
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.domain.parity import certify
from ragtrial.domain.trial import Failure
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import ValidationError
from ragtrial.index.exact import ExactIndex
from ragtrial.serving.batching import MicroBatcher
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.search_arm import SearchArm
from ragtrial.settings import read_settings
from ragtrial.suite import running
from ragtrial.suite.arm_models import check_models
from ragtrial.suite.arms import ReadyArm, index_facts, load_models, open_index, ready_arms
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.retrieving import blend_of

TEXTS = {
    "p0": "the reefer at slot 12 lost its power",
    "p1": "demurrage is charged from the sixth day",
    "p2": "demurrage and detention",
    "p3": "the crane works on shore power",
}


def world(folder: Path, retrieval: dict[str, Any], *, subject: tuple[str, ...] = ("embedding", "retrieval")) -> Prepared:
    (folder / "data" / "qrels").mkdir(parents=True)
    (folder / "data" / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t in TEXTS.items()))
    (folder / "data" / "queries.jsonl").write_text(json.dumps({"_id": "q0", "text": "sixth day of demurrage"}) + "\n")
    (folder / "data" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp1\t1\n")
    embedding = {"provider": "hashing", "model": "a"}
    experiment = {
        "name": "words",
        "data": {"format": "beir", "path": "data", "split": "test"},
        "subject": list(subject),
        "arms": [
            {"name": "baseline", "role": "control", "embedding": embedding},
            {"name": "custom", "role": "treatment", "embedding": embedding, "retrieval": retrieval},
        ],
        "retrieval": {"top_k": 3},
        "metrics": {"primary": {"name": "nDCG@3"}},
    }
    (folder / "words.yaml").write_text(yaml.safe_dump(experiment))
    return prepare(folder / "words.yaml", settings=read_settings({}))


def ready(prepared: Prepared, index: Any, cache: VectorCache) -> tuple[ReadyArm, ...]:
    return ready_arms(prepared, load_models(prepared), index=index, cache=cache, progress=no_progress)


def test_a_hybrid_arm_differs_in_its_retrieval_alone(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 3, "method": "hybrid", "fusion": "weighted", "dense_weight": 0.25})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        control, treatment = ready(prepared, index, cache)
        left, right = control.facts.conditions, treatment.facts.conditions
        assert left is not None
        assert right is not None
        refused = certify(left, right, subject=("embedding",))
        assert not refused.ok
        assert refused.undeclared == (
            "retrieval.candidates: None / '100'",
            "retrieval.dense_weight: None / '0.25'",
            "retrieval.fusion: None / 'weighted'",
            "retrieval.method: None / 'hybrid'",
        )
        assert certify(left, right, subject=("retrieval",)).ok
        assert collection(control) != collection(treatment)
        found = treatment.retriever.retrieve(prepared.gold.queries, top_k=3)
        assert found.hits[0][0].passage_id == "p1"
        assert facts(treatment).ann_recall == 1.0


def test_an_arm_without_a_model_has_no_vectors_and_still_ranks(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 3, "method": "bm25"})
    check_models(prepared)
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        _, treatment = ready(prepared, index, cache)
        assert str(treatment.facts.model) == "bm25@1"
        assert (facts(treatment).bytes, facts(treatment).ann_recall, facts(treatment).n_passages) == (0, None, 4)
        found = treatment.timed_retriever.retrieve(prepared.gold.queries, top_k=3)
        assert [hit.passage_id for hit in found.hits[0]] == ["p1", "p2"], "a passage that shares no word is no hit"


@pytest.mark.parametrize("vectors", ["int8", "binary"])
def test_stored_vectors_are_part_of_the_retrieval_and_of_the_collections_name(tmp_path: Path, vectors: str) -> None:
    prepared = world(tmp_path, {"top_k": 3, "index": {"vectors": vectors}})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        control, treatment = ready(prepared, index, cache)
        conditions = treatment.facts.conditions
        assert conditions is not None
        assert conditions.retrieval["vectors"] == vectors
        assert collection(control) != collection(treatment)
        assert facts(control).bytes == {"int8": 4, "binary": 32}[vectors] * facts(treatment).bytes == 4 * 256 * 4
        again = ready(prepared, index, cache)[1]
        assert collection(again) == collection(treatment), "what is complete is used as it is"


@pytest.mark.parametrize(("kind", "visits"), [("HNSW", "ef"), ("HNSW_SQ", "ef"), ("SCANN", "reorder_k"), ("DISKANN", "search_list")])
@pytest.mark.parametrize(
    ("how", "least"),
    [
        ({"method": "hybrid"}, r"100 \(top_k and candidates\)"),
        ({"method": "dense"}, r"30 \(top_k\)"),
        ({"rerank": {"provider": "overlap", "model": "m", "candidates": 40}}, r"40 \(top_k and rerank.candidates\)"),
    ],
)
def test_a_search_that_visits_less_than_it_is_to_find_is_refused_before_any_work(
    tmp_path: Path, kind: str, visits: str, how: dict[str, Any], least: str
) -> None:
    retrieval = {"top_k": 30, **how, "index": {"type": kind, "search": {visits: 20}}}
    with pytest.raises(ValidationError) as refused:
        world(tmp_path, retrieval)
    (problem,) = refused.value.problems
    assert re.search(rf"index.search.{visits} is 20: .* at least {least}", problem.message)
    assert problem.field == "arms[1].retrieval"
    written = (tmp_path / "words.yaml").read_text().splitlines()
    assert problem.line is not None
    assert "retrieval:" in "".join(written[problem.line - 2 : problem.line])


class Depths(ExactIndex):
    """Remembers how deep it was searched."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def search(self, name: str, vectors: Any, *, top_k: int, **more: Any) -> Any:
        self.asked.append(top_k)
        return super().search(name, vectors, top_k=top_k, **more)


@pytest.mark.parametrize(
    ("how", "depth"),
    [
        ({}, 1),
        ({"method": "hybrid", "candidates": 3}, 3),
        ({"rerank": {"provider": "overlap", "model": "m", "candidates": 2}}, 2),
        ({"method": "hybrid", "candidates": 2, "rerank": {"provider": "overlap", "model": "m", "candidates": 9}}, 4),
    ],
)
def test_recall_is_measured_as_deep_as_the_arm_searches(tmp_path: Path, how: dict[str, Any], depth: int) -> None:
    path = tmp_path / "words.yaml"
    world(tmp_path, {"top_k": 3})
    plan = yaml.safe_load(path.read_text())
    plan["arms"][1]["retrieval"] = {"top_k": 1, **how}
    plan["metrics"]["primary"]["name"] = "nDCG@1"
    path.write_text(yaml.safe_dump(plan))
    prepared, index = prepare(path, settings=read_settings({})), Depths()
    arm = prepared.experiment.treatment
    index_facts(prepared, arm, embedder=load_models(prepared)[arm.name], index=index, progress=no_progress)
    assert index.asked == [depth]


def test_what_passages_belong_to_is_a_part_of_what_was_held_equal(tmp_path: Path) -> None:
    """So that an evaluation is not gone on with after a document was given to another tenant."""

    def data(folder: str, tenant: str, **index: str) -> dict[str, str]:
        path = tmp_path / folder
        world(path, {"top_k": 3})
        rows = [json.loads(line) for line in (path / "data" / "corpus.jsonl").read_text().splitlines()]
        (path / "data" / "corpus.jsonl").write_text("".join(json.dumps({**row, "doc": tenant}) + "\n" for row in rows))
        plan = yaml.safe_load((path / "words.yaml").read_text())
        plan["retrieval"]["index"] = index
        (path / "words.yaml").write_text(yaml.safe_dump(plan))
        prepared = prepare(path / "words.yaml", settings=read_settings({}))
        with closing(open_index(prepared)) as store, VectorCache(path / "cache") as cache:
            conditions = ready(prepared, store, cache)[0].facts.conditions
        assert conditions is not None
        return dict(conditions.data)

    acme, beta = data("a", "acme", partition_by="group"), data("b", "beta", partition_by="group")
    assert acme["corpus"] == beta["corpus"]
    assert acme["groups"] != beta["groups"]
    assert "groups" not in data("c", "acme")


@pytest.mark.parametrize("method", ["hybrid", "bm25"])
def test_live_traffic_is_searched_as_an_evaluation_searches(tmp_path: Path, method: str) -> None:
    prepared = world(tmp_path, {"top_k": 3, "method": method})
    models = load_models(prepared)
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        _, treatment = ready(prepared, index, cache)
        arm = SearchArm(
            name="custom",
            embedder=models["custom"],
            index=index,
            collection=collection(treatment),
            top_k=3,
            blend=blend_of(prepared.experiment.retrieval_of(treatment.arm)),
        )
        batcher = MicroBatcher({"custom": arm}, counts=ServingCounts("words"))
        try:
            live = asyncio.run(batcher.find("sixth day of demurrage", ["custom"]))["custom"]
        finally:
            batcher.close()
        assert not isinstance(live, Failure)
        assert live.hits == treatment.retriever.retrieve(prepared.gold.queries, top_k=3).hits[0]


def facts(arm: ReadyArm) -> IndexFacts:
    assert arm.facts.index is not None
    return arm.facts.index


def test_the_bm25_line_is_confined_to_groups_as_the_arms_are(tmp_path: Path) -> None:
    world(tmp_path, {"top_k": 3, "index": {"partition_by": "group", "partition_tag": "tenant"}})
    rows = [json.loads(line) for line in (tmp_path / "data" / "corpus.jsonl").read_text().splitlines()]
    lines = (json.dumps({**row, "doc": "beta" if row["_id"] == "p2" else "acme"}) + "\n" for row in rows)
    (tmp_path / "data" / "corpus.jsonl").write_text("".join(lines))
    asked = {"_id": "q0", "text": "demurrage", "tags": {"tenant": "beta"}}
    (tmp_path / "data" / "queries.jsonl").write_text(json.dumps(asked) + "\n")
    plan = yaml.safe_load((tmp_path / "words.yaml").read_text())
    plan["retrieval"] = plan["arms"][1].pop("retrieval")
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(plan))
    prepared = prepare(tmp_path / "words.yaml", settings=read_settings({}))
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        arms = ready(prepared, index, cache)
        made = running._lines(prepared, arms, running.metrics_of(prepared.experiment, prepared.gold), None, None)
        found = {line.name: line.pipeline.retriever.retrieve(prepared.gold.queries, top_k=3).hits[0] for line in made if not line.borrows}
    assert {name: [hit.passage_id for hit in hits] for name, hits in found.items()} == {
        name: ["p2"] for name in ("baseline", "custom", "bm25")
    }


def collection(arm: ReadyArm) -> str:
    return facts(arm).collection
