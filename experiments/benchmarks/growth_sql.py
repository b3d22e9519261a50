"""Analysis of N live trials in PostgreSQL (or SQLite), against pandas that loads them and against one bare scan of the same table.

Trials are made in the database itself: users with a heavy tail of queries over thirty days, half of them in each arm; a third of the
queries has an nDCG@10, 8 % a vote, 5 % a signal. The texts are short. Nothing of this is more than the log of a real experiment has, and
what the analysis reads is the same.

    python experiments/benchmarks/growth_sql.py --url postgresql+psycopg://user@host/empty --trials 10000000
    python experiments/benchmarks/growth_sql.py --url postgresql+psycopg://user@host/filled --trials 0
    python experiments/benchmarks/growth_sql.py --url postgresql+psycopg://user@host/empty --trials 1000000 --earlier

With `--earlier` as many trials of the same users are in an experiment that had ended before, whose sums are the covariate (CUPED).
`--trials 0` measures a log that is there. The last line is JSON, for the growth benchmark.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import REPOSITORY
from sqlalchemy import Connection, bindparam, text

from ragtrial.db.engine import open_engine
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.schema import upgrade
from ragtrial.domain.experiment import Experiment
from ragtrial.formats.experiment import load_experiment

BEGIN = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
DAYS = 30
PER_UNIT = 10
GOAL_SECONDS, GOAL_MIB = 5.0, 500
_AT_ONCE = 500_000
_SUM = "SELECT arm, count(*), avg(waited_ms) FROM live_trials WHERE live_id = {live} AND reason = 'split' GROUP BY arm"

_TRIALS = """
INSERT INTO live_trials (live_id, trial_id, request_id, served, unit, arm, assigned_arm, reason, bucket, propensity, version, at, waited_ms,
    embed_ms, search_ms, generate_ms, prompt_tokens, completion_tokens, cost_usd, n_hits, answer_shared, solicited, finish_reason, generator,
    failure_stage, failure_kind, failure_message, caller, query_digest, query_stored, query_text, hits, cited, answer_text)
SELECT {live}, '{prefix}' || g, '{prefix}' || g, true, md5('unit ' || u), arm, arm, 'split', u % 10000, 0.5, 1,
    {begin} + {span} * (g::float8 / {n}), waited,
    CASE WHEN failed THEN NULL ELSE 0.3 * waited END, CASE WHEN failed THEN NULL ELSE 0.2 * waited END,
    CASE WHEN failed THEN NULL ELSE 0.5 * waited END, CASE WHEN failed THEN NULL ELSE 640 END, CASE WHEN failed THEN NULL ELSE 40 END,
    CASE WHEN failed THEN NULL ELSE 0.0004 END, CASE WHEN failed THEN NULL ELSE 2 END, false, luck > 0.95,
    CASE WHEN failed THEN NULL WHEN luck > 0.9 THEN 'abstained' ELSE 'stop' END, CASE WHEN failed THEN NULL ELSE 'extractive/1' END,
    CASE WHEN failed THEN 'search' END, CASE WHEN failed THEN 'TimeoutError' END, CASE WHEN failed THEN 'no hit within 10 s' END, 'growth',
    md5('query ' || g % 977), 'full', 'how does procedure ' || g % 977 || ' apply',
    CASE WHEN failed THEN NULL ELSE '[["p1",0.9],["p2",0.8]]'::json END, CASE WHEN failed THEN NULL ELSE '["p1"]'::json END,
    CASE WHEN failed THEN NULL ELSE 'until noon' END
FROM (
    SELECT g, u, arm, luck, luck < 0.004 AS failed, exp(random_normal(4.0, 0.35)) * CASE arm WHEN 'custom' THEN 1.05 ELSE 1 END AS waited
    FROM (
        SELECT g, u, CASE WHEN hashint4(u) % 2 = 0 THEN 'custom' ELSE 'baseline' END AS arm, random() AS luck
        FROM (SELECT g, floor({units} * power(random(), 1.5))::int AS u FROM generate_series({first}, {last}) g) drawn
    ) split
) made
"""
_SCORES = """
INSERT INTO live_scores (trial, metric, live_id, value, unscored, scorer, n_calls, at)
SELECT id, 'nDCG@10', live_id, CASE WHEN id % 3 = 0 THEN least(1, greatest(0, 0.55 + ('x' || substr(unit, 1, 4))::bit(16)::int / 655360.0
        + CASE arm WHEN 'custom' THEN 0.03 ELSE 0 END + random_normal(0, 0.2))) END,
    CASE WHEN id % 3 = 0 THEN NULL ELSE 'the query is not in the gold set' END, 'retrieval/1', 0, at
