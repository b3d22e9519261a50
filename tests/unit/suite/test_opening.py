"""Finding the database that the dashboard opens on, and refusing one that it can't show."""

import os
from pathlib import Path

import pytest

from ragtrial.db.schema import downgrade, upgrade
from ragtrial.errors import InputError, StoreError
from ragtrial.suite.opening import PLACES, check_database, check_place, databases, resolved, url_of


def placed(folder: Path, place: Path, *, at: float) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (at, at))
    return path


def test_databases_are_found_where_commands_put_them_the_last_written_one_first(tmp_path: Path) -> None:
    here, beside, demo = (placed(tmp_path, place, at=1_000.0 + i) for i, place in enumerate(PLACES))
    placed(tmp_path / "elsewhere", PLACES[0], at=9_000.0)
    assert databases(tmp_path) == (demo, beside, here)
    log = here.with_name("ragtrial.db-wal")
    log.touch()
    os.utime(log, (2_000.0, 2_000.0))
    assert databases(tmp_path) == (here, demo, beside), "what was written last may be in SQLite's log still"


def test_where_there_is_none_nothing_is_found_or_made(tmp_path: Path) -> None:
    assert databases(tmp_path) == ()
    assert not check_database(url_of(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_this_version_is_there_and_an_older_one_says_what_to_run(tmp_path: Path) -> None:
    url = url_of(tmp_path / "a b" / "log.db")
    upgrade(url)
    assert check_database(url)
    downgrade(url, "0004")
    with pytest.raises(StoreError, match=r"schema '0004'.*ragtrial db upgrade"):
        check_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("not a database, but long enough to be taken for one by its size alone" * 10)
    with pytest.raises(StoreError, match="not a database"):
        check_database(url_of(path))


def test_a_url_is_made_absolute_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved("sqlite:///log.db") == url_of(tmp_path / "log.db")
    with pytest.raises(InputError):
        resolved("mysql://host/db")


def test_a_file_in_a_folder_that_is_not_there_is_a_mistyped_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_place("sqlite:///log.db")
    check_place("postgresql+psycopg://user@host/database")
    with pytest.raises(InputError, match="there is no folder 'none'"):
        check_place("sqlite:///none/log.db")
