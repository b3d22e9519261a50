"""Arms that search by words, alone or with vectors, from the evaluation to an answer over HTTP."""

import json
from pathlib import Path

import ir_measures
import pytest

from commands import ragtrial_command
from live_service import LIVE, live
from material import write_beir_folder, write_experiment

MODEL = {"provider": "hashing", "model": "a", "dimensions": 32}


@pytest.mark.parametrize("method", ["bm25", "hybrid"])
def test_an_arm_with_words_is_evaluated_and_answers_over_http(tmp_path: Path, method: str) -> None:
    arms = [
        {"name": "baseline", "role": "control", "embedding": MODEL},
        {"name": "custom", "role": "treatment", "embedding": MODEL, "retrieval": {"method": method}},
    ]
    subject = ["retrieval", *(["embedding"] if method == "bm25" else [])]  # bm25 has no model
    data = write_beir_folder(tmp_path / "data")
    path = write_experiment(tmp_path / "e.yaml", data, arms=arms, subject=subject, live=LIVE)
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code == 0, done.err
    assert done.out.startswith("Adopt custom")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["parity"]["ok"], report["parity"]
    run: dict[str, list[str]] = {}
    for line in (tmp_path / "out" / "custom.run").read_text().splitlines():
        query, _, passage, *_ = line.split()
        run.setdefault(query, []).append(passage)
    asked = {query["_id"]: query["text"] for query in map(json.loads, (data / "queries.jsonl").read_text().splitlines())}
    with live(path) as service, service.client("operator") as client:
        for number in range(40):
            query = f"q{number}"
            answer = client.post("/v1/ask", json={"query": asked[query], "unit": f"user-{number}"}).json()
            if answer["arm"] == "custom":
                break
        assert [source["passage_id"] for source in answer["sources"]] == run[query][: len(answer["sources"])]
        assert answer["sources"], answer
    scored = list(ir_measures.read_trec_run(str(tmp_path / "out" / "custom.run")))
    assert all(hit.score > 0 for hit in scored), "a passage that shares no word is no hit, and a fused score is above 0"