FROM live_trials WHERE live_id = {live} AND failure_stage IS NULL AND id BETWEEN {first} AND {last}
"""
_VOTES = """
INSERT INTO live_votes (live_id, trial, key, thumb, late, at, tags, comment)
SELECT live_id, id, 'v' || id, CASE WHEN random() < CASE arm WHEN 'custom' THEN 0.72 ELSE 0.66 END THEN 'up' ELSE 'down' END, false, at + 20,
    '[]'::json, ''
FROM live_trials WHERE live_id = {live} AND failure_stage IS NULL AND id % 25 < 2 AND id BETWEEN {first} AND {last}
"""
_SIGNALS = """
INSERT INTO live_signals (live_id, trial, key, signal, late, at)
SELECT live_id, id, 's' || id, CASE id % 3 WHEN 0 THEN 'copied' WHEN 1 THEN 'rephrased' ELSE 'citation_clicked' END, false, at + 5
FROM live_trials WHERE live_id = {live} AND failure_stage IS NULL AND id % 20 = 7 AND id BETWEEN {first} AND {last}
"""
_FILLED = ("live_trials", "live_scores", "live_votes", "live_signals")


def growth_experiment(units_planned: int, *, earlier: bool = False) -> Experiment:
    """The live demo's plan under a name of its own."""
    found = load_experiment(REPOSITORY / "experiments" / "live-demo.yaml").experiment
    assert found.live is not None
    return dataclasses.replace(
        found, name="growth-earlier" if earlier else "growth-live", live=dataclasses.replace(found.live, units_planned=units_planned)
    )


