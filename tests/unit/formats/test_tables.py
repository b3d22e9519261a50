import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragtrial.domain.gold import Judgment, Query
from ragtrial.errors import ValidationError
from ragtrial.formats.tables import check_table, load_answered, load_table, names_passages

DOCUMENTS = {
    "d1": "Cranes lift boxes.\n\nThey   wait for wind.",
    "d2": "Trucks queue at the gate. They wait for wind.",
    "7": "Rail comes last.",
}
ROWS = [
    {"id": "a", "user_input": "what lifts", "reference": "Cranes.", "reference_context_ids": ["d1", "d2"], "synthesizer_name": "hard"},
    {"id": "b", "user_input": "what queues", "reference": "Trucks.", "reference_context_ids": ["7"], "synthesizer_name": "easy"},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in DOCUMENTS.items()))
    return path


def written(tmp_path: Path, rows: list[dict[str, object]], ending: str) -> Path:
    """The rows as a file, made by pandas as users make them."""
    path = tmp_path / f"gold.{ending}"
    frame = pd.DataFrame(rows)
    match ending:
        case "csv":
            frame.to_csv(path, index=False)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(path)
    return path


def faults(path: Path, corpus: Path) -> list[str]:
    return [str(problem).replace(f"{path.parent}/", "") for problem in check_table(path, corpus).problems]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_gold_set(tmp_path, corpus, ending):
    data = load_table(written(tmp_path, ROWS, ending), corpus)
    assert data.gold.queries == (
        Query(query_id="a", text="what lifts", answers=("Cranes.",), tags={"synthesizer_name": "hard"}),
        Query(query_id="b", text="what queues", answers=("Trucks.",), tags={"synthesizer_name": "easy"}),
    )
    assert data.gold.qrels() == {"a": {"d1": 1, "d2": 1}, "b": {"7": 1}}
    assert [document.document_id for document in data.documents] == ["d1", "d2", "7"]
    assert data.warnings == ()


def test_context_texts_become_spans_wherever_they_stand_white_space_aside(tmp_path, corpus):
    rows = [
        {"user_input": "when do they rest", "reference_contexts": ["They wait for\nwind."]},
        {"user_input": "x", "reference_contexts": ["Cranes lift"]},
    ]
    data = load_table(written(tmp_path, rows, "jsonl"), corpus)
    assert data.gold.judgments == (
        Judgment(query_id="row-1", target_id="d1", grade=1, start=20, end=41),
        Judgment(query_id="row-1", target_id="d2", grade=1, start=26, end=45),
        Judgment(query_id="row-2", target_id="d1", grade=1, start=0, end=11),
    )
    assert DOCUMENTS["d1"][20:41] == "They   wait for wind."
    assert DOCUMENTS["d2"][26:45] == "They wait for wind."


def test_ids_win_over_contexts_and_may_be_numbers(tmp_path, corpus):
    path = tmp_path / "gold.jsonl"
    path.write_text('{"id": 1, "user_input": "x", "reference_context_ids": [7], "reference_contexts": ["no such text"]}\n')
    assert load_table(path, corpus).gold.qrels() == {"1": {"7": 1}}


def test_csv_lists_may_be_json_or_python_and_tags_an_object(tmp_path, corpus):
    path = tmp_path / "gold.csv"
    path.write_text(
        "user_input,reference_context_ids,tags,cluster\r\n"
        'x,"[""d1"", ""d2""]","{""topic"": ""gate""}",c\r\n'
        '"two\nlines","[\'d1\']",,\r\n'
        "plain,d2,,\r\n"
    )
    gold = load_table(path, corpus).gold
    assert gold.qrels() == {"row-1": {"d1": 1, "d2": 1}, "row-2": {"d1": 1}, "row-3": {"d2": 1}}
    assert gold.queries[0] == Query(query_id="row-1", text="x", tags={"topic": "gate"}, cluster="c")


