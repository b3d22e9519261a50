"""`ragtrial serve` as a child process: for the live demo, and for tests that need the real thing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from ragtrial.errors import SetupError

_SERVE = "from ragtrial.cli.main import main; main()"
_ASK_EVERY_S = 0.2
_STOPS_WITHIN_S = 20.0
_TAIL = 15


@contextlib.contextmanager
def child_service(
    experiment: Path, *, log: Path, environment: Mapping[str, str] | None = None, ready_within_s: float = 120.0
) -> Iterator[str]:
    """Serve the experiment on a free loopback port until the block ends; the root address of the service.

    It is stopped with SIGTERM, so that it finishes what it has begun; whatever ends the block, no process stays behind.

    Args:
        experiment: The experiment file.
        log: File that gets all that the service prints.
        environment: Variables besides those of this process.
        ready_within_s: How long loading and warming the models may take.

    Raises:
        SetupError: It ended, or was not ready in time; with the last lines that it printed.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", _SERVE, "serve", str(experiment), "--host", "127.0.0.1", "--port", str(port)]
    # One thread a forward pass: on few cores more of them spin and take the time from the traffic.
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # A session of its own: Ctrl-C reaches this process only, which then stops the child in order.
    with log.open("w", encoding="utf-8") as printed:
        child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**threads, **os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait_until_ready(child, url, log, ready_within_s)
        yield url
    finally:
        _stop(child)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(child: "subprocess.Popen[bytes]", url: str, log: Path, within_s: float) -> None:
    asking = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the environment is not for our own child
    deadline, said = time.monotonic() + within_s, "nothing yet"
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SetupError(f"the service ended with code {child.returncode} before it was ready; the end of {str(log)!r}:\n{_tail(log)}")
        try:
            with asking.open(f"{url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            said = _readiness(error)
        except OSError as error:
            said = str(error)
        time.sleep(_ASK_EVERY_S)
    raise SetupError(f"the service was not ready within {within_s:g} s ({said}); the end of {str(log)!r}:\n{_tail(log)}")


def _readiness(error: urllib.error.HTTPError) -> str:
    try:
        return json.dumps(json.load(error))
    except ValueError:
        return str(error)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(_STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]) or "(it printed nothing)"
