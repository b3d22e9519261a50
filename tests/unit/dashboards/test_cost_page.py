"""The page of cost and speed: an evaluation, a live experiment, and nothing yet."""

from pathlib import Path

import pytest

from board_pages import app_test, html_of, small_board
from ragtrial.suite.rolling import Rolling


def test_an_evaluation_shows_its_waits_money_and_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = small_board(tmp_path)
    with Rolling(board.url) as rolling:
        rolling.once()
    test = app_test(monkeypatch, board.url, "cost")
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "Answers are sentences picked from passages: no LLM, no fee" in said
    assert "95% of queries asked alone are answered within" in said
    assert "As int8 the vectors would take" in said
    for alternative in ("Share of queries answered by a time (n = ", "queries asked alone in each arm).", "Size of custom&#x27;s vectors:"):
        assert alternative in said


def test_an_empty_database_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, f"sqlite:///{tmp_path / 'none.db'}", "cost")
    assert not test.exception
    assert "ragtrial demo" in " ".join(each.value for each in test.code)


def test_an_evaluation_that_is_not_concluded_points_to_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    board = small_board(tmp_path)
    with sqlite3.connect(board.url.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM conclusions")
    test = app_test(monkeypatch, board.url, "cost")
    assert not test.exception
    assert "Not worked out yet" in html_of(test)
