"""The CSV that people fill in: blind on the way out, checked on the way in."""

import csv
from pathlib import Path

import pytest

from ragtrial.errors import InputError
from ragtrial.formats.labels import COLUMNS, Item, LabelFile, read_labels, write_items
from ragtrial.formats.validation import Findings

ITEMS = (
    Item(
        item_id="a1",
        question="How early?",
        references=("15 minutes", "a quarter"),
        passages=("One.\nTwo.",),
        answer='=HYPERLINK("x"), "so"',
    ),
    Item(item_id="b2", question="- Why?", references=(), passages=(), answer=""),
)


def problems(path: Path) -> list[str]:
    findings = Findings()
    read_labels(path, findings)
    return [str(problem).replace(str(path), "") for problem in findings.problems]


def sound(path: Path) -> LabelFile:
    findings = Findings()
    found = read_labels(path, findings)
    assert not findings.problems
    assert found is not None
    return found


def filled(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding, newline="")
    return path


def test_people_see_question_references_passages_and_answer_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "to_label.csv"
    write_items(path, ITEMS, ["correct", "wrong"])
    with path.open(newline="") as file:
        header, first, second = csv.reader(file)
    assert header == list(COLUMNS)
    assert first == ["a1", "How early?", "15 minutes\n---\na quarter", "One.\nTwo.", '\'=HYPERLINK("x"), "so"', "", "correct | wrong", ""]
    assert second[1:5] == ["'- Why?", "", "", "(no answer: the system said that it found none)"]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = filled(tmp_path / "l.csv", "mine")
    with pytest.raises(InputError, match="may hold labels"):
        write_items(path, ITEMS, ["correct"])
    assert path.read_text() == "mine"


def test_a_filled_file_comes_back_with_the_lines_where_its_rows_begin(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    write_items(path, ITEMS, ["correct", "wrong"])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][5], rows[1][7], rows[2][5] = " Correct ", "well said", "wrong"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = sound(path)
    assert found.proposed
    assert [(line.line, line.item_id, line.word, line.note) for line in found.lines] == [
        (2, "a1", "correct", "well said"),
        (6, "b2", "wrong", ""),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_ones_own_file_may_be_of_any_country_and_any_spreadsheet(tmp_path: Path, delimiter: str) -> None:
    rows = ["Query_ID,Arm,Label,repetition,selection,labeller", "q1,custom,Wrong,1,Random,ann", "q2,custom,,,,", ",,,,,"]
    path = filled(tmp_path / "own.csv", "\r\n".join(row.replace(",", delimiter) for row in rows), encoding="utf-8-sig")
    found = sound(path)
    (line,) = found.lines
    assert (line.query_id, line.arm, line.word, line.repetition, line.selection, line.labeller) == (
        "q1",
        "custom",
        "wrong",
        1,
        "random",
        "ann",
    )
    assert (found.proposed, found.n_blank) == (False, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ":1: has no column query_id, arm, label (found nothing): expected item and label, or query_id, arm and label"),
        (
            "query_id,label\nq1,wrong\n",
            ":1: has no column arm (found query_id, label): expected item and label, or query_id, arm and label",
        ),
        ("item,label\na1,\n", ": holds no label: fill in the column 'label'"),
        ('item,label\na1,wrong\na2,"wro\nng\n', ": is no CSV: unexpected end of data, in the row that begins in line 3"),
        ("item,label\na1,wrong,by mistake\n", ":2: has 3 cells, and the header names 2"),
        ("query_id,arm,label,repetition\nq1,a,wrong,first\n", ":2: repetition: 'first' is no whole number from 0"),
        ("item,label\na1,wr\0ong\n", ":2: label: holds a NUL character at offset 2: take it out"),
    ],
)
def test_a_fault_of_form_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(filled(tmp_path / "l.csv", text)) == [problem]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.csv") == [": there is no such file"]
