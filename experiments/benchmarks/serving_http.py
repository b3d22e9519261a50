"""The service over HTTP against plain FastAPI handlers that do nothing but embed, search and generate, in one run.

On the seeds with the real MiniLM, Milvus Lite and an SQLite log. Service and handlers live in one process and share models and index; the
clients live in another. The service splits, logs durably, checks keys and limits; the handlers do none of it.

- One client at a time: p50 of POST /v1/ask over p50 of the handler.
- 32 clients at a time: requests a second over handlers that encode one query at a time (in the event loop, and on threads), and p99.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python experiments/benchmarks/serving_http.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import yaml
from fastapi import FastAPI
from measuring import REPOSITORY, say
from pydantic import BaseModel
from serving import USERS, experiment, p99

from ragtrial.api.app import create_app
from ragtrial.api.factory import key_finder
from ragtrial.api.logs import log_configuration
from ragtrial.db.keys import KeyStore
from ragtrial.domain.gold import Query
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.serving.answering import ServingArm
from ragtrial.settings import read_settings
from ragtrial.suite.serving import live_service

AT_MOST_ALONE, AT_LEAST_TOGETHER, AT_MOST_P99 = 1.3, 2.0, 1.0
PEPPER = "of the benchmark"
_units = itertools.count()


class Asked(BaseModel):
    """What the plain handlers take."""

    query: str
    unit: str


def plain(arm: ServingArm) -> FastAPI:
    """Handlers that do what can't be left out."""
    app = FastAPI()

    def answer(text: str) -> dict[str, Any]:
        vectors = arm.search.embedder.embed([text], kind="query")
        hits = arm.search.index.search(arm.search.collection, vectors, top_k=arm.search.top_k, model=arm.search.embedder.identity)[0]
        passages = [arm.pipeline.passages[hit.passage_id] for hit in hits[: arm.pipeline.context_passages]]
        assert arm.pipeline.generator is not None
        made = arm.pipeline.generator.generate(Query(query_id="q", text=text), passages)
        return {"answer": made.text, "sources": [{"passage_id": p.passage_id, "title": p.title, "text": p.text} for p in passages]}

    @app.post("/loop")
    async def in_the_loop(body: Asked) -> dict[str, Any]:
        return answer(body.query)

    @app.post("/threads")
    def on_threads(body: Asked) -> dict[str, Any]:
        return answer(body.query)

    return app


def listen(app: FastAPI) -> str:
    """Serve in a thread, as `ragtrial serve` sets uvicorn up; the address."""
    config = uvicorn.Config(app, port=0, log_config=log_configuration("warning"), access_log=False, ws="none", timeout_keep_alive=75)
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def be_the_server(path: Path) -> None:
    """Serve until standard input ends; say where."""
    file, settings = load_experiment(path), read_settings({**os.environ, "RAGTRIAL_KEY_PEPPER": PEPPER})
    with KeyStore(sql_url(file)) as store:
        key = store.create("bench", "tester", pepper=PEPPER)
    service = live_service(file, settings, background=False)
    address = listen(create_app(service, key_finder(file, settings), sql_url=sql_url(file)))
    while not service.ready().ok:
        time.sleep(0.1)
    bare = listen(plain(service.running.parts.control))
    print(json.dumps({"ours": f"{address}/v1/ask", "loop": f"{bare}/loop", "threads": f"{bare}/threads", "key": key}), flush=True)
    sys.stdin.read()


@contextlib.contextmanager
def server(path: Path) -> Iterator[dict[str, str]]:
    """The server in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


async def ask(session: aiohttp.ClientSession, url: str, text: str) -> float:
    """Seconds that one request takes."""
    start = time.perf_counter()
    async with session.post(url, json={"query": text, "unit": f"user-{next(_units)}"}) as response:
        assert response.status == 200, await response.text()
        await response.read()
    return time.perf_counter() - start


async def together(session: aiohttp.ClientSession, url: str, texts: list[str]) -> tuple[float, list[float]]:
    """Requests a second, and each one's seconds, of clients that ask again as soon as they are answered."""
    waiting, waited = iter(texts), []

    async def client() -> None:
        for text in waiting:
            waited.append(await ask(session, url, text))  # noqa: PERF401  # shared by all clients

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(USERS)))
    return len(texts) / (time.perf_counter() - start), waited


async def alone(session: aiohttp.ClientSession, at: dict[str, str], texts: list[str], repeats: int) -> None:
    """One client at a time."""
    found = []
    for repeat in range(repeats):
        waited: dict[str, list[float]] = {"ours": [], "loop": []}
        for text in texts:  # in turn, so that what else the machine does meets both
            for which in ("ours", "loop") if repeat % 2 else ("loop", "ours"):
                waited[which].append(await ask(session, at[which], text))
        ours, bare = statistics.median(waited["ours"]), statistics.median(waited["loop"])
        found.append(ours / bare)
        print(
            f"  run {repeat + 1}: p50 /v1/ask {ours * 1000:.2f} ms, plain handler {bare * 1000:.2f} ms, ratio {found[-1]:.3f}", flush=True
        )
    say("p50 of /v1/ask over the plain handler, one client at a time", found, at_most=AT_MOST_ALONE)


async def crowd(session: aiohttp.ClientSession, at: dict[str, str], texts: list[str], repeats: int) -> None:
    """Many clients at a time."""
    for peer, name in (("loop", "in the event loop"), ("threads", "on threads")):
        rates, tails = [], []
        for repeat in range(repeats):
            results = {}
            for which in ("ours", peer) if repeat % 2 else (peer, "ours"):
                results[which] = await together(session, at[which], texts)
            (rate, waited), (peer_rate, peer_waited) = results["ours"], results[peer]
            rates.append(rate / peer_rate)
            tails.append(p99(waited) / p99(peer_waited))
            ours = f"ours {rate:.0f}/s, p99 {p99(waited) * 1000:.0f} ms"
            print(f"  run {repeat + 1}: {ours}; {name} {peer_rate:.0f}/s, p99 {p99(peer_waited) * 1000:.0f} ms", flush=True)
        middle = statistics.median(rates)
        print(f"requests/s over encoding one by one {name}: median ratio {middle:.2f} (goal: at least {AT_LEAST_TOGETHER})")
        say(f"p99 over encoding one by one {name}", tails, at_most=AT_MOST_P99)


async def measure(at: dict[str, str], given: argparse.Namespace) -> None:
    """All of it."""
    queries = [yaml.safe_load(line)["text"] for line in (REPOSITORY / "seeds" / "queries.jsonl").read_text().splitlines()]
    texts = (queries * 10)[: given.queries]
    connector = aiohttp.TCPConnector(limit=USERS)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {at['key']}"}) as session:
        for text in texts[:20]:
            for which in ("ours", "loop", "threads"):
                await ask(session, at[which], text)
        print(f"one client at a time, {len(texts)} queries", flush=True)
        await alone(session, at, texts, given.repeats)
        print(f"{USERS} clients at a time", flush=True)
        await crowd(session, at, texts, given.repeats)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        be_the_server(given.serve)
        return
    with tempfile.TemporaryDirectory() as folder, server(experiment(Path(folder), "split")) as at:
        asyncio.run(measure(at, given))


if __name__ == "__main__":
    main()
