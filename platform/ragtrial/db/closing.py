"""Live experiments whose sums are closed: retention has removed trials of them, so that nothing can be summed again."""

from sqlalchemy import Connection, select

from ragtrial.db.live_models import LiveExperimentRow
from ragtrial.db.unit_models import CLOSED, UnitMarkRow
from ragtrial.errors import InputError


def closed(connection: Connection) -> frozenset[int]:
    """Their numbers."""
    return frozenset(connection.execute(select(UnitMarkRow.live_id).where(UnitMarkRow.form == CLOSED)).scalars())


def require_open(connection: Connection, live_id: int, *, what: str) -> None:
    """Make sure that what comes now is counted.

    Args:
        connection: Any.
        live_id: The experiment.
        what: Can't be done where its sums are closed; for the message.

    Raises:
        InputError: They are.
    """
    if live_id not in closed(connection):
        return
    name = connection.execute(select(LiveExperimentRow.name).where(LiveExperimentRow.id == live_id)).scalar_one()
    raise InputError(
        f"{what}: experiment {name!r} is closed, as retention has removed trials of it, and its sums take no more. "
        "Give the experiment another name: that is a new one, which begins at zero"
    )
