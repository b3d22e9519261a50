"""Trials per second that the runner itself logs to SQLite: hashing embedder, exact search in memory, no generation.

The peer, in the same run, is the bare loop: embed, search, keep the hits in a list, with no metrics and no log. The ratio says what
scoring and durable logging cost on top of it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from measuring import REPOSITORY

from ragtrial.build import build_index
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.embedding.cache import VectorCache
from ragtrial.evaluation import BATCH_SIZE, Line, evaluate, order_of
from ragtrial.index.exact import ExactIndex
from ragtrial.settings import read_settings
from ragtrial.suite import preparing, running
from ragtrial.suite.arms import load_models, ready_arms

sys.path.insert(0, str(REPOSITORY / "tests"))
from material import write_beir_folder, write_experiment


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--milvus", action="store_true", help="search in Milvus Lite, whose search then is nearly all of the time")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    data = write_beir_folder(folder / "data", n_passages=arguments.passages, n_queries=arguments.queries)
    path = write_experiment(
        folder / "experiment.yaml",
        data,
        generation={"provider": "none"},
        references=[],
        metrics={"primary": {"name": "nDCG@10"}, "secondary": ["R@1", "R@3", "R@5", "R@10", "P@5", "RR@10", "AP@10", "Success@1"]},
        analysis={"latency_queries": 0},
    )
    prepared = preparing.prepare(path, settings=read_settings())
    index = build_index(str(folder / "milvus.db"), token=None) if arguments.milvus else ExactIndex()
    url = f"sqlite:///{folder / 'log.db'}"
    with VectorCache(folder / "vectors") as cache, Recorder(url) as recorder, Reader(url) as reader:
        arms = ready_arms(prepared, load_models(prepared), index=index, cache=cache, progress=lambda _d, _t: lambda _n: None)
        metrics = running.metrics_of(prepared.experiment, prepared.gold)
        scorers = running.build_scorers(metrics, corpus=prepared.corpus, similarity=None)
        lines = [Line(pipeline=running.arm_pipeline(prepared, arm, timed=True), scorers=scorers) for arm in arms]
        run = running.evaluation_of(prepared, arms, lines, reader)
        queries = order_of(prepared.gold, seed=1)
        n_trials = len(queries) * len(lines)
        recorder.open_evaluation(run, experiment=prepared.experiment, gold=prepared.gold, n_trials_planned=n_trials)
        start = time.perf_counter()
        for line in lines:
            for first in range(0, len(queries), BATCH_SIZE):
                line.pipeline.retrieve(queries[first : first + BATCH_SIZE])
        bare = time.perf_counter() - start
        start = time.perf_counter()
        evaluate(
            evaluation_id=run.evaluation_id,
            queries=queries,
            gold=prepared.gold,
            lines=lines,
            passages=prepared.corpus.by_id,
            repetitions=1,
            n_timed=0,
            recorder=recorder,
            done=set(),
        )
        ours = time.perf_counter() - start
    index.close()
    print(f"{n_trials:,} trials with 10 hits and {len(metrics)} scores each, committed to SQLite in batches of {BATCH_SIZE} queries")
    print(f"{n_trials / ours:,.0f} trials/s logged (goal: at least 1,000); {ours / bare:.2f} times the bare embed-and-search loop")


if __name__ == "__main__":
    main()
