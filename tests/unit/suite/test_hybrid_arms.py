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
from ragtrial.serving.batching import MicroBatcher, SearchArm
from ragtrial.serving.counting import ServingCounts
from ragtrial.settings import read_settings
from ragtrial.suite.arms import ReadyArm, check_models, load_models, open_index, ready_arms
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


@pytest.mark.parametrize(("method", "least"), [("hybrid", r"100 \(top_k and candidates\)"), ("dense", r"30 \(top_k\)")])
def test_a_search_that_visits_less_than_it_is_to_find_is_refused_before_any_work(tmp_path: Path, method: str, least: str) -> None:
    retrieval = {"top_k": 30, "method": method, "index": {"type": "HNSW", "search": {"ef": 20}}}
    with pytest.raises(ValidationError) as refused:
        world(tmp_path, retrieval)
    assert re.search(rf"index.search.ef is 20: .* at least {least}", str(refused.value))


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


def collection(arm: ReadyArm) -> str:
    return facts(arm).collection
