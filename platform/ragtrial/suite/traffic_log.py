"""What the live demo reads from the log beside its traffic: whether there is any to come, and whether all of it is scored."""

import time

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.schema import current_revision
from ragtrial.domain.live import TrafficState
from ragtrial.errors import InputError
from ragtrial.formats.experiment import sql_url
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.serving_beside import scored_metrics

_LOOK_EVERY_S = 0.25


def last_traffic(prepared: Prepared) -> TrafficState | None:
    """What held of the experiment's traffic when it was last served; None where it never was.

    Raises:
        StoreError: The database can't be read.
    """
    if current_revision(sql_url(prepared.file)) is None:
        return None
    with LiveReader(sql_url(prepared.file)) as reader:
        try:
            return reader.traffic(reader.live_id(prepared.experiment))
        except InputError:
            return None


def wait_until_scored(prepared: Prepared, *, within_s: float) -> bool:
    """Give the service time to score what is logged; whether nothing is left.

    Judged metrics are not waited for: they may take hours, and are sampled.

    Raises:
        StoreError: The database can't be read.
    """
    free = [metric.name for metric in scored_metrics(prepared.experiment) if metric.judge is None]
    deadline = time.monotonic() + within_s
    with LiveReader(sql_url(prepared.file)) as reader:
        live_id = reader.live_id(prepared.experiment)
        while reader.unscored(live_id, free, limit=1):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
    return True
