"""The dashboard's pages over a million live trials and 100,000 offline ones, against the page that loads rows into pandas, in one run.

Chromium opens each page of the real server and waits until it has come to rest; then somebody uses it. Goals: the first paint within 2 s,
each use within 1 s. The peer (`naive_board.py`) reads the same tables of the same database. With `--elsewhere`, last, a service that logs
200 trials/s is timed while five viewers and the roll-up are busy with its database, against the same with another database like it: what
counts is what reading costs whoever writes, and not that the processors are busy.

    python experiments/benchmarks/board_log.py --url sqlite:////tmp/board.db
    ragtrial roll-up experiments/live-demo.yaml --database sqlite:////tmp/board.db
    python experiments/benchmarks/board.py --url sqlite:////tmp/board.db
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from board_log import live_experiment
from live_log import trial_of
from measuring import REPOSITORY
from sqlalchemy import func, select

from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader

PAINT_S, USE_S, WRITING_S = 2.0, 1.0, 30
LIVE = REPOSITORY / "experiments" / "live-demo.yaml"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
_WATCH = """() => {
  window.benchStates = [];
  const app = document.querySelector("[data-testid=stApp]");
  new MutationObserver(() => window.benchStates.push(app.dataset.testScriptState)).observe(app, {attributes: true});
}"""
_NAIVE_PATIENCE_MS = 600_000


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of one page: each opening, and each use; and what became of uses that failed."""

    paints: list[float] = field(default_factory=list)
    uses: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def server(command: list[str], environment: dict[str, str], port: int) -> Iterator[str]:
    """A server in a process of its own, from when it answers."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/_stcore/health").status_code == 200:
                    break
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def board(url: str) -> Any:
    """The dashboard's server."""
    port = free_port()
    told = json.dumps({"url": url, "open": True, "port": port})
    return server([sys.executable, str(REPOSITORY / "dashboards" / "server.py"), "app.py"], {"RAGTRIAL_BOARD": told}, port)


def naive(url: str) -> Any:
    """The peer's."""
    port = free_port()
    script = str(REPOSITORY / "experiments" / "benchmarks" / "naive_board.py")
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", script, *options, "--browser.gatherUsageStats", "false"]
    return server(command, {"NAIVE_URL": url}, port)


def opened(page: Any, address: str, *, patience_ms: int = 60_000) -> float:
    """Seconds from asking for a page until it has come to rest."""
    begin = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(AT_REST, timeout=patience_ms)
    page.wait_for_selector("[data-testid=stMainBlockContainer] [data-testid=stElementContainer]", timeout=patience_ms)
    return time.perf_counter() - begin


def used(page: Any, use: Callable[[Any], None]) -> float:
    """Seconds from a click until the run that it asked for is over. Fails where nothing ran: there would be nothing to time."""
    page.evaluate(_WATCH)
    begin = time.perf_counter()
    use(page)
    page.wait_for_function("window.benchStates.includes('running')", timeout=5_000)
    page.wait_for_selector(AT_REST, timeout=60_000)
    return time.perf_counter() - begin


def uses(evaluation: str, live: int) -> dict[str, tuple[str, list[Callable[[Any], None]]]]:
    """Each page with its address and what somebody does there: unfold a part, choose another view, turn a page."""
    offline, on_live = f"?evaluation={evaluation}", f"?live={live}"
    main = "[data-testid=stMainBlockContainer]"

    def click(what: str, number: int = 0, within: str = main) -> Callable[[Any], None]:
        return lambda page: page.locator(within).last.locator(what).nth(number).click(timeout=5_000)

    unfold = partial(click, "[data-testid=stExpander] summary")
    choose = partial(click, "button", within=f"{main} [data-testid=stButtonGroup]")  # the last one: above it, evaluation or live
    views = [choose(number) for number in (1, 2, 3)]
    return {
        "verdict": (offline, [unfold()]),
        "verdict, live": (on_live, [unfold()]),
        "compare": (f"compare{offline}", [unfold(), choose(1)]),
        "queries": (f"queries{offline}", [*views, click("[data-testid=stPagination] button", -1), unfold()]),
        "live": (f"live{on_live}", [unfold(number) for number in range(4)]),
        "live trials": (f"queries{on_live}", [*views, unfold()]),
        "cost": (f"cost{offline}", [unfold()]),
        "cost, live": (f"cost{on_live}", [unfold()]),
        "judges": (f"judges{offline}", [unfold()]),
        "labelling": (f"labelling{offline}", [click("button:has-text('Skip')")]),
        "models": (f"models{offline}", []),  # nothing was trained here
        "drift": (f"models{on_live}", [unfold()]),
    }


def playwright_errors() -> type[Exception]:
    """What a page that can't be used as expected raises; imported late, so that `--help` needs no browser."""
    from playwright.sync_api import Error

    return Error