def fill(url: str, n: int, *, units_planned: int, earlier: bool = False) -> int:
    """Make `n` trials with their scores, votes and signals on the server.

    Returns:
        The experiment's number in the log.
    """
    begin = BEGIN - 2 * DAYS * 86_400 if earlier else BEGIN
    with LiveRecorder(url, growth_experiment(units_planned, earlier=earlier), clock=lambda: begin - 60) as recorder:
        live_id = recorder.live_id
    engine = open_engine(url)
    with engine.begin() as connection:
        indexes = list(_take_indexes(connection))
    for first, last in _ranges(n):
        with engine.begin() as connection:
            connection.execute(text("SELECT setseed(:seed)"), {"seed": first / n})
            before = connection.execute(text("SELECT coalesce(max(id), 0) FROM live_trials")).scalar_one()
            names: dict[str, Any] = {
                "live": live_id,
                "n": n,
                "prefix": "before_" if earlier else "growth_",
                "begin": begin,
                "span": DAYS * 86_400,
                "units": max(200, n // PER_UNIT),
            }
            connection.execute(text(_TRIALS.format(**names, first=first, last=last)))
            newest = connection.execute(text("SELECT max(id) FROM live_trials")).scalar_one()
            for statement in (_SCORES, _VOTES, _SIGNALS):
                connection.exec_driver_sql(statement.format(live=live_id, first=before + 1, last=newest).replace("%", "%%"))
        print(f"{last:,} of {n:,} trials made", flush=True)
    with engine.begin() as connection:
        for definition in indexes:
            connection.exec_driver_sql(definition)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in _FILLED:
            connection.execute(text(f"VACUUM (ANALYZE) {table}"))
    engine.dispose()
    return live_id


def _ranges(n: int) -> Iterator[tuple[int, int]]:
    for begin in range(1, n + 1, _AT_ONCE):
        yield begin, min(begin + _AT_ONCE - 1, n)


def _take_indexes(connection: Connection) -> Iterator[str]:
    """Drop the plain indexes for the time of the filling; yields how to make them again."""
    wanted = (
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_class t ON t.oid = i.indrelid WHERE t.relname IN :tables AND NOT i.indisunique AND NOT c.relispartition"
    )
    for name, definition in connection.execute(text(wanted).bindparams(bindparam("tables", expanding=True)), {"tables": _FILLED}).all():
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
        yield str(definition).replace(" ON ONLY ", " ON ")  # of a partitioned table: in every partition


def roll(url: str, live_id: int) -> float:
    """Seconds to bring the sums by unit up to date."""
    begin = time.perf_counter()
    with RollUp(url) as roll_up:
        roll_up.roll_units(live_id)
    return time.perf_counter() - begin


def analyse(url: str, units_planned: int) -> tuple[float, float, float]:
    """Seconds, MiB (peak of the process) and seconds of its own CPU of `ragtrial analyse --live --json`, with the start of Python and all imports."""
    source = (REPOSITORY / "experiments" / "live-demo.yaml").read_text(encoding="utf-8")
    source = source.replace("name: portwright-live", "name: growth-live").replace("units_planned: 300", f"units_planned: {units_planned}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "growth.yaml"
        path.write_text(f"{source}\nstores: {{sql: {json.dumps(url)}}}\n", encoding="utf-8")
        command = [str(Path(sys.executable).with_name("ragtrial")), "analyse", str(path), "--live", "--format", "json"]
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.stdout, process.stderr
            assert out is not None
            assert err is not None
            said, problem = out.read(), err.read()
            _pid, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        if process.returncode not in (0, 1):  # 1: the gate does not hold
            raise SystemExit(problem.decode())
        json.loads(said)
        return seconds, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def bare_scan(url: str, live_id: int) -> float:
    """Seconds of one mean by arm over all trials."""
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        begin = time.perf_counter()
        connection.execute(text(_SUM.format(live=live_id))).all()
        seconds = time.perf_counter() - begin
    engine.dispose()
    return seconds


def pandas_loads(url: str, live_id: int, n: int) -> tuple[float, float]:
    """Seconds and MiB of a data frame of `n` trials with their scores: what a notebook would load to analyse by unit."""
    import pandas as pd

    engine = open_engine(url, read_only=True)
    query = (
        "SELECT t.unit, t.arm, t.waited_ms, t.failure_stage, s.value FROM live_trials t LEFT JOIN live_scores s ON s.trial = t.id "
        "AND s.metric = 'nDCG@10' WHERE t.live_id = :live AND t.id <= :n"
    )
    with engine.connect() as connection:
        begin = time.perf_counter()
        frame = pd.read_sql(text(query), connection, params={"live": live_id, "n": n})
        seconds = time.perf_counter() - begin
    engine.dispose()
    return seconds, frame.memory_usage(deep=True).sum() / 2**20


def measure(url: str, live_id: int, *, units_planned: int, repeats: int, pandas_rows: int) -> dict[str, Any]:
    """All of it in one run."""
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        n, units = (
            connection.execute(text(query), {"live": live_id}).scalar_one()
            for query in ("SELECT count(*) FROM live_trials WHERE live_id = :live", "SELECT count(*) FROM live_units WHERE live_id = :live")
        )
    engine.dispose()
    rolled = roll(url, live_id)
    runs = [analyse(url, units_planned) for _ in range(repeats)]
    scans = [bare_scan(url, live_id) for _ in range(repeats)]
    seconds, mib = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
    loaded, loaded_mib = pandas_loads(url, live_id, pandas_rows)
    share = n / max(1, min(n, pandas_rows))
    return {
        "trials": n,
        "units": units,
        "roll_up_s": round(rolled, 2),
        "analyse_s": round(seconds, 2),
        "analyse_runs_s": [round(run[0], 2) for run in runs],
        "analyse_cpu_s": round(statistics.median(run[2] for run in runs), 2),
        "analyse_mib": round(mib),
        "bare_scan_s": round(statistics.median(scans), 2),
        "ratio_to_bare_scan": round(seconds / statistics.median(scans), 2),
        "pandas_rows": min(n, pandas_rows),
        "pandas_s": round(loaded, 2),
        "pandas_mib": round(loaded_mib),
        "pandas_scaled_s": round(loaded * share, 1),
        "pandas_scaled_mib": round(loaded_mib * share),
    }


def main() -> None:
    """Fill, sum, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="an empty database, or with --trials 0 one that was filled by this script")
    parser.add_argument("--trials", type=int, default=100_000, help="to make; 0: measure what is there")
    parser.add_argument("--units-planned", type=int, default=None, help="default: 2,000, from two million trials on 80,000")
    parser.add_argument("--earlier", action="store_true", help="an experiment that had ended before has as many trials of the same users")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pandas-rows", type=int, default=500_000)
    arguments = parser.parse_args()
    planned = arguments.units_planned or (80_000 if not arguments.trials or arguments.trials > 2_000_000 else 2_000)
    live_id = 1
    if arguments.trials:
        begin = time.perf_counter()
        if arguments.earlier:
            roll(arguments.url, fill(arguments.url, arguments.trials, units_planned=planned, earlier=True))
        live_id = fill(arguments.url, arguments.trials, units_planned=planned)
        print(f"{arguments.trials:,} trials made in {time.perf_counter() - begin:.0f} s", flush=True)
        print(f"summed by unit the first time in {roll(arguments.url, live_id):.0f} s", flush=True)
    upgrade(arguments.url)
    found = measure(arguments.url, live_id, units_planned=planned, repeats=arguments.repeats, pandas_rows=arguments.pandas_rows)
    print(
        f"{found['trials']:,} trials of {found['units']:,} users and arms: analysed in {found['analyse_s']} s and {found['analyse_mib']} MiB; "
        f"one bare scan of the table takes {found['bare_scan_s']} s (ratio {found['ratio_to_bare_scan']}); pandas loads "
        f"{found['pandas_rows']:,} of them in {found['pandas_s']} s and {found['pandas_mib']:,} MiB, "
        f"all of them in some {found['pandas_scaled_s']} s and {found['pandas_scaled_mib']:,} MiB"
    )
    good = found["analyse_s"] < GOAL_SECONDS and found["analyse_mib"] < GOAL_MIB
    print(f"goal of under {GOAL_SECONDS:g} s and {GOAL_MIB} MiB {'reached' if good else 'NOT reached'}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
