"""One of several does what must be done once: by a file on one machine, by PostgreSQL on many."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text

from ragtrial.db.leading import DatabaseLeadership
from ragtrial.formats.experiment import ExperimentFile
from ragtrial.serving.leading import Leadership
from ragtrial.settings import read_settings
from ragtrial.suite.leading import leadership, while_leading


def test_one_of_two_leads_and_the_other_takes_over(postgres_url: str) -> None:
    first, second, other = (DatabaseLeadership(postgres_url, what) for what in ("score", "score", "index"))
    assert (first.won(), second.won(), first.won()) == (True, False, True)
    assert other.won(), "another work has another leader"
    first.release()
    assert second.won()
    assert not first.won()
    second.release()
    other.release()


def test_whose_connection_was_ended_does_not_believe_that_it_leads(postgres_url: str) -> None:
    first, second = DatabaseLeadership(postgres_url, "score"), DatabaseLeadership(postgres_url, "score")
    assert first.won()
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()")
    assert second.won()
    assert not first.won()
    second.release()


def test_who_has_another_session_behind_its_connection_does_not_believe_that_it_leads(postgres_url: str) -> None:
    """As a pooler of transactions puts one there: the connection lives, and the lock is another's."""
    first = DatabaseLeadership(postgres_url, "score")
    assert first.won()
    assert first._connection is not None
    first._connection.execute(select(func.pg_advisory_unlock_all()))
    second = DatabaseLeadership(postgres_url, "score")
    assert second.won()
    assert not first.won()
    second.release()


def test_who_lets_go_leaves_no_lock_in_a_session_that_a_pooler_keeps_and_learns_soon_that_its_server_is_gone(postgres_url: str) -> None:
    first = DatabaseLeadership(postgres_url, "score")
    assert first.won()
    kept = first._connection
    assert kept is not None
    raw: Any = kept.connection.dbapi_connection
    assert {"keepalives_idle": "10", "tcp_user_timeout": "25000"}.items() <= raw.info.get_parameters().items()
    held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert kept.execute(held).scalar() == 1
    close, kept.close = kept.close, lambda: None  # type: ignore[method-assign]  # what a pooler makes of it
    first.release()
    assert kept.execute(held).scalar() == 0
    close()


def test_who_waits_gets_it_when_it_is_free(postgres_url: str) -> None:
    first, second = DatabaseLeadership(postgres_url, "index"), DatabaseLeadership(postgres_url, "index")
    order: list[str] = []

    def wait() -> None:
        with second.held():
            order.append("second")

    with first.held():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


class Turns:
    """A leadership that is won and lost as it is told."""

    def __init__(self, *turns: bool) -> None:
        self._turns, self.released = list(turns), False

    def won(self) -> bool:
        return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]

    def release(self) -> None:
        self.released = True


def test_work_is_ended_where_another_one_leads_and_begun_again_afterwards() -> None:
    said: list[str] = []
    turns = Turns(False, True, False, True)

    async def work() -> None:
        said.append("begun")
        try:
            await asyncio.sleep(0.2 if said.count("begun") > 1 else 60)
        finally:
            said.append("ended")

    asyncio.run(while_leading(turns, work, ask_s=0.01))  # type: ignore[arg-type]
    assert said == ["begun", "ended", "begun", "ended"]
    assert turns.released


def test_what_the_work_fails_with_is_told_and_another_one_may_lead() -> None:
    turns = Turns(True)

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(while_leading(turns, work, ask_s=0.01))  # type: ignore[arg-type]
    assert turns.released


def test_a_file_locks_for_this_machine_and_postgresql_for_all(tmp_path: Path, experiment_file: ExperimentFile, postgres_url: str) -> None:
    assert isinstance(leadership(experiment_file, "score"), Leadership)
    from ragtrial.formats.experiment import load_experiment

    moved = load_experiment(experiment_file.path, read_settings({"RAGTRIAL_STORES_SQL": postgres_url}))
    assert isinstance(leadership(moved, "score"), DatabaseLeadership)


@pytest.fixture
def experiment_file(tmp_path: Path) -> ExperimentFile:
    from material import write_experiment
    from ragtrial.formats.experiment import load_experiment

    return load_experiment(write_experiment(tmp_path / "e.yaml", tmp_path / "data"), read_settings({}))
