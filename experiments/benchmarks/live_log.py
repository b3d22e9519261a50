"""Durable live trials a second through `LiveRecorder` (32 threads, each waiting for its own) against one commit for each trial.

Both write the same rows to SQLite (WAL, same synchronous level) in one run: ours through the one writer thread with group commit, the
plain loop with the statement compiled once, one transaction for each trial, and nobody else who writes. The goal is at least 2,000
logged trials/s; what counts for a comparison between machines is the ratio.
"""

import argparse
import statistics
import tempfile
import threading
from hashlib import sha256
from pathlib import Path

from measuring import REPOSITORY, timed

from ragtrial.db.engine import open_engine
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_rows import trial_row
from ragtrial.db.live_writing import BatchWriter, Log
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_trial import LiveTrial, StoredQuery
from ragtrial.domain.trial import Answer, Hit, Ranking, Timings, Trial, Usage
from ragtrial.formats.experiment import load_experiment
from ragtrial.splitting import pseudonym

GOAL = 2_000
QUESTION = "How do I open the gate when the token has expired and nobody at the desk answers the phone?"
ANSWER = "The gate is opened with a new token, which the desk issues against the badge. " * 3
PASSAGES = tuple(f"handbook/gates.md#{n}" for n in range(10))


def trial_of(number: str) -> LiveTrial:
    """A trial as a service would log it: ten hits, an answer of three sentences."""
    digest = sha256(number.encode()).hexdigest()[:32]
    arm = "custom" if number[-1] in "02468" else "baseline"
    hits = tuple(Hit(passage_id=passage, similarity=0.9 - 0.01 * rank) for rank, passage in enumerate(PASSAGES))
    answer = Answer(text=ANSWER, cited=PASSAGES[:2], generator="extractive/1", usage=Usage(prompt_tokens=700, completion_tokens=60))
    timings = Timings(embed_ms=7.0, search_ms=2.0, generate_ms=1.0)
    return LiveTrial(
        trial_id=f"trial_{number}",
        request_id=f"trial_{number}",
        experiment="bench",
        unit=pseudonym(number[:-1]),
        assignment=Assignment(unit=None, arm=arm, reason="split", bucket=7, propensity=0.5, version=1),
        served=True,
        query=StoredQuery(text=QUESTION, digest=digest, stored="full"),
        trial=Trial(arm=arm, query_id=digest, ranking=Ranking(query_id=digest, hits=hits), answer=answer, timings=timings),
        waited_ms=11.5,
        idempotency_key=f"key-{number}",
        caller="bench",
        at=1_800_000_000.0,
    )


def grouped(recorder: LiveRecorder, run: str, *, n_trials: int, n_threads: int) -> None:
    """Each thread logs a trial, waits until it is durable, and goes on."""

    def work(thread: int) -> None:
        for n in range(n_trials // n_threads):
            recorder.log(trial_of(f"{run}{thread:03}{n:06}")).result()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_by_one(writer: BatchWriter, live_id: int, run: str, *, n_trials: int) -> None:
    """A transaction for each trial."""
    for n in range(n_trials):
        writer.write([Log(rows=(trial_row(live_id, trial_of(f"{run}{n:09}")),))])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--trials", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the database is made; default: the temporary folder")
    parser.add_argument("--url", default=None, help="another database instead, e.g. a PostgreSQL")
    arguments = parser.parse_args()
    experiment = load_experiment(REPOSITORY / "experiments" / "live-demo.yaml").experiment
    for durability, synchronous in (("power", "FULL"), ("process", "NORMAL")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            url = arguments.url or f"sqlite:///{folder}/log.db"
            engine = open_engine(url, synchronous=synchronous)
            plain = BatchWriter(engine, name=url, experiment=experiment.name, late_days=7)
            found: list[float] = []
            with LiveRecorder(url, experiment, durability=durability) as recorder:
                for repeat in range(arguments.repeats):
                    run, few = f"{durability}{repeat}", max(arguments.trials // 10, 1)
                    ours = arguments.trials / timed(
                        lambda run=run: grouped(recorder, f"{run}a", n_trials=arguments.trials, n_threads=arguments.threads)
                    )
                    loop = few / timed(lambda run=run, few=few, plain=plain: one_by_one(plain, recorder.live_id, f"{run}b", n_trials=few))
                    found.append(ours)
                    print(
                        f"{durability:8} synchronous {synchronous:6}: {ours:7,.0f} trials/s through the recorder, {loop:7,.0f} one by one, "
                        f"ratio {ours / loop:.1f}",
                        flush=True,
                    )
            engine.dispose()
        verdict = "reached" if statistics.median(found) >= GOAL else "NOT reached"
        print(f"{durability:8} median {statistics.median(found):,.0f} trials/s; goal of at least {GOAL:,} {verdict}")


if __name__ == "__main__":
    main()
