"""Arms that rerank: certified, cached, served and refused as any other part of the retrieval."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ragtrial.contracts import Scores, no_progress
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan, RetrievalSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import certify
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.reranking import RerankSpec
from ragtrial.domain.trial import Failure
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import InputError, ModelError, RerankError, ValidationError
from ragtrial.serving.batching import Found, MicroBatcher
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.search_arm import SearchArm
from ragtrial.settings import read_settings
from ragtrial.suite import doctor
from ragtrial.suite.arm_models import check_models
from ragtrial.suite.arms import ReadyArm, load_models, open_index, ready_arms
from ragtrial.suite.checking import check
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.retrieving import blend_of, load_rerankers, reordering_of

TEXTS = {
    "p0": "the reefer at slot 12 lost its power",
    "p1": "demurrage is charged from the sixth day",
    "p2": "demurrage and detention on the sixth day of the month, and of the day after",
    "p3": "the crane works on shore power",
}
OVERLAP = {"provider": "overlap", "model": "words", "candidates": 4}
SCORED: list[str] = []


class Slow:
    """A reranker of one's own: counts what it is asked, takes its time, and breaks where the query says so."""

    def __init__(self, spec: RerankSpec) -> None:
        self.identity = ModelIdentity(name=spec.model, revision="own", dimension=1)

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        for query, _ in asked:
            SCORED.append(query)
            if query == "break":
                raise RerankError("broken as asked")
            if query == "bug":
                raise KeyError(query)
        time.sleep(0.05)
        return tuple(np.array([len(text) for text in texts], dtype=np.float32) for _, texts in asked)


def world(folder: Path, retrieval: Mapping[str, Any], *, both: bool = False) -> Prepared:
    (folder / "data" / "qrels").mkdir(parents=True)
    (folder / "data" / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t in TEXTS.items()))
    (folder / "data" / "queries.jsonl").write_text(
        json.dumps({"_id": "q0", "text": "sixth day of demurrage"}) + "\n" + json.dumps({"_id": "q1", "text": "crane"}) + "\n"
    )
    (folder / "data" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp1\t1\nq1\tp3\t1\n")
    embedding = {"provider": "hashing", "model": "a"}
    experiment = {
        "name": "reranked",
        "data": {"format": "beir", "path": "data", "split": "test"},
        "subject": ["retrieval"],
        "arms": [
            {"name": "baseline", "role": "control", "embedding": embedding},
            {"name": "custom", "role": "treatment", "embedding": embedding, **({} if both else {"retrieval": dict(retrieval)})},
        ],
        "retrieval": dict(retrieval) if both else {"top_k": 2},
        "metrics": {"primary": {"name": "nDCG@2"}},
    }
    (folder / "e.yaml").write_text(yaml.safe_dump(experiment))
    return prepare(folder / "e.yaml", settings=read_settings({}))


def ready(prepared: Prepared, index: Any, cache: VectorCache) -> tuple[ReadyArm, ...]:
    return ready_arms(prepared, load_models(prepared), index=index, cache=cache, progress=no_progress)


@pytest.mark.parametrize("method", ["dense", "hybrid", "bm25"])
def test_a_reranker_is_a_declared_difference_of_the_retrieval_behind_any_search(tmp_path: Path, method: str) -> None:
    prepared = world(tmp_path, {"top_k": 2, "method": method, "rerank": OVERLAP})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        control, treatment = ready(prepared, index, cache)
        left, right = control.facts.conditions, treatment.facts.conditions
        assert left is not None
        assert right is not None
        undeclared = certify(left, right, subject=()).undeclared
        for said in ("retrieval.rerank: None / 'words@overlap-'", "retrieval.rerank.candidates: None / '4'"):
            assert said in undeclared
        if method != "bm25":
            assert certify(left, right, subject=("retrieval",)).ok
        found = treatment.timed_retriever.retrieve(prepared.gold.queries, top_k=2)
        best = found.hits[0][0]
        assert (best.passage_id, best.similarity) == ("p2", pytest.approx(4 / (4 * 10) ** 0.5)), "4 words of 4 and of 10"
        assert found.rerank_ms is not None


def test_arms_that_rerank_alike_share_one_reranker_and_differ_in_nothing(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 2, "rerank": OVERLAP}, both=True)
    rerankers = load_rerankers(prepared.experiment, prepared.around)
    assert rerankers["baseline"] is rerankers["custom"] is not None
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        control, treatment = ready(prepared, index, cache)
        assert control.facts.conditions == treatment.facts.conditions
        assert control.facts.index is not None
        assert treatment.facts.index is not None
        assert control.facts.index.collection == treatment.facts.index.collection, "no index of its own"


def test_quality_comes_from_the_cache_and_latency_never(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 2, "rerank": {"provider": f"{__name__}:Slow", "model": "own"}})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        _, treatment = ready(prepared, index, cache)
        SCORED.clear()
        first = treatment.retriever.retrieve(prepared.gold.queries, top_k=2)
        assert SCORED == ["sixth day of demurrage", "crane"]
        again = ready(prepared, index, cache)[1].retriever.retrieve(prepared.gold.queries, top_k=2)
        assert (again.hits, len(SCORED)) == (first.hits, 2), "a run that goes on asks nothing twice"
        timed = treatment.timed_retriever.retrieve(prepared.gold.queries[:1], top_k=2)
        assert len(SCORED) == 3
        assert timed.rerank_ms is not None
        assert timed.rerank_ms >= 50