def measure(page: Any, base: str, pages: dict[str, tuple[str, list[Callable[[Any], None]]]], *, repeats: int) -> dict[str, Times]:
    """Open and use each page some times; the first opening of all, which compiles and imports, is not counted."""
    opened(page, base)
    found = {name: Times() for name in pages}
    for _ in range(repeats):
        for name, (address, actions) in pages.items():
            found[name].paints.append(opened(page, f"{base}/{address}"))
            for action in actions:
                try:
                    found[name].uses.append(used(page, action))
                except playwright_errors() as error:
                    found[name].failed.append(f"{type(error).__name__} {str(error).splitlines()[0]}")
    return found


def said(name: str, found: Times, peer: float) -> None:
    """One page's median first paint, slowest use, goals and ratio."""
    paint, use = statistics.median(found.paints), max(found.uses, default=0.0)
    using = f"slowest of {len(found.uses)} uses {use:5.2f} s" if found.uses else "nothing there to use"
    reached = "reached" if paint < PAINT_S and use < USE_S and not found.failed else "NOT reached"
    ratio = f"the naive page takes {peer / paint:6.1f} times as long"
    print(f"{name:14} first paint {paint:5.2f} s, {using}; goals {reached}; {ratio}", flush=True)
    for why in sorted(set(found.failed)):
        print(f"  a use failed: {why}", flush=True)


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What a service logged: its trials' common beginning, how many the recorder promised, and milliseconds until each was durable."""

    prefix: str
    n: int
    waits: list[float]

    def in_sql(self, url: str) -> int:
        """How many of them are rows."""
        with open_engine(url, read_only=True).connect() as connection:
            return int(
                connection.execute(select(func.count()).where(LiveTrialRow.trial_id.startswith(f"trial_{self.prefix}"))).scalar_one()
            )


def commits(url: str, *, seconds: float, per_second: int = 200) -> Logged:
    """Log trials at a steady rate; a write that fails ends the measurement with its error."""
    waits: list[float] = []
    prefix = f"bench{uuid.uuid4().hex}"
    with LiveRecorder(url, live_experiment()) as recorder:
        promised: list[Any] = []
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            promised.append(recorder.log(trial_of(f"{prefix}{len(promised):07}")))
            promised[-1].add_done_callback(lambda _, since=now: waits.append(1000 * (time.perf_counter() - since)))
            time.sleep(max(0.0, begin + len(promised) / per_second - time.perf_counter()))
        for each in promised:
            each.result(60)
    return Logged(prefix=prefix, n=len(promised), waits=sorted(waits))


def beside(url: str, busy: str, quiet: str, pages: list[str], browser: Any) -> Logged:
    """How long commits in one database take while five viewers and the roll-up are busy with one, and somebody logs to another.

    Everything is a process of its own, as it is in use.
    """
    command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "roll-up", str(LIVE), "--watch", "--database", busy]
    rolling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool, board(busy) as base:
            viewers = [browser.new_page() for _ in range(5)]
            timed, other = (pool.submit(commits, where, seconds=WRITING_S) for where in (url, quiet))
            while not timed.done():
                for page, address in zip(viewers, pages, strict=False):
                    page.goto(f"{base}/{address}")
            for page in viewers:
                page.close()
            other.result()
            return timed.result()
    finally:
        rolling.terminate()
        rolling.wait(60)


def writes(url: str, elsewhere: str, pages: list[str], browser: Any) -> None:
    """Print how much longer a service's commits take where its database is looked at than where another one is, on an equally busy machine."""
    control, looked_at = (beside(url, busy, elsewhere, pages, browser) for busy in (elsewhere, url))
    for share in (0.5, 0.99):
        a, b = (found.waits[int(share * (found.n - 1))] for found in (control, looked_at))
        print(
            f"commits of the service, p{100 * share:g}: {b / a:.2f} times as long as beside five viewers and the roll-up of another database"
        )
    n, rows = control.n + looked_at.n, sum(found.in_sql(url) for found in (control, looked_at))
    print(f"of {n:,} trials that were logged, {rows:,} are in SQL")


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="a database from board_log.py, rolled up")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true", help="only the dashboard")
    parser.add_argument("--elsewhere", help="another database like it: time the service's commits too, which writes to both")
    arguments = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("skipped: there is no chromium")
    with Reader(arguments.url) as reader, LiveReader(arguments.url) as live:
        pages = uses(reader.evaluations()[-1].evaluation_id, live.experiments()[-1].live_id)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        peers = {"live": float("nan"), "offline": float("nan")}
        if not arguments.without_peer:
            with naive(arguments.url) as base:
                page = browser.new_page()
                for kind in list(peers):
                    peers[kind] = opened(page, f"{base}/?page={kind}", patience_ms=_NAIVE_PATIENCE_MS)
                    print(f"the naive page, {kind}: {peers[kind]:.1f} s", flush=True)
        with board(arguments.url) as base:
            for name, found in measure(browser.new_page(), base, pages, repeats=arguments.repeats).items():
                said(name, found, peers["live" if "live" in name or name == "drift" else "offline"])
        if arguments.elsewhere is not None:
            writes(arguments.url, arguments.elsewhere, [address for address, _ in pages.values()], browser)
        browser.close()


if __name__ == "__main__":
    main()
