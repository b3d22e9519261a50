"""The whole suite on real data: what it reports is what trec_eval says of the run files that it exports."""

import os
from pathlib import Path

import pytest
import pytrec_eval
import yaml

from ragtrial.db.reader import Reader
from ragtrial.formats.experiment import sql_url
from ragtrial.settings import read_settings
from ragtrial.suite.concluding import Outcome, conclude
from ragtrial.suite.preparing import prepare
from ragtrial.suite.running import run

# From the README beside the data: the bundled baseline with exact search, test split.
FIGURES = {
    "covidqa": {
        "R@1": 0.2855,
        "R@3": 0.4611,
        "R@5": 0.5676,
        "R@10": 0.6706,
        "P@5": 0.1162,
        "RR@10": 0.4085,
        "nDCG@10": 0.4680,
        "AP@100": 0.4124,
    },
    "pubmedqa": {
        "R@1": 0.3106,
        "R@3": 0.7043,
        "R@5": 0.7817,
        "R@10": 0.8367,
        "P@5": 0.5032,
        "RR@10": 0.9769,
        "nDCG@10": 0.8445,
        "AP@100": 0.7843,
    },
}
TREC_NAMES = {"R@10": "recall_10", "P@5": "P_5", "nDCG@10": "ndcg_cut_10", "AP@100": "map_cut_100"}


def evaluated(name: str, shared_data: Path, repository: Path, folder: Path) -> Outcome:
    """An A/A evaluation of the bundled baseline through Milvus Lite and SQLite, vectors cached from run to run."""
    content = yaml.safe_load((repository / "experiments" / "aa.yaml").read_text())
    cache = Path(os.environ.get("RAGTRIAL_TEST_CACHE") or Path.home() / ".cache" / "ragtrial" / "tests")
    names = list(FIGURES[name])
    content |= {
        "data": {"format": "beir", "path": str(shared_data / name), "split": "test"},
        "chunking": {"strategy": "none"},
        "retrieval": {"top_k": 100},
        "generation": {"provider": "none"},
        "references": [],
        "metrics": {"primary": {"name": names[0]}, "secondary": names[1:]},
        "analysis": {"resamples": 1000, "latency_queries": 0},
        "stores": {"vectors": str(cache / "vectors")},
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    prepared = prepare(path, settings=read_settings({}))
    evaluation_id = run(prepared)
    with Reader(sql_url(prepared.file)) as reader:
        return conclude(reader, reader.evaluation(evaluation_id), prepared.experiment, output=folder / "out")


def trec_eval_of(qrels: Path, run_file: Path) -> dict[str, float]:
    """Mean of each measure over the judged queries, by trec_eval from the files alone."""
    with qrels.open() as file:
        judgments = pytrec_eval.parse_qrel(file)
    with run_file.open() as file:
        ranking = pytrec_eval.parse_run(file)
    values = pytrec_eval.RelevanceEvaluator(judgments, {"recall.10", "P.5", "ndcg_cut.10", "map_cut.100"}).evaluate(ranking)
    return {name: sum(values.get(q, {}).get(trec, 0.0) for q in judgments) / len(judgments) for name, trec in TREC_NAMES.items()}


@pytest.mark.long
@pytest.mark.parametrize("name", FIGURES)
def test_the_reported_metrics_are_the_independent_figures_and_trec_evals(
    name: str, shared_data: Path, repository: Path, tmp_path: Path
) -> None:
    outcome = evaluated(name, shared_data, repository, tmp_path)
    reported = {c.metric.name: c.baseline.mean for c in outcome.analysis.comparisons}
    for metric, figure in FIGURES[name].items():
        assert reported[metric] == pytest.approx(figure, abs=0.001), metric
    for metric, value in trec_eval_of(tmp_path / "out" / "qrels.txt", tmp_path / "out" / "baseline.run").items():
        assert reported[metric] == pytest.approx(value, abs=5e-5), metric
    assert outcome.analysis.verdict.decision == "undecided", "an A/A experiment decides nothing"
