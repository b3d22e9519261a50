import tempfile
from pathlib import Path

import numpy as np
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.formats.beir import check_beir, load_beir, write_beir
from ragtrial.formats.trec import read_qrels, read_run, run_scores, write_qrels, write_run

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(CHARACTERS, min_size=1, max_size=30).filter(str.strip)
IDS = st.lists(
    st.text(CHARACTERS, min_size=1, max_size=8).filter(lambda i: i == i.strip() and i and not set(i) & set("\t\r\n")),
    unique=True,
    max_size=6,
)


@st.composite
def data_sets(draw):
    ids = draw(IDS.filter(len))
    documents = [Document(document_id=i, title=draw(TEXT | st.just("")), text=draw(TEXT), group=draw(TEXT | st.none())) for i in ids]
    documents = [
        document if document.title.strip() else Document(document_id=document.document_id, text=document.text) for document in documents
    ]
    queries = tuple(
        Query(
            query_id=i, text=draw(TEXT), answers=tuple(draw(st.lists(TEXT, max_size=2))), tags=draw(st.dictionaries(TEXT, TEXT, max_size=2))
        )
        for i in draw(IDS.filter(len))
    )
    judgments = []
    for query in queries:
        for document in draw(st.lists(st.sampled_from(documents), min_size=1, max_size=3, unique_by=lambda d: d.document_id)):
            whole = draw(st.booleans())
            place = {} if whole else {"start": document.text.index(document.text.strip()), "end": len(document.text)}
            judgments.append(Judgment(query_id=query.query_id, target_id=document.document_id, grade=draw(st.integers(0, 3)), **place))
    return documents, GoldSet(name="g", queries=queries, judgments=tuple(judgments))


@settings(max_examples=60, deadline=None)
@given(data_sets())
def test_any_data_set_that_is_written_is_read_back_as_it_was(data):
    documents, gold = data
    with tempfile.TemporaryDirectory() as folder:
        write_beir(Path(folder), documents, gold, "test")
        again = load_beir(Path(folder), "test")
    assert again.documents == tuple(documents)
    assert again.gold.fingerprint == gold.fingerprint


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=100))
def test_no_bytes_break_the_check(corpus, queries, qrels):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "qrels").mkdir()
        (folder / "corpus.jsonl").write_bytes(corpus)
        (folder / "queries.jsonl").write_bytes(queries)
        (folder / "qrels" / "test.tsv").write_bytes(qrels)
        assert check_beir(folder, "test").problems


SIMILARITIES = st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([0.5, 0.5 + 1e-9, 0.5 - 1e-9, 0.0, -0.0])), min_size=1, max_size=12)


@given(SIMILARITIES)
def test_written_scores_strictly_decrease_as_trec_eval_reads_them(similarities):
    scores = np.array([float(score) for score in run_scores(sorted(similarities, reverse=True))], dtype=np.float32)
    assert (scores[1:] < scores[:-1]).all()


@settings(max_examples=60, deadline=None)
@given(SIMILARITIES, st.randoms(use_true_random=False))
def test_a_run_comes_back_in_order_here_and_in_pytrec_eval(similarities, random):
    passages = [f"p{number}" for number in range(len(similarities))]
    random.shuffle(passages)
    ranked = list(zip(passages, sorted(similarities, reverse=True), strict=True))
    with tempfile.TemporaryDirectory() as name:
        write_run(Path(name) / "run", {"q": ranked}, "arm")
        write_qrels(Path(name) / "qrels", {"q": dict.fromkeys(passages, 1)})
        assert [passage for passage, _ in read_run(Path(name) / "run")["q"]] == passages
        assert read_qrels(Path(name) / "qrels") == {"q": dict.fromkeys(passages, 1)}
        with (Path(name) / "run").open() as file:
            run = pytrec_eval.parse_run(file)
    for rank, passage in enumerate(passages, start=1):
        assert np.isclose(pytrec_eval.RelevanceEvaluator({"q": {passage: 1}}, {"recip_rank"}).evaluate(run)["q"]["recip_rank"], 1 / rank)
