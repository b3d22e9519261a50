"""A database of an earlier version, full of data: upgrading loses nothing, also where it is killed on the way."""

import os
import signal
from typing import Any

import pytest
from sqlalchemy import MetaData

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.errors import StoreError
from unit.db import live_samples, samples

Rows = dict[str, list[dict[str, Any]]]


def fill(url: str) -> None:
    """One trial of every kind, offline and live, with scores, votes and signals."""
    with Recorder(url, clock=samples.clock) as recorder:
        recorder.open_evaluation(
            samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=7, passages=samples.PASSAGES
        )
        recorder.append("e1", [(trial, samples.scores_of(trial)) for trial in samples.EVERY_KIND])
        recorder.finish("e1")
    with LiveRecorder(url, live_samples.experiment()) as live:
        for trial in live_samples.EVERY_KIND:
            live.log(trial).result(10)
        live.vote(live_samples.vote("t1", "v1", comment="naïve")).result(10)
        live.signal(live_samples.signal("t1", "s1")).result(10)
        live.change_traffic(expected_version=1, stopped=True, actor="ann", reason="a test")


def rows_of(url: str) -> Rows:
    """Everything in every table."""
    engine = database.open_engine(url, read_only=True)
    try:
        found = MetaData()
        found.reflect(engine)
        with engine.connect() as connection:
            return {
                name: sorted((dict(row) for row in connection.execute(table.select()).mappings()), key=repr)
                for name, table in found.tables.items()
                if name != schema.VERSION_TABLE
            }
    finally:
        engine.dispose()


def held(rows: Rows, like: Rows) -> Rows:
    """The rows in the tables and columns of an earlier snapshot."""
    return {
        name: sorted(({column: row[column] for column in before[0]} for row in rows[name]) if before else rows[name], key=repr)
        for name, before in like.items()
    }


def test_from_every_earlier_schema_every_row_is_there_after_the_upgrade(url: str) -> None:
    fill(url)
    earlier = schema.REVISIONS[:-1] if url.startswith("sqlite") else ("0001", "0006", "0009")
    for revision in reversed(earlier):
        schema.downgrade(url, revision)
        before = rows_of(url)
        assert before["trials"]
        assert ("live_trials" in before) == (revision >= "0004")
        with pytest.raises(StoreError, match=f"has schema '{revision}', .* run `ragtrial db upgrade EXPERIMENT.yaml`"):
            Reader(url)
        schema.upgrade(url)
        assert held(rows_of(url), before) == before, revision
        with Reader(url) as reader:
            assert [(trial.arm, trial.query_id, trial.repetition, trial.ranking, trial.failure) for trial in reader.trials("e1")] == [
                (trial.arm, trial.query_id, trial.repetition, trial.ranking, trial.failure) for trial in samples.EVERY_KIND
            ]
        if revision >= "0004":
            with LiveReader(url) as live:
                assert live.traffic(live.live_id(live_samples.experiment())).stopped


def killed_upgrade(url: str, nth: int) -> int:
    """Upgrade in a child that is killed as it makes its nth index; how it ended."""
    child = os.fork()
    if child == 0:
        from alembic import op

        made, make = [0], op.create_index

        def create_index(*arguments: Any, **options: Any) -> Any:
            made[0] += 1
            if made[0] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return make(*arguments, **options)

        op.create_index = create_index
        try:
            schema.upgrade(url)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_killed_upgrade_leaves_the_old_schema_with_its_rows_and_the_next_one_ends_it(url: str) -> None:
    fill(url)
    schema.downgrade(url, "0003")
    before = rows_of(url)
    for nth in (1, 4, 8):
        assert killed_upgrade(url, nth) == -signal.SIGKILL
        assert schema.current_revision(url) == "0003"
        assert rows_of(url) == before
    schema.upgrade(url)
    assert held(rows_of(url), before) == before
    with Recorder(url) as recorder, Reader(url) as reader:
        assert recorder is not None
        assert len(reader.trials("e1")) == 7
