"""Maps of embeddings: made from the experiment file, stored with the evaluation, read by the dashboard."""

from pathlib import Path

import pytest

from board_pages import app_test, html_of, small_board
from commands import ragtrial_command
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.reader import Reader
from ragtrial.errors import InputError
from ragtrial.settings import read_settings
from ragtrial.suite.mapping import map_file
from ragtrial.suite.rolling import Rolling


@pytest.fixture
def board(tmp_path: Path) -> tuple[Path, str, str]:
    made = small_board(tmp_path)
    with Rolling(made.url) as rolling:
        rolling.once()
    with Reader(made.url) as reader:
        return made.path, made.url, reader.evaluations()[-1].evaluation_id


def test_both_arms_get_a_map_of_the_same_texts(board: tuple[Path, str, str]) -> None:
    path, url, evaluation_id = board
    made = map_file(path, settings=read_settings())
    with BoardReader(url) as reader:
        stored = reader.embedding_maps(evaluation_id)
        missed = reader.missed_queries(evaluation_id)
    assert stored == {each.arm: each for each in made}
    first, second = made
    assert [(point.kind, point.key) for point in first.points] == [(point.kind, point.key) for point in second.points]
    assert {point.key for point in first.points if point.missed} == missed
    assert {point.kind for point in first.points} == {"query", "passage"}


def test_making_it_again_replaces_it(board: tuple[Path, str, str]) -> None:
    path, url, evaluation_id = board
    again = [map_file(path, settings=read_settings()) for _ in range(2)][-1]
    with BoardReader(url) as reader:
        assert reader.embedding_maps(evaluation_id) == {each.arm: each for each in again}


def test_a_tag_that_no_query_has_is_refused(board: tuple[Path, str, str]) -> None:
    with pytest.raises(InputError, match="--tag 'colour': the queries have"):
        map_file(board[0], settings=read_settings(), tag="colour")


def test_the_command_says_what_it_drew_and_the_page_shows_it(board: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, url, _ = board
    before = html_of(app_test(monkeypatch, url, "models"))
    assert "No map was made of this evaluation" in before
    done = ragtrial_command("map", path, "--quiet")
    assert done.code == 0, done.err
    assert "trustworthiness" in done.out
    test = app_test(monkeypatch, url, "models")
    assert not test.exception
    assert not test.error
    after = html_of(test)
    assert "Map of " in after
    assert "Small: passages. Large: queries" in after
