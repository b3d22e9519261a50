import json
from pathlib import Path

import pytest

from ragtrial.domain.pair import Pair
from ragtrial.errors import ValidationError
from ragtrial.formats.pairs import check_pairs, read_pairs, write_pairs

BARE = {"query": "how long?", "passage": "two days", "passage_id": "p1", "document_id": "d1"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    whole = Pair(
        query="how long? ü",
        passage="two days",
        passage_id="p1",
        document_id="d1",
        source="d1",
        negatives=("one week", "a year"),
        score=0.5,
        origin="vote",
        split="dev",
        provenance={"trials": ["t1"], "propensity": 0.25},
    )
    bare = Pair(**BARE)
    write_pairs(tmp_path / "pairs.jsonl", [whole, bare])
    assert read_pairs(tmp_path / "pairs.jsonl") == (whole, bare)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"query": " "}, "query"),
        ({"score": 2}, "score"),
        ({"score": True}, "score"),
        ({"origin": "guess"}, "origin"),
        ({"split": "validation"}, "split"),
        ({"negatives": ["fine", 3]}, "negatives[1]"),
        ({"provenance": "me"}, "provenance"),
    ],
)
def test_a_faulty_pair_is_named_by_line_and_field(tmp_path: Path, change: dict[str, object], field: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in (BARE, BARE | change)))
    with pytest.raises(ValidationError) as raised:
        read_pairs(path)
    assert [(problem.line, problem.field) for problem in raised.value.problems] == [(2, field)]
    assert check_pairs(path).counts == {"pairs": 1}


def test_a_file_without_a_pair_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n")
    assert "holds no pair" in str(check_pairs(tmp_path / "pairs.jsonl").problems[0])
