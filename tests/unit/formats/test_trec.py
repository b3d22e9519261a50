import ir_measures
import numpy as np
import pytest
import pytrec_eval

from ragtrial.errors import InputError, ValidationError
from ragtrial.formats.trec import check_trec, load_trec, read_qrels, read_run, write_qrels, write_run

QRELS = {"q1": {"a": 1, "b": 0, "c": 2}, "q2": {"d": 1}}


def reciprocal_ranks(qrels_path, run_path) -> dict[str, float]:
    """As pytrec_eval reads the two files."""
    with qrels_path.open() as qrels, run_path.open() as run:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"recip_rank"})
        return {query: values["recip_rank"] for query, values in evaluator.evaluate(pytrec_eval.parse_run(run)).items()}


def rank_as_trec_eval_sees_it(tmp_path, ranked, target) -> float:
    write_run(tmp_path / "x.run", {"q": ranked}, "arm")
    write_qrels(tmp_path / "qrels", {"q": {target: 1}})
    return 1 / reciprocal_ranks(tmp_path / "qrels", tmp_path / "x.run")["q"]


@pytest.mark.parametrize(
    "ranked",
    [
        [("a", 0.9), ("b", 0.8), ("c", 0.7)],
        [("a", 0.5), ("b", 0.5), ("c", 0.5)],  # ties: trec_eval would take c first
        [("a", 0.5), ("b", 0.5 - 1e-10), ("c", 0.5 - 2e-10)],  # ties as float32
        [("a", 0.7), ("b", 0.5), ("c", 0.5)],
        [("a", 0.0), ("b", -0.0), ("c", -0.1)],
        [("a", 1e300), ("b", 1e299), ("c", 1.0)],  # infinite as float32
    ],
)
def test_trec_eval_sees_our_order(tmp_path, ranked):
    for rank, (target, _) in enumerate(ranked, start=1):
        assert rank_as_trec_eval_sees_it(tmp_path, ranked, target) == pytest.approx(rank)
    assert [passage for passage, _ in read_run(tmp_path / "x.run")["q"]] == [passage for passage, _ in ranked]


def test_similarities_are_kept_where_they_strictly_decrease(tmp_path):
    similarities = np.sort(np.random.default_rng(5).random(50).astype(np.float32))[::-1]
    write_run(tmp_path / "x.run", {"q": [(f"p{i}", float(s)) for i, s in enumerate(similarities)]}, "arm")
    assert [score for _, score in read_run(tmp_path / "x.run")["q"]] == [float(s) for s in similarities]
    assert (tmp_path / "x.run").read_text().splitlines()[0] == f"q Q0 p0 1 {similarities[0]:.9g} arm"


def test_a_tie_counts_that_query_down_by_rank(tmp_path):
    write_run(tmp_path / "x.run", {"tied": [("a", 0.5), ("b", 0.5)], "clear": [("a", 0.5), ("b", 0.25)], "none": []}, "my arm")
    assert (tmp_path / "x.run").read_text() == (
        "tied Q0 a 1 2 my%20arm\ntied Q0 b 2 1 my%20arm\nclear Q0 a 1 0.5 my%20arm\nclear Q0 b 2 0.25 my%20arm\n"
    )


def test_ir_measures_and_pytrec_eval_agree_on_our_files(tmp_path):
    rng = np.random.default_rng(3)
    passages = [f"p{number}" for number in range(30)]
    run, qrels = {}, {}
    for query in map(str, range(40)):
        scores = np.sort(rng.integers(0, 8, 20) / 8)[::-1]  # many ties
        run[query] = [(str(p), float(s)) for p, s in zip(rng.permutation(passages)[:20], scores, strict=True)]
        qrels[query] = {str(p): int(g) for p, g in zip(rng.permutation(passages)[:6], rng.integers(0, 3, 6), strict=True)}
    write_run(tmp_path / "x.run", run, "arm")
    write_qrels(tmp_path / "qrels", qrels)
    for query, value in reciprocal_ranks(tmp_path / "qrels", tmp_path / "x.run").items():
        ranks = [rank for rank, (passage, _) in enumerate(run[query], 1) if qrels[query].get(passage, 0) > 0]
        assert value == pytest.approx(1 / ranks[0] if ranks else 0)
    measured = ir_measures.iter_calc(
        [ir_measures.RR], ir_measures.read_trec_qrels(str(tmp_path / "qrels")), ir_measures.read_trec_run(str(tmp_path / "x.run"))
    )
    assert {m.query_id: m.value for m in measured} == pytest.approx(reciprocal_ranks(tmp_path / "qrels", tmp_path / "x.run"))


