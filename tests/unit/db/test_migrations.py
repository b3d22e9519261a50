import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import ForeignKeyConstraint, create_engine, inspect, text
from sqlalchemy.schema import SchemaItem

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.models import Base
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.db.trial_keys import KEYS
from ragtrial.errors import InputError, StoreError

pytestmark = pytest.mark.empty_database

PARTITION = re.compile(r"live_(trials|scores|votes|signals)_(\d+|default)")


def _tables(url: str) -> set[str]:
    engine = database.open_engine(url, read_only=True)
    try:
        return set(inspect(engine).get_table_names()) - {schema.VERSION_TABLE}
    finally:
        engine.dispose()


def _is_of_the_models(thing: SchemaItem, name: str | None, kind: str, reflected: bool, _other: SchemaItem | None) -> bool:
    """Partitions are tables as well, keys that hold no number of a trial have one of their own, and references go between partitions."""
    if kind == "table":
        return not (reflected and (PARTITION.fullmatch(name or "") or name == KEYS))
    if isinstance(thing, ForeignKeyConstraint) and reflected and PARTITION.fullmatch(thing.elements[0].target_fullname.partition(".")[0]):
        return False
    referred = {f"fk_{table}_trial" for table in ("live_scores", "live_votes", "live_signals")}
    return name not in referred | {"uq_live_trials_trial_id", "uq_live_trials_live_id_caller_idempotency_key_served"}


def _differences_from_the_models(url: str) -> list[object]:
    engine = database.open_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            options = {
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
                "include_object": _is_of_the_models if engine.dialect.name == "postgresql" else None,
            }
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))
    finally:
        engine.dispose()


def _run(url: str, statement: str) -> None:
    engine = database.open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _parts(sql: str) -> list[str]:
    """Columns and constraints in any order, whatever the white space: SQLAlchemy and SQLite each write them in an order of their own."""
    flat = " ".join(sql.split())
    head, _, rest = flat.partition("(")
    body, _, options = rest.rpartition(")")
    parts, depth = [""], 0
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [head.strip(), options.strip(), *sorted(part.replace("( ", "(").replace(" )", ")").strip() for part in parts)]


def test_the_migrations_make_what_the_models_describe_up_down_and_up_again(url: str) -> None:
    assert schema.current_revision(url) is None
    schema.upgrade(url)
    assert schema.current_revision(url) == schema.HEAD
    assert {name for name in _tables(url) if not PARTITION.fullmatch(name)} - {KEYS} == set(Base.metadata.tables)
    assert _differences_from_the_models(url) == []
    schema.downgrade(url, "base")
    assert schema.current_revision(url) is None
    assert _tables(url) == set()
    schema.upgrade(url)
    assert _differences_from_the_models(url) == []


def test_migrated_tables_have_the_same_checks_and_storage_as_the_models(sqlite_url: str, tmp_path: Path) -> None:
    schema.upgrade(sqlite_url)
    made = tmp_path / "made.db"
    engine = create_engine(f"sqlite:///{made}")
    Base.metadata.create_all(engine)
    engine.dispose()

    def statements(path: Path) -> dict[str, list[str]]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> ?", (schema.VERSION_TABLE,)
            ).fetchall()
        return {name: _parts(sql) for name, sql in rows}

    assert statements(Path(sqlite_url.removeprefix("sqlite:///"))) == statements(made)


@pytest.mark.parametrize("gone", ["live_trials", "live_comparisons"])
def test_what_refers_to_rows_that_retention_removes_is_found_by_an_index(url: str, gone: str) -> None:
    """Without one each row that goes has whole tables looked through: a database checks that nothing refers to it any more."""
    schema.upgrade(url)
    engine = database.open_engine(url, read_only=True)
    found = inspect(engine)
    keys = [key for table in Base.metadata.tables.values() for key in table.foreign_keys]
    referring = [(key.parent.table.name, key.parent.name) for key in keys if key.column.table.name == gone]
    for table, column in referring:
        first = {found.get_pk_constraint(table)["constrained_columns"][0]}
        first |= {each["column_names"][0] for each in (*found.get_unique_constraints(table), *found.get_indexes(table))}
        assert column in first, (table, column)
    engine.dispose()
    assert len(referring) == {"live_trials": 5, "live_comparisons": 1}[gone]


def test_the_revisions_that_the_engine_knows_are_those_on_disk() -> None:
    config = Config()
    config.set_main_option("script_location", "ragtrial:db/migrations")
    script = ScriptDirectory.from_config(config)
    assert [revision.revision for revision in reversed(list(script.walk_revisions()))] == list(schema.REVISIONS)
    assert script.get_heads() == [schema.HEAD]


def test_an_upgrade_of_a_current_database_changes_nothing(url: str) -> None:
    schema.upgrade(url)
    with Recorder(url), Reader(url) as reader:
        before = reader.counts()
    schema.upgrade(url)
    with Reader(url) as reader:
        assert reader.counts() == before


def test_a_failed_upgrade_leaves_nothing_half_made(url: str) -> None:
    # A table that the migration makes late is in the way, in a database that otherwise looks like one of ours.
    _run(url, f"CREATE TABLE {schema.VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
    _run(url, "CREATE TABLE scores (id INTEGER)")
    with pytest.raises(StoreError, match="scores"):
        schema.upgrade(url)
    assert _tables(url) == {"scores"}
    assert schema.current_revision(url) is None


def test_a_newer_schema_is_refused_by_everyone(url: str) -> None:
    schema.upgrade(url)
    engine = database.open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608  # a constant
    engine.dispose()
    for use in (schema.upgrade, schema.current_revision, Reader, Recorder):
        with pytest.raises(
            StoreError, match=f"has schema '9999', but this ragtrial knows none after '{schema.HEAD}': upgrade ragtrial"
        ) as found:
            use(url)
        assert "\n" not in str(found.value)


def test_the_tables_of_another_program_are_left_alone(url: str) -> None:
    _run(url, "CREATE TABLE customers (id INTEGER)")
    for use in (schema.upgrade, schema.current_revision, Reader, Recorder):
        with pytest.raises(StoreError, match=r"holds tables of another program \(customers\): give ragtrial a database of its own"):
            use(url)
    assert _tables(url) == {"customers"}


def test_an_old_schema_is_refused_by_the_reader_with_the_way_out(url: str) -> None:
    schema.upgrade(url)
    schema.downgrade(url, "base")
    with pytest.raises(StoreError, match="holds no evaluations yet"):
        Reader(url)


def test_downgrading_to_an_unknown_revision_names_those_there_are(url: str) -> None:
    schema.upgrade(url)
    with pytest.raises(InputError, match=f"there is no schema '7': give one of base, {', '.join(schema.REVISIONS)}"):
        schema.downgrade(url, "7")
    assert schema.current_revision(url) == schema.HEAD
