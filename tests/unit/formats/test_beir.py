import json
from pathlib import Path

import pytest

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.errors import InputError, ValidationError
from ragtrial.formats.beir import check_beir, derive_clusters, load_beir, write_beir, write_judgments

CORPUS = '{"_id": "d1", "title": "One", "text": "First text.", "doc": "g"}\n{"_id": "d2", "text": "Second text."}\n'
QUERIES = (
    '{"_id": "q1", "text": "what is first", "answers": ["First."], "topic": "gate", "cluster": "c"}\n'
    '{"_id": "q2", "text": "what is second", "answers": "Second.", "tags": {"level": 2, "topic": "quay"}, "topic": "x"}\n'
    '{"_id": "q3", "text": "of another split", "doc": "g"}\n'
)


def folder_of(tmp_path: Path, **files: str | bytes) -> Path:
    """A BEIR folder: `corpus`, `queries`, and `qrels` or `spans` of the split test."""
    names = {
        "corpus": "corpus.jsonl",
        "queries": "queries.jsonl",
        "qrels": "qrels/test.tsv",
        "spans": "spans/test.tsv",
        "dev": "qrels/dev.tsv",
    }
    given: dict[str, str | bytes] = {
        "corpus": CORPUS,
        "queries": QUERIES,
        "qrels": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n",
        **files,
    }
    for name, content in given.items():
        path = tmp_path / names[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if content != "absent":
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def faults(folder: Path) -> list[str]:
    """The problems, paths relative to the folder."""
    return [str(problem).replace(f"{folder}/", "").replace(str(folder), "FOLDER") for problem in check_beir(folder, "test").problems]


def warnings(folder: Path) -> list[str]:
    return [str(warning).replace(f"{folder}/", "").replace(str(folder), "FOLDER") for warning in check_beir(folder, "test").warnings]


def test_a_sound_folder_is_read_with_answers_tags_clusters_and_groups(tmp_path):
    data = load_beir(folder_of(tmp_path, dev="q3\td1\t1\n"), "test")
    assert data.documents == (
        Document(document_id="d1", title="One", text="First text.", group="g"),
        Document(document_id="d2", text="Second text."),
    )
    assert data.gold.queries == (
        Query(query_id="q1", text="what is first", answers=("First.",), tags={"topic": "gate"}, cluster="c"),
        Query(query_id="q2", text="what is second", answers=("Second.",), tags={"topic": "quay", "level": "2"}),
    )
    assert data.gold.qrels() == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert data.warnings == ()
    assert data.name == tmp_path.name
    assert data.gold.name == f"{tmp_path.name}/test"


def test_queries_of_other_splits_are_left_out_unless_asked_for(tmp_path):
    folder = folder_of(tmp_path, dev="q3\td1\t1\n")
    assert [q.query_id for q in load_beir(folder, "dev").gold.queries] == ["q3"]
    assert [q.query_id for q in load_beir(folder, "dev", all_queries=True).gold.queries] == ["q1", "q2", "q3"]
    assert load_beir(folder, "dev").gold.queries[0].cluster == "g"


def test_a_header_is_optional_and_grades_may_be_written_as_decimals(tmp_path):
    assert load_beir(folder_of(tmp_path, qrels="q1\td1\t1.0\r\nq2\td2\t0\r\n\n")).gold.qrels() == {"q1": {"d1": 1}, "q2": {"d2": 0}}


def test_spans_are_judged_beside_or_instead_of_documents(tmp_path):
    folder = folder_of(tmp_path, qrels="absent", spans="query-id\tdoc-id\tstart\tend\tscore\nq1\td1\t0\t5\t2\n")
    assert load_beir(folder).gold.judgments == (Judgment(query_id="q1", target_id="d1", grade=2, start=0, end=5),)
    assert len(load_beir(folder_of(tmp_path, qrels="q2\td2\t1\n")).gold.judgments) == 2


def test_a_broken_line_is_named_with_its_line_and_column(tmp_path):
    folder = folder_of(tmp_path, corpus=CORPUS + '{"_id": "d3", "text": "Third" "x"}\n')
    assert faults(folder) == [
        (
            'corpus.jsonl:3: broken JSON, Expecting \',\' delimiter at column 31 of \'{"_id": "d3", "text": "Third" "x"}\': '
            'expected one object on one line, e.g. {"_id": "d1", "title": "", "text": "..."}'
        )
    ]
    with pytest.raises(ValidationError, match=r"corpus\.jsonl:3: broken JSON"):
        load_beir(folder)


def test_a_judgment_of_an_unknown_passage_or_query_is_named_with_its_line(tmp_path):
    folder = folder_of(tmp_path, qrels="query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td9\t1\nq7\td2\t1\n")
    assert faults(folder) == [
        "qrels/test.tsv:3: corpus-id: 'd9' is not in corpus.jsonl, which holds 2 ids: mend the id, or take the line out",
        "qrels/test.tsv:4: query-id: 'q7' is not in queries.jsonl, which holds 3 ids: mend the id, or take the line out",
    ]


def test_an_id_that_stands_twice_is_named_with_both_lines(tmp_path):
    folder = folder_of(tmp_path, corpus=CORPUS + '{"_id": "d1", "text": "Again."}\n', queries=QUERIES + '{"_id": "q2", "text": "again"}\n')
    assert faults(folder) == [
        "corpus.jsonl:3: _id: 'd1' stands in line 1 already: give each an id of its own",
        "queries.jsonl:4: _id: 'q2' stands in line 2 already: give each an id of its own",
    ]


def test_every_faulty_field_is_reported_and_a_judgment_of_a_faulty_document_does_not_dangle(tmp_path):
    corpus = "\n".join(
        [
            '{"_id": "d1", "text": "  "}',
            '{"_id": 2, "text": "x"}',
            '{"_id": "d2", "title": ["t"]}',
            "[1, 2]",
            '{"_id": "", "text": "x"}',
            '{"_id": "a\\tb", "text": "x"}',
            '{"_id": "n", "text": "nul \\u0000"}',
            '{"_id": "s", "text": "half \\ud83d"}',
            "[" * 100_000,
        ]
    )
    queries = (
        '{"_id": "q1", "text": "x", "answers": ["a", " ", 3]}\n{"_id": "q2", "text": null, "tags": [1]}\n'
        '{"_id": "q3", "text": "x", "answers": {"a": 1}, "doc": 7, "tags": {"topic": ["x"]}}\n'
    )
    assert faults(folder_of(tmp_path, corpus=corpus, queries=queries)) == [
        "corpus.jsonl:1: text: is blank: '  '",
        "corpus.jsonl:2: _id: is the number 2: expected a text in quotes",
        "corpus.jsonl:3: text: is missing (found '_id', 'title')",
        "corpus.jsonl:3: title: is a list of 1: expected a text in quotes",
        'corpus.jsonl:4: is a list of 2: expected one object on one line, e.g. {"_id": "d1", "title": "", "text": "..."}',
        "corpus.jsonl:5: _id: is blank: ''",
        "corpus.jsonl:6: _id: 'a\\tb' begins or ends with white space, or holds a tab or line break: tables of judgments can't name it",
        "corpus.jsonl:7: text: holds a NUL character at offset 4: take it out",
        'corpus.jsonl:8: text: holds half a surrogate pair, "\\ud83d", at offset 5: write the character itself in UTF-8',
        'corpus.jsonl:9: JSON nested too deeply: expected one flat object, e.g. {"_id": "d1", "title": "", "text": "..."}',
        "queries.jsonl:1: answers[1]: is blank: ' '",
        "queries.jsonl:1: answers[2]: is the number 3: expected a text in quotes",
        "queries.jsonl:2: text: is nothing (null): expected a text in quotes",
        'queries.jsonl:2: tags: is a list of 1: expected a mapping, e.g. {"topic": "gate"}',
        "queries.jsonl:3: answers: is a mapping: expected a text or a list of texts",
        "queries.jsonl:3: doc: is the number 7: expected a text in quotes",
        "queries.jsonl:3: tags.topic: is a list of 1: expected a text",
    ]


def test_every_faulty_judgment_is_reported(tmp_path):
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\thigh\nq1\td2\t-1\nq1 0 d1 1\nq1\t0\td1\t1\nq1\t\t1\nq2\td1\t0.5\nq2\td2\t1\nq2\td2\t2\nq3\td1\t1_0\n"
    spans = "query-id\tdoc-id\tstart\tend\tscore\nq1\td1\t5\t5\t1\nq1\td1\t0\t99\t1\nq1\td1\t5\t6\t1\nq1\td1\tx\t6\t1\n"
    assert faults(folder_of(tmp_path, qrels=qrels, spans=spans)) == [
        "qrels/test.tsv:2: score: 'high' is no whole number: expected 0, 1, 2, ...",
        "qrels/test.tsv:3: score: -1 is below 0; give 0 to what was judged not relevant, and leave out what was not judged",
        "qrels/test.tsv:4: has 1 tab-separated columns: expected 3, query-id, corpus-id, score; for a TREC qrels file say format: trec",
        "qrels/test.tsv:5: has 4 tab-separated columns: expected 3, query-id, corpus-id, score; for a TREC qrels file say format: trec",
        "qrels/test.tsv:6: corpus-id: is blank",
        "qrels/test.tsv:7: score: '0.5' is no whole number: expected 0, 1, 2, ...",
        "qrels/test.tsv:10: score: '1_0' is no whole number: expected 0, 1, 2, ...",
        "spans/test.tsv:2: end: 5..5 is no span: end must lie after start",
        "spans/test.tsv:5: start: 'x' is no whole number: expected 0, 1, 2, ...",
        "qrels/test.tsv:9: score: 2 contradicts 1 in line 8, which judges the same: keep one of them",
        "spans/test.tsv:3: end: 0..99 reaches beyond document 'd1', which has 11 characters",
        "spans/test.tsv:4: start: 5..6 of document 'd1' is white space only",
    ]


def test_columns_in_another_order_are_refused(tmp_path):
    folder = folder_of(tmp_path, qrels="query-id\tscore\tcorpus-id\nq1\td1\t1\n")
    assert faults(folder) == [
        "qrels/test.tsv:1: the columns are query-id, score, corpus-id: expected query-id, corpus-id, score, in this order"
    ]


def test_missing_files_and_splits_are_named_with_what_there_is(tmp_path):
    assert faults(tmp_path / "nowhere") == [
        "FOLDER: there is no such folder: a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
    ]
    folder = folder_of(tmp_path, corpus="absent", queries="absent", qrels="absent", dev="q3\td1\t1\n")
    assert faults(folder) == [
        "corpus.jsonl: there is no such file",
        "queries.jsonl: there is no such file",
        "FOLDER: there is no split 'test': expected qrels/test.tsv or spans/test.tsv; found dev",
    ]


def test_empty_files_are_refused(tmp_path):
    assert faults(folder_of(tmp_path, corpus="\n", queries="", qrels="query-id\tcorpus-id\tscore\n")) == [
        'corpus.jsonl: holds no document: give one object a line, e.g. {"_id": "d1", "title": "", "text": "..."}',
        'queries.jsonl: holds no query: give one object a line, e.g. {"_id": "q1", "text": "...", "answers": ["..."]}',
        "qrels/test.tsv: holds no judgment: give one a line, query-id <tab> corpus-id <tab> score",
    ]


def test_other_encodings_are_refused_and_a_byte_order_mark_is_skipped_with_a_warning(tmp_path):
    folder = folder_of(tmp_path, corpus=CORPUS.encode() + b'{"_id": "d3", "text": "caf\xe9"}\n', dev="q3\td1\t1\n")
    assert faults(folder) == ["corpus.jsonl:3: is no UTF-8: byte 0xe9 at offset 26 of the line; save the file as UTF-8"]
    assert faults(folder_of(tmp_path, corpus=CORPUS.encode("utf-16"))) == ["corpus.jsonl: is UTF-16: save it as UTF-8"]
    folder = folder_of(tmp_path, corpus=CORPUS.encode("utf-8-sig"))
    assert faults(folder) == []
    assert warnings(folder) == ["corpus.jsonl:1: begins with a byte order mark, which is skipped: save it as UTF-8 without one"]


def test_only_a_line_feed_ends_a_line(tmp_path):
    folder = folder_of(tmp_path, corpus=CORPUS + json.dumps({"_id": "d3", "text": "one\u2028two\x85three"}, ensure_ascii=False) + "\n")
    assert load_beir(folder).documents[2].text == "one\u2028two\x85three"


def test_what_is_odd_but_usable_is_a_warning(tmp_path):
    folder = folder_of(tmp_path, qrels="q1\td1\t1\nq1\td1\t1\nq2\td2\t0\n")
    assert faults(folder) == []
    assert warnings(folder) == [
        "qrels/test.tsv:2: 1 of 3 judgments repeat an earlier one with the same grade, this one first; each counts once",
        "queries.jsonl:3: no split judges 1 of 3 queries, e.g. 'q3': not used",
        "FOLDER: nothing is relevant for 1 of 2 queries, e.g. 'q2': left out of the retrieval metrics",
    ]
    assert check_beir(folder, "test").counts == {"documents": 2, "queries": 3, "gold queries": 2, "judgments": 2}
    assert len(load_beir(folder).warnings) == 3


def test_a_query_without_cluster_gets_its_best_graded_documents_group():
    documents = [Document(document_id=f"d{n}", text="x", group="g" if n == 2 else None) for n in range(4)]
    queries = [Query(query_id="kept", text="x", cluster="mine"), *(Query(query_id=name, text="x") for name in ("best", "tie", "nothing"))]
    judged = [("kept", "d1", 1), ("best", "d1", 1), ("best", "d2", 2), ("tie", "d3", 1), ("tie", "d1", 1), ("nothing", "d1", 0)]
    gold = GoldSet(name="g", queries=tuple(queries), judgments=tuple(Judgment(query_id=q, target_id=d, grade=g) for q, d, g in judged))
    derived = derive_clusters(gold, documents)
    assert [query.cluster for query in derived.queries] == ["mine", "g", "d1", None]
    assert derived.judgments == gold.judgments


def test_a_written_folder_is_read_back_and_keeps_its_other_splits(tmp_path):
    data = load_beir(folder_of(tmp_path / "a", spans="q1\td1\t0\t5\t2\n", dev="q3\td1\t1\n"), "test")
    write_judgments(tmp_path / "b", (Judgment(query_id="q1", target_id="d2", grade=1),), "dev")
    write_beir(tmp_path / "b", data.documents, data.gold, "test")
    again = load_beir(tmp_path / "b", "test")
    assert again.documents == data.documents
    assert again.gold.queries == data.gold.queries
    assert again.gold.judgments == data.gold.judgments
    assert load_beir(tmp_path / "b", "dev").gold.qrels() == {"q1": {"d2": 1}}


def test_a_folder_that_cannot_be_written_to_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"can't write .*corpus\.jsonl"):
        write_beir(tmp_path / "file", [Document(document_id="d", text="x")], GoldSet(name="g", queries=(), judgments=()))


@pytest.mark.parametrize(
    ("name", "sizes"), [("covidqa", (2398, 296, 303)), ("medquad", (5430, 1085, 1085)), ("pubmedqa", (3283, 500, 1650))]
)
def test_real_sets_are_read_whole_and_written_back_the_same(shared_data, tmp_path, name, sizes):
    data = load_beir(shared_data / name, "test")
    assert (len(data.documents), len(data.gold.queries), len(data.gold.judgments)) == sizes
    assert data.warnings == ()
    write_beir(tmp_path, data.documents, data.gold, "test")
    again = load_beir(tmp_path, "test")
    assert again.documents == data.documents
    assert again.gold.fingerprint == data.gold.fingerprint
