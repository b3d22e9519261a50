"""`kill -9` at any moment of a run that asks an LLM, then again: no answer that was kept is paid for twice, and the results are the same."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from repeating import times

KILLS = times(20, 7)
N = 200
CONCURRENCY = 8
TESTS = Path(__file__).resolve().parents[1]

# One interpreter imports everything once and forks a child for each run, so that kills hit the run and not its imports.
DRIVER = """
import json, os, sys
from pathlib import Path
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import ChatRequest, Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
import openai, aiohttp
openai.DefaultAioHttpClient
def run(url, folder, output, n, concurrency):
    requests = [
        ChatRequest(endpoint=Endpoint(base_url=url, model="m"), system="You answer.", user="item " + "x" * number, prompt="test/1",
                    sampling=Sampling(), schema={"enum": ["a", "b", "c"]})
        for number in range(n)
    ]
    with CallCache(Path(folder)) as cache, Gate(Limits(concurrency=concurrency), prices=read_prices(), cache=cache) as gate:
        outcomes = gate.complete(requests)
    Path(output).write_text(json.dumps([[o.key, o.text, o.prompt_tokens, o.completion_tokens] for o in outcomes]))
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run(**json.loads(line))
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Driver:
    """Runs in children that can be killed."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "platform")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, **run: object) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**run, "n": N, "concurrency": CONCURRENCY}) + "\n")
        self.process.stdin.flush()
        return int(self.line())

    def wait(self) -> int:
        return int(self.line())


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    running = Driver()
    yield running
    running.process.kill()
    running.process.wait()


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A scripted server as a process of its own; its address."""
    process = subprocess.Popen([sys.executable, str(TESTS / "scripted_llm.py"), "--delay-ms", "20"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def n_answered(url: str) -> int:
    with urllib.request.urlopen(f"{url}/count") as response:  # noqa: S310  # our own server
        return int(json.load(response)["answered"])


@pytest.mark.slow
def test_a_killed_run_pays_again_for_nothing_but_what_was_in_flight(driver: Driver, tmp_path: Path):
    with server() as url:
        start = time.perf_counter()
        driver.start(url=f"{url}/v1", folder=str(tmp_path / "whole"), output=str(tmp_path / "whole.json"))
        assert driver.wait() == 0
        duration = time.perf_counter() - start
        assert n_answered(url) == N

        rng = random.Random(20)
        killed = paid_more = 0
        # The same address, which is part of each key: only the caches differ.
        for round_ in range(KILLS):
            folder, output = str(tmp_path / f"calls-{round_}"), tmp_path / f"{round_}.json"
            before, killed_now = n_answered(url), 0
            for fraction in (rng.uniform(0.0, 0.9), rng.uniform(0.0, 0.5)):
                child = driver.start(url=f"{url}/v1", folder=folder, output=str(output))
                time.sleep(fraction * duration)
                with contextlib.suppress(ProcessLookupError):  # it was faster this time
                    os.kill(child, signal.SIGKILL)
                killed_now += driver.wait() == -signal.SIGKILL
            driver.start(url=f"{url}/v1", folder=folder, output=str(output))
            assert driver.wait() == 0
            paid = n_answered(url) - before
            assert N <= paid <= N + killed_now * CONCURRENCY
            assert json.loads(output.read_text()) == json.loads((tmp_path / "whole.json").read_text())
            killed, paid_more = killed + killed_now, paid_more + paid - N
    print(f"{killed} kills of {2 * KILLS} hit a running child; {paid_more} of {KILLS * N} calls were paid for twice")  # noqa: T201
    assert killed >= KILLS, "most kills must hit a running child for this test to mean anything"


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_still_comes_to_its_end(driver: Driver, tmp_path: Path):
    """One cache, killed over and over at random moments, each time a little further."""
    rng, folder, output = random.Random(3), str(tmp_path / "calls"), tmp_path / "out.json"
    killed = 0
    with server() as url:
        for _ in range(KILLS):
            child = driver.start(url=f"{url}/v1", folder=folder, output=str(output))
            time.sleep(rng.uniform(0.0, 0.25))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            killed += driver.wait() == -signal.SIGKILL
        driver.start(url=f"{url}/v1", folder=folder, output=str(output))
        assert driver.wait() == 0
        assert N <= n_answered(url) <= N + killed * CONCURRENCY
    results = json.loads(output.read_text())
    assert len({key for key, *_ in results}) == len(results) == N
