"""Who inserts scores of a live experiment: an import, for minutes, or a service, for a moment.

A score is unique by its trial and metric, and PostgreSQL keeps whoever inserts such a key waiting until the transaction ends that has
inserted it before. A service commits users' records together with scores, so its scores must not even try while an import's are not
committed. SQLite has one writer at a time, whatever it writes.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

_SCORES = 0x72616774  # advisory locks by pairs of numbers, the experiment's is the other; they meet none that has one number


def take_scores(connection: Connection, live_id: int) -> None:
    """Keep services from inserting scores of the experiment until the transaction ends; those that are at it are waited for."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SCORES, live_id)))


def taken_scores(connection: Connection, live_ids: Iterable[int]) -> frozenset[int]:
    """Those of the experiments that an import writes scores of; until the transaction ends no import begins to on the others."""
    if connection.dialect.name != "postgresql":
        return frozenset()
    tried = {live_id: connection.execute(select(func.pg_try_advisory_xact_lock_shared(_SCORES, live_id))).scalar() for live_id in live_ids}
    return frozenset(live_id for live_id, free in tried.items() if not free)
