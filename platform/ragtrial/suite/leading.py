"""Who of several workers, or of several machines, does what must be done once."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from ragtrial.db.engine import parse_url
from ragtrial.db.leading import DatabaseLeadership
from ragtrial.formats.experiment import ExperimentFile, sql_url
from ragtrial.serving.leading import Leadership

_ASK_S = 5.0

AnyLeadership = Leadership | DatabaseLeadership


def leadership(file: ExperimentFile, what: str) -> AnyLeadership:
    """Among all who serve the experiment's database: PostgreSQL keeps the lock for all machines, a file beside SQLite for this one.

    Args:
        file: The experiment.
        what: The work; an experiment's own work has its name in it.
    """
    url = sql_url(file)
    if parse_url(url).get_backend_name() == "sqlite":
        return Leadership(file.folder / ".ragtrial" / f"{what}.lock")
    return DatabaseLeadership(url, what)


@contextmanager
def held_in_turn(lead: AnyLeadership, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Lead for as long as the block lasts; `waiting` is called where somebody else has to end first."""
    if lead.won():
        try:
            yield
        finally:
            lead.release()
        return
    waiting()
    with lead.held():
        yield


async def while_leading(lead: AnyLeadership, work: Callable[[], Coroutine[Any, Any, None]], *, ask_s: float = _ASK_S) -> None:
    """Do the work whenever this process leads, until it ends; where another one has come to lead, stop, and stand by.

    Args:
        lead: Asked again and again; it may block.
        work: Goes on until it is cancelled.
        ask_s: Between two questions.

    Raises:
        StoreError: The database can't be asked who leads.
    """
    task: asyncio.Task[None] | None = None
    try:
        while True:
            leads = await asyncio.to_thread(lead.won)
            if leads and task is None:
                task = asyncio.create_task(work())
            elif not leads and task is not None:
                await _ended(task)
                task = None
            if task is None:
                await asyncio.sleep(ask_s)
            elif (await asyncio.wait({task}, timeout=ask_s))[0]:
                return task.result()
    finally:
        if task is not None:
            await _ended(task)
        lead.release()


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
