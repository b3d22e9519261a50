"""Servers as processes of their own that don't import everything anew: one interpreter has imported it all, and forks.

process = forked(["ragtrial", "serve", "live.yaml"], log=folder / "log", environment={...})
process.send_signal(signal.SIGKILL)
process.wait(10)

A start costs milliseconds instead of seconds of both cores. What a start is itself about (imports, signals before it listens, several
workers) is tested with real starts: `tests/journeys/test_api_process.py`, `test_dashboard_command.py`.
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PARENT = """
import json, os, runpy, signal, sys
from pathlib import Path
import ragtrial.cli.main, ragtrial.api.factory, ragtrial.suite.serving, ragtrial.suite.steering, ragtrial.suite.curating
import ragtrial.report.summary, ragtrial.report.live_summary, ragtrial.report.drawing, ragtrial.report.live_words
import ragtrial.db.engine, ragtrial.db.live_reader, ragtrial.db.board_reader, ragtrial.suite.labelling, ragtrial.suite.rolling
import alembic.command, altair, authlib.integrations.starlette_client, httpx, milvus_lite, pandas, pyarrow, pymilvus, scipy.stats, statsmodels.api
import streamlit, streamlit.web.bootstrap, streamlit.web.server, uvicorn, vl_convert

held = []

def reap(*_):
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        os.write(1, (json.dumps([child, os.waitstatus_to_exitcode(status)]) + chr(10)).encode())

def become(given, mine):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(given["folder"])
    log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(mine, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for other in held:
        os.close(other)
    os.environ.clear()
    os.environ.update(given["environment"])
    sys.argv = given["command"]
    try:
        if sys.argv[0] == "ragtrial":
            ragtrial.cli.main.main()
        else:
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 0)

signal.signal(signal.SIGCHLD, reap)
os.write(1, b"ready" + bytes([10]))
for line in sys.stdin:
    mine, theirs = os.pipe()  # the child's standard input, closed when we end
    held.append(theirs)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        become(json.loads(line), mine)
    os.close(mine)
    os.write(1, (json.dumps([child, None]) + chr(10)).encode())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
"""


class Forked:
    """A process that can be asked and ended as a `subprocess.Popen`."""

    def __init__(self, pid: int, ended: Mapping[int, int], news: threading.Condition) -> None:
        self.pid = pid
        self._ended, self._news = ended, news

    @property
    def returncode(self) -> int | None:
        """How it ended, None while it runs."""
        return self._ended.get(self.pid)

    def poll(self) -> int | None:
        """How it ended, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        with self._news:
            if not self._news.wait_for(lambda: self.pid in self._ended, timeout):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._ended[self.pid]

    def send_signal(self, which: int) -> None:
        """As `kill`, but never to whoever has got its number since."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)


class _Parent:
    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.ended: dict[int, int] = {}
        self.news = threading.Condition()
        self._started: list[int] = []
        threading.Thread(target=self._listen, daemon=True, name="ended processes").start()
        atexit.register(self.process.kill)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            pid, code = json.loads(line)
            with self.news:
                if code is None:
                    self.ended.pop(pid, None)
                    self._started.append(pid)
                else:
                    self.ended[pid] = code
                self.news.notify_all()

    def start(self, given: Mapping[str, Any]) -> Forked:
        assert self.process.stdin is not None
        with self.news:
            self.process.stdin.write(json.dumps(given).encode() + b"\n")
            self.process.stdin.flush()
            assert self.news.wait_for(lambda: bool(self._started), 60), "nothing was forked"
            return Forked(self._started.pop(), self.ended, self.news)


@functools.cache
def _parent() -> _Parent:
    return _Parent()


def forked(command: Sequence[str | Path], *, log: Path, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Forked:
    """Run `ragtrial ...` or a Python script, with what it says appended to `log`.

    Its standard input stays open as long as these tests run.
    """
    given = {
        "command": [str(word) for word in command],
        "folder": str(folder or Path.cwd()),
        "log": str(log),
        "environment": {**os.environ, **(environment or {})},
    }
    return _parent().start(given)
