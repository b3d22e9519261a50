"""`ragtrial db import` of N live trials and their scores against bare COPY of the same rows, ready as CSV, into the same tables.

Both write to a PostgreSQL of their own making in one run, in turn: ours reads Parquet, checks every value, completes the columns, looks up
the trials of scores, and commits once; the bare COPY is told everything and checks nothing but what the tables check. The goal is half of
its speed for an insert-only import of trials.

With `--triggers` it measures what the sums by unit cost the service instead: trials, each with a score and a vote, through the recorder's
group commit, with the triggers that tell of changed units and without them, in turn.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from measuring import REPOSITORY, timed
from sqlalchemy import text

from ragtrial.db.engine import open_engine
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.schema import upgrade
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_trial import LiveTrial, StoredQuery, Vote
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial, Usage
from ragtrial.formats.experiment import load_experiment
from ragtrial.splitting import pseudonym
from ragtrial.suite.log_importing import import_log

GOAL = 0.5
_BATCH, _WARM = 500, 4
_LOG = ("live_trials", "live_trial_keys", "live_scores", "live_votes", "live_signals", "live_comparisons",
        "live_units", "live_unit_scores", "live_unit_changes")  # fmt: skip
_ANSWER = "The gate is opened with a new token, which the desk issues against the badge."


def trials_of(n: int, run: str) -> pa.Table:
    """Trials as a service would have logged them, with two hits and an answer of a sentence."""
    rng = np.random.default_rng(7)
    units = [pseudonym(f"user {number}") for number in range(max(1, n // 10))]
    unit = rng.integers(0, len(units), n)
    arms = np.where(unit % 2 == 0, "custom", "baseline")
    ids = pa.array([f"{run}{number:09}" for number in range(n)])
    columns: dict[str, Any] = {
        "trial_id": ids, "request_id": ids, "served": np.ones(n, dtype=bool), "unit": pa.array(units).take(pa.array(unit)),
        "arm": arms, "assigned_arm": arms, "reason": np.full(n, "split"), "bucket": unit % 10_000, "version": np.ones(n, dtype=np.int64),
        "propensity": np.full(n, 0.5), "at": 1.8e9 + np.arange(n), "waited_ms": rng.lognormal(4.0, 0.35, n), "embed_ms": rng.random(n) * 10,
        "search_ms": rng.random(n) * 5, "generate_ms": rng.random(n) * 50, "cost_usd": np.full(n, 0.0004),
        "prompt_tokens": np.full(n, 640), "completion_tokens": np.full(n, 40), "n_hits": np.full(n, 2), "answer_shared": np.zeros(n, dtype=bool),
        "solicited": rng.random(n) < 0.05, "finish_reason": np.full(n, "stop"), "generator": np.full(n, "extractive/1"),
        "caller": np.full(n, "bench"), "query_digest": pa.array([f"{number % 977:032x}" for number in range(n)]),
        "query_stored": np.full(n, "full"), "query_text": pa.array([f"How do I open gate {number % 977}?" for number in range(n)]),
        "hits": np.full(n, '[["handbook/gates.md#1",0.9],["handbook/gates.md#2",0.8]]'), "cited": np.full(n, '["handbook/gates.md#1"]'),
        "answer_text": np.full(n, _ANSWER),
    }  # fmt: skip
    return pa.table(columns)


def _bare(url: str, table: pa.Table, csv: bytes) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        raw: Any = connection.connection.driver_connection
        names = ", ".join(table.schema.names)
        with raw.cursor() as cursor, cursor.copy(f"COPY live_trials ({names}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(csv)
    engine.dispose()


def _csv(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pc.write_csv(table, sink, pc.WriteOptions(include_header=False))
    return sink.getvalue().to_pybytes()


def _emptied(url: str) -> None:
    engine = open_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"TRUNCATE {', '.join(_LOG)} CASCADE"))
        connection.execute(text("CHECKPOINT"))
    engine.dispose()


def measure(url: str, n: int, folder: Path) -> tuple[float, float]:
    """Rows a second of ours and of the bare COPY, each into empty tables."""
    source = (REPOSITORY / "experiments" / "live-demo.yaml").read_text(encoding="utf-8").replace("../seeds", str(REPOSITORY / "seeds"))
    path = folder / "live.yaml"
    path.write_text(f"{source}\nstores: {{sql: {json.dumps(url)}}}\n", encoding="utf-8")
    with LiveRecorder(url, load_experiment(path).experiment) as recorder:
        live_id = recorder.live_id
    table, file = trials_of(n, "t"), folder / "trials.parquet"
    pq.write_table(table, file)
    _emptied(url)
    ours = n / timed(lambda: import_log(path, {"trials": [file]}))
    _emptied(url)
    rows = table.append_column("live_id", pa.array(np.full(n, live_id, dtype=np.int32)))
    csv = _csv(rows)
    bare = n / timed(lambda: _bare(url, rows, csv))
    return ours, bare


def _live_trial(name: str, number: int) -> LiveTrial:
    arm, digest = ("custom", "baseline")[number % 2], f"{number % 977:032x}"
    hits = tuple(Hit(passage_id=f"handbook/gates.md#{place}", similarity=1 - place / 10) for place in (1, 2))
    answer = Answer(
        text=_ANSWER, cited=("handbook/gates.md#1",), generator="extractive/1", usage=Usage(prompt_tokens=640, completion_tokens=40)
    )
    made = Trial(arm=arm, query_id=digest, ranking=Ranking(query_id=digest, hits=hits), answer=answer)
    return LiveTrial(
        trial_id=name,
        request_id=name,
        experiment="bench",
        unit=pseudonym(f"user {number % 5_000}"),
        assignment=Assignment(unit=None, arm=arm, reason="split", bucket=1, propensity=0.5, version=1),
        served=True,
        query=StoredQuery(text=f"How do I open gate {number % 977}?", digest=digest, stored="full"),
        trial=made,
        waited_ms=50.0,
        caller="bench",
        at=1.8e9 + number,
    )


def _written(recorder: LiveRecorder, first: int) -> float:
    """Seconds to write a batch of trials, and then a score and a vote of each."""
    names = [f"t{number:09}" for number in range(first, first + _BATCH)]
    trials = [_live_trial(name, first + place) for place, name in enumerate(names)]

    def write() -> None:
        _all_well([recorder.log(trial) for trial in trials])
        said: list[Any] = [recorder.score(name, [Score(metric="nDCG@10", value=0.5, scorer="bench")]) for name in names]
        said += [recorder.vote(Vote(trial_id=name, key="v", thumb="up", at=1.8e9)) for name in names]
        _all_well(said)

    return timed(write)


def _all_well(futures: list[Any]) -> None:
    for future in futures:
        future.result(60)


def measure_triggers(url: str, n: int) -> tuple[list[float], list[float]]:
    """Seconds of each batch with the triggers, and without them, in turn."""
    upgrade(url)
    _emptied(url)
    engine = open_engine(url)
    found: tuple[list[float], list[float]] = ([], [])
    source = load_experiment(REPOSITORY / "experiments" / "live-demo.yaml").experiment
    with LiveRecorder(url, source) as recorder, RollUp(url) as roll_up:
        roll_up.roll_units(recorder.live_id)  # from now on changes are told of
        for batch in range(n // _BATCH):
            without = (batch + 1) // 2 % 2  # first with, then twice without, then twice with, ...
            with engine.begin() as connection:
                for table in ("live_trials", "live_scores", "live_votes", "live_signals"):
                    connection.execute(text(f"ALTER TABLE {table} {'DISABLE' if without else 'ENABLE'} TRIGGER USER"))
            seconds = _written(recorder, batch * _BATCH)
            if batch >= _WARM:
                found[without].append(seconds)
        roll_up.roll_units(recorder.live_id)
    engine.dispose()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="an empty PostgreSQL database; its live log is emptied between the runs")
    parser.add_argument("--trials", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--triggers", action="store_true", help="what the triggers cost whoever writes trial by trial")
    arguments = parser.parse_args()
    if arguments.triggers:
        on, off = (statistics.median(seconds) for seconds in measure_triggers(arguments.url, arguments.trials))
        said = f"{_BATCH / on:,.0f} trials/s with triggers, {_BATCH / off:,.0f} without, each with a score and a vote"
        print(f"{said}: {on / off:.2f} times as long (medians of batches in turn)")
        return
    ratios = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            ours, bare = measure(arguments.url, arguments.trials, Path(folder))
        ratios.append(ours / bare)
        print(f"{ours:9,.0f} trials/s imported, {bare:9,.0f} by bare COPY, ratio {ratios[-1]:.2f}", flush=True)
    verdict = "reached" if statistics.median(ratios) >= GOAL else "NOT reached"
    print(f"median ratio {statistics.median(ratios):.2f}; goal of at least {GOAL:g} {verdict}")


if __name__ == "__main__":
    main()
