"""A team's own LangChain or LlamaIndex pipeline as an arm, from the experiment file to the verdict."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import ragtrial_command
from foreign_pipelines import CORPUS_ENV
from live_service import LIVE
from material import write_beir_folder, write_experiment

BASELINE = {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a", "dimensions": 32}}
LANGCHAIN = {"provider": "langchain", "object": "foreign_pipelines:langchain_retriever", "version": "2026-03"}
BOTH = ["embedding", "retrieval"]
PLAIN: dict[str, Any] = {
    "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}},
    "analysis": {"resamples": 1000, "latency_queries": 0},
}
CITED: dict[str, Any] = {"metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}, "exploratory": ["citation_support"]}}


def own(retriever: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "team", "role": "treatment", "retrieval": {"retriever": retriever}, **more}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beir_folder(tmp_path_factory.mktemp("own") / "data")


@pytest.fixture(autouse=True)
def _corpus(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORPUS_ENV, str(data))


def checks_of(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in report["checks"]}


def test_a_langchain_retriever_is_adopted_over_ragtrials_arm_and_the_certificate_says_what_nobody_can_check(
    tmp_path: Path, data: Path
) -> None:
    more: dict[str, Any] = {"subject": BOTH, "generation": {"provider": "none"}, **PLAIN}
    path = write_experiment(tmp_path / "e.yaml", data, arms=[BASELINE, own(LANGCHAIN)], **more)
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code == 0, done.err
    assert done.out.startswith("Adopt custom")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    declared = report["parity"]["declared"]
    assert report["parity"]["ok"]
    assert "retrieval.retriever: None / 'langchain foreign_pipelines:langchain_retriever'" in declared
    assert "retrieval.retriever.inside: None / 'not known'" in declared
    assert any(said.startswith("embedding.model: 'hashing-a@") and said.endswith("/ 'not known'") for said in declared)
    checks = checks_of(report)
    assert checks["unmapped"]["state"] == "pass"
    assert checks["pipeline[team]"]["state"] == "unknown"
    assert "can't be looked into" in checks["pipeline[team]"]["detail"]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "foreign_pipelines:langchain_retriever" in html
    resumed = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--resume", "--quiet")
    assert resumed.code == 0
    assert resumed.out == done.out
    planned = [ragtrial_command("evaluate", path, "--dry-run", "--json").out]
    write_experiment(path, data, arms=[BASELINE, own({**LANGCHAIN, "version": "2026-04"})], **more)
    planned.append(ragtrial_command("evaluate", path, "--dry-run", "--json").out)
    assert (
        len({json.loads(plan)["plan_digest"] for plan in planned}) == 2
    )  # so that an older version's results are not taken for this one's


def test_two_own_pipelines_are_compared_without_a_model_of_ragtrials_and_one_of_them_answers_by_itself(tmp_path: Path, data: Path) -> None:
    llama = {"provider": "llama-index", "object": "foreign_pipelines:llama_engine", "version": "1"}
    arms = [{**own(LANGCHAIN), "name": "lc", "role": "control"}, own(llama, generation={"provider": "pipeline"})]
    path = write_experiment(tmp_path / "e.yaml", data, arms=arms, subject=[*BOTH, "generation"])
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet", "--limit", "40")
    assert done.code == 1, done.err  # fewer than 100 queries: no verdict
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (ndcg,) = [metric for metric in report["metrics"] if metric["name"] == "nDCG@10"]
    assert ndcg["n_scored"] == 40
    assert (ndcg["wins"], ndcg["ties"], ndcg["losses"]) == (0, 40, 0)  # the same model behind both libraries
    assert "generation.inside: None / 'not known'" in report["parity"]["declared"]
    (f1,) = [metric for metric in report["metrics"] if metric["name"] == "answer_f1"]
    assert f1["n_scored"] == 40


def test_hits_of_another_corpus_are_counted_shown_and_refuse_the_verdict(tmp_path: Path, data: Path) -> None:
    arm = own({"provider": "foreign_pipelines:half_elsewhere", "version": "1"})
    arm["retrieval"]["rerank"] = {"provider": "overlap", "model": "words", "candidates": 10}
    path = write_experiment(tmp_path / "e.yaml", data, arms=[BASELINE, arm], subject=BOTH, generation={"provider": "none"}, **PLAIN)
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code == 1, done.err
    assert done.out.startswith("No verdict")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    unmapped = checks_of(report)["unmapped"]
    assert unmapped["state"] == "fail"
    assert "50.00% of the hits of team are no passage of the corpus (120 of 120 queries)" in unmapped["detail"]
    assert "what stands below moves up" in unmapped["detail"]


def test_langchains_default_of_four_hits_is_noticed(tmp_path: Path, data: Path) -> None:
    arm = own({**LANGCHAIN, "object": "foreign_pipelines:langchain_default"})
    path = write_experiment(tmp_path / "e.yaml", data, arms=[BASELINE, arm], subject=BOTH, generation={"provider": "none"}, **PLAIN)
    ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet", "--limit", "6")
    found = checks_of(json.loads((tmp_path / "out" / "report.json").read_text()))["pipeline[team]"]
    assert found["state"] == "warn"
    assert "at most 4 passages where top_k is 10" in found["detail"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": ["embedding"]}, "add 'retrieval' to subject"),
        ({"arms": [BASELINE, own({**LANGCHAIN, "object": "no_such_module_anywhere:x"})]}, "PYTHONPATH"),
        ({"arms": [BASELINE, own({**LANGCHAIN, "id_key": "nowhere"})]}, "none of the 50 hits for 5 queries is a passage of the corpus"),
        ({"arms": [BASELINE, own(LANGCHAIN, generation={"provider": "pipeline"})], "subject": [*BOTH, "generation"]}, "and no answer"),
        ({"arms": [BASELINE, own(LANGCHAIN, embedding=BASELINE["embedding"])]}, "leave one of them out"),
        ({"arms": [BASELINE, {"name": "team", "role": "treatment"}]}, "has no embedding"),
        ({"retrieval": {"retriever": LANGCHAIN}, "arms": [BASELINE, own(LANGCHAIN)]}, "belongs to an arm"),
        ({"arms": [BASELINE, own(LANGCHAIN, generation={"provider": "pipeline"})], **CITED}, "nothing is known of what the pipeline"),
        ({"arms": [BASELINE, own({"provider": "foreign_pipelines:returns_nonsense", "version": "1"})]}, "all of the 5 queries"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_way_out(tmp_path: Path, data: Path, changes: dict[str, Any], said: str) -> None:
    path = write_experiment(tmp_path / "e.yaml", data, **{"arms": [BASELINE, own(LANGCHAIN)], "subject": BOTH, **changes})
    done = ragtrial_command("evaluate", path, "--output", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert said in done.err


def test_an_own_pipeline_is_not_served_live_and_not_run_from_confined_files(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_experiment(tmp_path / "e.yaml", data, arms=[BASELINE, own(LANGCHAIN)], subject=BOTH, live=LIVE)
    served = ragtrial_command("serve", path, "--port", "0", "--no-auth")
    assert served.code == 2
    assert "brings a retriever of its own" in served.err
    monkeypatch.setenv("RAGTRIAL_CONFINE_TO", str(data.parent))
    confined = ragtrial_command("validate", path)
    assert confined.code == 2
    assert "retriever.object" in confined.out
    assert "runs code" in confined.out
