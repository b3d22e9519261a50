"""Live trials: logged, imported, summed, analysed and shown, in a real PostgreSQL.

What one step alone needs is imported there: a process measures one step.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from live_log import grouped, one_by_one
from measuring import REPOSITORY, timed
from sqlalchemy import text

from growth.plan import Given
from growth.postgres import database, filled_database, size_of
from growth.results import Measured
from ragtrial.db.engine import open_engine
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_writing import BatchWriter
from ragtrial.formats.experiment import load_experiment

if TYPE_CHECKING:
    from ragtrial.db.live_board_reader import LiveBoardReader
    from ragtrial.db.live_reader import LiveReader

THREADS, ALONE, PAGES, PER_PAGE = 32, 1_000, 7, 25
_HOUR, _DAY = 3_600, 86_400


def log(given: Given) -> Iterator[Measured]:
    """Durable commits of 32 threads, against a transaction for each trial."""
    experiment = load_experiment(REPOSITORY / "experiments" / "live-demo.yaml").experiment
    with database(given.postgres, f"growth_log_{given.size}") as url, LiveRecorder(url, experiment) as recorder:
        grouped(recorder, "w", n_trials=10 * THREADS, n_threads=THREADS)
        before, begin = size_of(url), time.process_time()
        logged = THREADS * math.ceil(given.size / THREADS)
        seconds = timed(lambda: grouped(recorder, "a", n_trials=logged, n_threads=THREADS)) * given.size / logged
        own, grown, peer = time.process_time() - begin, size_of(url) - before, None
        if given.with_peer:
            engine = open_engine(url)
            plain = BatchWriter(engine, name=url, experiment=experiment.name, late_days=7)
            few = min(ALONE, given.size)
            peer = timed(lambda: one_by_one(plain, recorder.live_id, "b", n_trials=few)) * given.size / few
            engine.dispose()
    detail = {"trials_per_s": given.size / seconds, "bytes_per_trial": grown / logged, "cpu_ms_per_trial": 1000 * own / logged}
    yield given.measured(seconds, peer=peer, detail=detail)


def bring_in(given: Given) -> Iterator[Measured]:
    """COPY of Parquet by `ragtrial db import`, against bare COPY."""
    import bulk_import

    with database(given.postgres, f"growth_import_{given.size}") as url, tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        ours, bare = bulk_import.measure(url, given.size, Path(folder))
        yield given.measured(given.size / ours, peer=given.size / bare, detail={"trials_per_s": ours})


def analyse(given: Given) -> Iterator[Measured]:
    """The command, from Python's start to its JSON; against a bare scan of the same table. The roll-up before it is a step of its own."""
    import growth_sql

    planned = _planned(given.size)
    with filled_database(given.postgres, given.size, lambda url: growth_sql.fill(url, given.size, units_planned=planned)) as url:
        live_id = 1
        _forget_sums(url)
        rolled = growth_sql.roll(url, live_id)
        growth_sql.analyse(url, planned)  # what is not in the page cache yet is no part of the growth
        seconds, mib, cpu = growth_sql.analyse(url, planned)
        peer = growth_sql.bare_scan(url, live_id) if given.with_peer else None
        detail = {"cpu_s": cpu, "database_bytes": size_of(url)}
        yield given.measured(rolled, step="roll-up", detail={"trials_per_s": given.size / rolled})
        yield given.measured(seconds, peer=peer, memory_mib=mib, detail=detail)


def dashboard(given: Given) -> Iterator[Measured]:
    """What each page asks of the database, seven times; the page with the slowest median counts."""
    import growth_sql

    from ragtrial.db.live_board_reader import LiveBoardReader
    from ragtrial.db.live_reader import LiveReader
    from ragtrial.suite.rolling import roll_once

    planned = _planned(given.size)
    with filled_database(given.postgres, given.size, lambda url: growth_sql.fill(url, given.size, units_planned=planned)) as url:
        roll_once(url)
        with LiveReader(url) as live, LiveBoardReader(url) as board:
            shown = {name: statistics.median(_each(queries)) for name, queries in _pages(live, board).items()}
        slowest = max(shown, key=lambda name: shown[name])
        peer = growth_sql.pandas_loads(url, 1, given.size)[0] if given.with_peer else None
        detail = {"slowest": slowest} | {f"{name}_over_slowest": shown[name] / shown[slowest] for name in shown}
        yield given.measured(shown[slowest], peer=peer, detail=detail)


def _each(queries: Sequence[Callable[[], object]]) -> list[float]:
    for query in queries:  # the first of all opens a connection
        query()
    return [timed(lambda: [query() for query in queries]) for _ in range(PAGES)]


def _pages(live: "LiveReader", board: "LiveBoardReader") -> dict[str, list[Callable[[], Any]]]:
    """The queries of a visit, as the pages ask them."""
    from ragtrial.db.live_pages import TrialView

    each = live.experiments()[0]
    number, name = each.live_id, each.name
    beginning: list[Callable[[], Any]] = [live.experiments, board.snapshots_made, lambda: board.snapshot(number)]
    traffic: list[Callable[[], Any]] = [
        lambda: live.traffic_history(number),
        lambda: board.rolled_up_at(number),
        lambda: board.buckets(number, width_s=_DAY),
    ]
    pages: dict[str, list[Callable[[], Any]]] = {
        "verdict": [*beginning, lambda: live.traffic(number)],
        "live": [*beginning, *traffic, lambda: board.buckets(number, width_s=_HOUR), lambda: live.audit_log(number, limit=200)],
        "cost": [*beginning, lambda: board.buckets(number, width_s=_DAY)],
        "drift": [*beginning, lambda: board.standing_alerts(name), lambda: board.monitor_alerts(name)],
    }
    for view in get_args(TrialView):
        pages[f"trials, {view}"] = [lambda view=view: board.trials(number, view=view, limit=PER_PAGE)]  # type: ignore[misc]
    return pages


def _planned(size: int) -> int:
    return 80_000 if size > 2_000_000 else 2_000


def _forget_sums(url: str) -> None:
    """So that the first roll-up is one, in a repeat as well."""
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE live_units, live_unit_scores, live_unit_changes, live_unit_marks"))
    engine.dispose()
