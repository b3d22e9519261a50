"""Files that an expert writes: what is wrong is named with its line."""

from pathlib import Path

import pytest

from ragtrial.errors import ValidationError
from ragtrial.formats.terms import everyday_pairs, read_similarities, read_terms


def test_pairs_are_read_with_their_notes(tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text("near:\n  - [hold, stop]\n  - {terms: [reefer, cold box], note: the same thing}\nfar:\n  - [berth, lane]\n")
    found = read_terms(path)
    assert [(pair.left, pair.right, pair.near, pair.note) for pair in found] == [
        ("hold", "stop", True, ""),
        ("reefer", "cold box", True, "the same thing"),
        ("berth", "lane", False, ""),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("near:\n  - [a, b]\n  - [a]\nfar:\n  - [c, d]\n", 3, "expected two terms, found ['a']"),
        ("near:\n  - [a, b]\nfar:\n  - [c, C]\n", 4, "a term is always near itself"),
        ("near:\n  - {terms: [a, b], note: x, why: y}\nfar:\n  - [c, d]\n", 2, "unknown key 'why'"),
        ("near:\n  - [a, b]\nfra:\n  - [c, d]\n", 3, "unknown key"),
        ("near:\n  - [a, 1]\nfar:\n  - [c, d]\n", 2, "expected two terms, found ['a', 1]"),
        ("near:\n  - [a, b]\nnear:\n  - [a, c]\nfar:\n  - [c, d]\n", 3, "stands twice"),
        ("- a\n", 1, "the lists 'near' and 'far'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text(text)
    with pytest.raises(ValidationError) as caught:
        read_terms(path)
    assert any(problem.line == line and message in problem.message for problem in caught.value.problems), str(caught.value)


def test_a_pair_that_is_near_and_far_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text("near:\n  - [a, b]\nfar:\n  - [B, A]\n")
    with pytest.raises(ValidationError, match="stand twice \\(near and far\\)"):
        read_terms(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="there is no such file"):
        read_terms(tmp_path / "none.yaml")


def test_similarities_come_with_or_without_header_by_tab_or_comma(tmp_path: Path) -> None:
    first, second = tmp_path / "a.tsv", tmp_path / "b.csv"
    first.write_text("score\tleft\tright\n4.5\ta cat\ta kitten\n")
    second.write_text('"a cat, asleep",a kitten,4.5\n')
    assert read_similarities(first) == (("a cat", "a kitten", 4.5),)
    assert read_similarities(second) == (("a cat, asleep", "a kitten", 4.5),)


@pytest.mark.parametrize("row", ["a,b", "a,b,high", "a,,3", "a,b,nan"])
def test_a_row_that_is_no_similarity_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "sts.csv"
    path.write_text(f"left,right,score\na,b,1\n{row}\n")
    with pytest.raises(ValidationError) as caught:
        read_similarities(path)
    assert caught.value.problems[0].line == 3


def test_the_bundled_general_pairs_are_many_and_all_different() -> None:
    pairs = everyday_pairs()
    assert len(pairs) == 64
    assert len({pair.query for pair in pairs}) == len({pair.passage for pair in pairs}) == 64
    assert len({pair.topic for pair in pairs}) == 16


def test_own_general_pairs_are_read_and_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text('{"query": "a", "passage": "b"}\n{"query": "a"}\n')
    with pytest.raises(ValidationError) as caught:
        everyday_pairs(path)
    assert caught.value.problems[0].line == 2
