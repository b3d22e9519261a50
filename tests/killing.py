"""Commands that can be killed, and what they left: shared by the tests that kill evaluations."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

# One interpreter imports everything once and forks a child for each run: a real process to kill, without seconds of imports each.
DRIVER = """
import os, sys, json
from pathlib import Path
import ragtrial.cli.main, ragtrial.suite.running, ragtrial.suite.concluding, ragtrial.report.files, ragtrial.llm.gate
import bm25s, pyarrow, pymilvus, scipy.stats, statsmodels.api, altair, vl_convert, alembic.command, rouge_score.rouge_scorer, junitparser
import ragtrial.build, ragtrial.db.recorder, ragtrial.db.conclusions, ragtrial.scoring.lexical, ragtrial.report.html, ragtrial.report.slide
MORE
print("ready", flush=True)
for line in sys.stdin:
    arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        sys.argv = ["ragtrial", *arguments]
        try:
            ragtrial.cli.main.main()
        except SystemExit as stop:
            os._exit(stop.code or 0)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Driver:
    """Runs `ragtrial` commands in children that can be killed.

    Args:
        more: Further modules to import once.
        script: What is run instead: it says `ready`, and for each line that it reads the number of a child, and how that ended.
    """

    def __init__(self, *more: str, script: str = DRIVER) -> None:
        imports = "\n".join(f"import {name}" for name in more)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script.replace("MORE", imports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, *arguments: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.line())

    def wait(self) -> int:
        return int(self.line())

    def run(self, *arguments: str) -> int:
        self.start(*arguments)
        return self.wait()


def result_of(output: Path) -> dict:
    """The report without what may differ between two runs of the same thing: times."""
    content = json.loads((output / "report.json").read_text())
    for key in ("timing", "latency"):
        content.pop(key, None)
    content["metrics"] = [metric for metric in content["metrics"] if not metric["name"].endswith("_ms")]
    content["verdict"].pop("sentence")  # may quote latency
    content["verdict"].pop("reasons", None)
    content.pop("guardrails", None)
    return content


def logged(folder: Path) -> list[tuple]:
    """Every trial with its ranking and scores, times left out."""
    with sqlite3.connect(folder / ".ragtrial" / "ragtrial.db") as database:
        trials = database.execute(
            "select arm, query_id, repetition, answer_text, finish_reason, cited, answer_shared, id from trials"
        ).fetchall()
        hits: dict[int, list] = {}
        for trial, *hit in database.execute("select trial_id, rank, passage_id, similarity from hits order by trial_id, rank"):
            hits.setdefault(trial, []).append(hit)
    return sorted((*trial[:-1], str(hits.get(trial[-1]))) for trial in trials)
