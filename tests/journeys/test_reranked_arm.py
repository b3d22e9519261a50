"""An arm with a reranker, from the evaluation to an answer over HTTP."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from commands import ragtrial_command
from live_service import LIVE, live
from material import write_beir_folder, write_experiment

MODEL = {"provider": "hashing", "model": "a", "dimensions": 32}
RERANKED = {"rerank": {"provider": "overlap", "model": "words", "candidates": 30}}


def experiment(folder: Path, **more: Any) -> Path:
    arms = [
        {"name": "baseline", "role": "control", "embedding": MODEL},
        {"name": "custom", "role": "treatment", "embedding": MODEL, "retrieval": RERANKED},
    ]
    return write_experiment(folder / "e.yaml", write_beir_folder(folder / "data"), arms=arms, live=LIVE, **more)


def test_a_reranked_arm_is_adopted_for_its_retrieval_and_answers_alike_over_http(tmp_path: Path) -> None:
    path = experiment(tmp_path, subject=["retrieval"])
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code == 0, done.err
    assert done.out.startswith("Adopt custom")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["parity"]["ok"]
    assert "retrieval.rerank: None / 'words@overlap-'" in report["parity"]["declared"]
    stages = {(row["arm"], row["stage"]): row["p50"] for row in report["latency"]["stages"]}
    assert stages["custom", "rerank"] > 0
    assert ("baseline", "rerank") not in stages
    trials = pq.read_table(tmp_path / "out" / "trials.parquet").to_pylist()
    timed = [row for row in trials if row["timing.search_ms"] is not None]
    assert all((row["timing.rerank_ms"] is not None) == (row["arm"] == "custom") for row in timed)
    assert all(row["timing.search_ms"] > row["timing.rerank_ms"] for row in timed if row["arm"] == "custom")
    ranked = {row["query_id"]: row["passage_ids"] for row in trials if row["arm"] == "custom"}
    assert all(len(ids) == 10 for ids in ranked.values())
    asked = {query["_id"]: query["text"] for query in map(json.loads, (tmp_path / "data" / "queries.jsonl").read_text().splitlines())}
    with live(path) as service, service.client("operator") as client:
        for number in range(40):
            answer = client.post("/v1/ask", json={"query": asked[f"q{number}"], "unit": f"user-{number}"}).json()
            if answer["arm"] == "custom":
                break
        shown = [source["passage_id"] for source in answer["sources"]]
        assert shown == ranked[f"q{number}"][: len(shown)]
        assert shown


def test_a_reranker_that_nobody_declared_refuses_the_verdict(tmp_path: Path) -> None:
    path = experiment(tmp_path, subject=["embedding"])
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code != 0
    assert not done.out.startswith("Adopt")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not report["parity"]["ok"]
    assert any(said.startswith("retrieval.rerank:") for said in report["parity"]["undeclared"])