def test_every_faulty_row_of_a_csv_is_named_with_its_line(tmp_path, corpus):
    path = tmp_path / "gold.csv"
    path.write_text('\ufeffid,user_input,reference_context_ids\na,"two\nlines",d9\na,again,d1\nb, ,d1\nc,x\nd,x,\ne,x,[d1\nf,"x" y,d1\n')
    assert faults(path, corpus) == [
        "gold.csv:4: id: 'a' stands in an earlier row already: give each query an id of its own",
        "gold.csv:5: user_input: is blank: ' '",
        "gold.csv:6: has 2 columns, but the header has 3",
        "gold.csv:7: reference_context_ids: names nothing relevant: give document ids in 'reference_context_ids', or texts in 'reference_contexts'",
        'gold.csv:8: reference_context_ids: \'[d1\' can\'t be read: write a JSON list, e.g. ["d1", "d2"] (tags: an object)',
        "gold.csv:9: broken CSV, ',' expected after '\"': put cells with commas, quotes or line breaks in double quotes",
        "gold.csv:2: corpus-id: 'd9' is not in corpus.jsonl, which holds 3 ids: mend the id, or take the line out",
    ]


def test_a_context_that_stands_nowhere_is_a_problem(tmp_path, corpus):
    path = written(tmp_path, [{"user_input": "x", "reference_contexts": ["Cranes lift boxes.", "Ships sink."]}], "parquet")
    assert faults(path, corpus) == [
        (
            "gold.parquet:1: reference_contexts[1]: 'Ships sink.' stands in none of the 3 documents of corpus.jsonl, white space aside: "
            "give the text as it is in the corpus, or the ids"
        )
    ]
    with pytest.raises(ValidationError, match="Ships sink"):
        load_table(path, corpus)


def test_files_that_are_no_gold_table_are_refused(tmp_path, corpus):
    for name, content, fault in (
        ("gold.txt", "x", "gold.txt: has the ending '.txt': expected .csv, .jsonl or .parquet"),
        ("gold.csv", "", "gold.csv: holds no row"),
        ("gold.csv", "question,answer\nx,y\n", "gold.csv:1: has the columns question, answer: expected 'user_input'"),
        ("gold.csv", "user_input,tags,tags\nx,y,z\n", "gold.csv:1: has the column 'tags' twice: rename one"),
        ("gold.parquet", "no parquet", "gold.parquet: is no readable Parquet file"),
        ("gold.jsonl", "{", "gold.jsonl:1: broken JSON"),
    ):
        (tmp_path / name).write_text(content)
        (found,) = faults(tmp_path / name, corpus)
        assert found.startswith(fault)
    assert faults(tmp_path / "none.parquet", corpus) == ["none.parquet: there is no such file"]


def test_parquet_tags_may_be_a_map_or_a_struct(tmp_path, corpus):
    for number, kind in enumerate((pa.map_(pa.string(), pa.string()), pa.struct([("topic", pa.string()), ("level", pa.string())]))):
        value = [("topic", "gate")] if number == 0 else {"topic": "gate", "level": None}
        table = pa.table({"user_input": ["x"], "reference_context_ids": [["d1"]], "tags": pa.array([value], type=kind)})
        pq.write_table(table, tmp_path / "gold.parquet")
        assert load_table(tmp_path / "gold.parquet", corpus).gold.queries[0].tags == {"topic": "gate"}


def test_a_table_that_names_no_passage_is_read_for_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text('user_input,reference\nwhat lifts,Cranes.\nwhat waits,"Trucks, and ships."\n')
    assert not names_passages(path)
    assert [(query.query_id, query.text, query.answers) for query in load_answered(path)] == [
        ("row-1", "what lifts", ("Cranes.",)),
        ("row-2", "what waits", ("Trucks, and ships.",)),
    ]
    path.write_text("user_input,reference\nwhat lifts,\n")
    with pytest.raises(ValidationError, match=r"faq.csv:2: reference: is missing"):
        load_answered(path)


def test_a_table_names_passages_where_a_row_does(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"user_input": "a", "reference": "b"}, ROWS[0]]))
    assert names_passages(path)