def test_judgments_are_read_back_as_they_were_written(tmp_path):
    write_qrels(tmp_path / "qrels", QRELS)
    assert (tmp_path / "qrels").read_text() == "q1 0 a 1\nq1 0 b 0\nq1 0 c 2\nq2 0 d 1\n"
    assert read_qrels(tmp_path / "qrels") == QRELS


def test_white_space_in_ids_does_not_break_the_columns(tmp_path):
    write_qrels(tmp_path / "qrels", {"a query": {"my file.md#0-12": 1}})
    write_run(tmp_path / "x.run", {"a query": [("my file.md#0-12", 0.5)]}, "arm")
    assert reciprocal_ranks(tmp_path / "qrels", tmp_path / "x.run") == {"a%20query": 1.0}


def test_a_foreign_run_is_ordered_as_trec_eval_orders_it(tmp_path):
    (tmp_path / "x.run").write_text("q Q0 a 1 0.5 t\nq Q0 c 2 0.5000000001 t\nq Q0 b 3 2e0 t\n\nr Q0 a 1 -1 t\n")
    run = read_run(tmp_path / "x.run")
    assert run == {"q": (("b", 2.0), ("c", 0.5), ("a", 0.5)), "r": (("a", -1.0),)}


def test_every_faulty_line_of_a_run_is_reported(tmp_path):
    (tmp_path / "x.run").write_text("q Q0 a 1 0.5 t\nq Q0 a 2 0.4 t\nq a 0.4\nq Q0 b 2 nan t\nq Q0 c 3 high t\n")
    with pytest.raises(ValidationError) as caught:
        read_run(tmp_path / "x.run")
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "x.run:2: document_id: 'a' stands in the ranking of 'q' already",
        "x.run:3: has 3 columns: expected 6, query_id Q0 document_id rank score tag",
        "x.run:4: score: 'nan' is no finite number",
        "x.run:5: score: 'high' is no finite number",
    ]
    (tmp_path / "empty.run").write_text("")
    with pytest.raises(ValidationError, match="holds no ranking"):
        read_run(tmp_path / "empty.run")


def test_every_faulty_judgment_is_reported(tmp_path):
    (tmp_path / "qrels").write_text("q 0 a 1\nq 0 a 2\nq a 1\nq 0 b -2\nq 0 c x\n")
    with pytest.raises(ValidationError) as caught:
        read_qrels(tmp_path / "qrels")
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "qrels:3: has 3 columns: expected 4, query_id 0 document_id grade",
        "qrels:4: score: -2 is below 0; give 0 to what was judged not relevant, and leave out what was not judged",
        "qrels:5: score: 'x' is no whole number: expected 0, 1, 2, ...",
        "qrels:2: score: 2 contradicts 1 of an earlier line: keep one of them",
    ]


def test_a_ranking_that_holds_a_passage_twice_is_not_written(tmp_path):
    with pytest.raises(InputError, match="query 'q' holds a passage twice"):
        write_run(tmp_path / "x.run", {"q": [("a", 0.5), ("a", 0.4)]}, "arm")
    assert list(tmp_path.iterdir()) == []


def test_trec_judgments_go_with_a_corpus_and_queries(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "text": "y"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "x"}\n{"_id": "q2", "text": "y"}\n')
    (tmp_path / "gold.qrels").write_text("q1 0 a 1\nq1 0 b 0\n")
    files = (tmp_path / "gold.qrels", tmp_path / "corpus.jsonl", tmp_path / "queries.jsonl")
    data = load_trec(*files)
    assert data.gold.qrels() == {"q1": {"a": 1, "b": 0}}
    (tmp_path / "gold.qrels").write_text("q1 0 z 1\n")
    assert [(p.line, p.field) for p in check_trec(*files).problems] == [(1, "corpus-id")]
