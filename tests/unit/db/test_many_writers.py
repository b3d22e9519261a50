"""Several processes may begin on one new database at once: the schema is made once, and they write by turns."""

import os
import subprocess
import sys
from pathlib import Path

from ragtrial.db.reader import Reader
from unit.db import samples

WRITER = """
import sys
from ragtrial.db.recorder import Recorder
from unit.db import samples

url, name = sys.argv[1:]
with Recorder(url) as recorder:
    recorder.open_evaluation(samples.evaluation(name), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=20)
    for repetition in range(20):
        one = samples.trial("custom", "q1", repetition)
        recorder.append(name, [(one, samples.scores_of(one))], samples.PASSAGES)
"""


def test_processes_that_begin_on_a_new_database_at_once_all_write_everything(url: str) -> None:
    tests = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent / "platform"), str(tests)])}
    names = ["a", "b", "c"]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, name], env=environment, stderr=subprocess.PIPE, text=True) for name in names
    ]
    for writer in writers:
        _out, complaint = writer.communicate(timeout=120)
        assert writer.returncode == 0, complaint
    with Reader(url) as reader:
        for name in names:
            assert reader.trials(name) == tuple(samples.trial("custom", "q1", repetition) for repetition in range(20))
        counts = reader.counts()
    assert {table: counts[table] for table in ("experiments", "arms", "evaluations", "passages", "trials", "hits", "scores")} == {
        "experiments": 1,
        "arms": 2,
        "evaluations": 3,
        "passages": 4,
        "trials": 60,
        "hits": 120,
        "scores": 120,
    }