def batcher(prepared: Prepared, arms: Sequence[ReadyArm], index: Any) -> MicroBatcher:
    models, found = load_models(prepared), {}
    for arm in arms:
        spec = prepared.experiment.retrieval_of(arm.arm)
        assert arm.facts.index is not None
        found[arm.arm.name] = SearchArm(
            name=arm.arm.name,
            embedder=models[arm.arm.name],
            index=index,
            collection=arm.facts.index.collection,
            top_k=2,
            blend=blend_of(spec),
            reordering=reordering_of(spec, arm.reranker, prepared.corpus.by_id),
        )
    return MicroBatcher(found, counts=ServingCounts("reranked"))


def test_live_traffic_is_reranked_as_an_evaluation_reranks_and_a_failure_is_counted_as_its_own(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 2, "method": "hybrid", "rerank": {"provider": f"{__name__}:Slow", "model": "own"}})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        arms = ready(prepared, index, cache)
        passes = batcher(prepared, arms, index)
        try:

            async def ask() -> list[Mapping[str, Found | Failure]]:
                both = ("baseline", "custom")
                return await asyncio.gather(*(passes.find(text, both) for text in ("sixth day of demurrage", "break", "bug", "crane")))

            good, broken, bug, other = asyncio.run(ask())
        finally:
            passes.close()
        offline = arms[1].retriever.retrieve(prepared.gold.queries, top_k=2)
    for live, hits in ((good["custom"], offline.hits[0]), (other["custom"], offline.hits[1])):
        assert isinstance(live, Found)
        assert live.hits == hits
        assert live.rerank_ms is not None
        assert 50 <= live.rerank_ms <= live.search_ms
    assert broken["custom"] == Failure(stage="rerank", kind="RerankError", message="broken as asked")
    assert bug["custom"] == Failure(stage="rerank", kind="KeyError", message="unexpected: see the log of the service")
    for each in (good, broken, bug, other):
        assert isinstance(control := each["baseline"], Found), "the other arm is not touched"
        assert control.rerank_ms is None


def test_whoever_asked_the_plain_arm_does_not_wait_for_the_other_arms_reranker(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 2, "rerank": {"provider": f"{__name__}:Slow", "model": "own"}})
    with closing(open_index(prepared)) as index, VectorCache(tmp_path / "cache") as cache:
        passes = batcher(prepared, ready(prepared, index, cache), index)
        order: list[str] = []
        try:

            async def ask(arm: str) -> None:
                await passes.find("crane", (arm,))
                order.append(arm)

            async def all_of_them() -> None:
                await passes.find("crane", ("baseline",))
                await asyncio.gather(ask("custom"), ask("baseline"), ask("custom"))

            asyncio.run(all_of_them())
        finally:
            passes.close()
    assert order.index("baseline") < 2
    assert order[-1] == "custom"


def test_what_cant_be_is_refused_before_any_work(tmp_path: Path) -> None:
    wrong = [
        ({"provider": "tei", "model": "m"}, "provider 'tei' needs base_url"),
        ({**OVERLAP, "candidates": 0}, "candidates is 0: give at least 1"),
        ({**OVERLAP, "timeout_s": 0}, "timeout_s is 0"),
        ({**OVERLAP, "batch": 3}, "batch"),
    ]
    for number, (rerank, said) in enumerate(wrong):
        with pytest.raises(ValidationError) as refused:
            world(tmp_path / str(number), {"top_k": 2, "rerank": rerank})
        assert said in str(refused.value)
        assert "rerank" in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        world(tmp_path / "ef", {"top_k": 2, "rerank": OVERLAP, "index": {"type": "HNSW", "search": {"ef": 3}}})
    assert re.search(r"index.search.ef is 3: .* at least 4 \(top_k and rerank.candidates\)", str(refused.value))
    prepared = world(tmp_path / "unknown", {"top_k": 2, "rerank": {"provider": "none", "model": "m"}})
    with pytest.raises(InputError, match=r"rerank\.provider 'none' is unknown"):
        load_rerankers(prepared.experiment, prepared.around)


def test_a_missing_cross_encoder_is_found_by_validate_and_before_an_evaluation(tmp_path: Path) -> None:
    prepared = world(tmp_path, {"top_k": 2, "rerank": {"model": "./nowhere"}})
    with pytest.raises(ModelError, match=r"model folder .*nowhere' does not exist"):
        check_models(prepared)
    assert any("nowhere" in problem.message for problem in check(tmp_path / "e.yaml", read_settings({})).warnings)


def test_a_plan_without_a_reranker_keeps_the_digest_that_it_had_before_there_were_any() -> None:
    def planned(**more: Any) -> Experiment:
        model = EmbeddingSpec(model="m")
        return Experiment(
            name="n",
            data=DataSpec(format="beir", path="d", split="test"),
            arms=(
                Arm(name="a", role="control", embedding=model),
                Arm(name="b", role="treatment", embedding=model, retrieval=RetrievalSpec(method="hybrid", **more)),
            ),
            metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@10")),
        )

    assert (planned().plan_digest(), planned().live_digest()) == ("adcd7184330de9e7", "cf605e954ebcd08f")  # of version 0.6
    digests = {planned(rerank=RerankSpec(model=name, candidates=n)).plan_digest() for name, n in (("x", 50), ("y", 50), ("x", 60))}
    assert len(digests | {planned().plan_digest()}) == 4


@pytest.mark.parametrize(
    ("rerank", "state", "said"),
    [(OVERLAP, "ok", r"words@overlap-\S* scores"), ({"model": "./nowhere"}, "missing", r"model folder .*nowhere' does not exist")],
)
def test_the_doctor_tries_an_experiments_rerankers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rerank: dict[str, Any], state: str, said: str
) -> None:
    world(tmp_path, {"top_k": 2, "rerank": rerank})
    monkeypatch.setattr(doctor, "_model", lambda: "not tried here")
    (found,) = [finding for finding in doctor.diagnose(tmp_path / "e.yaml", read_settings({})) if finding.part == "reranker of custom"]
    assert found.state == state
    assert re.search(said, found.detail)
