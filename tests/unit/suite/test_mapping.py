"""Maps of embeddings: made from the experiment file, stored with the evaluation, read by the dashboard."""

import dataclasses
from pathlib import Path

import pytest

from board_pages import app_test, html_of, small_board
from commands import ragtrial_command
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.engine import open_engine
from ragtrial.db.reader import Reader
from ragtrial.domain.embedding_map import EmbeddingMap
from ragtrial.errors import InputError
from ragtrial.settings import read_settings
from ragtrial.suite.concluding import conclude_into
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
        missed = {row.query_id for row in reader.outcomes(evaluation_id, view="baseline failures", limit=1000).rows}
    assert {arm: unmarked(each) for arm, each in stored.items()} == {each.arm: each for each in made}
    first, second = made
    assert [(point.kind, point.key) for point in first.points] == [(point.kind, point.key) for point in second.points]
    assert {point.kind for point in first.points} == {"query", "passage"}
    for each in stored.values():
        assert {point.key for point in each.points if point.missed} == missed
        assert {point.kind for point in each.points if point.missed is None} == {"passage"}


def unmarked(found: EmbeddingMap) -> EmbeddingMap:
    return dataclasses.replace(found, points=tuple(dataclasses.replace(point, missed=None) for point in found.points))


def test_what_the_baseline_misses_is_not_said_before_it_is_known_and_then_as_it_is_known_last(
    board: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, url, evaluation_id = board
    execute(url, "DELETE FROM conclusions")
    map_file(path, settings=read_settings())
    with BoardReader(url) as reader:
        assert {point.missed for each in reader.embedding_maps(evaluation_id).values() for point in each.points} == {None}
    said = html_of(app_test(monkeypatch, url, "models"))
    assert "finds a relevant passage for each" not in said
    assert "Crosses" not in said
    conclude_into(url, evaluation_id)
    with BoardReader(url) as reader:
        assert True in {point.missed for each in reader.embedding_maps(evaluation_id).values() for point in each.points}
    assert "The baseline misses" in html_of(app_test(monkeypatch, url, "models"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE evaluations SET gold_fingerprint = 'x'", "was of other queries or judgments than"),
        ("UPDATE evaluations SET corpus_fingerprint = 'x'", "was of another corpus than"),
        ("UPDATE evaluations SET arms = json_set(arms, '$[0].model.revision', 'x')", "was of other models than"),
    ],
)
def test_a_map_is_of_what_was_evaluated(board: tuple[Path, str, str], change: str, said: str) -> None:
    path, url, _ = board
    execute(url, change)
    with pytest.raises(InputError, match=said):
        map_file(path, settings=read_settings())


def execute(url: str, statement: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_making_it_again_replaces_it(board: tuple[Path, str, str]) -> None:
    path, url, evaluation_id = board
    again = [map_file(path, settings=read_settings()) for _ in range(2)][-1]
    with BoardReader(url) as reader:
        assert {arm: unmarked(each) for arm, each in reader.embedding_maps(evaluation_id).items()} == {each.arm: each for each in again}


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
