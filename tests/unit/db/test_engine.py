"""Every way in which a database can be wrong is one paragraph that says what to do."""

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.models import PassageRow
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.errors import InputError, MissingExtraError, RagtrialError, StoreError
from unit.db import samples


def _one_paragraph(error: RagtrialError) -> bool:
    return "\n" not in str(error) and "sqlalche.me" not in str(error) and "Traceback" not in str(error)


pytestmark = pytest.mark.empty_database


def test_a_reader_can_not_write(url: str) -> None:
    with Recorder(url) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=1)
    engine = database.open_engine(url, read_only=True)
    row = {"corpus_fingerprint": "c", "passage_id": "p", "document_id": "d", "title": "", "text": "t", "start_offset": 0, "end_offset": 1}
    for statement in (insert(PassageRow).values(row), text("DELETE FROM evaluation_queries"), text("DROP TABLE scores")):
        with pytest.raises(StoreError, match=r"(?i)read-?\s?only"), database.transaction(engine, "log") as connection:
            connection.execute(statement)
    engine.dispose()


def test_sqlite_is_opened_with_wal_foreign_keys_and_a_time_out(sqlite_url: str) -> None:
    schema.upgrade(sqlite_url)
    engine = database.open_engine(sqlite_url)
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_reader_of_a_missing_database_makes_no_file_and_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "log.db"
    with pytest.raises(StoreError, match=r"there is no database '.*/a/log.db': run an evaluation first"):
        Reader(f"sqlite:///{path}")
    assert not path.parent.exists()
    assert schema.current_revision(f"sqlite:///{path}") is None
    assert not path.parent.exists()


def test_a_recorder_makes_the_folder_of_its_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep er' / '100%#' / 'log.db'}"
    Recorder(url).close()
    with Reader(url) as reader:
        assert reader.evaluations() == ()


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    content = "Dear diary, " * 100
    path.write_text(content)
    for use in (Reader, Recorder, schema.upgrade):
        with pytest.raises(StoreError, match=r"database '.*notes.txt' refused: file is not a database; give another path") as found:
            use(f"sqlite:///{path}")
        assert _one_paragraph(found.value)
    assert path.read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_another_program_s_sqlite_file_is_not_even_switched_to_wal(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Recorder(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_folder_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    for use in (Reader, Recorder):
        with pytest.raises(StoreError) as found:
            use(f"sqlite:///{tmp_path}")
        assert _one_paragraph(found.value)
        assert str(tmp_path) in str(found.value)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, a folder that nobody can write to")
def test_a_folder_that_can_not_be_written_is_named() -> None:
    with pytest.raises(
        StoreError, match=r"can't make the folder '/proc/ragtrial' for the database: .*; give another path \(stores.sql\)"
    ) as found:
        Recorder("sqlite:////proc/ragtrial/log.db")
    assert _one_paragraph(found.value)
    with pytest.raises(StoreError, match=r"database '/proc/log.db' refused: unable to open database file; check that the folder") as found:
        Recorder("sqlite:////proc/log.db")
    assert _one_paragraph(found.value)


READ_AS_NOBODY = """
import os, sys
from ragtrial.db.reader import Reader
def read(url):
    with Reader(url) as reader:
        return reader.evaluations()[0].evaluation_id
read(sys.argv[2])  # imports whatever nobody may not read
if os.geteuid() == 0:
    os.setuid(65534)
print(read(sys.argv[1]))
"""


def test_a_database_in_a_read_only_folder_can_be_read(sqlite_url: str) -> None:
    with Recorder(sqlite_url) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=1)
    with tempfile.TemporaryDirectory() as folder:  # and not pytest's, which is its user's alone
        copy = Path(folder) / "log.db"
        shutil.copy(sqlite_url.removeprefix("sqlite:///"), copy)
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", READ_AS_NOBODY, f"sqlite:///{copy}", sqlite_url]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "platform")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        Path(folder).chmod(0o755)
        assert done.stdout == "e1\n", done.stderr
        assert [path.name for path in Path(folder).iterdir()] == ["log.db"]


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://u:hush@h/d", "sqlite:///file:x?uri=true", "postgresql+asyncpg://u:hush@h/d", "log.db"],
)
def test_urls_that_are_no_file_and_no_postgresql_are_refused(url: str) -> None:
    for use in (Reader, Recorder):
        with pytest.raises(InputError, match="give ") as found:
            use(url)
        assert "hush" not in str(found.value)


