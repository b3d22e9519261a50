"""A process that is killed while it writes leaves whole batches, and what it said was written is there."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.gold import GoldSet, Query
from unit.db import samples

BATCH, HITS, SCORES, BATCHES = 40, 4, 2, 400

WRITER = """
import dataclasses, sys
from ragtrial.db.recorder import Recorder
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from unit.db import samples
from unit.db.test_killed_writer import BATCH, BATCHES

with Recorder(sys.argv[1]) as recorder:
    recorder.resume("e1")
    print("ready", flush=True)
    for number in range(int(sys.argv[2]), BATCHES):
        batch = []
        for place in range(BATCH):
            ranking = samples.ranking("q1", "p1", "p2", "p3", "p4")
            trial = Trial(arm="custom", query_id="q1", repetition=number * BATCH + place, ranking=ranking)
            batch.append((trial, (Score(metric="R@1", value=1.0, scorer="r/1"), Score(metric="R@5", value=1.0, scorer="r/1"))))
        recorder.append("e1", batch, samples.PASSAGES)
        print(number + 1, flush=True)
"""


def test_a_killed_writer_leaves_whole_batches_and_all_that_it_acknowledged(sqlite_url: str) -> None:
    gold = GoldSet(name="g", queries=(Query(query_id="q1", text="Who?"),), judgments=())
    evaluation = dataclasses.replace(samples.evaluation(), n_queries=1, gold_fingerprint=gold.fingerprint)
    with Recorder(sqlite_url) as recorder:
        recorder.open_evaluation(evaluation, experiment=samples.EXPERIMENT, gold=gold, n_trials_planned=BATCH * BATCHES)
    chance = random.Random(11)
    tests = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent / "platform"), str(tests)])}
    written = 0
    for _kill in range(10):
        command = [sys.executable, "-c", WRITER, sqlite_url, str(written)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.15))
            process.send_signal(signal.SIGKILL)
            said = [int(line) for line in process.stdout.read().splitlines() if line.strip()]
        acknowledged = max(said, default=written)
        with Reader(sqlite_url) as reader:
            done, counts = reader.done("e1"), reader.counts()
        assert len(done) % BATCH == 0
        assert len(done) == counts["trials"]
        assert counts["hits"] == HITS * counts["trials"]
        assert counts["scores"] == SCORES * counts["trials"]
        assert {repetition for _arm, _query, repetition in done} == set(range(len(done)))
        written = len(done) // BATCH
        assert written in (acknowledged, acknowledged + 1)  # one may be committed and not yet be said
    assert written > 0
