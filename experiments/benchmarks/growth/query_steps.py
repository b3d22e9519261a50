"""Queries: a gold set of many evaluated by the command, and live ones answered by the service."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from growth.plan import Given
from growth.postgres import database, size_of
from growth.results import Measured
from growth.synthetic import SEED, texts, written_corpus
from growth.vector_steps import server

PASSAGES = 10_000
RAGTRIAL = [sys.executable, "-c", "from ragtrial.cli.main import main; main()"]


def evaluate(given: Given) -> Iterator[Measured]:
    """Both arms over `size` gold queries; each query is twelve words of the one passage that is relevant."""
    folder = given.scratch / "evaluate"
    folder.mkdir()
    _gold(folder, given.size)
    with server(given.scratch) as milvus, database(given.postgres, f"growth_evaluate_{given.size}") as url:
        file = _experiment(folder, milvus.uri, url)
        _run(["index", str(file)], folder)
        before = size_of(url)
        seconds, mib = _run(["evaluate", str(file), "-o", str(folder / "report")], folder)
        detail = {"bytes_per_trial": (size_of(url) - before) / (2 * given.size), "trials_per_s": 2 * given.size / seconds}
    yield given.measured(seconds, memory_mib=mib, detail=detail)


def _gold(folder: Path, n: int) -> None:
    corpus = written_corpus(PASSAGES)
    rng = np.random.default_rng([SEED, 3])
    lines = [json.dumps({"_id": passage.passage_id, "text": passage.text}) for passage in corpus.passages]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    queries, judged = [], ["query-id\tcorpus-id\tscore"]
    for number in range(n):
        passage = corpus.passages[number % PASSAGES]
        words = passage.text.split()
        some = rng.choice(len(words), size=12, replace=False)
        queries.append(json.dumps({"_id": f"q{number}", "text": f"{' '.join(words[place] for place in sorted(some))} {number}"}))
        judged.append(f"q{number}\t{passage.passage_id}\t1")
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n", encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")


def _experiment(folder: Path, milvus: str, sql: str) -> Path:
    arms = [
        {"name": name, "role": role, "embedding": {"provider": "hashing", "model": name, "dimensions": 256}}
        for name, role in (("baseline", "control"), ("custom", "treatment"))
    ]
    content = {
        "name": "growth",
        "data": {"format": "beir", "path": str(folder), "split": "test"},
        "chunking": {"strategy": "none"},
        "arms": arms,
        "generation": {"provider": "none"},
        "retrieval": {"top_k": 10, "index": {"type": "HNSW", "min_recall": 0}},
        "metrics": {"primary": {"name": "nDCG@10"}, "secondary": ["R@1", "R@10", "RR@10"]},
        "stores": {"milvus": milvus, "sql": sql, "vectors": str(folder / "vectors")},
    }
    path = folder / "growth.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _run(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and MiB (peak) of a command."""
    begin, said = time.perf_counter(), folder / "said"
    with said.open("wb") as out, subprocess.Popen([*RAGTRIAL, *arguments, "--quiet"], stdout=out, stderr=out, cwd=folder) as process:
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: the gate does not hold
        raise SystemExit(said.read_text(errors="replace")[-4_000:])
    return time.perf_counter() - begin, used.ru_maxrss / 1024


def ask(given: Given) -> Iterator[Measured]:
    """The service without HTTP, queries one after the other, each a new user's."""
    from serving import experiment, question

    from ragtrial.formats.experiment import load_experiment
    from ragtrial.settings import read_settings
    from ragtrial.suite.serving import live_service

    folder = given.scratch / "ask"
    folder.mkdir()
    asked = texts(given.size, low=8, high=16)

    async def all_of_them() -> tuple[float, float]:
        service = live_service(load_experiment(experiment(folder, "split")), read_settings(), background=False)
        await service.start()
        for text in asked[:20]:
            await service.ask(question(f"before: {text}"))
        begin, cpu = time.perf_counter(), time.process_time()
        for text in asked:
            await service.ask(question(text))
        found = time.perf_counter() - begin, time.process_time() - cpu
        await service.close()
        return found

    seconds, cpu = asyncio.run(all_of_them())
    yield given.measured(seconds, detail={"cpu_ms_per_request": 1000 * cpu / given.size})