def test_a_postgresql_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed: pip install 'ragtrial[postgres]'")
    for use in (Reader, Recorder):
        with pytest.raises(
            StoreError, match=r"database 'postgresql\+psycopg://ann:\*\*\*@127.0.0.1:1/log' is out of reach: .*check that the server runs"
        ) as found:
            use("postgresql://ann:hush@127.0.0.1:1/log")
        assert _one_paragraph(found.value)
        assert "hush" not in str(found.value)


def test_a_database_that_the_server_does_not_have_is_named(postgres_url: str) -> None:
    with pytest.raises(StoreError, match=r'database "nowhere" does not exist') as found:
        Recorder(_with_database(postgres_url, "nowhere"))
    assert _one_paragraph(found.value)


def _with_database(url: str, name: str) -> str:
    head, tail = url.split("?")
    return f"{head.rsplit('/', 1)[0]}/{name}?{tail}"


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what `import` sees of a package that is not installed
    with pytest.raises(MissingExtraError, match=r"'psycopg', which is not installed: pip install 'ragtrial\[postgres\]'"):
        Recorder("postgresql://ann@db.example/log")


def test_text_that_the_database_can_not_hold_is_an_error_and_not_half_written(url: str) -> None:
    with Recorder(url) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=1)
        torn = dataclasses.replace(samples.PASSAGES[0], passage_id="torn", text="half a pair \ud800", end=113)
        with pytest.raises(StoreError, match="surrogates not allowed"):
            recorder.append("e1", [(samples.EVERY_KIND[0], ())], [torn])
    with Reader(url) as reader:
        assert reader.done("e1") == set()


def test_who_is_patient_waits_for_its_turn_however_long_another_takes_it(postgres_url: str) -> None:
    holding, waiting = database.open_engine(postgres_url), database.open_engine(postgres_url, wait_s=0.2)
    done = threading.Event()

    def upgrade() -> None:
        with database.transaction(waiting, "mine", turn="alone", patient=True) as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "200ms"  # as before, of everything else
            done.set()

    with ThreadPoolExecutor(1) as pool:
        with database.transaction(holding, "other", turn="alone"):
            with pytest.raises(StoreError, match="another process keeps writing"), database.transaction(waiting, "mine", turn="alone"):
                pass
            patient = pool.submit(upgrade)
            assert not done.wait(0.6)
        patient.result(60)
    for engine in (holding, waiting):
        engine.dispose()


@pytest.mark.parametrize(
    ("turn", "read_only", "kept"), [("short", False, True), ("long", False, False), ("alone", False, False), ("short", True, False)]
)
def test_statements_over_many_rows_are_planned_for_their_values_every_time(
    postgres_url: str, turn: database.Turn, read_only: bool, kept: bool
) -> None:
    """A plan that is kept for no values in particular takes a list of 40,000 units for one of ten."""
    engine = database.open_engine(postgres_url, read_only=read_only)
    with database.transaction(engine, "mine", turn=turn) as connection:
        for number in range(12):
            connection.execute(text("SELECT count(*) FROM pg_class WHERE relname = :name"), {"name": str(number)})
        plans = "SELECT coalesce(sum(generic_plans), 0) FROM pg_prepared_statements WHERE statement LIKE '%pg_class WHERE relname%'"
        assert (connection.execute(text(plans)).scalar_one() > 0) == kept
    engine.dispose()
