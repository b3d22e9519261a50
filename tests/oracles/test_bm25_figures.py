"""BM25 meets figures that were measured independently (the data's README), scored by trec_eval."""

import json
from pathlib import Path

import pytest
import pytrec_eval

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.index.bm25 import Bm25Retriever

MEASURES = {"R@1": "recall_1", "R@5": "recall_5", "R@10": "recall_10", "RR@10": "recip_rank", "nDCG@10": "ndcg_cut_10"}


@pytest.mark.parametrize(
    ("dataset", "figures"),
    [
        ("covidqa", {"R@1": 0.4797, "R@5": 0.7770, "R@10": 0.8395, "RR@10": 0.6153, "nDCG@10": 0.6680}),
        ("pubmedqa", {"R@1": 0.2969, "R@5": 0.6918, "R@10": 0.7501, "RR@10": 0.9532, "nDCG@10": 0.7643}),
        ("medquad", {"R@1": 0.2101, "R@5": 0.9465, "R@10": 0.9834, "RR@10": 0.4592, "nDCG@10": 0.5874}),
    ],
)
def test_bm25_meets_the_independent_figures(shared_data: Path, dataset: str, figures: dict[str, float]) -> None:
    folder = shared_data / dataset
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    passages = [
        Passage(passage_id=d["_id"], document_id=d["doc"], title=d["title"], text=d["text"], start=0, end=len(d["text"])) for d in corpus
    ]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, passage_id, grade = line.split("\t")
        qrels.setdefault(query_id, {})[passage_id] = int(grade)
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = [Query(query_id=q["_id"], text=q["text"]) for q in asked if q["_id"] in qrels]

    found = Bm25Retriever(passages).retrieve(queries, top_k=10)

    # trec_eval sorts by score and breaks ties its own way: give it the rank
    run = {q.query_id: {hit.passage_id: -float(rank) for rank, hit in enumerate(hits)} for q, hits in zip(queries, found.hits, strict=True)}
    scores = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(run)
    for metric, measure in MEASURES.items():
        mean = sum(scores[query_id][measure] for query_id in qrels) / len(qrels)
        assert mean == pytest.approx(figures[metric], abs=0.001), metric
